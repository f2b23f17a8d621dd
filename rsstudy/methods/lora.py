"""LoRA: a low-rank change of the matrices of every block (Hu et al., ICLR 2022).

``W -> W + (alpha / r) up @ down`` on the attention's and the MLP's matrices of both towers. The
alignment of the bench encoder is made with it, since such a change fits in a small file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from rsstudy.encoders import MODALITIES, DualEncoder
from rsstudy.methods.primitives import LowRank, reparameterise
from rsstudy.methods.registry import register, train


@register("lora")
@dataclass(frozen=True)
class LoRA:
    """A low-rank change of every block's matrices: r (out + in) parameters for each.

    Attributes:
        rank: r.
        alpha: the change is scaled by alpha / r.
        norms_and_biases: train also the vectors of the towers (norms, biases, LayerScale).
    """

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(allow_inf_nan=False)] = 16.0
    norms_and_biases: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        if self.norms_and_biases:
            vectors = [f"model.{n}" for n, p in encoder.model.named_parameters() if p.dim() == 1]
            train(encoder, vectors)
        encoder.method.changes = nn.ModuleList()
        for modality in MODALITIES:
            for block in encoder.blocks(modality):
                for module in list(block.module.modules()):
                    for name, weight in list(module.named_parameters(recurse=False)):
                        if weight.dim() == 2:
                            change = LowRank(weight, self.rank, self.alpha / self.rank)
                            reparameterise(module, name, change.to(weight.device))
                            encoder.method.changes.append(change)
