"""Convpass: a convolution over the patches beside attention and MLP (Jie and Deng, 2022).

With x the sub-layer's input, behind its normalisation, as a grid of patches, the class token apart
as a grid of one, and a(z) = z sigmoid(1.702 z)::

    f <- f + s (W_up Dropout(a(Conv3x3(a(W_down x + b_down)))) + b_up)

At the start W_down is Xavier-uniform, the convolution the identity, W_up and every bias zero
(JieShibo/PETL-ViT, convpass/vtab/convpass.py). The authors choose s and the convolution's start for
each set: on both of their aerial sets, EuroSAT and RESISC45, s = 10 and the identity
(convpass/vtab/configs/convpass). These are the defaults.

s acts as a learning rate: W_up is zero at the start, and Adam's steps do not depend on the size of
a gradient, so the branch's first steps are s times as long. A rate belongs to its s.

What differs: the authors drop 0.1 of all sub-layers and branches at random (stochastic depth), and
here none is dropped. In a text tower, which they do not adapt, there is no grid.
"""

import math

import torch
from torch import Tensor, nn

from rsstudy.encoders import Block, DualEncoder
from rsstudy.errors import StudyError
from rsstudy.methods.placing import place_branches
from rsstudy.methods.primitives import quick_gelu, zero
from rsstudy.methods.registry import Finite, Positive, Probability, register


class ConvolvedPatches(nn.Module):
    """(B, 1 + g * g, d) -> the same; zero at the start."""

    def __init__(self, width: int, hidden: int, dropout: float, scale: float):
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.convolution = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.up = zero(nn.Linear(hidden, width))
        self.dropout, self.scale = nn.Dropout(dropout), scale
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.dirac_(zero(self.convolution).weight)

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1] - 1)
        if side * side != x.shape[1] - 1:
            raise StudyError(
                "convpass needs a class token before a square grid of patches, "
                f"not {x.shape[1]} tokens"
            )
        z = quick_gelu(self.down(x)).transpose(1, 2)  # (B, r, 1 + g * g)
        alone, grid = z[:, :, :1, None], z[:, :, 1:].reshape(*z.shape[:2], side, side)
        z = torch.cat([self.convolution(part).flatten(2) for part in (alone, grid)], dim=2)
        return self.scale * self.up(self.dropout(quick_gelu(z.transpose(1, 2))))


@register(
    "convpass", version=2, printed={"bottleneck": 64, "share_layers": True, "places": "beside-mlp"}
)
class Convpass:
    """Trains ``2 d r + 9 r^2 + 2 r + d`` parameters a place: 327,552 on ViT-B/32.

    The preset, one instance in one place, has 136,064.

    Attributes:
        bottleneck: r.
        scale: s.
        dropout: probability in the bottleneck.
        places: where, with commas; see ``rsstudy.encoders.places``.
        share_layers: one instance in all layers, or one a layer.
    """

    bottleneck: Positive = 8
    scale: Finite = 10.0
    dropout: Probability = 0.1
    places: str = "beside-attention,beside-mlp"
    share_layers: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        def make(block: Block) -> ConvolvedPatches:
            return ConvolvedPatches(block.width, self.bottleneck, self.dropout, self.scale)

        place_branches(encoder, make, self.places, "image", self.share_layers)
