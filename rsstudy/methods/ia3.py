"""IA3: keys, values and the MLP's hidden units are rescaled (Liu et al., NeurIPS 2022).

``l_k * K``, ``l_v * V`` and ``W_2 (l_ff * f(W_1 x))``, each l learned, one at the start; here as
changes of the matrices that make K and V and of W_2, which therefore can be merged.
"""

import torch
from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, blocks_of
from rsstudy.methods.primitives import Scaled, reparameterise, rows_of
from rsstudy.methods.registry import register


@register("ia3")
class IA3:
    """Trains ``2 d + h`` parameters a block, h its hidden units: 92,160 on ViT-B/32.

    Attributes:
        towers: both, image or text.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.scales = nn.ParameterList()

        def ones(count: int) -> nn.Parameter:
            encoder.method.scales.append(nn.Parameter(torch.ones(count)))
            return encoder.method.scales[-1]

        for block in blocks_of(encoder, self.towers):
            for matrix in (block.matrix("k"), block.matrix("v")):
                module, scale = block.module.get_submodule(matrix.module), ones(block.width)
                for name in (matrix.weight, matrix.bias):
                    rows = rows_of(matrix, getattr(module, name))
                    reparameterise(module, name, Scaled(scale, rows=rows))
            second = block.module.get_submodule(block.matrix("fc2").module)
            scale = ones(second.get_parameter("weight").shape[1])
            reparameterise(second, "weight", Scaled(scale, columns=True))
