"""Zero-shot classification is CLIP's, written once more without this package."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rsstudy.classification import TEMPLATES, classify, in_words
from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.evaluation import embed, prepare

SCENES = ["Beach", "DenseResidential", "bare_land", "Golf_Course", "Port", "desert", "River2Bank"]


@pytest.fixture
def classed(rows, write_parquet, own_cache):
    """The small set in the folder ``set``: seven classes, three of them in the train split."""
    of = [0, 1, 2, 0, 0, 0, 3, 4, 5, 6]
    named = [replace(row, scene=SCENES[at]) for row, at in zip(rows, of, strict=True)]
    return write_parquet(named)


@torch.no_grad()
def by_hand(model, pixels, tokenizer, words, truth, templates):
    """CLIP's notebook on prompts, one picture and one class at a time; top-1, top-5, per class."""
    weights = []
    for name in words:
        vectors = [model.encode_text(tokenizer([t.format(name)]))[0] for t in templates]
        mean = sum(vector / vector.norm() for vector in vectors) / len(templates)
        weights.append(mean / mean.norm())
    first, fifth, of_class = [], [], {}
    for picture, name in zip(pixels, truth, strict=True):
        vector = model.encode_image(picture[None])[0]
        logits = [float(vector / vector.norm() @ weight) for weight in weights]
        order = sorted(words, key=lambda word: -logits[words.index(word)])
        first.append(order[0] == name)
        fifth.append(name in order[:5])
        of_class.setdefault(name, []).append(first[-1])
    per_class = np.mean([np.mean(of) for of in of_class.values()])
    return [100 * np.mean(first), 100 * np.mean(fifth), 100 * per_class]


@pytest.mark.parametrize("own", [(), ("a satellite photo of {}.", "{} from above")])
def test_accuracies_are_those_of_a_loop_that_knows_nothing_of_this_package(call, classed, own):
    asked = [word for template in own for word in ("--template", template)]
    one = ["evaluate", "--encoder", "tiny@random", "--data", "set", "--split", "train"]
    done = call(*one, "--classes", *asked, "--json")
    found = json.loads(done.output)["classification"]
    encoder = create("tiny@random")
    train = read_parquet(classed).split("train")
    pixels = prepare(encoder, train).images / 255
    pixels = (pixels - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    words = ["beach", "dense residential", "bare land", "golf course", "port", "desert"]
    words.append("river2 bank")
    truth = [words[SCENES.index(name)] for name in train.classes]
    templates = own or TEMPLATES
    expected = by_hand(encoder.model, pixels, encoder.tokenizer, words, truth, templates)
    assert [found[n] for n in ("top1", "top5", "mean_per_class")] == pytest.approx(expected)
    print(found, expected)
    assert {*found["by_class"]} == {*truth}
    assert "top-1" in call(*one, "--classes", *asked).output


def test_clips_prompts_for_aerial_scenes():
    assert len({*TEMPLATES}) == 18 and TEMPLATES[0] == "satellite imagery of {}."
    assert {"aerial photo of a {}.", "satellite view of the {}."} < {*TEMPLATES}


def test_names_become_words():
    assert in_words("DenseResidential") == in_words("dense__residential") == "dense residential"


def test_the_right_class_first_is_a_hundred_and_classes_that_tie_share(small):
    encoder = create("tiny@random", 32)
    scene = small.split("train")
    truth = [str(name) for name in scene.classes]
    prompts = encoder.embed_texts(encoder.tokenizer([f"{name}." for name in ("beach", "farmland")]))
    images = prompts[[int(name == "farmland") for name in truth]].detach()
    found = classify(encoder, images, truth, small.classes, ["{}."])
    assert found["top1"] == found["mean_per_class"] == 100
    assert found["by_class"] == {"beach": 100, "farmland": 100}
    tied = classify(encoder, torch.zeros_like(images), truth, small.classes, ["{}."])
    assert tied["top1"] == pytest.approx(50) and tied["top5"] == 100


def test_classes_come_from_the_whole_set_not_from_the_split(small):
    encoder = create("tiny@random", 32)
    images, _ = embed(encoder, prepare(encoder, small.split("test")))
    same = torch.zeros_like(images)
    few, many = (classify(encoder, same, ["a", "b"], known) for known in ("ab", "abcdefgh"))
    assert few["top1"] == pytest.approx(50) and many["top1"] == pytest.approx(12.5)
    assert many["top5"] == pytest.approx(62.5)


def test_what_cannot_be_classified_is_refused_in_one_line(call, rows, write_parquet, own_cache):
    rows = [replace(row, filename=f"{n}.png") for n, row in enumerate(rows)]  # no name tells one
    write_parquet([replace(row, scene=None) for row in rows])
    one = ["evaluate", "--encoder", "tiny@random", "--data", "set"]
    refused = "pictures have no scene class; leave --classes out\n"
    assert call(*one, "--classes").error == f"error: set: {refused}"
    write_parquet([replace(rows[0], split="test", scene=None), *rows[1:]], "part")
    assert call(*one[:-1], "part", "--classes").error == f"error: part: {refused}"
    for more in (["--template", "{}"], ["--classes", "--template", "a photo"]):
        assert "goes with --classes, and {} with the name" in call(*one, *more).error
