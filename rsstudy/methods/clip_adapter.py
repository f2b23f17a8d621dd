"""CLIP-Adapter: a bottleneck behind a head, mixed with its input (Gao et al., IJCV 2024).

``e -> alpha ReLU(W_2 ReLU(W_1 e)) + (1 - alpha) e`` on joint-space vectors, without biases. Each W
starts uniform within 1 / sqrt(its inputs), PyTorch's default, which the authors keep.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, place_behind_heads
from rsstudy.methods.registry import Positive, register


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
class CLIPAdapter:
    """Trains ``2 d d / reduction`` parameters a tower: 131,072 on ViT-B/32; the preset 524,288.

    Attributes:
        reduction: joint width over hidden width.
        ratio: alpha.
        towers: both, image (the authors) or text.
    """

    reduction: Positive = 4
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    towers: Towers = "image"

    def add_to(self, encoder: DualEncoder) -> None:
        def make() -> Mixed:
            return Mixed(encoder.joint_width, self.reduction, self.ratio)

        encoder.method.mlps = place_behind_heads(encoder, make, self.towers)
