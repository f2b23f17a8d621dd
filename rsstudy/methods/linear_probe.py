"""Linear probe: only the heads into the joint space are trained, the towers stay frozen.

The preset ``printed`` keeps the heads frozen, too, and trains a linear layer behind each: the one
form we found that has the 1.05 million parameters that Yuan, Zhan and Xiong (2023) print. Neither
their text nor their code says what they trained. The layers start as PyTorch draws them, each by
itself, so that the joint space of the base is gone at the start.
"""

from torch import nn

from rsstudy.encoders import MODALITIES, DualEncoder
from rsstudy.errors import StudyError
from rsstudy.methods.parameters import train
from rsstudy.methods.placing import place_behind_heads
from rsstudy.methods.primitives import skip_block
from rsstudy.methods.registry import Natural, register


@register("linear-probe", printed={"behind": 1024})
class LinearProbe:
    """Trains the two heads: d_image * d + d_text * d parameters, 655,360 on ViT-B/32.

    The preset trains ``2 (d + 1) n`` instead, n the width behind the heads: 1,050,624.

    Attributes:
        image_block, text_block: the heads read this block of the tower, counted from 1, through the
            tower's own final normalisation and pooling; 0 is the last.
        behind: width of a trained linear layer behind each frozen head; 0 trains the heads.
    """

    image_block: Natural = 0
    text_block: Natural = 0
    behind: Natural = 0

    @property
    def trains_heads(self) -> bool:
        """Whether the heads are trained by the method itself."""
        return not self.behind

    def add_to(self, encoder: DualEncoder) -> None:
        if len(encoder.heads) < 2:
            raise StudyError(f"linear-probe: no linear heads are known for {encoder.name}")
        for modality, last in zip(MODALITIES, (self.image_block, self.text_block), strict=True):
            blocks = encoder.blocks(modality)
            if last > len(blocks):
                raise StudyError(
                    f"linear-probe: {modality}_block must lie in 0..{len(blocks)}, not {last}"
                )
            for block in blocks[last:] if last else []:
                skip_block(block)
        if self.behind:
            encoder.method.layers = place_behind_heads(
                encoder, lambda: nn.Linear(encoder.joint_width, self.behind)
            )
        else:
            train(encoder, encoder.heads)
