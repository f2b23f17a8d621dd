"""BitFit: only the biases of the towers are trained (Ben Zaken, Ravfogel, Goldberg, ACL 2022)."""

from rsstudy.encoders import DualEncoder
from rsstudy.methods.parameters import train_within
from rsstudy.methods.placing import Towers
from rsstudy.methods.registry import register


@register("bitfit")
class BitFit:
    """Trains every bias of the towers: 171,008 parameters on ViT-B/32.

    A recurrent layer's names begin with ``bias``, all others end with it.

    Attributes:
        towers: both, image or text.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        train_within(
            encoder, self.towers, lambda name, _: name.startswith("bias") or name.endswith("bias")
        )
