"""What a suite would do here: every arm, how long it takes on this machine, and what is missing.

A training step with the MRS adapter is timed on this device, with random weights; every other arm's
time is that one's by the FLOPs counted for both (see ``experiments.cost``), for training and for
validation after each epoch. Nothing is downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from rsstudy.data.sources import about, known_sets, load
from rsstudy.devices import bf16_products, pick_device
from rsstudy.encoders import create, tiny_delta
from rsstudy.errors import StudyError
from rsstudy.experiments.arms import Arm, is_run, name_of, recorded
from rsstudy.experiments.cost import BYTES, Analytic, analytic
from rsstudy.experiments.record import read_records, records_in
from rsstudy.experiments.run import Run
from rsstudy.methods import attach, create_method, trained
from rsstudy.objectives import Objective
from rsstudy.progress import Progress
from rsstudy.training.batch import batch_loss
from rsstudy.training.loop import make_optimizer
from rsstudy.training.recipe import Recipe

# Of a public set that is not here, so much is for training; the published splits agree within 1 %.
TRAIN_SHARE = 0.8
CAPTIONS_AN_IMAGE = 5
WORDS = 20


@dataclass(frozen=True)
class Planned:
    """One arm of a suite.

    Attributes:
        name: method and objective, with the settings that are not their defaults.
        runs: how many it takes, its search with them (further rates left out).
        done: how many of its seeds are on record.
        seconds: what is left of it takes; None where its encoder's FLOPs cannot be counted.
        memory: bytes that a training step holds: weights, gradients, Adam's moments, and what is
            kept for the backward pass, counted with attention written out, an upper bound. None as
            above, and of what trains nothing.
        repeats: over which seeds or folds, and the learning rates that it tries.
        missing: what is not on this machine, in words.
    """

    name: str
    data: str
    encoder: str
    runs: int
    done: int
    seconds: float | None
    memory: int | None
    repeats: str
    missing: tuple[str, ...]


def plan(
    rows: Sequence[Arm],
    runs: Path,
    data_root: Path | None = None,
    device: str = "auto",
    progress: bool = False,
    rate: float | None = None,
) -> list[Planned]:
    """What some arms would take.

    Args:
        rate: FLOPs a second that a device sustains; else a step is timed on this one.

    Raises:
        StudyError: no such device; an encoder that cannot be counted.
    """
    table = read_records(runs)
    validated = [r for r in records_in(runs) if "validation_scores" in r]
    rates: dict[str, float] = {}
    planned = []
    for arm in Progress(rows, unit="arm", desc="counting", disable=not progress, leave=False):
        run = arm.run
        sets = (run.data, *run.also, *((run.after.data,) if isinstance(run.after, Run) else ()))
        missing = *(_missing_set(data, data_root) for data in sets), _missing_weights(run.encoder)
        done = len(recorded([arm], table)) if arm.test else sum(is_run(run, r) for r in validated)
        seconds = memory = None
        if not run.encoder.startswith("cnn-gru"):  # a recurrent network's cannot be counted
            if run.encoder not in rates:
                rates[run.encoder] = rate or _flops_a_second(
                    run.encoder, run.recipe, pick_device(device)
                )
            left = 1 - done / len(arm.repeats(run))
            seconds = _flops(arm, data_root) / rates[run.encoder] * left
            memory = _memory(run)
        known = (
            name_of(arm),
            run.data,
            run.encoder,
            arm.count(),
            done,
            seconds,
            memory,
            repeats(arm),
        )
        planned.append(Planned(*known, tuple(what for what in missing if what)))
    return planned


def repeats(arm: Arm) -> str:
    """Over which seeds or folds an arm is repeated, and the learning rates that it tries."""

    def several(numbers: Sequence[float], kind: str) -> str:
        return f"{kind}{'s' * (len(numbers) > 1)} {', '.join(f'{number:g}' for number in numbers)}"

    seeds = [arm.run.seed + more for more in range(arm.seeds)]
    said = several(arm.folds, "test fold") if arm.folds else several(seeds, "seed")
    said += "; " + several(arm.learning_rates, "rate")
    return said + (", judged in " + several(arm.searched_in, "fold")) * bool(arm.searched_in)


def _memory(run: Run) -> int | None:
    """What a training step of a run holds, in bytes; None of what trains nothing."""
    counted = _count(run)
    if not counted.total:
        return None
    weights = BYTES * (counted.base + counted.new)
    trained = counted.gradient_bytes + counted.optimizer_bytes
    return weights + trained + counted.activation_bytes * run.recipe.batch // run.recipe.accumulate


def _flops(arm: Arm, data_root: Path | None) -> float:
    """What all runs of an arm take, validation after each epoch and the test with them."""
    run, recipe = arm.run, arm.run.recipe
    counted = _count(run)
    images, whole = _images(run.data_name, data_root)
    shown = images * (CAPTIONS_AN_IMAGE if recipe.samples == "captions" else 1)
    once = counted.image_flops + CAPTIONS_AN_IMAGE * counted.caption_flops
    # validation has an eighth of the pictures that training has, and test as many
    scored = TRAIN_SHARE / 8 * once
    epochs = arm.epochs() if counted.total else 0.0
    flops = epochs * (counted.step_flops * shown + scored * whole)
    also = sum(_images(data, data_root)[1] for data in run.also)
    return flops + arm.count() * scored * (whole * (2 if arm.test else 1) + also)


def _count(run: Run) -> Analytic:
    method: Any = run.built_method
    how = run.train_heads, run.recipe.image_size or None, run.built_objective
    return _counted(run.encoder, method, *how)


@cache
def _counted(
    encoder: str, method: Any, heads: bool, image_size: int | None, objective: Objective
) -> Analytic:
    return analytic(encoder, method, heads, image_size, WORDS, 16, objective)


def _flops_a_second(encoder: str, recipe: Recipe, device: torch.device) -> float:
    """What a training step with the MRS adapter reaches here: counted FLOPs over its seconds."""
    base = encoder.partition("@")[0].partition("+")[0]
    name, method = f"{base}@random", create_method("mrs-adapter")
    model = create(name, recipe.image_size or None).to(device)
    attach(model, method)
    optimizer = make_optimizer(trained(model), recipe)
    pairs = min(recipe.batch, 16) if device.type == "cpu" else recipe.batch
    images = torch.zeros(pairs, 3, model.image_size, model.image_size, dtype=torch.uint8)
    tokens = model.tokenizer(["many green trees are near a river . " * 2] * pairs)
    tokens = tokens[:, : int(model.lengths(tokens).max())].to(device)
    images, seconds = images.to(device), []
    for _ in range(4):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with bf16_products(device):
            loss = batch_loss(model, Objective(), recipe, images, tokens)
            loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    counted = analytic(name, method, False, model.image_size, tokens.shape[1], pairs)
    return counted.step_flops * pairs / min(seconds[1:])


def _images(data: str, data_root: Path | None) -> tuple[int, int]:
    """Pictures for training, and in all; of a public set that is absent, by its published count."""
    try:
        whole = load(data, data_root)
    except StudyError:
        count = about(data).get("images", 0)
        return round(count * TRAIN_SHARE), count
    return whole.splits.count("train"), len(whole)


def _missing_set(data: str, data_root: Path | None) -> str:
    known = next((known for known in known_sets(data_root) if known.name == data), None)
    if known is None or known.present:
        return ""
    return f"the set {data}; get it from {known.how_to_get} and put it into {known.where}"


def _missing_weights(encoder: str) -> str:
    """The weights of an encoder, if they are not here; fetched on first use."""
    import open_clip  # behind rsstudy.encoders: see rsstudy.encoders.compat

    if encoder == "tiny" and not tiny_delta().exists():
        return "the pretrained encoder tiny; the suite pretrains it first, in a minute or two"
    model, _, weights = encoder.partition("+")[0].partition("@")
    if model not in open_clip.list_models() or weights == "random":
        return ""
    if Path(weights).expanduser().is_file():
        return ""
    config = open_clip.get_pretrained_cfg(model, weights or "openai") or {}
    repository, _, name = config.get("hf_hub", "").rpartition("/")
    for file in (name,) if name else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        if repository and isinstance(try_to_load_from_cache(repository, file), str):
            return ""
    return (
        f"the weights {weights or 'openai'} of {model}; they are fetched on first use where there "
        "is a network"
    )


def duration(seconds: float) -> str:
    """In the largest unit that it fills.

    >>> duration(41), duration(5400), duration(200000)
    ('41 s', '1.5 h', '2.3 days')
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
