"""Prefix tuning: learned keys and values in every attention (Li and Liang, ACL 2021).

``softmax(Q [P_k; K]^T / sqrt(d)) [P_v; V]``, the vectors learned as they are, without the MLP that
the authors put before them in training. Each starts normal with deviation 0.02.
"""

from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import Towers, blocks_of, learned
from rsstudy.methods.primitives import add_keys_and_values
from rsstudy.methods.registry import Positive, register


@register("prefix")
class Prefix:
    """Trains ``2 n d`` parameters a block: 307,200 on ViT-B/32.

    Attributes:
        length: n.
        towers: both, image or text.
    """

    length: Positive = 10
    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.prefixes = nn.ParameterList()
        for block in blocks_of(encoder, self.towers):
            keys, values = (learned(self.length, block.width) for _ in "kv")
            encoder.method.prefixes.extend([keys, values])
            add_keys_and_values(block, keys, values)
