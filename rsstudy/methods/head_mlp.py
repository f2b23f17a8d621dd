"""A residual MLP behind each head, in the joint space: e + W_up ReLU(W_down e).

A control for adapters inside the towers: as many parameters, none of them in the towers. The form
is that of CLIP-Adapter (Gao et al., IJCV 2024) without its fixed mixing ratio, the start that of
the MRS adapter: W_down uniform within 1 / sqrt(d), all else zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import MODALITIES, DualEncoder
from rsstudy.methods.registry import register


class HeadMLP(nn.Module):
    """(B, d) -> (B, d); at the start it changes nothing."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, *self.up.parameters()):
            nn.init.zeros_(zero)

    def forward(self, e: Tensor) -> Tensor:
        return e + self.up(torch.relu(self.down(e)))


@register("head-mlp", version=2)
@dataclass(frozen=True)
class HeadMLPs:
    """Trains a residual MLP behind each head: 2 (2 d h + h + d) parameters.

    Attributes:
        hidden: width h; 78 trains 160,924 parameters on ViT-B/32, the MRS adapter 161,088.
    """

    hidden: Annotated[int, Field(ge=1)] = 78

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.mlps = nn.ModuleDict()
        for modality in MODALITIES:
            mlp = HeadMLP(encoder.joint_width, self.hidden)
            encoder.method.mlps[str(modality)] = mlp
            encoder.after_heads[modality].append(mlp)
