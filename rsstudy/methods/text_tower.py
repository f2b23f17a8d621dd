"""Text tower: the text tower is fine-tuned, the image tower stays frozen.

This is not the row "Single Language" of Yuan, Zhan and Xiong (2023). That row quotes Al Rahhal et
al. (IEEE JSTARS 15, 2022), who train both towers of CLIP: its counterpart here is ``full``.

With ``heads`` on the encoder ``cnn-gru`` it is what VSE++ trains first (Faghri et al., BMVC 2018;
fartashf/vsepp, model.py): the GRU and the image head, over a frozen CNN.
"""

from rsstudy.encoders import DualEncoder
from rsstudy.methods.parameters import train, train_within
from rsstudy.methods.registry import register


@register("text-tower")
class TextTower:
    """Trains all of the text tower but its head: 63,165,952 parameters on ViT-B/32.

    Attributes:
        heads: train the heads of both towers, too.
    """

    heads: bool = False

    @property
    def trains_heads(self) -> bool:
        """Whether the heads are trained by the method itself."""
        return self.heads

    def add_to(self, encoder: DualEncoder) -> None:
        train_within(encoder, "text", lambda _, __: True)
        if self.heads:
            train(encoder, encoder.heads)
