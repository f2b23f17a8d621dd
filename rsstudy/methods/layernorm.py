"""LayerNorm tuning: only the towers' normalisations are trained (Zhao et al., ICLR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, modalities
from rsstudy.methods.registry import register, train_within


@register("layernorm")
@dataclass(frozen=True)
class LayerNorms:
    """Trains weight and bias of every LayerNorm: 65,536 parameters on ViT-B/32.

    Attributes:
        towers: both, image or text.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        for modality in modalities(self.towers):
            train_within(encoder, modality, lambda _, module: isinstance(module, nn.LayerNorm))
