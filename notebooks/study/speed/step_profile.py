"""Where a training step's time goes, by torch.profiler: as the library has it, and as it is here.

ViT-B/32 with the MRS adapter in bf16. The difference is what this package changes about open_clip:
attention on tokens as they lie, captions cut behind their last word, frozen weights cast once, and
on a processor attention in fp32.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import research_style
import torch
from common import arguments, inputs, settle, write
from steps import training
from torch.profiler import ProfilerActivity, profile

from rsstudy.devices import pick_device
from rsstudy.encoders import create
from rsstudy.methods import attach, create_method
from rsstudy.training import loop
from rsstudy.training.recipe import SHORT


def profiled(given: Any, as_is: bool) -> dict[str, Any]:
    """Seconds of a step, and the operators that take most of it."""
    device = pick_device(given.device)
    encoder = create(given.encoder).to(device)
    attach(encoder, create_method("mrs-adapter"))
    images, tokens = inputs(encoder, given.batch, given.words)
    with ExitStack() as stack:
        if as_is:
            research_style.as_the_library_has_it(encoder)
            context = encoder.tokenizer(["a"]).shape[1]
            tokens = torch.nn.functional.pad(tokens, (0, context - tokens.shape[1]))
            stack.callback(setattr, loop, "fast_attention", loop.fast_attention)
            loop.fast_attention = lambda _: ExitStack()
        else:
            stack.enter_context(encoder.frozen_as(torch.bfloat16))
        step, _ = training(encoder, "infonce", SHORT, (images, tokens))
        step()
        began = time.perf_counter()
        step()
        settle(device)
        seconds = time.perf_counter() - began
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities) as found:
            step()
            settle(device)
    by_device = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda e: -getattr(e, by_device))
    total = sum(getattr(event, by_device) for event in events)
    top = [
        {"operator": e.key, "share": round(getattr(e, by_device) / total, 4), "calls": e.count}
        for e in events[:8]
    ]
    return {"seconds": round(seconds, 4), "operators": top}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--encoder", default="ViT-B-32@random")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--words", type=int, default=20)
    given = parser.parse_args()
    rows = {"as the library has it": profiled(given, True), "here": profiled(given, False)}
    for name, row in rows.items():
        shares = ", ".join(f"{o['operator']} {o['share']:.0%}" for o in row["operators"][:5])
        print(f"{name}: {row['seconds']:.2f} s a step; {shares}")
    settings = {"encoder": given.encoder, "batch": given.batch, "words": given.words}
    print(write("profile", given.device, given.out, settings, rows))


if __name__ == "__main__":
    main()
