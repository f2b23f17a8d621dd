"""The machine's rate of matrix products, which no training step can exceed: 2 n^3 FLOPs each."""

from __future__ import annotations

from typing import Any

import torch

from study.speed.common import Given, benchmark, compared


@benchmark("rate", rounds=5)
def rate(given: Given) -> Any:
    n = 8192 if given.device.type == "cuda" else 2048
    rows: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(n, n, device=given.device).to(dtype) for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        rows |= compared(given, {name: lambda a=a, b=b: a @ b})[0]
        rows[name]["flops_a_second"] = round(2 * n**3 / rows[name]["lowest"])
        print(f"{name}: {rows[name]['flops_a_second'] / 1e9:.0f} GFLOP/s")
    return rows, {"n": n}
