"""Slim adapter: a thin branch of its own in every layer, and the towers' norms (this study).

With h the residual stream after attention, and LN' a normalisation whose weight and bias are
trained::

    out = h + MLP(LN'(h)) + s W_up ReLU(W_down h)

The MRS adapter spends its parameters on one wide instance that all layers share; here every layer
has its own, r wide, without biases, for the norms' are trained. At the start, W_up = 0, it is the
base.
"""

import torch

from rsstudy.encoders import Block, DualEncoder
from rsstudy.methods.layernorm import LayerNorms
from rsstudy.methods.placing import place_branches
from rsstudy.methods.primitives import Bottleneck
from rsstudy.methods.registry import Finite, Positive, register


@register("slim-adapter")
class SlimAdapter:
    """Trains ``2 d r`` parameters a block, and the norms: 157,696 on ViT-B/32.

    Attributes:
        bottleneck: r.
        scale: s.
    """

    bottleneck: Positive = 3
    scale: Finite = 0.3

    def add_to(self, encoder: DualEncoder) -> None:
        def make(block: Block) -> Bottleneck:
            return Bottleneck(
                block.width, self.bottleneck, torch.relu, scale=self.scale, bias=False
            )

        place_branches(encoder, make, "parallel-mlp", "both", share_layers=False)
        LayerNorms().add_to(encoder)
