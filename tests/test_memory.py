"""Ways out of memory leave the gradient of the whole batch, whatever is drawn in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import Stopped, stop_at
from test_training import RECIPE, same, values
from test_training import run as train_on

from rsstudy.encoders import MODALITIES, create
from rsstudy.errors import StudyError
from rsstudy.evaluation import prepare
from rsstudy.methods import attach, create_method, trained
from rsstudy.objectives import named_objective
from rsstudy.training.accumulate import add_gradients
from rsstudy.training.batch import as_in_training, by_towers, inputs, views
from rsstudy.training.recipe import Recipe


def embedded(encoder, objective, recipe, images, tokens, second=None):
    shown = views(objective, images, tokens, second)
    with as_in_training(encoder, objective, recipe, len(images)):
        return by_towers(encoder, recipe, *shown)


PLAIN = Recipe(batch=6, precision="fp32")
ROWS = np.arange(6)
MASKED = {"mask_false_negatives": True, "sibling_captions": True}
OBJECTIVES = {
    "infonce": named_objective("infonce", mask_false_negatives=True),
    "hmmc": named_objective("hmmc", **MASKED),
    "hmmc, whole tokens": named_objective("hmmc", token_dropout_of="tokens", **MASKED),
    "hmmc, augmented": named_objective("hmmc-infonce", augment_images=True),
}
STILL = {
    name: o if o.views == 1 else replace(o, token_dropout=0.0, token_dropout_of="elements")
    for name, o in OBJECTIVES.items()
    if not o.augment_images
}
METHODS = {
    "mrs-adapter": {"dropout": 0.2},
    "uniadapter": {},
    "harma": {},
    "vpt": {},
    "maple": {},
    "lora": {},
    "text-tower": {},
    "linear-probe": {},
    "full": {},
}


def ready(small, method="mrs-adapter", **settings):
    """An encoder whose added branches are not zero, and the training pairs."""
    encoder = create("tiny@random")
    attach(encoder, create_method(method, settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trained(encoder).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    encoder.eval()
    encoder.method.train()
    encoder.logit_scale.requires_grad_(True)
    return encoder, prepare(encoder, small.split("train"))


def gradients(encoder, pairs, objective, recipe, step=add_gradients):
    """The loss of a batch of six pairs, every gradient, and the generator's next number."""
    encoder.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    shown = inputs(encoder, pairs, objective, ROWS, pairs.text_of[::5][ROWS], [0, 0, 0])
    loss = step(encoder, objective, recipe, shown)
    found = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
    return loss, found, torch.rand(())


def by_parts_with_a_graph(encoder, objective, recipe, shown):
    """What ``add_gradients`` computes, the graphs of all parts kept: memory is no matter here."""
    images, tokens, second_tokens = (shown[n] for n in ("images", "tokens", "second_tokens"))
    count, parts = recipe.accumulate, []
    for part in range(count):
        rows = slice(len(images) * part // count, len(images) * (part + 1) // count)
        second = None if second_tokens is None else second_tokens[rows]
        parts.append(embedded(encoder, objective, recipe, images[rows], tokens[rows], second))
    views = [
        torch.cat(
            [v for view in zip(*(p.chunk(objective.views) for p in of), strict=True) for v in view]
        )
        for of in zip(*parts, strict=True)
    ]
    found = objective.loss(*views, encoder.logit_scale, shown["not_negative"])
    found.backward()
    return found.detach()


def assert_alike(found, expected):
    (loss, gradient, drawn), (other, others, also_drawn) = found, expected
    assert torch.allclose(loss, other, rtol=1e-6) and torch.equal(drawn, also_drawn)
    assert gradient.keys() == others.keys() and others
    for name, value in others.items():
        assert torch.allclose(gradient[name], value, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("parts", [2, 4, 6])
@pytest.mark.parametrize("name", STILL)
def test_a_batch_in_parts_has_the_gradient_of_the_whole_batch(small, name, parts):
    encoder, pairs = ready(small, dropout=0.0)
    recipe = replace(PLAIN, accumulate=parts)
    found = gradients(encoder, pairs, STILL[name], recipe)
    assert_alike(found, gradients(encoder, pairs, STILL[name], PLAIN))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_part_draws_the_same_when_it_is_embedded_again(small, name):
    encoder, pairs = ready(small, dropout=0.2)
    recipe = replace(PLAIN, accumulate=4)
    found = gradients(encoder, pairs, OBJECTIVES[name], recipe)
    kept = gradients(encoder, pairs, OBJECTIVES[name], recipe, by_parts_with_a_graph)
    assert_alike(found, kept)
    assert found[0] != gradients(encoder, pairs, OBJECTIVES[name], PLAIN)[0]  # drawn otherwise


@pytest.mark.parametrize("method", METHODS)
def test_what_is_computed_again_has_the_same_gradient_to_the_bit(small, method):
    encoder, pairs = ready(small, method, **METHODS[method])
    for objective in OBJECTIVES.values():
        again = replace(PLAIN, checkpointing=True)
        loss, found, drawn = gradients(encoder, pairs, objective, again)
        expected = gradients(encoder, pairs, objective, PLAIN)
        assert torch.equal(loss, expected[0]) and torch.equal(drawn, expected[2])
        assert found.keys() == expected[1].keys()
        assert all(torch.equal(found[name], value) for name, value in expected[1].items())


@pytest.mark.parametrize("way", [{"accumulate": 2}, {"checkpointing": True}])
def test_a_run_that_saves_memory_resumes_to_the_same_weights(small, tmp_path, monkeypatch, way):
    monkeypatch.setattr("rsstudy.training.checkpoint.CHECKPOINT_SECONDS", 0)
    recipe, given = replace(RECIPE, **way), {"checkpoint": tmp_path / "c.pt", "identity": "x"}
    whole, resumed = create_trained(), create_trained()
    train_on(whole, small, recipe=recipe)
    with pytest.raises(Stopped):
        train_on(create_trained(), small, recipe=recipe, after_step=stop_at(4), **given)
    train_on(resumed, small, recipe=recipe, scores=range(3, 100), **given)
    assert same(resumed, values(whole))


def create_trained():
    encoder = create("tiny@random")
    attach(encoder, create_method("mrs-adapter"))
    return encoder


def test_blocks_are_called_as_before_once_a_step_is_done(small):
    encoder, pairs = ready(small)
    gradients(encoder, pairs, OBJECTIVES["hmmc"], replace(PLAIN, accumulate=2, checkpointing=True))
    blocks = [block.module for modality in MODALITIES for block in encoder.blocks(modality)]
    assert all(block._compiled_call_impl is None for block in blocks)


def test_an_encoder_without_blocks_computes_nothing_again(small):
    encoder = create("cnn-gru@random", 64)
    shown = torch.zeros(2, 3, 64, 64, dtype=torch.uint8), encoder.tokenizer(["a", "b"])
    recipe = replace(PLAIN, checkpointing=True)
    with pytest.raises(StudyError, match="no transformer blocks"):
        embedded(encoder, OBJECTIVES["infonce"], recipe, *shown)


def test_a_batch_is_not_cut_into_more_parts_than_it_has_pairs():
    with pytest.raises(StudyError, match="4 pairs do not make 5 parts"):
        Recipe(batch=4, accumulate=5)


def test_memory_that_is_saved_counts(tmp_path):
    """Bytes that autograd keeps at most at any time, by the sizes of what it keeps."""
    torch.manual_seed(0)
    encoder = create_trained()
    images = torch.zeros(32, 3, 64, 64, dtype=torch.uint8)
    tokens = encoder.tokenizer([f"picture {number}" for number in range(32)])

    def peak(**way):
        kept, most = 0, 0

        class Held:
            def __init__(self, tensor):
                nonlocal kept, most
                self.tensor = tensor
                kept += tensor.nbytes
                most = max(most, kept)

            def __del__(self):
                nonlocal kept
                kept -= self.tensor.nbytes

        recipe = Recipe(batch=32, precision="fp32", **way)
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            add_gradients(
                encoder, OBJECTIVES["infonce"], recipe, {"images": images, "tokens": tokens}
            )
        return most

    plain = peak()
    assert peak(accumulate=4) < 0.4 * plain
