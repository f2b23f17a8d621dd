"""The multimodal remote-sensing adapter (Yuan, Zhan, Xiong, TGRS 2023).

With h the residual stream after attention and m in {image, text}::

    z      = Dropout(ReLU(W_down^m h + b_down^m))
    A^m(h) = [W_up^m z + b_up^m ; W_share z + b_share]
    out    = h + MLP(LN(h)) + scale * A^m(h)

``W_share`` is shared by the two towers; one instance serves every layer, or each layer has its own.

At the start W_down is uniform within 1 / sqrt(d_m) and all else is zero (ZhanYang-nwpu/PE-RSITR,
layers/MRS_Adapter.py). Version 1 drew W_down sqrt(6) = 2.45 times wider.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsstudy.encoders import Block, DualEncoder, Modality
from rsstudy.methods.placing import check_shared, linear, place_pairs
from rsstudy.methods.primitives import zero
from rsstudy.methods.registry import Finite, Positive, Probability, register


class Branch(nn.Module):
    """A^m: the adapter of one modality, (B, L, d_m) -> (B, L, d_m)."""

    def __init__(self, width: int, share: nn.Linear, dropout: float, scale: float):
        super().__init__()
        self.down = nn.Linear(width, share.in_features)
        self.up = zero(linear(share.in_features, width - share.out_features))
        self.share, self.dropout, self.scale = share, nn.Dropout(dropout), scale

    def forward(self, h: Tensor) -> Tensor:
        z = self.dropout(torch.relu(self.down(h)))
        # One product for both parts: joining the weights is cheaper than joining the outputs.
        weight = torch.cat([self.up.weight, self.share.weight])
        bias = torch.cat([self.up.bias, self.share.bias])
        out = functional.linear(z, weight, bias)
        return out if self.scale == 1 else self.scale * out


@register("mrs-adapter", version=2, printed={})
class MRSAdapter:
    """A bottleneck beside each block's MLP, part of it shared by the towers; the paper's defaults.

    With r = ``bottleneck``, s = ``shared`` and widths d, an instance trains, over its modalities m,
    ``sum_m [(d_m + 1) r + (r + 1)(d_m - s)] + (r + 1) s`` parameters: 161,088 on ViT-B/32.

    Attributes:
        bottleneck: width r of the bottleneck.
        shared: width s of the part of the output whose weights the two towers share.
        dropout: probability in the bottleneck.
        place: where the branch sits: before, parallel-attention, after-attention, parallel-mlp (the
            paper) or after-mlp; see ``rsstudy.encoders.places``.
        share_layers: one instance in all layers (the paper), or one a layer.
        scale: factor on the branch.
        blocks: which of a tower's blocks are adapted: all (the paper), or the half nearer to the
            input (lower) or to the output (upper; the larger half where their number is odd).
    """

    bottleneck: Positive = 64
    shared: int = 64
    dropout: Probability = 0.5
    place: str = "parallel-mlp"
    share_layers: bool = True
    scale: Finite = 1.0
    blocks: Literal["all", "lower", "upper"] = "all"

    def add_to(self, encoder: DualEncoder) -> None:
        check_shared(encoder, "mrs-adapter", self.shared)

        def make(widths: dict[Modality, int]) -> dict[Modality, Branch]:
            share = zero(linear(self.bottleneck, self.shared))
            branches = {m: Branch(d, share, self.dropout, self.scale) for m, d in widths.items()}
            for branch in branches.values():  # behind both: the order of the draws is a run's own
                nn.init.kaiming_uniform_(branch.down.weight, a=5**0.5)
                nn.init.zeros_(branch.down.bias)
            return branches

        place_pairs(encoder, make, self.place, self.share_layers, self.chosen)

    def chosen(self, blocks: list[Block]) -> list[Block]:
        """The blocks of one tower that are adapted."""
        half = len(blocks) // 2
        return {"all": blocks, "lower": blocks[:half], "upper": blocks[half:]}[self.blocks]
