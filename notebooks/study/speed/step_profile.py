"""Where a training step's time goes, by torch.profiler: as the library has it, and as it is here.

ViT-B/32 with the MRS adapter in bf16. The difference is what this package changes about open_clip:
attention on tokens as they lie, captions cut behind their last word, frozen weights cast once, and
on a processor attention in fp32.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch.profiler import profile

from rsstudy.training import batch
from rsstudy.training.recipe import SHORT
from study.speed import research_style
from study.speed.common import Given, adapted, benchmark, compared, inputs, settle
from study.speed.steps import training


@benchmark("profile", rounds=1, encoder="ViT-B-32@random", batch=16, words=20)
def step_profile(given: Given) -> Any:
    rows = {"as the library has it": profiled(given, True), "here": profiled(given, False)}
    for name, row in rows.items():
        shares = ", ".join(f"{o['operator']} {o['share']:.0%}" for o in row["operators"][:5])
        print(f"{name}: {row['seconds']:.2f} s a step; {shares}")
    return rows, {}


def profiled(given: Given, as_the_library_has_it: bool) -> dict[str, Any]:
    """Seconds of a step, and the operators that take most of it."""
    encoder = adapted(given, "mrs-adapter")
    images, tokens = inputs(encoder, given.batch, given.words)
    with ExitStack() as stack:
        if as_the_library_has_it:
            research_style.as_the_library_has_it(encoder)
            tokens = research_style.padded(tokens, research_style.context(encoder))
            stack.enter_context(mock.patch.object(batch, "fast_attention", lambda _: ExitStack()))
        else:
            stack.enter_context(encoder.frozen_as(torch.bfloat16))
        step, _ = training(encoder, "infonce", SHORT, (images, tokens))
        rows, _ = compared(given, {"step": step})
        with profile() as found:
            step()
            settle(given.device)
    by = "self_device_time_total" if given.device.type == "cuda" else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, by))
    total = sum(getattr(event, by) for event in events)
    top = [
        {"operator": e.key, "share": round(getattr(e, by) / total, 4), "calls": e.count}
        for e in events[:8]
    ]
    return {"seconds": rows["step"]["seconds"], "operators": top}
