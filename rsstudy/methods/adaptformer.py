"""AdaptFormer: a scaled bottleneck beside the MLP of every block (Chen et al., NeurIPS 2022).

With h the residual stream after attention::

    out = h + MLP(LN(h)) + s (W_up Dropout(ReLU(W_down h + b_down)) + b_up)

At the start W_down is uniform within 1 / sqrt(d), all else zero (ShoufaChen/AdaptFormer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import Block, DualEncoder
from rsstudy.methods.placing import Towers, place_branches
from rsstudy.methods.registry import register


class Beside(nn.Module):
    """(B, L, d) -> (B, L, d); zero at the start."""

    def __init__(self, width: int, hidden: int, dropout: float, scale: float):
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        self.dropout, self.scale = nn.Dropout(dropout), scale
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, *self.up.parameters()):
            nn.init.zeros_(zero)

    def forward(self, h: Tensor) -> Tensor:
        return self.scale * self.up(self.dropout(torch.relu(self.down(h))))


@register("adaptformer", printed={"towers": "both", "share_layers": True})
@dataclass(frozen=True)
class AdaptFormer:
    """Trains ``2 d r + r + d`` parameters a block: 1,189,632 on ViT-B/32; the preset 165,248.

    Attributes:
        bottleneck: r.
        scale: s.
        dropout: probability in the bottleneck.
        towers: both, image (the authors) or text.
        share_layers: one instance in all layers of a tower, or one a layer.
    """

    bottleneck: Annotated[int, Field(ge=1)] = 64
    scale: Annotated[float, Field(allow_inf_nan=False)] = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    towers: Towers = "image"
    share_layers: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        def make(block: Block) -> nn.Module:
            return Beside(block.width, self.bottleneck, self.dropout, self.scale)

        place_branches(encoder, make, "parallel-mlp", self.towers, self.share_layers)
