"""Similarity within a modality: right on cases with a known answer, the same on every run."""

import itertools
import json
from dataclasses import replace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.special import entr
from sklearn.metrics import pairwise, roc_auc_score

import study.similarity as alike
from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, prepare
from rsstudy.scenes import scenes
from study import labels
from study.cli import cli
from study.figures import sets as figures
from study.figures import use_style


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def sample() -> alike.Sample:
    """60 pictures of three classes; captions 0 and 1 have one text."""
    texts = unit(60, 16, 1)
    texts[1] = texts[0]
    captions = np.arange(60)
    captions[1] = 0
    return alike.Sample(unit(60, 16), texts, captions, tuple("abc"[i % 3] for i in range(60)))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_effective_numbers_are_n_of_different_things_and_one_of_equal_ones(n):
    basis = np.eye(9, dtype=np.float32)
    assert alike.effective_number(basis[:n]) == pytest.approx(n)
    assert alike.effective_number(basis[[3] * n]) == pytest.approx(1)
    assert alike.effective_texts(np.arange(n)) == pytest.approx(n)
    assert alike.effective_texts(np.array([3] * n)) == pytest.approx(1)
    assert alike.effective_texts(np.repeat(np.arange(n), 2)) == pytest.approx(n)


def test_effective_number_is_the_same_from_either_gram_matrix():
    vectors = unit(20, 12)
    shares = np.linalg.eigvalsh(vectors.astype(float) @ vectors.T.astype(float) / 20)
    expected = np.exp(entr(shares.clip(0)).sum())
    assert alike.effective_number(vectors) == pytest.approx(expected, rel=1e-5)
    assert alike.effective_number(vectors[:8]) <= 8


def test_counted_cosines_have_the_quantiles_and_order_of_the_plain_ones():
    random = np.random.default_rng(0)
    low, high = random.uniform(-1, 0.8, 5000), random.uniform(-0.5, 1, 4000)
    found = alike.summary(low)
    assert found["pairs"] == sum(found["histogram"]) == 5000
    assert found["mean"] == pytest.approx(low.mean(), abs=1e-5)
    for name, value in found["quantiles"].items():
        assert value == pytest.approx(np.percentile(low, float(name.split()[0])), abs=1e-3)
    auc = roc_auc_score(np.repeat([0, 1], [5000, 4000]), np.concatenate([low, high]))
    assert alike.ordered(low, high) == pytest.approx(auc, abs=1e-4)
    ends = alike.counted(np.array([-1.0000001, 1.0000001]))
    assert ends[0] == ends[-1] == 1


def test_cosines_are_of_each_pair_once_by_class_and_nearest(sample):
    found = alike.within(sample.images, sample.classes)
    cosines = pairwise.cosine_similarity(sample.images)
    pairs = list(itertools.combinations(range(60), 2))
    same = [(i, j) for i, j in pairs if sample.classes[i] == sample.classes[j]]
    for name, of in (("all", pairs), ("same_class", same)):
        assert found[name] == pytest.approx([cosines[pair] for pair in of], abs=1e-6)
    both = np.concatenate([found["same_class"], found["different_classes"]])
    assert sorted(both) == sorted(found["all"])
    nearest = [max(cosines[i, j] for j in range(60) if j != i) for i in range(60)]
    assert found["nearest"] == pytest.approx(nearest, abs=1e-6)


def test_captions_of_the_same_text_are_never_another_pictures(sample):
    found = alike.across(sample)
    assert len(found["other"]) == 60 * 59 - 2
    plain = [image @ text for image, text in zip(sample.images, sample.texts, strict=True)]
    assert found["own"] == pytest.approx(plain, abs=1e-6)


def test_sets_without_classes_have_no_class_measures(sample):
    found = alike.similarity(replace(sample, classes=(None,) * 60, joint=False), halves=3)
    assert found["image"]["same_class"] is None and found["image_text"] is None
    assert set(found["image"]["headline"]) == {"mean", "nearest", "effective_number"}
    assert found["distinct_captions"] == 59


def test_the_standard_error_is_that_of_a_mean_of_pairs():
    """Over many samples the mean cosine varies as much as the halves of one sample say."""
    centre = np.zeros(8, np.float32)
    centre[0] = 1.5

    def one(seed: int) -> np.ndarray:
        vectors = centre + np.random.default_rng(seed).normal(size=(80, 8)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def error(seed: int) -> float:
        made = alike.Sample(one(seed), one(seed), np.arange(80), (None,) * 80)
        return alike.similarity(made, 50)["image"]["headline"]["mean"]["standard_error"]

    means = [alike.within(one(seed), [None] * 80)["all"].mean() for seed in range(200)]
    assert np.mean([error(seed) for seed in range(8)]) == pytest.approx(np.std(means), rel=0.25)


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    whole = scenes(images=40)
    backwards = whole.take(range(39, -1, -1))
    one, same = alike.draw(whole, 20), alike.draw(backwards, 20)
    assert one.filenames == same.filenames and one.captions == same.captions
    assert one.filenames != alike.draw(whole, 20, seed=1).filenames
    assert len(set(one.filenames)) == 20
    of = dict(zip(whole.filenames, whole.captions, strict=True))
    drawn = zip(one.filenames, one.captions, strict=True)
    assert len({of[name].index(caption) for name, (caption,) in drawn}) > 1
    for pictures in (3, 41):
        with pytest.raises(StudyError, match="choose 4 to 40"):
            alike.draw(whole, pictures)


@pytest.mark.parametrize("name", ["tiny@random", "vits14-minilm@random"])
def test_without_heads_come_the_features_that_the_heads_would_take(name, own_cache):
    size, layout = (56, -1) if name.startswith("vits") else (None, 0)
    encoder = create(name, size)
    if size:
        encoder.tokenizer = lambda texts: torch.randint(1, 99, (len(texts), 5))
    before = list(encoder.state_dict())
    pairs = prepare(encoder, alike.draw(scenes(images=4), 4))
    joint, _ = embed(encoder, pairs)
    with alike.without_heads(encoder):
        images, texts = embed(encoder, pairs)
    after = encoder.state_dict()
    assert torch.equal(joint, embed(encoder, pairs)[0]) and before == list(after)
    image_head, text_head = (after[h] for h in sorted(encoder.heads, key=lambda h: "text" in h))
    matrix = image_head.T if layout else image_head  # nn.Linear keeps its matrix transposed
    assert torch.allclose(torch.nn.functional.normalize(images @ matrix, dim=-1), joint, atol=1e-5)
    assert texts.shape[1] == text_head.shape[layout]


def test_pixels_and_words_need_no_encoder(rows, write_parquet):
    small = read_parquet(write_parquet(rows))
    twice = alike.draw(small, 10)
    found = alike.pixels_and_words(twice, size=8)
    assert np.allclose(np.linalg.norm(found.images, axis=1), 1, atol=1e-5)
    assert found.texts[0] @ found.texts[0] == pytest.approx(1)
    words = [set(caption.replace(".", "").split()) for (caption,) in twice.captions]
    shared = len(words[0] & words[1]) / np.sqrt(len(words[0]) * len(words[1]))
    assert found.texts[0] @ found.texts[1] == pytest.approx(shared)


def test_a_set_that_spreads_less_is_smaller_on_the_map():
    spread, tight = unit(50, 8), np.float32([3] + [0] * 7) + unit(50, 8, 1)
    tight /= np.linalg.norm(tight, axis=1, keepdims=True)
    sets = {"spread": spread, "tight": tight}
    samples = {n: alike.Sample(v, v, np.arange(50), (None,) * 50) for n, v in sets.items()}
    drawn = alike.shared_map(samples, points=80)
    sizes = {name: np.std(p, axis=0).sum() for name, p in drawn["image"]["points"].items()}
    assert sizes["tight"] < sizes["spread"] / 2 and len(drawn["text"]["points"]["tight"]) == 40


def test_dials_move_their_own_modality(own_cache):
    """Pictures by the picture dial, captions by the other; the other modality stays bit-equal."""
    encoder = create("tiny@random")

    def means(pictures: int, captions: int) -> list[float]:
        made = scenes(images=60, alike_images=pictures, alike_captions=captions)
        found = alike.embedded(encoder, alike.draw(made, 60))
        both = (found.images, found.texts)
        return [alike.within(vectors, found.classes)["all"].mean() for vectors in both]

    start, pictures, captions = means(0, 0), means(1, 0), means(0, 1)
    assert pictures[0] > start[0] and pictures[1] == start[1]
    assert captions[1] > start[1] and captions[0] == start[0]


@pytest.fixture
def found(sample) -> dict:
    """What ``compare`` finds, of two made samples under the names of real sets."""
    tight = replace(sample, images=(sample.images + 1) / 2)
    tight = replace(tight, images=tight.images / np.linalg.norm(tight.images, axis=1)[:, None])
    both = {"rsicd": tight, "flickr8k": replace(sample, classes=(None,) * 60)}
    sets = {name: alike.similarity(one, halves=5) for name, one in both.items()}
    return {"pictures": 60, "sets": sets, "map": alike.shared_map(both, points=40)}


def test_sets_are_compared_with_the_errors_of_both(found):
    table = alike.against(found, "flickr8k").set_index(["set", "modality", "measure"])
    row = table.loc["rsicd", "image", "mean"]
    numbers = [found["sets"][n]["image"]["headline"]["mean"] for n in ("rsicd", "flickr8k")]
    assert row["difference"] == pytest.approx(numbers[0]["value"] - numbers[1]["value"])
    errors = np.hypot(numbers[0]["standard_error"], numbers[1]["standard_error"])
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * errors)
    assert row["low"] > 0
    assert row["ratio_low"] * row["ratio_high"] == pytest.approx(row["ratio"] ** 2)
    relative = np.hypot(*(n["standard_error"] / n["value"] for n in numbers))
    assert np.log(row["ratio_high"] / row["ratio"]) == pytest.approx(1.96 * relative)
    assert table.loc["rsicd", "text", "mean"]["difference"] == 0
    assert "same_class" not in table.index.get_level_values("measure")


def test_scenes_are_told_by_the_dials_in_their_names(found):
    name = "scenes?images=60&alike_images={}&alike_captions={}"
    (one, *_) = found["sets"].values()
    made = {"sets": {name.format(*d): one for d in ((0, 0), (1, 0), (0, 1), (0.5, 0.5))}}
    table = alike.by_dial(made)
    mean = table[(table["measure"] == "mean") & (table["modality"] == "image")]
    positions = mean.groupby("raised")["position"].apply(list).to_dict()
    assert positions == {"pictures": [0, 1], "captions": [0, 1], "both": [0, 0.5]}


def test_a_small_sample_gives_what_all_of_its_halves_hold(sample):
    few = replace(sample.take(np.arange(5)), classes=("a", "a", "b", "b", "c"))
    measured = alike.similarity(few, halves=9)
    json.dumps(measured, allow_nan=False)  # no number that is none
    assert "mean" in measured["image"]["headline"]
    assert not any("class" in name for name in measured["image"]["headline"])


def test_two_sets_of_one_name_are_not_taken_for_one(rows, write_parquet, own_cache):
    folders = [str(write_parquet(rows, f"{place}/mine")) for place in "ab"]
    with pytest.raises(StudyError, match="two sets are called mine"):
        alike.compare(folders, "none", pictures=4)


def test_sets_of_ones_own_have_a_look_of_their_own(found):
    mine = {**found, "sets": {"mine": found["sets"]["rsicd"], "yours": found["sets"]["rsicd"]}}
    handles = figures.cosine_distributions(mine).axes[0].get_legend_handles_labels()[1]
    assert handles == ["mine", "yours"]
    one, other = labels.looks(mine["sets"], labels.SETS).values()
    assert one.color != other.color and one.line != other.line


def test_figures_of_similarity_show_what_they_are_given(found):
    use_style()
    measured = found["sets"]["rsicd"]["image"]
    left, right = figures.cosine_distributions(found).axes
    assert len(left.patches) == len(right.patches) == 2 and left.get_title() == "Pictures"
    assert sum(left.patches[0].get_data().values) == pytest.approx(100)
    assert "nearest" in figures.cosine_distributions(found, "nearest").get_label()
    words = figures.class_contrast(found).get_label()
    assert f"different {measured['headline']['different_classes']['value']:.2f}" in words
    cloud = figures.embedding_map(found).axes[0]
    assert [len(c.get_offsets()) for c in cloud.collections] == [20, 20]
    name = "scenes?alike_images={0}&alike_captions={0}"
    made = {"sets": {name.format(d): found["sets"]["rsicd"] for d in (0, 1)}}
    assert "by dial" in figures.similarity_by_dial(alike.by_dial(made)).get_label()
    plt.close("all")


def test_the_command_writes_numbers_and_no_content(rows, write_parquet, own_cache, tmp_path):
    folder = write_parquet(rows, "private")
    out = tmp_path / "found.json"
    arguments = ["similarity", str(folder), "scenes?images=12", "--encoder", "tiny@random"]
    arguments += ["--pictures", "10", "--json", str(out)]
    texts = []
    for _ in range(2):
        answer = CliRunner().invoke(cli, arguments)
        assert answer.exit_code == 0, answer.output
        texts.append(out.read_text())
    assert texts[0] == (text := texts[1])
    found = json.loads(text)
    assert set(found["sets"]) == {"private", "scenes?images=12"}
    assert "commit" in found["environment"]
    assert str(tmp_path) not in text
    assert not any(row.filename in text or row.captions[0] in text for row in rows)
    assert found["sets"]["private"]["drawn_from"] == 10 and found["weights"]
    answer = CliRunner().invoke(cli, [*arguments[:-3], "11", "--json", "-"])
    assert isinstance(answer.exception, StudyError)
