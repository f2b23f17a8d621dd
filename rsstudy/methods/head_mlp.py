"""A residual MLP behind each head, in the joint space: e + W_up ReLU(W_down e).

A control for adapters inside the towers: as many parameters, none of them in the towers. The form
is that of CLIP-Adapter (Gao et al., IJCV 2024) without its fixed mixing ratio, the start that of
the MRS adapter: W_down uniform within 1 / sqrt(d), all else zero.
"""

from torch import Tensor

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import place_behind_heads
from rsstudy.methods.primitives import Bottleneck
from rsstudy.methods.registry import Positive, register


class Residual(Bottleneck):
    """e + W_up ReLU(W_down e), (B, d) -> (B, d)."""

    def forward(self, e: Tensor) -> Tensor:
        return e + super().forward(e)


@register("head-mlp", version=2)
class HeadMLPs:
    """Trains a residual MLP behind each head: 2 (2 d h + h + d) parameters.

    Attributes:
        hidden: width h; 78 trains 160,924 parameters on ViT-B/32, the MRS adapter 161,088.
    """

    hidden: Positive = 78

    def add_to(self, encoder: DualEncoder) -> None:
        def make() -> Residual:
            return Residual(encoder.joint_width, self.hidden)

        encoder.method.mlps = place_behind_heads(encoder, make)
