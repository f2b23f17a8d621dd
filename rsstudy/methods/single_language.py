"""Single language: the text tower is fine-tuned, the image tower stays frozen.

A row of Yuan, Zhan and Xiong (2023), who print 151 M parameters for it, CLIP's whole size.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsstudy.encoders import DualEncoder
from rsstudy.methods.registry import register, train_within


@register("single-language")
@dataclass(frozen=True)
class SingleLanguage:
    """Trains all of the text tower but its head: 63,165,952 parameters on ViT-B/32."""

    def add_to(self, encoder: DualEncoder) -> None:
        train_within(encoder, "text", lambda _, __: True)
