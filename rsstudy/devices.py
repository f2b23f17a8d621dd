"""The device that torch computes on."""

from __future__ import annotations

import timeit
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rsstudy.errors import StudyError


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else Apple's MPS, else the CPU.

    Raises:
        StudyError: the named device is absent.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("it must be auto, cpu, cuda, cuda:1 (and so on) or mps")
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as problem:
        raise StudyError(f"no device {name!r} here: {str(problem).splitlines()[0]}") from None
    return torch.device(name)


def bf16_is_native(device: torch.device) -> bool:
    """Whether a device multiplies bf16 in hardware, and not much slower than fp32.

    Some processors of Intel have bf16 instructions that take twice as long as those of fp32; with
    AMX they take a fifth. True where this torch cannot say.
    """
    if device.type != "cpu":
        return True
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and not _fp32_is_faster()
    except (AttributeError, RuntimeError):  # an older torch, or one that is built without oneDNN
        return True


@cache
def _fp32_is_faster() -> bool:
    """By a product of two 384 x 384 matrices, each the best of nine: some 30 ms."""

    def seconds(factor: Tensor) -> float:
        return min(timeit.repeat(lambda: torch.mm(factor, factor), number=1, repeat=9))

    full = torch.ones(384, 384)
    return seconds(full.bfloat16()) > 1.3 * seconds(full)


def bf16_products(device: torch.device) -> AbstractContextManager[Any]:
    """Within the block, a processor without fast bf16 hardware multiplies bf16 matrices in fp32.

    PyTorch's own products of bf16 take up to 40 times as long there. The result is the hardware's,
    apart from the order of sums: factors in bf16 are exact in fp32, sums are kept in fp32, and the
    product is rounded once. On other devices nothing changes.
    """
    return nullcontext() if bf16_is_native(device) else _InFull()


class _InFull(TorchDispatchMode):
    """Below autograd, so gradients are products like any other."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _PRODUCTS or not any(map(_is_bf16, args)):
            return func(*args, **(kwargs or {}))
        full = [value.float() if _is_bf16(value) else value for value in args]
        return _rounded(func(*full, **(kwargs or {})))


_ATEN = torch.ops.aten
_PRODUCTS = {
    *(_ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default),
    *(_ATEN.convolution.default, _ATEN.convolution_backward.default),
}


def _is_bf16(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _rounded(product: Any) -> Any:
    """A product, or the three gradients of a convolution, of which some may be None."""
    if isinstance(product, Tensor):
        return product.to(torch.bfloat16)
    return tuple(None if part is None else part.to(torch.bfloat16) for part in product)
