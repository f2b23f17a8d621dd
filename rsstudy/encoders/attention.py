"""Attention where PyTorch's own way is slow for frozen towers or short sequences.

``nn.MultiheadAttention`` turns (B, L, d) into (L, B, d) before it projects. To multiply such a view
with a frozen weight PyTorch repeats the weight L times, so with frozen towers the copies took more
time than the products (``notebooks/study/speed/step_profile.py``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SelfAttention(nn.MultiheadAttention):
    """The same parameters and results. Where queries differ from keys, the library's forward."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        *others: Any,
        **named: Any,
    ) -> tuple[Tensor, Tensor | None]:
        # True hides in the library's masks, and shows in those of the function below.
        hides = attn_mask is not None and attn_mask.dtype == torch.bool
        if need_weights or key_padding_mask is not None or hides or not query is key is value:
            given = (key_padding_mask, need_weights, attn_mask, *others)
            return super().forward(query, key, value, *given, **named)
        projected = functional.linear(query, self.in_proj_weight, self.in_proj_bias)
        of_heads = projected.view(*projected.shape[:-1], 3, self.num_heads, self.head_dim)
        q, k, v = of_heads.permute(2, 0, 3, 1, 4)  # (B, heads, L, d / heads) each
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        if mask is not None and mask.dim() == 3:  # (B * heads, L, L)
            mask = mask.view(-1, self.num_heads, *mask.shape[1:])
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2)), None


def attend_as_they_lie(model: nn.Module) -> None:
    """Let every batch-first self-attention of a model be a ``SelfAttention``."""
    for module in model.modules():
        if (
            type(module) is nn.MultiheadAttention
            and module.batch_first
            and module._qkv_same_embed_dim
            and module.bias_k is None
            and not module.add_zero_attn
        ):
            module.__class__ = SelfAttention


def fast_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Within the block, attention in bf16 on a processor is computed in fp32, and rounded once.

    PyTorch's fused attention takes several times as long in bf16 as in fp32 there, for sequences as
    short as pictures and captions. On other devices nothing changes.
    """
    return _InFull() if device.type == "cpu" else nullcontext()


class _InFull(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        dtype = next(t.dtype for t in (*args, *kwargs.values()) if isinstance(t, Tensor))
        if dtype != torch.bfloat16:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_full, args), **{k: _full(v) for k, v in kwargs.items()}).to(dtype)


def _full(value: Any) -> Any:
    floats = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if floats else value
