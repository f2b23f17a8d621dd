"""LayerNorm tuning: only the towers' normalisations are trained (Zhao et al., ICLR 2024)."""

from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.parameters import train_within
from rsstudy.methods.placing import Towers
from rsstudy.methods.registry import register


@register("layernorm")
class LayerNorms:
    """Trains weight and bias of every LayerNorm: 65,536 parameters on ViT-B/32.

    Attributes:
        towers: both, image or text.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        train_within(encoder, self.towers, lambda _, module: isinstance(module, nn.LayerNorm))
