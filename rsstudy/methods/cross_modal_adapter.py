"""Cross-Modal Adapter: a bottleneck whose output the towers share in part (Jiang et al., 2022).

With f a sub-layer's output, behind its projection and before the residual sum, m the modality::

    z = a(W_down^m f + b_down^m)
    f <- f + [W_up^m z + b_up^m ; W_share z + b_share]

with a(z) = z sigmoid(1.702 z). Sizes and start are those of the one configuration that the released
code runs (LeapLabTHU/Cross-Modal-Adapter, README.md and train.py: r = 8, s = 16, quick GELU): every
weight is normal with deviation 0.01, every bias zero. Version 1 had s = 32 and GELU.

It is what the MRS adapter comes from; that one sits beside the MLP, serves all layers by one
instance, and drops out of z.
"""

import torch
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder, Modality
from rsstudy.methods.placing import check_shared, linear, place_pairs
from rsstudy.methods.primitives import quick_gelu
from rsstudy.methods.registry import Positive, register


class Branch(nn.Module):
    """The adapter of one modality, (B, L, d_m) -> (B, L, d_m)."""

    def __init__(self, width: int, share: nn.Linear):
        super().__init__()
        self.down = nn.Linear(width, share.in_features)
        self.up = linear(share.in_features, width - share.out_features)
        self.share = share

    def forward(self, f: Tensor) -> Tensor:
        z = quick_gelu(self.down(f))
        return torch.cat([self.up(z), self.share(z)], dim=-1)


@register(
    "cross-modal-adapter",
    version=2,
    printed={"bottleneck": 64, "shared": 64, "places": "after-mlp", "share_layers": True},
)
class CrossModalAdapter:
    """Bottlenecks in both places of each layer; the released code's sizes and start.

    Of each place of each layer ``sum_m [(d_m + 1) r + (r + 1)(d_m - s)] + (r + 1) s`` are trained:
    519,168 on ViT-B/32. The preset has as many as the MRS adapter, 161,088.

    Attributes:
        bottleneck: r.
        shared: width s of the part of the output whose weights the two towers share.
        places: where, with commas; see ``rsstudy.encoders.places``.
        share_layers: one instance in all layers, or one a layer.
    """

    bottleneck: Positive = 8
    shared: int = 16
    places: str = "after-attention,after-mlp"
    share_layers: bool = False

    def add_to(self, encoder: DualEncoder) -> None:
        check_shared(encoder, "cross-modal-adapter", self.shared)

        def make(widths: dict[Modality, int]) -> dict[Modality, Branch]:
            share = linear(self.bottleneck, self.shared)
            branches = {m: Branch(width, share) for m, width in widths.items()}
            for layer in nn.ModuleList(branches.values()).modules():
                if isinstance(layer, nn.Linear):
                    if layer.weight.numel():
                        nn.init.trunc_normal_(layer.weight, std=1e-2)
                    nn.init.zeros_(layer.bias)
            return branches

        place_pairs(encoder, make, self.places, self.share_layers)
