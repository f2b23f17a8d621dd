"""The machine's rate of matrix products, which no training step can exceed: 2 n^3 FLOPs each."""

from __future__ import annotations

from typing import Any

import torch

from study.speed.common import Given, benchmark, in_turns, middle


@benchmark("rate", rounds=5)
def rate(given: Given) -> Any:
    n = 8192 if given.device.type == "cuda" else 2048
    rows = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(n, n, device=given.device).to(dtype) for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        taken = in_turns({name: lambda a=a, b=b: a @ b}, given.rounds, given.device)[name]
        rows[name] = {**middle(taken), "flops_a_second": round(2 * n**3 / min(taken))}
        print(f"{name}: {rows[name]['flops_a_second'] / 1e9:.0f} GFLOP/s")
    return rows, {"n": n}
