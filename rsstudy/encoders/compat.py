"""Make torchvision importable beside a CPU build of torch.

The registries' torchvision is a CUDA build; beside a CPU torch its operators are absent and its
import fails, and with it open_clip's and timm's. None of the absent operators is used here, so
declaring their schemas is enough.
"""

from __future__ import annotations

import sys
import warnings

import torch

# Other libraries' progress bars miss widgets in a notebook; ours do not use them.
warnings.filterwarnings("ignore", message="IProgress not found")


def import_torchvision() -> None:
    """Import torchvision, declaring the operators it lacks only where they are missing."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as problem:
        if "torchvision::" not in str(problem):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        import torchvision  # noqa: F401


_kept_alive: list[torch.library.Library] = []
import_torchvision()
