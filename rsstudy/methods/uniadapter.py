"""UniAdapter: towers that read through one down-projection (Lu et al., ICLR 2024).

With h the residual stream after attention and m in {image, text}::

    out = h + MLP(LN(h)) + s * (W_up^m ReLU(W_down h + b_down) + b_up^m)

``W_down`` is shared by the towers. Where one is wider, W_down reads the columns that both have, and
the wider one's others have weights of their own. The paper's third up-projection is for layers that
mix the modalities; towers that meet in the joint space alone have none. The defaults are the
paper's equation, with the smaller of its two widths and W_up zero at the start.

The preset ``released`` is the code (RERV/UniAdapter, models and train_retrieval.py), as far as it
concerns two towers:

- r is 512, and W_down reads LN'(h) with a LayerNorm of its own.
- The branch is added to the block's output, which in BERT is behind its last LayerNorm.
- The projections into the joint space are trained.
- The image tower's W_up starts normal with deviation 0.02, so that the start is not the base. The
  code sets the text tower's W_up to zero and leaves the image tower's as BERT's own start drew it.

What still differs: its towers are equally wide and share LN', too; here each tower has its own. Its
momentum copy, its queue and its matching loss are no part of the adapter. There is no preset
``printed``: we found no form with the 0.55 M that Yuan, Zhan and Xiong (2023) print.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder, Modality
from rsstudy.methods.parameters import train
from rsstudy.methods.placing import place_pairs
from rsstudy.methods.primitives import zero
from rsstudy.methods.registry import Finite, Positive, register


class Branch(nn.Module):
    """The adapter of one modality, (B, L, d_m) -> (B, L, d_m)."""

    def __init__(self, width: int, down: nn.Linear, scale: float, norm: bool, up_std: float):
        super().__init__()
        self.down, self.scale = down, scale
        self.norm = nn.LayerNorm(width) if norm else None
        more = width - down.in_features
        self.more = nn.Linear(more, down.out_features, bias=False) if more else None
        self.up = zero(nn.Linear(down.out_features, width))
        if up_std:
            nn.init.normal_(self.up.weight, std=up_std)

    def forward(self, h: Tensor) -> Tensor:
        common = self.down.in_features
        h = h if self.norm is None else self.norm(h)
        z = self.down(h[..., :common])
        if self.more is not None:
            z = z + self.more(h[..., common:])
        return self.scale * self.up(torch.relu(z))


RELEASED = {
    "bottleneck": 512,
    "norm": True,
    "place": "behind-block",
    "projections": True,
    "image_up_std": 0.02,
}


@register("uniadapter", released=RELEASED)
class UniAdapter:
    """A bottleneck beside each block's MLP, its reading half shared by the towers.

    Of each layer ``max_m d_m r + r + sum_m (r + 1) d_m`` are trained: 3,162,624 on ViT-B/32. The
    preset ``released`` has ``sum_m 2 d_m`` more a layer and the two projections: 13,290,496.

    Attributes:
        bottleneck: r.
        scale: s.
        share_layers: one instance in all layers, or one a layer (the authors).
        norm: a LayerNorm of each tower's own before W_down.
        place: where; see ``rsstudy.encoders.places``.
        projections: train the heads, too.
        image_up_std: deviation of the image tower's W_up at the start; 0 starts at the base.
    """

    bottleneck: Positive = 128
    scale: Finite = 0.1
    share_layers: bool = False
    norm: bool = False
    place: str = "parallel-mlp"
    projections: bool = False
    image_up_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @property
    def trains_heads(self) -> bool:
        """Whether the heads are trained by the method itself."""
        return self.projections

    def add_to(self, encoder: DualEncoder) -> None:
        up_std = {"image": self.image_up_std, "text": 0.0}

        def make(widths: dict[Modality, int]) -> dict[Modality, Branch]:
            down = nn.Linear(min(widths.values()), self.bottleneck)
            nn.init.zeros_(down.bias)
            return {
                m: Branch(width, down, self.scale, self.norm, up_std[m])
                for m, width in widths.items()
            }

        place_pairs(encoder, make, self.place, self.share_layers)
        if self.projections:
            train(encoder, encoder.heads)
