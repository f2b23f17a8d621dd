"""The device that torch computes on."""

from __future__ import annotations

import torch

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
    """Whether a device computes bf16 in hardware; a processor without it takes 50 times as long.

    True where this torch cannot say.
    """
    if device.type != "cpu":
        return True
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # an older torch, or one that is built without oneDNN
        return True
