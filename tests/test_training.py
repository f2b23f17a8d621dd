"""The training loop: the same weights however often it was interrupted, and honest failures."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import Stopped, stop_at

from rsstudy.devices import pick_device
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.evaluation import Pairs, evaluate, prepare
from rsstudy.methods import attach, create_method, trained
from rsstudy.objectives import named_objective
from rsstudy.training.batch import batches, count_batches
from rsstudy.training.checkpoint import Diverged, OutOfTime
from rsstudy.training.loop import train
from rsstudy.training.recipe import SHORT, Recipe, learning_rate
from rsstudy.training.second_view import augmented, siblings

RECIPE = Recipe(epochs=3, batch=2, precision="fp32")


def ready(method="mrs-adapter"):
    encoder = create("tiny@random")
    attach(encoder, create_method(method))
    return encoder


def values(encoder):
    return {name: p.detach().clone() for name, p in trained(encoder).items()}


def run(encoder, small, objective="hmmc", recipe=RECIPE, scores=None, **more):
    """Train on the small set; validation scores rise unless given."""
    given = iter(scores or range(1, 100))
    return train(
        encoder,
        prepare(encoder, small.split("train")),
        named_objective(objective) if isinstance(objective, str) else objective,
        recipe,
        validate=lambda _: float(next(given)),
        progress=False,
        **more,
    )


def same(encoder, expected) -> bool:
    """Whether the trained weights are these."""
    return all(torch.equal(value, expected[name]) for name, value in values(encoder).items())


DRAWN = {"augment_images": True, "sibling_captions": True, "mask_false_negatives": True}
ALL_DRAWN = named_objective("hmmc", both_views=True, **DRAWN)


@pytest.mark.parametrize("after", [1, 3, 4, 7])
@pytest.mark.parametrize(
    ("objective", "precision"), [("hmmc", "fp32"), ("hmmc", "bf16"), (ALL_DRAWN, "fp32")]
)
def test_a_resumed_run_ends_in_the_weights_of_an_uninterrupted_one(
    small, tmp_path, monkeypatch, after, objective, precision
):
    monkeypatch.setattr("rsstudy.training.checkpoint.CHECKPOINT_SECONDS", 0)  # saved at each step
    recipe, file = replace(RECIPE, precision=precision), tmp_path / "checkpoint.pt"
    whole, resumed = ready(), ready()
    expected = run(whole, small, objective, recipe)
    given = {"checkpoint": file, "identity": "x"}
    with pytest.raises(Stopped):
        run(ready(), small, objective, recipe, after_step=stop_at(after), **given)
    torch.rand(after)  # the state of the caller's generator is no part of it
    found = run(resumed, small, objective, recipe, range(2 + after // 3, 100), **given)
    assert same(resumed, values(whole))
    assert [row["loss"] for row in found.history] == [row["loss"] for row in expected.history]
    assert found.best_epoch == expected.best_epoch == 3


def test_a_sibling_is_another_caption_of_the_same_picture():
    # picture 0 has the texts 0, 1, 1; picture 1 has 1 alone; picture 2 has 2 and 3
    pairs = Pairs(
        torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(4, 4),
        text_of=np.array([0, 1, 1, 1, 2, 3]),
        image_of=np.array([0, 0, 0, 1, 2, 2]),
        pixel_digest="",
        lengths=np.full(4, 4),
    )
    images, texts = np.array([2, 0, 1, 2]), np.array([2, 0, 1, 3])
    for seed in range(5):
        assert siblings(pairs, images, texts, [seed, 0, 0]).tolist() == [3, 1, 1, 2]


def test_an_augmented_picture_is_part_of_its_own_in_one_of_eight_orientations():
    torch.manual_seed(0)
    flat = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 16, 16) * 30
    assert torch.equal(augmented(flat), flat)  # no picture takes anything from another
    ramp = torch.arange(64, dtype=torch.uint8).expand(64, 3, 64, 64) * 4
    turned = augmented(ramp)
    assert turned.shape == ramp.shape and turned.dtype == torch.uint8
    corners = {
        (
            int(p[0, 0, 0]) > int(p[0, 0, -1]),
            int(p[0, 0, 0]) > int(p[0, -1, 0]),
            int(p[0, 0, 0]) == int(p[0, 0, -1]),
        )
        for p in turned
    }
    assert len(corners) == 4  # rising to the right, left, bottom and top
    assert len({int(p.min()) for p in turned}) > 8  # crops of many sizes


def test_without_a_checkpoint_in_the_epoch_it_goes_on_from_the_last_epoch(small, tmp_path):
    whole, resumed, file, seen = ready(), ready(), tmp_path / "checkpoint.pt", []
    run(whole, small)
    with pytest.raises(Stopped):
        run(ready(), small, checkpoint=file, after_step=stop_at(5))
    run(resumed, small, checkpoint=file, after_step=seen.append, scores=[2, 3])
    assert seen[0] == 4  # the first step of the second epoch
    assert same(resumed, values(whole))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(small):
    first, again, other = ready(), ready(), ready()
    for encoder, seed in ((first, 0), (again, 0), (other, 1)):
        run(encoder, small, seed=seed)
    assert same(again, values(first)) and not same(other, values(first))


def test_the_weights_kept_are_those_of_the_epoch_best_on_validation(small):
    after = []
    encoder = ready()
    training = run(
        encoder, small, scores=[1, 5, 9, 7], after_step=lambda _: after.append(values(encoder))
    )
    assert training.best_epoch == 2
    assert [row["mean_recall"] for row in training.history] == [1, 5, 9, 7]
    assert same(encoder, after[5]) and not same(encoder, after[8])


def test_what_training_makes_worse_is_left_as_it_was(small):
    """The encoder before the first step is epoch 0 of the history, and may be the best."""
    encoder = ready()
    before = values(encoder)
    training = run(encoder, small, scores=[9, 5, 8, 7])
    assert training.best_epoch == 0
    first = training.history[0]
    assert (first["epoch"], first["loss"], first["images"]) == (0, None, 0)
    assert same(encoder, before)


def test_training_stops_at_its_deadline_and_goes_on_to_the_same_weights(small, tmp_path):
    whole, file = ready(), tmp_path / "checkpoint.pt"
    run(whole, small)
    for _ in range(3):
        with pytest.raises(OutOfTime, match="out of time in epoch 1"):
            run(ready(), small, checkpoint=file, identity="x", deadline=time.monotonic())
    resumed = ready()
    run(resumed, small, checkpoint=file, identity="x", scores=range(2, 100))
    assert same(resumed, values(whole))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(small, tmp_path):
    encoder = ready()

    def spoil(step):
        if step == 4:
            with torch.no_grad():
                next(iter(trained(encoder).values())).fill_(math.nan)

    with pytest.raises(Diverged, match="step 2 of epoch 2") as problem:
        run(encoder, small, after_step=spoil)
    assert "\n" not in str(problem.value)


def test_the_temperature_is_learnt_by_infonce_alone(small):
    for objective, moves in (("infonce", True), ("hinge", False)):
        encoder = ready()
        before = encoder.logit_scale.item()
        run(encoder, small, objective)
        assert (encoder.logit_scale.item() != before) == moves
        assert not encoder.logit_scale.requires_grad  # it counts as nobody's parameter


def test_training_lowers_the_loss_and_raises_the_score(small):
    encoder = ready("full")
    pairs = prepare(encoder, small.split("train"))
    before = evaluate(encoder, pairs).scores["mean_recall"]
    recipe = replace(SHORT, epochs=25, batch=6, learning_rate=2e-3, precision="fp32")
    training = train(
        encoder,
        pairs,
        named_objective("infonce"),
        recipe,
        progress=False,
        validate=lambda e: evaluate(e, pairs).scores["mean_recall"],
    )
    assert training.history[-1]["loss"] < training.history[1]["loss"] / 2
    assert evaluate(encoder, pairs).scores["mean_recall"] > before + 10


def test_zero_shot_trains_nothing(small):
    encoder = ready("zero-shot")
    assert run(encoder, small).steps == 0


@pytest.mark.parametrize(("samples", "items"), [("images", 6), ("captions", 30)])
@pytest.mark.parametrize("size", [2, 4, 5])
def test_an_epoch_shows_each_item_once_with_a_caption_of_its_own(small, samples, items, size):
    pairs = prepare(create("tiny@random"), small.split("train"))
    recipe = Recipe(batch=size, samples=samples)
    found = list(batches(pairs, recipe, seed=3, epoch=1))
    assert len(found) == count_batches(pairs, recipe)
    images, texts = (np.concatenate(part) for part in zip(*found, strict=True))
    own = set(zip(pairs.image_of.tolist(), pairs.text_of.tolist(), strict=True))
    assert set(zip(images.tolist(), texts.tolist(), strict=True)) <= own
    left_out = items % size == 1
    shown = images if samples == "images" else texts
    assert len(set(shown.tolist())) == len(shown) == items - left_out


def test_batches_depend_on_seed_and_epoch(small):
    pairs = prepare(create("tiny@random"), small.split("train"))

    def order(seed, epoch):
        return np.concatenate([t for _, t in batches(pairs, RECIPE, seed, epoch)]).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) and order(0, 0) != order(1, 0)


def test_schedules_reach_their_marks():
    cosine = Recipe(epochs=10, learning_rate=1.0, schedule="cosine", warmup=0.1)
    assert learning_rate(cosine, 0, 10) == pytest.approx(0.1)
    assert learning_rate(cosine, 9, 10) == learning_rate(cosine, 10, 10) == 1
    assert learning_rate(cosine, 55, 10) == pytest.approx(0.5)
    paper = Recipe()  # times 0.7 from the 20th epoch on: adjust_learning_rate in the public code
    assert learning_rate(paper, 19 * 10 - 1, 10) == 2e-4
    assert learning_rate(paper, 19 * 10, 10) == pytest.approx(1.4e-4)
    assert learning_rate(paper, 30 * 10 - 1, 10) == pytest.approx(1.4e-4)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(small, tmp_path):
    file = tmp_path / "checkpoint.pt"
    run(ready(), small, checkpoint=file, identity="one")
    with pytest.raises(StudyError, match="belongs to another run"):
        run(ready(), small, checkpoint=file, identity="two")
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(StudyError, match="is damaged") as problem:
        run(ready(), small, checkpoint=file, identity="one")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("changes", [{"random": []}, {"device_random": [[torch.zeros(2)]]}])
def test_a_checkpoint_of_another_form_is_refused_before_anything_changes(small, tmp_path, changes):
    file, encoder = tmp_path / "checkpoint.pt", ready()
    run(ready(), small, checkpoint=file, identity="one")
    torch.save(torch.load(file, weights_only=True) | changes, file)
    before = {name: p.detach().clone() for name, p in trained(encoder).items()}
    with pytest.raises(StudyError, match="does not fit this training"):
        run(encoder, small, checkpoint=file, identity="one")
    assert all(torch.equal(p, before[name]) for name, p in trained(encoder).items())


def test_an_absent_device_is_named():
    with pytest.raises(StudyError, match="no device 'cuba' here"):
        pick_device("cuba")


def test_what_the_loop_does_not_train_it_leaves_alone(small):
    encoder = ready("linear-probe")
    with torch.no_grad():
        encoder.logit_scale.fill_(4.8)  # above CLIP's limit, as some published weights have it
    before = {n: p.detach().clone() for n, p in encoder.named_parameters()}
    run(encoder, small, "hmmc")
    ours = set(trained(encoder))
    for name, parameter in encoder.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in ours), name


def test_the_images_counted_are_those_shown(small):
    training = run(ready(), small, recipe=Recipe(epochs=2, batch=4, precision="fp32"))
    assert [row["images"] for row in training.history] == [0, 6, 6]


def test_a_score_that_is_not_finite_stops_the_run(small):
    for before, epoch in ([], 0), ([1, 2], 2):
        with pytest.raises(Diverged, match=f"after epoch {epoch}"):
            run(ready(), small, scores=[*before, math.nan, 3])
