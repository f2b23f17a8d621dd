"""Linear probe: only the heads into the joint space are trained, the towers stay frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from rsstudy.encoders import MODALITIES, DualEncoder
from rsstudy.errors import StudyError
from rsstudy.methods.primitives import skip_block
from rsstudy.methods.registry import register, train
from rsstudy.settings import later


@register("linear-probe")
@dataclass(frozen=True)
class LinearProbe:
    """Trains the two heads: d_image * d + d_text * d parameters, 655,360 on ViT-B/32.

    Attributes:
        image_block, text_block: the heads read this block of the tower, counted from 1, through the
            tower's own final normalisation and pooling; 0 is the last.
    """

    image_block: Annotated[int, Field(ge=0)] = later(0)
    text_block: Annotated[int, Field(ge=0)] = later(0)

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
        train(encoder, encoder.heads)
