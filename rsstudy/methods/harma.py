"""HarMA: a gated adapter that mixes tokens, with a part that the towers share (Huang et al., 2024).

With f the MLP's output, before the residual sum, MHA an attention over the tokens and each of the
gates alpha, beta, gamma a learned scalar behind a sigmoid::

    z  = GELU(W_down f)
    u  = MHA(z)
    v  = W_1 u
    u  <- u + W_2 (beta MHA_share(v) + (1 - beta) v)        shared by the towers
    f  <- f + gamma W_up (alpha z + (1 - alpha) MHA(u))

The gates, the sizes and the start are those of the released code (seekerhuang/HarMA,
open_clip/model.py): attention Xavier-uniform with zero biases, W_up, W_2 and their biases zero.
What differs:

- There the image tower's adapters are built without the shared part, although the paper shares it
  between both towers; here both towers have it, as in the paper. As many parameters are trained.
- There a caption's words also see the padding behind it and the words to come; here they see what
  the block's own attention lets them see.
- The objective that comes with it is not part of the adapter.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsstudy.encoders import MODALITIES, DualEncoder, Modality
from rsstudy.errors import StudyError
from rsstudy.methods.placing import place_pairs
from rsstudy.methods.primitives import mask_of, zero
from rsstudy.methods.registry import Positive, register


class Attention(nn.Module):
    """Self-attention over tokens (B, L, d) under a mask that fits (B, heads, L, L).

    It starts as ``nn.MultiheadAttention`` does: the three matrices are one to Xavier's rule.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(q.dtype)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


def gate() -> nn.Parameter:
    """A scalar that a sigmoid makes a share; at the start 0.65."""
    return nn.Parameter(torch.tensor(0.6))


class Shared(nn.Module):
    """The part that both towers have, (B, L, r) -> (B, L, r); the identity at the start."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.down = nn.Linear(width, width // 2)
        self.up = zero(nn.Linear(width // 2, width))
        self.attention = Attention(width // 2, heads)
        self.beta = gate()

    def forward(self, u: Tensor, mask: Tensor | None) -> Tensor:
        v, beta = self.down(u), torch.sigmoid(self.beta)
        return u + self.up(beta * self.attention(v, mask) + (1 - beta) * v)


class Branch(nn.Module):
    """gamma A(f), (B, L, d) -> (B, L, d); zero at the start."""

    mask: Callable[[], Tensor | None]

    def __init__(self, width: int, bottleneck: int, heads: int, share: Shared):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = zero(nn.Linear(bottleneck, width))
        self.attention = Attention(bottleneck, heads)
        self.share = share
        self.alpha, self.gamma = gate(), gate()

    def forward(self, f: Tensor) -> Tensor:
        mask = self.mask()
        z, alpha = functional.gelu(self.down(f)), torch.sigmoid(self.alpha)
        u = self.attention(self.share(self.attention(z, mask), mask), mask)
        return torch.sigmoid(self.gamma) * self.up(alpha * z + (1 - alpha) * u)


@register("harma", version=2)
class HarMA:
    """An adapter after the MLP of each layer, as its authors size it: 5,934,396 on ViT-B/32.

    Attributes:
        bottleneck: r; the shared part is half as wide.
        heads: of the attentions.
    """

    bottleneck: Annotated[int, Field(ge=2)] = 128
    heads: Positive = 8

    def add_to(self, encoder: DualEncoder) -> None:
        if self.bottleneck % (2 * self.heads):
            raise StudyError(
                f"harma: bottleneck must be a multiple of {2 * self.heads}, twice its heads, not "
                f"{self.bottleneck}"
            )

        def make(widths: dict[Modality, int]) -> dict[Modality, Branch]:
            share = Shared(self.bottleneck, self.heads)
            return {m: Branch(w, self.bottleneck, self.heads, share) for m, w in widths.items()}

        place_pairs(encoder, make, "after-mlp", share_layers=False)
        for m in MODALITIES:
            for block, layer in zip(encoder.blocks(m), encoder.method.layers, strict=False):
                layer[m].mask = mask_of(block)
