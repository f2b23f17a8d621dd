"""Houlsby adapter: a bottleneck after attention and MLP of every block (Houlsby et al., ICML 2019).

With f the sub-layer's output, behind its projection and before the residual sum::

    f <- f + W_up GELU(W_down f + b_down) + b_up

The paper also trains the LayerNorms of the base. Here they stay frozen, so that the Houlsby
adapters alone are measured (``layernorm`` is a method of its own).

At the start W_down is normal with deviation 0.01, all else zero, so that the start equals the base.
The authors draw both matrices from a normal that is cut at two deviations, of 0.01 in the paper and
0.001 in the released code (google-research/adapter-bert, modeling.py): nearly the base.
"""

from torch.nn import functional

from rsstudy.encoders import Block, DualEncoder
from rsstudy.methods.placing import Towers, place_branches
from rsstudy.methods.primitives import Bottleneck
from rsstudy.methods.registry import Positive, register


@register("adapter", printed={"places": "after-mlp", "share_layers": True})
class Adapter:
    """Trains ``2 d r + r + d`` parameters for each place of each block: 3,965,952 on ViT-B/32.

    The preset, with one instance a tower, has 165,248; in two places it would be twice that.

    Attributes:
        bottleneck: r.
        places: where, with commas; see ``rsstudy.encoders.places``.
        towers: both, image or text.
        share_layers: one instance in all layers of a tower, or one a layer.
    """

    bottleneck: Positive = 64
    places: str = "after-attention,after-mlp"
    towers: Towers = "both"
    share_layers: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        def make(block: Block) -> Bottleneck:
            return Bottleneck(block.width, self.bottleneck, functional.gelu, std=1e-2)

        place_branches(encoder, make, self.places, self.towers, self.share_layers)
