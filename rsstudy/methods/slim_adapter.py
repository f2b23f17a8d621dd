"""Slim adapter: a thin branch of its own in every layer, and the towers' norms (this study).

With h the residual stream after attention, and LN' a normalisation whose weight and bias are
trained::

    out = h + MLP(LN'(h)) + s W_up ReLU(W_down h)

The MRS adapter spends its parameters on one wide instance that all layers share; here every layer
has its own, r wide, without biases, for the norms' are trained. At the start, W_up = 0, it is the
base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import Block, DualEncoder
from rsstudy.methods.layernorm import LayerNorms
from rsstudy.methods.placing import place_branches
from rsstudy.methods.registry import register


class Thin(nn.Module):
    """(B, L, d) -> (B, L, d); zero at the start."""

    def __init__(self, width: int, hidden: int, scale: float):
        super().__init__()
        self.down = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(hidden, width, bias=False)
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, h: Tensor) -> Tensor:
        return self.scale * self.up(torch.relu(self.down(h)))


@register("slim-adapter")
@dataclass(frozen=True)
class SlimAdapter:
    """Trains ``2 d r`` parameters a block, and the norms: 157,696 on ViT-B/32.

    Attributes:
        bottleneck: r.
        scale: s.
    """

    bottleneck: Annotated[int, Field(ge=1)] = 3
    scale: Annotated[float, Field(allow_inf_nan=False)] = 0.3

    def add_to(self, encoder: DualEncoder) -> None:
        def make(block: Block) -> nn.Module:
            return Thin(block.width, self.bottleneck, self.scale)

        place_branches(encoder, make, "parallel-mlp", "both", share_layers=False)
        LayerNorms().add_to(encoder)
