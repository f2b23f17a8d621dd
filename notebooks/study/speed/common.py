"""What all benchmarks share: their command and record, timing in turns, encoders and inputs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import torch
from torch import Tensor

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.experiments.environment import environment
from rsstudy.experiments.show import write_facts
from rsstudy.methods import attach, create_method

RESULTS = Path(__file__).resolve().parents[3] / "results"
Given = SimpleNamespace
Work = Callable[[], object]
OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"help": "auto, cpu, cuda, cuda:1 or mps."},
    "out": {"type": click.Path(path_type=Path), "help": "Folder of the record."},
    "name": {"help": "Name of the record."},
    "rounds": {"help": "Timings of each; the median counts."},
    "words": {"help": "Tokens a caption."},
    "image_size": {"type": int},
    "compile": {"type": click.Choice(["off", "on"])},
    "precision": {"type": click.Choice(["bf16", "fp32"])},
    "data": {"help": "A set's name or path."},
    "pictures": {"help": "Of the training split, 5 pairs each."},
    "fraction": {"help": "Of the training pictures."},
    "large": {"help": "Rank so many pictures, too: 100000."},
    "method": {"multiple": True, "help": "Only this one. Repeatable."},
    "jobs": {"help": "Processes that prepare at a time."},
}


def benchmark(name: str, **defaults: Any) -> Callable[[Callable[[Given], Any]], click.Command]:
    """Make a command of a function that measures; what it finds is ``OUT/DEVICE-NAME.json``.

    The function takes the options and returns the record's rows and settings beside the options.

    Args:
        defaults: of the options, which ``OPTIONS`` explains.
    """
    defaults = {"device": "auto", "out": RESULTS / "benchmarks", "name": name, **defaults}
    options = [
        click.Option([f"--{key.replace('_', '-')}"], default=default, **OPTIONS.get(key, {}))
        for key, default in defaults.items()
    ]

    def decorate(measure: Callable[[Given], Any]) -> click.Command:
        def command(device: str, out: Path, name: str, **given: Any) -> None:
            where = pick_device(device)
            rows, settings = measure(Given(device=where, **given))
            settings = {k: v for k, v in given.items() if v not in (None, ())} | settings
            record = {"benchmark": name, "settings": settings, "environment": environment(where)}
            path = out / f"{where.type}-{name}.json"
            write_facts({**record, "rows": rows}, path)
            print(path)

        return click.command(params=options, help=sys.modules[measure.__module__].__doc__)(command)

    return decorate


def settle(device: torch.device) -> None:
    """Wait for the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def compared(
    given: Given,
    works: Mapping[str, Work],
    over: Mapping[str, tuple[str, str]] | None = None,
    show: bool = True,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Time works in turns, A B C A B C ..., after one round that is not counted.

    Turns keep a ratio fair on a machine whose speed drifts.

    Args:
        over: the name of a ratio -> the works whose seconds are its two terms.

    Returns:
        of each work its median, lowest and highest ``seconds``; and each ratio, the median over
        turns.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(given.rounds + 1):
        for name, work in works.items():
            settle(given.device)
            began = time.perf_counter()
            work()
            settle(given.device)
            if turn:
                taken[name].append(time.perf_counter() - began)
    middle = {"seconds": statistics.median, "lowest": min, "highest": max}
    rows = {n: {key: float(f"{of(s):.5g}") for key, of in middle.items()} for n, s in taken.items()}
    ratios = {}
    for name, (one, other) in (over or {}).items():
        turns = zip(taken[one], taken[other], strict=True)
        ratios[name] = round(statistics.median(a / b for a, b in turns), 4)
        if show:
            print(f"{name}: {ratios[name]}")
    return rows, ratios


def adapted(given: Given, method: str, **settings: Any) -> DualEncoder:
    """The encoder asked for, on the device, with a method."""
    encoder = create(given.encoder, getattr(given, "image_size", None)).to(given.device)
    attach(encoder, create_method(method, settings))
    return encoder


def inputs(encoder: DualEncoder, batch: int, words: int) -> tuple[Tensor, Tensor]:
    """Random uint8 images and captions of ``words`` tokens, on the encoder's device.

    An encoder that reads padding gets captions of its whole context.
    """
    drawn = torch.Generator().manual_seed(0)
    size = encoder.image_size
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=drawn)
    # A sentence long enough, cut: its ids are valid for whatever tokenizer the encoder has.
    tokens = encoder.tokenizer(["many green trees are near a river . " * 20] * batch)
    if encoder.cuts and words < tokens.shape[1]:
        tokens = torch.cat([tokens[:, : words - 1], tokens[:, -1:]], dim=1)
    return images.to(encoder.device), tokens.to(encoder.device)
