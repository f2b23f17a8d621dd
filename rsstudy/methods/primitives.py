"""What methods are made of: a residual branch at a place, and a reparameterised weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rsstudy.encoders import Block


def add_branch(block: Block, place: str, branch: nn.Module) -> None:
    """Add ``branch(x)`` to a block's residual stream at a named place.

    ``x`` is the tensor (B, L, width) that the place reads; see ``rsstudy.encoders.places``. Nothing
    of the block is replaced, so its parameters keep their names.
    """
    read, add = block.place(place)
    held: list[Tensor] = []

    def submodule(name: str) -> nn.Module:
        return block.module.get_submodule(name)

    def added(stream: Tensor) -> Tensor:
        return stream + branch(held.pop() if held else stream)

    if read != add:
        reader = submodule(read.module)
        if read.side == "input":
            reader.register_forward_pre_hook(lambda _, args: held.append(args[0]))
        else:
            reader.register_forward_hook(lambda _, __, output: held.append(output))
    adder = submodule(add.module)
    if add.side == "input":
        adder.register_forward_pre_hook(lambda _, args: (added(args[0]), *args[1:]))
    else:
        adder.register_forward_hook(lambda _, __, output: added(output))


def skip_block(block: Block) -> None:
    """Let a block hand on its input as it is."""

    def unchanged(_module: nn.Module, args: tuple, output):
        return (args[0], *output[1:]) if isinstance(output, tuple) else args[0]

    block.module.register_forward_hook(unchanged)


class LowRank(nn.Module):
    """``W -> W + scale * up @ down`` with ``up`` (out, r) zero at the start, ``down`` (r, in)."""

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        self.scale = scale
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
        if not self.down.is_meta:
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def reparameterise(module: nn.Module, name: str, change: nn.Module) -> None:
    """Read ``module.name`` through ``change`` from now on; the stored weight stays as it is."""
    parametrize.register_parametrization(module, name, change, unsafe=True)
