"""Whole epochs of this package's loop against the loop of ``research_style.py``.

Parity comes first: without dropout, in fp32, on the same batches, both must take the same losses.
Then an epoch of each over the same pairs, in turns, data included.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import load, usable
from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError
from rsstudy.evaluation import Pairs, prepare, take
from rsstudy.objectives import Objective, named_objective
from rsstudy.training import loop as training
from rsstudy.training.batch import batches
from rsstudy.training.recipe import Recipe
from study.speed import research_style
from study.speed.common import Given, Work, adapted, benchmark, compared

RECIPE = Recipe(
    epochs=1,
    samples="captions",
    optimizer="adam",
    learning_rate=2e-4,
    schedule="constant",
    warmup=0.0,
    clip_norm=0.0,
    precision="fp32",
)


@benchmark(
    "epochs", rounds=5, encoder="vits14-minilm", image_size=None, data="ucm", pictures=103, batch=64
)
def epochs(given: Given) -> Any:
    whole = usable(load(given.data))[0].split("train")
    split = whole.take(np.linspace(0, len(whole) - 1, given.pictures, dtype=int))
    recipe, hmmc = replace(RECIPE, batch=given.batch), named_objective("hmmc")
    # Without dropout, both must take the same losses.
    first, second = (adapted(given, "mrs-adapter", dropout=0.0) for _ in range(2))
    research_style.as_the_library_has_it(second)
    began = time.perf_counter()
    pairs = prepare(first, split)
    preparing = time.perf_counter() - began
    captions, order = same_batches(split, pairs, recipe)
    data = research_style.Captions(second, split, captions)
    theirs = partial(
        research_style.train, data=data, order=order, batch=recipe.batch, rate=recipe.learning_rate
    )
    still = replace(hmmc, token_dropout=0.0)
    losses = {"mine": ours(first, pairs, still, recipe), "theirs": theirs(second, still)}
    mine, others = map(np.array, losses.values())
    apart = float(np.abs(mine / others - 1).max())
    print(f"parity: losses of {len(mine)} steps differ by at most {apart:.1e} of themselves")
    if apart > 1e-3:
        raise StudyError(f"the loops do not do the same: {mine} and {others}")

    released = research_style.as_the_library_has_it(adapted(given, "mrs-adapter", dropout=0.5))
    works: dict[str, Work] = {"research style": lambda: theirs(released, hmmc)}
    for name in ("fp32", "bf16"):
        encoder = adapted(given, "mrs-adapter", dropout=0.5)
        works[name] = partial(ours, encoder, pairs, hmmc, replace(recipe, precision=name))

    def loading() -> None:
        for images, texts in batches(pairs, recipe, 0, 0):
            take(pairs.images, images).to(given.device)
            pairs.words(texts)

    over = {f"research style over {name}": ("research style", name) for name in ("fp32", "bf16")}
    over["loading share"] = ("loading", "bf16")
    rows, ratios = compared(given, {**works, "loading": loading}, over)
    rows |= {"pairs": len(order), "preparing seconds": round(preparing, 3), **ratios}
    rows["parity"] = {**losses, "apart": apart}
    fixed = {"objective": "hmmc", "method": "mrs-adapter"}
    return rows, {"data": split.name, "image_size": first.image_size, **fixed}


def same_batches(
    split: ImageTextSet, pairs: Pairs, recipe: Recipe
) -> tuple[list[tuple[int, str]], list[int]]:
    """The set's captions, each with its picture, and their order in this loop's first epoch."""
    captions = [(image, text) for image, own in enumerate(split.captions) for text in own]
    text_of = {text: row for row, text in enumerate(dict.fromkeys(t for _, t in captions))}
    place = {(image, text_of[text]): at for at, (image, text) in enumerate(captions)}
    steps = batches(pairs, recipe, 0, 0)
    return captions, [place[pair] for of in steps for pair in zip(*of, strict=True)]


def ours(encoder: DualEncoder, pairs: Pairs, objective: Objective, recipe: Recipe) -> list[float]:
    """An epoch by ``rsstudy.training.loop``; the loss of each step."""
    losses: list[torch.Tensor] = []
    plain = training.add_gradients

    def noting(*given: Any, **named: Any) -> torch.Tensor:
        losses.append(plain(*given, **named))
        return losses[-1]

    with mock.patch.object(training, "add_gradients", noting):
        training.train(encoder, pairs, objective, recipe, lambda _: 0.0, progress=False)
    return [loss.item() for loss in losses]
