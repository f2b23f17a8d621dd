"""CLIP-Adapter: a bottleneck behind a head, mixed with its input (Gao et al., IJCV 2024).

``e -> alpha ReLU(W_2 ReLU(W_1 e)) + (1 - alpha) e`` on joint-space vectors, without biases. Each W
starts uniform within 1 / sqrt(its inputs), PyTorch's default, which the authors keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, modalities
from rsstudy.methods.registry import register


class Mixed(nn.Module):
    """(B, d) -> (B, d)."""

    def __init__(self, width: int, reduction: int, ratio: float):
        super().__init__()
        self.down = nn.Linear(width, width // reduction, bias=False)
        self.up = nn.Linear(width // reduction, width, bias=False)
        self.ratio = ratio

    def forward(self, e: Tensor) -> Tensor:
        adapted = torch.relu(self.up(torch.relu(self.down(e))))
        return self.ratio * adapted + (1 - self.ratio) * e


@register("clip-adapter", printed={"reduction": 2, "towers": "both"})
@dataclass(frozen=True)
class CLIPAdapter:
    """Trains ``2 d d / reduction`` parameters a tower: 131,072 on ViT-B/32; the preset 524,288.

    Attributes:
        reduction: joint width over hidden width.
        ratio: alpha.
        towers: both, image (the authors) or text.
    """

    reduction: Annotated[int, Field(ge=1)] = 4
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    towers: Towers = "image"

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.mlps = nn.ModuleDict()
        for modality in modalities(self.towers):
            mixed = Mixed(encoder.joint_width, self.reduction, self.ratio)
            encoder.method.mlps[str(modality)] = mixed
            encoder.after_heads[modality].append(mixed)
