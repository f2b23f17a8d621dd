"""Linear probe: only the heads into the joint space are trained, the towers stay frozen."""

from __future__ import annotations

from dataclasses import dataclass

from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError
from rsstudy.methods.registry import register, train


@register("linear-probe")
@dataclass(frozen=True)
class LinearProbe:
    """Trains the two heads: d_image * d + d_text * d parameters, 655,360 on ViT-B/32."""

    def add_to(self, encoder: DualEncoder) -> None:
        if len(encoder.heads) < 2:
            raise StudyError(f"linear-probe: no linear heads are known for {encoder.name}")
        train(encoder, encoder.heads)
