"""A training step of every method against the limit for parameter-efficient training.

The limit is the bare encoder's forward pass and the gradient with respect to the input of its first
blocks, at the same shapes and in the same precision: what no method whose first trained place is
there can go below. Each method is measured in a process of its own, in turns with the limit. With
``--jobs`` several processes load encoders at a time, which keeps processor cores busy, and whatever
waits for them; the device is used by one process at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor, nn

from rsstudy.devices import bf16_products
from rsstudy.encoders import MODALITIES, DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.experiments.cost import Meter, peak_memory, reset_peak_memory
from rsstudy.experiments.names import label_of
from rsstudy.experiments.run import Run
from rsstudy.methods import attach, create_method, merge, trained
from rsstudy.objectives import named_objective
from rsstudy.training.batch import LossOf, batch_loss, loss_of_views
from rsstudy.training.loop import make_optimizer
from rsstudy.training.recipe import SHORT, Recipe
from study.benchmark import BENCHMARK, Row
from study.speed.common import Given, Work, benchmark, compared, inputs

Batch = tuple[Tensor, Tensor]
Step = Callable[[], Tensor]


def limit(
    encoder: DualEncoder,
    objective: str,
    recipe: Recipe,
    batch: Batch,
    loss_of: LossOf = loss_of_views,
) -> Step:
    """Forward and input gradient, no weight trained. An encoder is given once: it keeps hooks."""
    chosen, inputs = named_objective(objective), list[Tensor]()
    for modality in MODALITIES:
        first, places = encoder.blocks(modality)[0].module, []
        handle = first.register_forward_pre_hook(lambda _, args, to=places: to.append(args[0]))
        with torch.no_grad():
            batch_loss(encoder, chosen, recipe, *batch)
        handle.remove()
        added = torch.zeros_like(places[0], requires_grad=True)  # its gradient is the input's
        first.register_forward_pre_hook(lambda _, args, to=added: (args[0] + to, *args[1:]))
        inputs.append(added)

    def step() -> Tensor:
        for tensor in inputs:
            tensor.grad = None
        with bf16_products(encoder.device):
            loss = batch_loss(encoder, chosen, recipe, *batch, loss_of=loss_of)
            loss.backward()
        return loss.detach().clone()

    return step


def training(
    encoder: DualEncoder,
    objective: str,
    recipe: Recipe,
    batch: Batch,
    loss_of: LossOf = loss_of_views,
) -> tuple[Step, torch.optim.Optimizer | None]:
    """The loop's step: forward, backward, clip, update. Nothing trained: forward alone."""
    chosen, parameters = named_objective(objective), trained(encoder)
    optimizer = make_optimizer(parameters, recipe) if parameters else None
    encoder.method.train()

    def step() -> Tensor:
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(optimizer is not None), bf16_products(encoder.device):
            loss = batch_loss(encoder, chosen, recipe, *batch, loss_of=loss_of)
            if optimizer is not None:
                loss.backward()
        if optimizer is not None:
            nn.utils.clip_grad_norm_(parameters.values(), recipe.clip_norm)
            optimizer.step()
        return loss.detach().clone()

    return step, optimizer


def measured(of: Row, given: Given, turn: Path) -> dict[str, Any]:
    """What the record says of one method; encoders are loaded before its turn."""
    two_views = of.objective == "hmmc"
    names = ["method", "bare", "base", "merged"] + ["one view"] * two_views
    loaded = {name: create(given.encoder, given.image_size) for name in names}
    recipe = replace(SHORT, learning_rate=1e-4, precision=given.precision)

    def placed(name: str, method: bool, casts: ExitStack | None = None) -> DualEncoder:
        encoder = loaded[name].to(given.device)
        if method:
            attach(encoder, create_method(of.method, of.settings))
        if casts is not None and recipe.precision == "bf16":
            casts.enter_context(encoder.frozen_as(torch.bfloat16))
        return encoder

    with FileLock(turn):
        with ExitStack() as casts:
            encoder = placed("method", True, casts)
            batch = inputs(encoder, given.batch, given.words)
            row = _described(of, encoder, batch)
            step, optimizer = training(encoder, of.objective, recipe, batch)
            row |= _memory(step, optimizer, given.device)
            works: dict[str, Work] = {"step": step}
            if two_views:
                other = placed("one view", True, casts)
                works["one view"] = training(other, "infonce", recipe, batch)[0]
            if given.encoder.partition("@")[0] != "cnn-gru":
                bare = placed("bare", False, casts)
                works["limit"] = limit(bare, of.objective, recipe, batch)
            over = {f"step over {name}": ("step", name) for name in list(works)[1:]}
            with Meter(given.device) as meter:
                rows, ratios = compared(given, works, over, show=False)
        row |= rows | ratios | {"energy_measured": meter.measured}
        watts = meter.joules / meter.seconds  # the meter's mean power
        row["joules_a_step"] = round(watts * row["step"]["seconds"], 3)
        works = {"embed base": _embedding(placed("base", False), batch)}
        works["embed adapted"] = _embedding(encoder, batch)
        with suppress(StudyError):  # of a method that adds computations
            merge(placed("merged", True))
            works["embed merged"] = _embedding(loaded["merged"], batch)
        over = {f"{name} over base": (name, "embed base") for name in list(works)[1:]}
        rows, ratios = compared(given, works, over, show=False)
    return row | rows | ratios


def _described(of: Row, encoder: DualEncoder, batch: Batch) -> dict[str, Any]:
    """The method and the shapes; bytes of a file of what is trained."""
    run = Run("", encoder.name, of.method, of.objective, method_settings=of.settings)
    tensors = {n: p.detach().cpu().contiguous() for n, p in trained(encoder).items()}
    return {
        "label": label_of(run),
        "encoder": run.encoder,
        "method": run.method,
        "settings": dict(run.method_settings),
        "objective": run.objective,
        "batch": len(batch[1]),
        "words": batch[1].shape[1],
        "image_size": encoder.image_size,
        "trained": sum(tensor.numel() for tensor in tensors.values()),
        "stored_bytes": len(safetensors.torch.save(tensors)),
    }


def _memory(
    step: Step, optimizer: torch.optim.Optimizer | None, device: torch.device
) -> dict[str, int | None]:
    """Peak bytes of a step, those above what is resident before, and those of the optimizer."""
    reset_peak_memory(device)  # the peak is now what is resident
    resident = peak_memory(device)
    step()
    step()  # the second finds the optimizer's state beside the activations
    peak = peak_memory(device)
    found = {"peak_bytes": peak, "above_model_bytes": None if resident is None else peak - resident}
    if optimizer is not None:
        moments = [t for state in optimizer.state.values() for t in state.values()]
        found["optimizer_bytes"] = sum(t.nbytes for t in moments if isinstance(t, Tensor))
    return found


def _embedding(encoder: DualEncoder, batch: Batch) -> Work:
    """The work of embedding sixteen pairs."""
    images, tokens = (part[:16] for part in batch)
    encoder.eval()

    @torch.no_grad()
    def work() -> object:
        return encoder.embed_images(images), encoder.embed_texts(tokens)

    return work


@benchmark(
    "steps",
    **{"rounds": 5, "encoder": "vits14-minilm", "image_size": None, "batch": 64, "words": 20},
    **{"precision": "bf16", "method": (), "jobs": 1},
)
def steps(given: Given) -> Any:
    asked = [
        row
        for row in BENCHMARK
        if row.method in (given.method or [row.method]) and not (row.encoder or row.counterpart)
    ]
    folder = tempfile.TemporaryDirectory()

    def apart(of: Row) -> dict[str, Any]:
        """Measure one method in a process of its own."""
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            row = process.submit(measured, of, given, Path(folder.name, "turn")).result()
        print(
            f"{row['label']}, {row['objective']}: {row['step']['seconds']:.3f} s a step, "
            f"{row.get('step over limit')} x the limit",
            flush=True,
        )
        return row

    with folder, ThreadPoolExecutor(given.jobs) as pool:
        return list(pool.map(apart, asked)), {}
