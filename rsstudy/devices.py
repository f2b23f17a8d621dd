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
