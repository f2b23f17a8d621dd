"""BitFit: only the biases of the towers are trained (Ben Zaken, Ravfogel, Goldberg, ACL 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, modalities
from rsstudy.methods.registry import register, train_within


def is_bias(name: str) -> bool:
    return name.startswith("bias") or name.endswith("bias")


@register("bitfit")
@dataclass(frozen=True)
class BitFit:
    """Trains every bias of the towers: 171,008 parameters on ViT-B/32.

    A recurrent layer's names begin with ``bias``, all others end with it.

    Attributes:
        towers: both, image or text.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        for modality in modalities(self.towers):
            train_within(encoder, modality, lambda name, _: is_bias(name))
