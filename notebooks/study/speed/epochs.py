"""Whole epochs of this package's loop against the loop of ``research_style.py``.

Parity comes first: without dropout, in fp32, on the same batches, both must take the same losses.
Then an epoch of each over the same pairs, in turns, data included.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import research_style
from common import arguments, in_turns, middle, ratio, write

from rsstudy.data.sources import load, usable
from rsstudy.encoders import DualEncoder, create
from rsstudy.evaluation import Pairs, prepare
from rsstudy.methods import attach, create_method
from rsstudy.objectives import Objective, named_objective
from rsstudy.training import loop as training
from rsstudy.training.batch import batches
from rsstudy.training.recipe import Recipe

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


def adapted(given: Any, dropout: float) -> DualEncoder:
    encoder = create(given.encoder, given.image_size).to(training.pick_device(given.device))
    attach(encoder, create_method("mrs-adapter", {"dropout": dropout}))
    return encoder


def ours(encoder: DualEncoder, pairs: Pairs, objective: Objective, recipe: Recipe) -> list[float]:
    """An epoch by ``rsstudy.training.loop``; the loss of each step."""
    losses: list[float] = []
    kept = training.batch_loss

    def noting(*given: Any) -> Any:
        loss = kept(*given)
        losses.append(loss)
        return loss

    training.batch_loss = noting
    try:
        training.train(encoder, pairs, objective, recipe, lambda _: 0.0, progress=False)
    finally:
        training.batch_loss = kept
    return [loss.item() for loss in losses]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--encoder", default="vits14-minilm")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--data", default="ucm", help="a set's name or path")
    parser.add_argument(
        "--pictures", type=int, default=103, help="of the training split, 5 pairs each"
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--name", default="epochs", help="of the record")
    given = parser.parse_args()
    whole = usable(load(given.data))[0].split("train")
    split = whole.take(np.linspace(0, len(whole) - 1, given.pictures, dtype=int))
    recipe = replace(RECIPE, batch=given.batch)

    # parity
    still = replace(named_objective("hmmc"), token_dropout=0.0)
    first, second = adapted(given, 0.0), adapted(given, 0.0)
    research_style.as_the_library_has_it(second)
    began = time.perf_counter()
    pairs = prepare(first, split)
    preparing = time.perf_counter() - began
    captions = [(image, text) for image, own in enumerate(split.captions) for text in own]
    text_of = {text: row for row, text in enumerate(dict.fromkeys(t for _, t in captions))}
    place = {(image, text_of[text]): at for at, (image, text) in enumerate(captions)}
    steps = list(batches(pairs, recipe, 0, 0))
    order = [place[pair] for rows, texts in steps for pair in zip(rows, texts, strict=True)]
    data = research_style.Captions(second, split, captions)
    mine = ours(first, pairs, still, recipe)
    theirs = research_style.train(second, data, order, still, given.batch, recipe.learning_rate)
    apart = float(np.max(np.abs(np.array(mine) / np.array(theirs) - 1)))
    print(f"parity: losses of {len(mine)} steps differ by at most {apart:.1e} of themselves")
    if apart > 1e-3:
        sys.exit(f"the loops do not do the same: {mine} and {theirs}")

    # speed
    dropping = named_objective("hmmc")
    encoders = {name: adapted(given, 0.5) for name in ("research style", "fp32", "bf16")}
    research_style.as_the_library_has_it(encoders["research style"])
    device = encoders["bf16"].device
    works = {
        "research style": lambda: research_style.train(
            encoders["research style"], data, order, dropping, given.batch, recipe.learning_rate
        ),
        "fp32": lambda: ours(encoders["fp32"], pairs, dropping, recipe),
        "bf16": lambda: ours(encoders["bf16"], pairs, dropping, replace(recipe, precision="bf16")),
    }
    found = in_turns(works, given.rounds, device)
    loading = in_turns(
        {
            "loading": lambda: [
                (training.take(pairs.images, rows).to(device), pairs.words(texts))
                for rows, texts in batches(pairs, recipe, 0, 0)
            ]
        },
        given.rounds,
        device,
    )
    rows = {
        "pairs": len(order),
        "parity": {"mine": mine, "theirs": theirs, "apart": apart},
        "preparing seconds": round(preparing, 3),
        **{name: middle(seconds) for name, seconds in found.items()},
        **{
            f"research style over {name}": ratio(found["research style"], found[name])
            for name in ("fp32", "bf16")
        },
        "loading share": ratio(loading["loading"], found["bf16"]),
    }
    settings = {
        "encoder": given.encoder,
        "data": split.name,
        "batch": given.batch,
        "image_size": first.image_size,
        "objective": "hmmc",
        "method": "mrs-adapter",
        "rounds": given.rounds,
    }
    for name in ("research style over fp32", "research style over bf16", "loading share"):
        print(f"{name}: {rows[name]}")
    print(write(given.name, given.device, given.out, settings, rows))


if __name__ == "__main__":
    main()
