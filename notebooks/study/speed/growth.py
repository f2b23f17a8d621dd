"""Time and memory of a training step as batch, image size, depth and width grow; and of ranking.

A CLIP with the MRS adapter; one thing grows, the rest stays. The slope is of the logarithms: 1 is
in proportion, 2 is with the square. Memory is what autograd keeps for the backward pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import arguments, in_turns, inputs, middle, write
from ranking import drawn, ours
from steps import training

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder
from rsstudy.encoders.openclip import open_clip, wrap
from rsstudy.encoders.tiny import CONTEXT, VOCABULARY, tokenize
from rsstudy.experiments.cost import kept_for_backward
from rsstudy.methods import attach, create_method
from rsstudy.training.recipe import SHORT

USUAL = {"batch": 32, "image size": 112, "depth": 6, "width": 256}
GROWS = {
    "batch": (8, 16, 32, 64, 128),
    "image size": (64, 112, 160, 224),
    "depth": (2, 4, 8, 16),
    "width": (128, 256, 512, 1024),
}
PICTURES = (500, 1000, 2000, 4000)


def clip(image_size: int, depth: int, width: int) -> DualEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(
            embed_dim=256,
            vision_cfg=open_clip.CLIPVisionCfg(
                layers=depth, width=width, head_width=64, patch_size=16, image_size=image_size
            ),
            text_cfg=open_clip.CLIPTextCfg(
                context_length=CONTEXT,
                vocab_size=VOCABULARY,
                width=width,
                heads=width // 64,
                layers=depth,
            ),
        )
    return wrap("grown", model, tokenize, 256, {}).requires_grad_(False).eval()


def slope(x: list[float], y: list[float]) -> float:
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 3)


def main() -> None:
    given = arguments(__doc__).parse_args()
    device = pick_device(given.device)
    recipe = replace(SHORT, precision="fp32")
    rows: dict[str, Any] = {}
    for what, values in GROWS.items():
        points = []
        for value in values:
            of = {**USUAL, what: value}
            encoder = clip(of["image size"], of["depth"], of["width"]).to(device)
            attach(encoder, create_method("mrs-adapter"))
            step, _ = training(encoder, "infonce", recipe, inputs(encoder, of["batch"], 16))
            taken = middle(in_turns({"step": step}, given.rounds, device)["step"])
            with kept_for_backward(encoder) as kept:
                step()
            points.append({what: value, **taken, "kept_bytes": kept.total()})
        sizes = [point[what] for point in points]
        rows[what] = {
            "points": points,
            "slope of seconds": slope(sizes, [p["seconds"] for p in points]),
            "slope of bytes": slope(sizes, [p["kept_bytes"] for p in points]),
        }
        print(
            f"{what}: seconds {rows[what]['slope of seconds']}, bytes "
            f"{rows[what]['slope of bytes']}",
            flush=True,
        )
    points = []
    for pictures in PICTURES:
        seen, read = drawn(pictures, 5 * pictures, 384, device)
        image_of = np.arange(5 * pictures) // 5
        work = {"rank": lambda s=seen, r=read, o=image_of: ours(s, r, o)}
        points.append(
            {"pictures ranked": pictures, **middle(in_turns(work, given.rounds, device)["rank"])}
        )
    rows["pictures ranked"] = {
        "points": points,
        "slope of seconds": slope(list(PICTURES), [p["seconds"] for p in points]),
    }
    print(f"pictures ranked: seconds {rows['pictures ranked']['slope of seconds']}")
    print(write("growth", given.device, given.out, {"usual": USUAL, "rounds": given.rounds}, rows))


if __name__ == "__main__":
    main()
