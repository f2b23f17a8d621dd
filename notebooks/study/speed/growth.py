"""Time and memory of a training step as batch, image size, depth and width grow; and of ranking.

A CLIP with the MRS adapter; one thing grows, the rest stays. The slope is of the logarithms: 1 is
in proportion, 2 is with the square. Memory is what autograd keeps for the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rsstudy.encoders import DualEncoder
from rsstudy.encoders.openclip import open_clip, wrap
from rsstudy.encoders.tiny import CONFIG, tokenize
from rsstudy.experiments.cost import bytes_of, kept_for_backward
from rsstudy.methods import attach, create_method
from rsstudy.training.recipe import SHORT
from study.speed.common import Given, benchmark, compared, inputs
from study.speed.ranking import drawn, ours
from study.speed.steps import training

USUAL = {"batch": 32, "image size": 112, "depth": 6, "width": 256}
GROWS = {
    "batch": (8, 16, 32, 64, 128),
    "image size": (64, 112, 160, 224),
    "depth": (2, 4, 8, 16),
    "width": (128, 256, 512, 1024),
    "pictures ranked": (500, 1000, 2000, 4000),
}


@benchmark("growth", rounds=5)
def growth(given: Given) -> Any:
    rows: dict[str, Any] = {}
    for what, values in GROWS.items():
        measure = stepped if what in USUAL else ranked
        points = [{what: value, **measure({**USUAL, what: value}, given)} for value in values]
        slopes = {
            f"slope of {name}": slope(values, [point[key] for point in points])
            for name, key in (("seconds", "seconds"), ("bytes", "kept_bytes"))
            if key in points[0]
        }
        rows[what] = {"points": points, **slopes}
        print(f"{what}: {slopes}", flush=True)
    return rows, {"usual": USUAL}


def stepped(of: Mapping[str, int], given: Given) -> dict[str, float]:
    """Seconds of a step, and the bytes that it keeps for the backward pass."""
    encoder = clip(of["image size"], of["depth"], of["width"]).to(given.device)
    attach(encoder, create_method("mrs-adapter"))
    recipe = replace(SHORT, precision="fp32")
    step, _ = training(encoder, "infonce", recipe, inputs(encoder, of["batch"], 16))
    rows, _ = compared(given, {"step": step})
    with kept_for_backward(encoder) as kept:
        step()
    return {**rows["step"], "kept_bytes": bytes_of(kept)}


def ranked(of: Mapping[str, int], given: Given) -> dict[str, float]:
    """Seconds to rank pictures and five captions of each."""
    captions = 5 * of["pictures ranked"]
    seen, read = drawn(of["pictures ranked"], captions, 384, given.device)
    rows, _ = compared(given, {"rank": lambda: ours(seen, read, np.arange(captions) // 5)})
    return rows["rank"]


def clip(image_size: int, depth: int, width: int) -> DualEncoder:
    """A CLIP of that size with random weights, on the tiny encoder's vocabulary."""
    vision = {"layers": depth, "width": width, "head_width": 64, "patch_size": 16}
    text = {**CONFIG["text_cfg"], "layers": depth, "width": width, "heads": width // 64}
    torch.manual_seed(0)
    model = open_clip.CLIP(256, {**vision, "image_size": image_size}, text)
    return wrap("grown", model, tokenize, 256, {}).requires_grad_(False).eval()


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 3)
