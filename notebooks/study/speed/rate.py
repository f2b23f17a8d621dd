"""The machine's rate of matrix products, which no training step can exceed: 2 n^3 FLOPs each."""

from __future__ import annotations

import torch
from common import arguments, in_turns, middle, write

from rsstudy.devices import pick_device


def main() -> None:
    given = arguments(__doc__).parse_args()
    device = pick_device(given.device)
    n = 8192 if device.type == "cuda" else 2048
    rows = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        taken = in_turns({name: lambda a=a, b=b: a @ b}, given.rounds, device)[name]
        rows[name] = {**middle(taken), "flops_a_second": round(2 * n**3 / min(taken))}
        print(f"{name}: {rows[name]['flops_a_second'] / 1e9:.0f} GFLOP/s")
    print(write("rate", given.device, given.out, {"n": n, "rounds": given.rounds}, rows))


if __name__ == "__main__":
    main()
