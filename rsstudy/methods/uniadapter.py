"""UniAdapter: towers that read through one down-projection (Lu et al., ICLR 2024).

With h the residual stream after attention and m in {image, text}::

    out = h + MLP(LN(h)) + s * (W_up^m ReLU(W_down h + b_down) + b_up^m)

``W_down`` is shared by the towers. Where one is wider, W_down reads the columns that both have, and
the wider one's others have weights of their own. The paper's third up-projection is for layers that
mix the modalities; towers that meet in the joint space alone have none. The released code has
a LayerNorm of its own before each W_down by default; the paper's equation has none, and it is left
out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder, Modality
from rsstudy.methods.placing import place_pairs
from rsstudy.methods.registry import register


class Branch(nn.Module):
    """The adapter of one modality, (B, L, d_m) -> (B, L, d_m)."""

    def __init__(self, width: int, down: nn.Linear, scale: float):
        super().__init__()
        self.down, self.scale = down, scale
        more = width - down.in_features
        self.more = nn.Linear(more, down.out_features, bias=False) if more else None
        self.up = nn.Linear(down.out_features, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        common = self.down.in_features
        z = self.down(h[..., :common])
        if self.more is not None:
            z = z + self.more(h[..., common:])
        return self.scale * self.up(torch.relu(z))


@register("uniadapter")
@dataclass(frozen=True)
class UniAdapter:
    """A bottleneck beside each block's MLP, its reading half shared by the towers.

    Of each layer ``max_m d_m r + r + sum_m (r + 1) d_m`` are trained: 3,162,624 on ViT-B/32. The
    0.55 M that the study prints is the size of no form of it that we found.

    Attributes:
        bottleneck: r.
        scale: s.
        share_layers: one instance in all layers, or one a layer (the authors).
    """

    bottleneck: Annotated[int, Field(ge=1)] = 128
    scale: Annotated[float, Field(allow_inf_nan=False)] = 0.1
    share_layers: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        def make(widths: dict[Modality, int]) -> dict[Modality, nn.Module]:
            down = nn.Linear(min(widths.values()), self.bottleneck)
            nn.init.zeros_(down.bias)
            return {m: Branch(width, down, self.scale) for m, width in widths.items()}

        place_pairs(encoder, make, "parallel-mlp", self.share_layers)
