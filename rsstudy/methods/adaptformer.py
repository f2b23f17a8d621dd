"""AdaptFormer: a scaled bottleneck beside the MLP of every block (Chen et al., NeurIPS 2022).

With h the residual stream after attention::

    out = h + MLP(LN(h)) + s (W_up Dropout(ReLU(W_down h + b_down)) + b_up)

At the start W_down is uniform within 1 / sqrt(d), all else zero (ShoufaChen/AdaptFormer).
"""

import torch

from rsstudy.encoders import Block, DualEncoder
from rsstudy.methods.placing import Towers, place_branches
from rsstudy.methods.primitives import Bottleneck
from rsstudy.methods.registry import Finite, Positive, Probability, register


@register("adaptformer", printed={"towers": "both", "share_layers": True})
class AdaptFormer:
    """Trains ``2 d r + r + d`` parameters a block: 1,189,632 on ViT-B/32; the preset 165,248.

    Attributes:
        bottleneck: r.
        scale: s.
        dropout: probability in the bottleneck.
        towers: both, image (the authors) or text.
        share_layers: one instance in all layers of a tower, or one a layer.
    """

    bottleneck: Positive = 64
    scale: Finite = 0.1
    dropout: Probability = 0.1
    towers: Towers = "image"
    share_layers: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        def make(block: Block) -> Bottleneck:
            return Bottleneck(block.width, self.bottleneck, torch.relu, self.dropout, self.scale)

        place_branches(encoder, make, "parallel-mlp", self.towers, self.share_layers)
