"""SSF: every operation's output is scaled and shifted (Lian et al., NeurIPS 2022).

``y -> gamma * y + beta`` behind each linear layer, convolution and normalisation of a tower. Here
it is a change of their weights and biases, which can be merged. The heads stay as they are, as the
authors' classifier does. At the start gamma is normal around one and beta around zero, both with
deviation 0.02 (dongzelian/SSF, models/vision_transformer.py).

What differs: an operation without a bias has nowhere to store a shift. In CLIP this is the patches'
convolution alone, which is scaled and not shifted. Version 1 left out all that is not in a block,
and started at one and zero.
"""

import torch
from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.parameters import own_parameters
from rsstudy.methods.placing import Towers, learned
from rsstudy.methods.primitives import Scaled, reparameterise
from rsstudy.methods.registry import register

# How layers name their weight and bias.
NAMES = {"weight": "bias", "in_proj_weight": "in_proj_bias"}


@register("ssf", version=2)
class SSF:
    """Trains two parameters for each bias of the towers, and a scale where there is no bias.

    These are 342,784 on ViT-B/32.

    Attributes:
        towers: both, image or text. The authors classify pictures and have no text tower; both is
            the default since the form is defined for any tower, and retrieval goes both ways.
    """

    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        scales, shifts = nn.ParameterList(), nn.ParameterList()
        encoder.method.scales, encoder.method.shifts = scales, shifts
        for module, name in own_parameters(encoder, self.towers):
            bias = getattr(module, NAMES.get(name, ""), None)
            if name not in NAMES or (bias is None and not isinstance(module, nn.Conv2d)):
                continue
            outputs = len(module.get_parameter(name))
            scales.append(nn.Parameter(1 + 0.02 * torch.randn(outputs)))
            reparameterise(module, name, Scaled(scales[-1]))
            if bias is not None:
                shifts.append(learned(outputs))
                reparameterise(module, NAMES[name], Scaled(scales[-1], shifts[-1]))
