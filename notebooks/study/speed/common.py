"""What the benchmarks have in common: timing in turns, inputs, and a record with machine facts."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder
from rsstudy.experiments.environment import environment
from rsstudy.experiments.record import readable
from rsstudy.files import whole_file

RESULTS = Path(__file__).resolve().parents[3] / "results" / "benchmarks"


def arguments(what: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each; the median counts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    return parser


def in_turns(
    works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each work, A B C A B C ..., after one round that is not counted.

    Turns keep a ratio fair on a machine whose speed drifts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            settle(device)
            began = time.perf_counter()
            work()
            settle(device)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def settle(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def middle(seconds: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {
        "seconds": round(statistics.median(seconds), 5),
        "lowest": round(min(seconds), 5),
        "highest": round(max(seconds), 5),
    }


def ratio(of: list[float], to: list[float]) -> float:
    """The median over turns of one's seconds over the other's."""
    return round(statistics.median(a / b for a, b in zip(of, to, strict=True)), 4)


def inputs(encoder: DualEncoder, batch: int, words: int) -> tuple[Tensor, Tensor]:
    """Random uint8 images and captions of ``words`` tokens, on the encoder's device.

    An encoder that reads padding gets captions of its whole context.
    """
    drawn = torch.Generator().manual_seed(0)
    size = encoder.image_size
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=drawn)
    # A sentence long enough, cut: its ids are valid for whatever tokenizer the encoder has.
    tokens = encoder.tokenizer(["many green trees are near a river . " * 20] * batch)
    cut = tokens[:, : words if encoder.cuts else None].clone()
    cut[:, -1] = tokens[:, -1] if tokens.shape[1] > cut.shape[1] else cut[:, -1]
    return images.to(encoder.device), cut.to(encoder.device)


def write(name: str, device: str, out: Path, settings: Mapping[str, Any], rows: Any) -> Path:
    """``out/DEVICE-NAME.json``: what was measured, on which machine, by which commit."""
    torch_device = pick_device(device)
    path = out / f"{torch_device.type}-{name}.json"
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "benchmark": name,
        "settings": dict(settings),
        "environment": environment(torch_device),
        "rows": rows,
    }
    with whole_file(path) as temporary:
        temporary.write_text(readable(record), encoding="utf-8")
    return path
