"""SSF: every operation's output is scaled and shifted (Lian et al., NeurIPS 2022).

``y -> gamma * y + beta`` behind each linear layer and each normalisation of the blocks, gamma one
and beta zero at the start; here as a change of their weights and biases, which can be merged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, blocks_of
from rsstudy.methods.primitives import Scaled, reparameterise
from rsstudy.methods.registry import register

# How layers name their weight and bias.
NAMES = (("weight", "bias"), ("in_proj_weight", "in_proj_bias"))


@register("ssf")
@dataclass(frozen=True)
class SSF:
    """Trains twice as many parameters as a block has biases: 337,920 on ViT-B/32.

    Attributes:
        towers: both, image or text. The authors classify pictures and have no text tower; both is
            the default since the form is defined for any tower, and retrieval goes both ways.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.changes = nn.ParameterList()
        for block in blocks_of(encoder, self.towers):
            for module in list(block.module.modules()):
                own = dict(module.named_parameters(recurse=False))
                for weight, bias in NAMES:
                    if weight in own and bias in own:
                        scale = nn.Parameter(torch.ones_like(own[bias]))
                        shift = nn.Parameter(torch.zeros_like(own[bias]))
                        encoder.method.changes.extend([scale, shift])
                        reparameterise(module, weight, Scaled(scale))
                        reparameterise(module, bias, Scaled(scale, shift))
