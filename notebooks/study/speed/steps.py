"""A training step of every method against the limit for parameter-efficient training.

The limit is the bare encoder's forward pass and the gradient with respect to the input of its first
blocks, at the same shapes and in the same precision: what no method whose first trained place is
there can go below. Each method is measured in a process of its own, in turns with the limit. With
``--jobs`` several processes load encoders at a time, which keeps processor cores busy, and whatever
waits for them; the device is used by one process at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import SUPPRESS
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import arguments, in_turns, inputs, middle, ratio, write
from filelock import FileLock
from torch import Tensor, nn

from rsstudy.devices import pick_device
from rsstudy.encoders import MODALITIES, DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.experiments.cost import Meter, peak_memory, reset_peak_memory
from rsstudy.experiments.names import label_of
from rsstudy.experiments.run import Run
from rsstudy.methods import attach, create_method, merge, trained
from rsstudy.objectives import named_objective
from rsstudy.tensors import save_tensors
from rsstudy.training.batch import batch_loss
from rsstudy.training.loop import make_optimizer
from rsstudy.training.recipe import SHORT, Recipe
from study.benchmark import BENCHMARK

Step = Callable[[], Tensor]


def limit(
    encoder: DualEncoder, objective: str, recipe: Recipe, batch: tuple[Tensor, Tensor]
) -> Step:
    """Forward and input gradient, no weight trained."""
    chosen = named_objective(objective)
    for modality in MODALITIES:
        first = encoder.blocks(modality)[0].module
        first.register_forward_pre_hook(
            lambda _, args: (args[0].detach().requires_grad_(), *args[1:])
        )

    def step() -> Tensor:
        loss = batch_loss(encoder, chosen, recipe, *batch)
        loss.backward()
        return loss

    return step


def training(
    encoder: DualEncoder, objective: str, recipe: Recipe, batch: tuple[Tensor, Tensor]
) -> tuple[Step, torch.optim.Optimizer | None]:
    """The loop's step: forward, backward, clip, update. Nothing trained: forward alone."""
    chosen, parameters = named_objective(objective), trained(encoder)
    optimizer = make_optimizer(parameters, recipe) if parameters else None
    encoder.method.train()

    def step() -> Tensor:
        with torch.set_grad_enabled(optimizer is not None):
            loss = batch_loss(encoder, chosen, recipe, *batch)
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters.values(), recipe.clip_norm)
            optimizer.step()
        return loss

    return step, optimizer


def one(given: Any) -> dict[str, Any]:
    """Measure one method, which is described by a JSON; encoders are loaded before its turn."""
    what = json.loads(given.one)
    names = ["method", "bare", "base", "merged"] + ["one view"] * (what["objective"] == "hmmc")
    loaded = {name: create(what["encoder"], given.image_size) for name in names}
    with FileLock(given.turn):
        return _measured(what, loaded, given, pick_device(given.device))


def _measured(
    what: dict[str, Any], loaded: dict[str, DualEncoder], given: Any, device: torch.device
) -> dict[str, Any]:
    recipe = replace(SHORT, learning_rate=1e-4, precision=given.precision)
    encoder = loaded["method"].to(device)
    attach(encoder, create_method(what["method"], what["settings"]))
    batch = inputs(encoder, given.batch, given.words)
    run = Run(
        "", what["encoder"], what["method"], what["objective"], method_settings=what["settings"]
    )
    row: dict[str, Any] = {
        "label": label_of(run),
        **what,
        "batch": given.batch,
        "words": batch[1].shape[1],
        "image_size": encoder.image_size,
        "trained": sum(p.numel() for p in trained(encoder).values()),
    }
    with ExitStack() as stack:
        if recipe.precision == "bf16":
            stack.enter_context(encoder.frozen_as(torch.bfloat16))
        step, optimizer = training(encoder, what["objective"], recipe, batch)
        resident = _resident(device)
        reset_peak_memory(device)
        step()
        step()  # the second finds the optimizer's state beside the activations
        row["peak_bytes"] = peak_memory(device)
        row["above_model_bytes"] = None if resident is None else row["peak_bytes"] - resident
        if optimizer is not None:
            row["optimizer_bytes"] = sum(
                t.nbytes
                for state in optimizer.state.values()
                for t in state.values()
                if isinstance(t, Tensor)
            )
        works: dict[str, Callable[[], object]] = {"step": step}
        if what["objective"] == "hmmc":
            other = loaded["one view"].to(device)
            attach(other, create_method(what["method"], what["settings"]))
            if recipe.precision == "bf16":
                stack.enter_context(other.frozen_as(torch.bfloat16))
            works["one view"] = training(other, "infonce", recipe, batch)[0]
        bare = loaded["bare"].to(device)
        if recipe.precision == "bf16":
            stack.enter_context(bare.frozen_as(torch.bfloat16))
        if what["encoder"].partition("@")[0] != "cnn-gru":
            works["limit"] = limit(bare, what["objective"], recipe, batch)
        with Meter(device) as meter:
            found = in_turns(works, given.rounds, device)
    row["step"] = middle(found["step"])
    for name in ("limit", "one view"):
        if name in found:
            row[name] = middle(found[name])
            row[f"step over {name}"] = ratio(found["step"], found[name])
    row["joules_a_step"] = round(
        meter.joules / meter.seconds * row["step"]["seconds"], 3
    )  # the meter's mean power, for a step's seconds
    row["energy_measured"] = meter.measured
    row.update(_inference(encoder, what, loaded, batch, given.rounds))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save_tensors(path, {n: p.detach().cpu() for n, p in trained(encoder).items()})
        row["stored_bytes"] = path.stat().st_size
    return row


def _inference(
    encoder: DualEncoder,
    what: dict[str, Any],
    loaded: dict[str, DualEncoder],
    batch: tuple[Tensor, Tensor],
    rounds: int,
) -> dict[str, Any]:
    """Seconds to embed some pairs: the base, with the method, and merged where it can be."""
    images, tokens = (part[:16] for part in batch)

    def embedding(of: DualEncoder) -> Callable[[], object]:
        of.eval()

        @torch.no_grad()
        def work() -> object:
            return of.embed_images(images), of.embed_texts(tokens)

        return work

    base, other = (loaded[name].to(encoder.device) for name in ("base", "merged"))
    works = {"base": embedding(base), "adapted": embedding(encoder)}
    attach(other, create_method(what["method"], what["settings"]))
    try:
        merge(other)
        works["merged"] = embedding(other)
    except StudyError:
        pass  # it adds computations
    found = in_turns(works, rounds, encoder.device)
    rows = {f"embed {name}": middle(seconds) for name, seconds in found.items()}
    slower = {
        f"embed {name} over base": ratio(found[name], found["base"])
        for name in ("adapted", "merged")
        if name in found
    }
    return {**rows, **slower}


def _resident(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    reset_peak_memory(device)  # the peak is now what is resident
    return peak_memory(device)


def _apart(what: dict[str, Any], turn: Path) -> dict[str, Any]:
    """Measure one method in a process of its own."""
    told = ["--one", json.dumps(what), "--turn", str(turn)]
    command = [sys.executable, __file__, *sys.argv[1:], *told]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        sys.exit(made.stderr)
    row: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    print(
        f"{row['label']}, {row['objective']}: {row['step']['seconds']:.3f} s a step, "
        f"{row.get('step over limit')} x the limit",
        flush=True,
    )
    return row


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--encoder", default="vits14-minilm")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--words", type=int, default=20, help="tokens a caption")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--method", action="append", help="only this one; repeatable")
    parser.add_argument("--name", default="steps", help="of the record")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare at a time")
    parser.add_argument("--one", help=SUPPRESS)
    parser.add_argument("--turn", help=SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given)))
        return
    asked = [
        {
            "encoder": row.encoder or given.encoder,
            "method": row.method,
            "settings": dict(row.settings),
            "objective": row.objective,
        }
        for row in BENCHMARK
        if not row.encoder
        and not row.counterpart
        and (not given.method or row.method in given.method)
    ]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        rows = list(pool.map(lambda what: _apart(what, Path(folder) / "turn"), asked))
    settings = {
        "encoder": given.encoder,
        "batch": given.batch,
        "words": given.words,
        "precision": given.precision,
        "rounds": given.rounds,
        "jobs": given.jobs,
    }
    print(write(given.name, given.device, given.out, settings, rows))


if __name__ == "__main__":
    main()
