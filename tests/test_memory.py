"""Ways out of memory leave the gradient of the whole batch, whatever is drawn in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.evaluation import prepare
from rsstudy.methods import attach, create_method, trained
from rsstudy.objectives import named_objective
from rsstudy.training.accumulate import add_gradients
from rsstudy.training.batch import embedded, inputs
from rsstudy.training.recipe import Recipe

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


@pytest.fixture
def small(rows, write_parquet, own_cache):
    return read_parquet(write_parquet(rows))


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
    loss = step(encoder, objective, recipe, **shown)
    found = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
    return loss, found, torch.rand(())


def by_parts_with_a_graph(encoder, objective, recipe, images, tokens, second_tokens, **loss):
    """What ``add_gradients`` computes, the graphs of all parts kept: memory is no matter here."""
    loss.pop("share")
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
    found = objective.loss(*views, encoder.logit_scale, **loss)
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
