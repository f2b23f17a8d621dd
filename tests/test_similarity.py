"""Similarity within a modality: right on cases with a known answer, the same on every run."""

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
from sklearn.metrics import roc_auc_score

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, prepare
from rsstudy.scenes import scenes
from study import labels
from study.cli import cli
from study.figures import sets as figures
from study.figures import use_style
from study.similarity import (
    Cosines,
    Sample,
    across,
    against,
    by_dial,
    compare,
    draw,
    effective_number,
    effective_texts,
    embedded,
    ordered,
    pixels_and_words,
    shared_map,
    similarity,
    within,
    without_heads,
)


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def sample() -> Sample:
    """60 pictures of three classes; captions 0 and 1 have one text."""
    texts = unit(60, 16, 1)
    texts[1] = texts[0]
    captions = np.arange(60)
    captions[1] = 0
    return Sample(unit(60, 16), texts, captions, tuple("abc"[i % 3] for i in range(60)))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_effective_number_of_orthogonal_is_n_and_of_identical_one(n):
    assert effective_number(np.eye(9, dtype=np.float32)[:n]) == pytest.approx(n)
    assert effective_number(np.eye(9, dtype=np.float32)[[3] * n]) == pytest.approx(1)


def test_effective_number_is_the_same_from_either_gram_matrix():
    vectors = unit(20, 12)
    shares = np.linalg.eigvalsh(vectors.astype(float) @ vectors.T.astype(float) / 20)
    expected = np.exp(entr(shares.clip(0)).sum())
    assert effective_number(vectors) == pytest.approx(expected, rel=1e-5)
    assert effective_number(vectors[:8]) <= 8


def test_effective_texts_counts_repeats():
    assert effective_texts(np.arange(6)) == pytest.approx(6)
    assert effective_texts(np.zeros(6)) == pytest.approx(1)
    assert effective_texts(np.array([0, 0, 1, 1])) == pytest.approx(2)


def test_counted_cosines_have_the_mean_quantiles_and_order_of_the_plain_ones():
    random = np.random.default_rng(0)
    low, high = random.uniform(-1, 0.8, 5000), random.uniform(-0.5, 1, 4000)
    tallies = [Cosines.none(), Cosines.none()]
    for tally, values in zip(tallies, (low, high), strict=True):
        for part in np.split(values, 4):
            tally.add(part)
        assert tally.mean() == pytest.approx(values.mean())
        for q in (0.05, 0.5, 0.95):
            assert tally.quantile(q) == pytest.approx(np.quantile(values, q), abs=1e-3)
    auc = roc_auc_score(np.repeat([0, 1], [5000, 4000]), np.concatenate([low, high]))
    assert ordered(*tallies) == pytest.approx(auc, abs=1e-4)
    ends = Cosines.none()
    ends.add(np.array([-1.0000001, 1.0000001]))
    assert ends.counts[0] == ends.counts[-1] == 1


def test_cosines_in_blocks_equal_the_plain_ones(sample):
    cosines = sample.images @ sample.images.T
    pairs = np.triu_indices(60, 1)
    same = np.equal.outer(sample.classes, sample.classes)[pairs]
    expected = {
        "all": cosines[pairs],
        "same_class": cosines[pairs][same],
        "different_classes": cosines[pairs][~same],
        "nearest": (cosines - 3 * np.eye(60)).max(axis=1),
    }
    for rows in (512, 7):
        found = within(sample.images, sample.classes, rows)
        for name, values in expected.items():
            plain = Cosines.none()
            plain.add(values)
            assert np.abs(found[name].counts - plain.counts).sum() <= 4  # rounding at cell edges
            assert found[name].mean() == pytest.approx(values.mean(), abs=1e-6)


def test_captions_of_the_same_text_are_never_another_pictures(sample):
    for rows in (512, 7):
        found = across(sample, rows)
        assert found["own"].counts.sum() == 60
        assert found["other"].counts.sum() == 60 * 59 - 2
    own = (sample.images * sample.texts).sum(axis=1)
    assert found["own"].mean() == pytest.approx(own.mean(), abs=1e-6)


def test_sets_without_classes_have_no_class_measures(sample):
    bare = Sample(sample.images, sample.texts, sample.captions, (None,) * 60, joint=False)
    found = similarity(bare, halves=3)
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

    means = [within(one(seed), [None] * 80)["all"].mean() for seed in range(200)]
    errors = [
        similarity(Sample(one(s), one(s), np.arange(80), (None,) * 80), 50)["image"]["headline"][
            "mean"
        ]["standard_error"]
        for s in range(8)
    ]
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.25)


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    whole = scenes(images=40)
    backwards = whole.take(range(39, -1, -1))
    one, same, other = draw(whole, 20), draw(backwards, 20), draw(whole, 20, seed=1)
    assert one.filenames == same.filenames and one.captions == same.captions
    assert one.filenames != other.filenames
    assert len(set(one.filenames)) == 20 and all(len(own) == 1 for own in one.captions)
    of = dict(zip(whole.filenames, whole.captions, strict=True))
    assert all(own[0] in of[n] for n, own in zip(one.filenames, one.captions, strict=True))
    assert (
        len({of[n].index(own[0]) for n, own in zip(one.filenames, one.captions, strict=True)}) > 1
    )
    with pytest.raises(StudyError, match="choose 4 to 40"):
        draw(whole, 41)


@pytest.mark.parametrize("name", ["tiny@random", "vits14-minilm@random"])
def test_without_heads_come_the_features_that_the_heads_would_take(name, own_cache):
    encoder = create(name, 56 if name.startswith("vits") else None)
    if name.startswith("vits"):
        encoder.tokenizer = lambda texts: torch.randint(1, 99, (len(texts), 5))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    pairs = prepare(encoder, draw(scenes(images=4), 4))
    joint, _ = embed(encoder, pairs)
    with without_heads(encoder):
        images, texts = embed(encoder, pairs)
    again, _ = embed(encoder, pairs)
    after = encoder.state_dict()
    assert torch.equal(joint, again) and before.keys() == after.keys()
    image_head, text_head = sorted(encoder.heads, key=lambda head: "text" in head)
    layout = -1 if name.startswith("vits") else 0  # nn.Linear keeps its matrix transposed
    matrix = after[image_head].T if layout else after[image_head]
    assert torch.allclose(torch.nn.functional.normalize(images @ matrix, dim=-1), joint, atol=1e-5)
    assert texts.shape[1] == after[text_head].shape[layout]


def test_pixels_and_words_need_no_encoder(rows, write_parquet):
    small = read_parquet(write_parquet(rows))
    twice = draw(small, 10)
    found = pixels_and_words(twice, size=8)
    assert np.allclose(np.linalg.norm(found.images, axis=1), 1, atol=1e-5)
    assert found.texts[0] @ found.texts[0] == pytest.approx(1)
    words = [set(caption.replace(".", "").split()) for (caption,) in twice.captions]
    shared = len(words[0] & words[1]) / np.sqrt(len(words[0]) * len(words[1]))
    assert found.texts[0] @ found.texts[1] == pytest.approx(shared)


def test_a_set_that_spreads_less_is_smaller_on_the_map():
    spread, tight = unit(50, 8), np.float32([3] + [0] * 7) + unit(50, 8, 1)
    tight /= np.linalg.norm(tight, axis=1, keepdims=True)
    ids = np.arange(50)
    drawn = shared_map(
        {
            "spread": Sample(spread, spread, ids, (None,) * 50),
            "tight": Sample(tight, tight, ids, (None,) * 50),
        },
        points=80,
    )
    sizes = {name: np.std(p, axis=0).sum() for name, p in drawn["image"]["points"].items()}
    assert sizes["tight"] < sizes["spread"] / 2 and len(drawn["text"]["points"]["tight"]) == 40


def test_dials_move_their_own_modality(own_cache):
    """Pictures by the picture dial, captions by the other; the other modality stays bit-equal."""
    encoder = create("tiny@random")
    measured = {}
    for dials in ((0, 0), (1, 0), (0, 1)):
        made = scenes(images=60, alike_images=dials[0], alike_captions=dials[1])
        found = embedded(encoder, draw(made, 60))
        measured[dials] = (
            within(found.images, found.classes)["all"].mean(),
            within(found.texts, found.classes)["all"].mean(),
        )
    assert measured[1, 0][0] > measured[0, 0][0] and measured[0, 1][1] > measured[0, 0][1]
    assert measured[1, 0][1] == measured[0, 0][1] and measured[0, 1][0] == measured[0, 0][0]


@pytest.fixture
def found(sample) -> dict:
    """What ``compare`` finds, of two made samples under the names of real sets."""
    tight = replace(sample, images=(sample.images + 1) / 2)
    tight = replace(tight, images=tight.images / np.linalg.norm(tight.images, axis=1)[:, None])
    both = {"rsicd": tight, "flickr8k": replace(sample, classes=(None,) * 60)}
    sets = {name: similarity(one, halves=5) for name, one in both.items()}
    return {"pictures": 60, "sets": sets, "map": shared_map(both, points=40)}


def test_sets_are_compared_with_the_errors_of_both(found):
    table = against(found, "flickr8k").set_index(["set", "modality", "measure"])
    row = table.loc["rsicd", "image", "mean"]
    numbers = [found["sets"][n]["image"]["headline"]["mean"] for n in ("rsicd", "flickr8k")]
    assert row["difference"] == pytest.approx(numbers[0]["value"] - numbers[1]["value"])
    errors = np.hypot(numbers[0]["standard_error"], numbers[1]["standard_error"])
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * errors)
    assert row["low"] > 0
    assert table.loc["rsicd", "text", "mean"]["difference"] == 0
    assert "same_class" not in table.index.get_level_values("measure")


def test_scenes_are_told_by_the_dials_in_their_names(found):
    name = "scenes?images=60&alike_images={}&alike_captions={}"
    (one, *_) = found["sets"].values()
    made = {"sets": {name.format(*d): one for d in ((0, 0), (1, 0), (0, 1), (0.5, 0.5))}}
    table = by_dial(made)
    mean = table[(table["measure"] == "mean") & (table["modality"] == "image")]
    positions = mean.groupby("raised")["position"].apply(list).to_dict()
    assert positions == {"pictures": [0, 1], "captions": [0, 1], "both": [0, 0.5]}


def test_a_small_sample_gives_what_all_of_its_halves_hold(sample):
    few = replace(sample.take(np.arange(5)), classes=("a", "a", "b", "b", "c"))
    measured = similarity(few, halves=9)
    json.dumps(measured, allow_nan=False)  # no number that is none
    assert "mean" in measured["image"]["headline"]
    assert not any("class" in name for name in measured["image"]["headline"])
    with pytest.raises(StudyError, match="choose 4 to 8"):
        draw(scenes(images=8), 3)


def test_two_sets_of_one_name_are_not_taken_for_one(rows, write_parquet, own_cache):
    folders = [str(write_parquet(rows, f"{place}/mine")) for place in "ab"]
    with pytest.raises(StudyError, match="two sets are called mine"):
        compare(folders, "none", pictures=4)


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
    points = figures.effective_numbers({"aligned": found, "towers": found}).axes[0]
    values = [line.get_xdata()[0] for line in points.lines if len(line.get_xdata()) == 1]
    assert len(values) == 4
    assert values[0] == measured["headline"]["effective_number"]["value"]
    contrast = figures.class_contrast(found)
    assert f"different {measured['headline']['different_classes']['value']:.2f}" in (
        contrast.get_label()
    )
    cloud = figures.embedding_map(found).axes[0]
    assert [len(c.get_offsets()) for c in cloud.collections] == [20, 20]
    name = "scenes?alike_images={0}&alike_captions={0}"
    made = {"sets": {name.format(d): found["sets"]["rsicd"] for d in (0, 1)}}
    assert "by dial" in figures.similarity_by_dial(by_dial(made)).get_label()
    plt.close("all")


def test_the_command_writes_numbers_and_no_content(rows, write_parquet, own_cache, tmp_path):
    folder = write_parquet(rows, "private")
    out = tmp_path / "found.json"
    arguments = [
        "similarity",
        str(folder),
        "scenes?images=12",
        "--encoder",
        "tiny@random",
        "--pictures",
        "10",
        "--json",
        str(out),
    ]
    texts = []
    for _ in range(2):
        answer = CliRunner().invoke(cli, arguments)
        assert answer.exit_code == 0, answer.output
        texts.append(out.read_text())
    text = texts[0]
    assert text == texts[1]
    found = json.loads(text)
    assert set(found["sets"]) == {"private", "scenes?images=12"}
    assert "commit" in found["environment"]
    assert str(tmp_path) not in text
    assert not any(row.filename in text or row.captions[0] in text for row in rows)
    assert found["sets"]["private"]["drawn_from"] == 10 and found["weights"]
    answer = CliRunner().invoke(cli, [*arguments[:-3], "11", "--json", "-"])
    assert isinstance(answer.exception, StudyError)
