"""Where a run was made: versions, commit and processor, without names of machines or people."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from rsstudy.devices import bf16_is_native
from rsstudy.training.parallel import together

PACKAGES = ("torch", "open_clip_torch", "timm", "transformers", "numpy")


def environment(device: torch.device) -> dict[str, Any]:
    """Where a run was made: versions, commit, whether the tree had changes, processor. No names."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = importlib.metadata.version(package)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "versions": versions,
        **_commit(),
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "bf16_hardware": bf16_is_native(device),  # without it, see ``bf16_products``
        **({"processes": together().size} if together().size > 1 else {}),
        "system": platform.system(),
    }


def _commit() -> dict[str, str | bool | None]:
    """The commit of the package's own repository and whether the package differs from it."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> str:
        how: dict[str, Any] = {"cwd": package, "capture_output": True, "text": True, "check": True}
        return subprocess.run(["git", *words], **how).stdout

    try:
        folder, commit = git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(folder).resolve() == package.parent.resolve():  # else installed within another one
            return {
                "commit": commit,
                "dirty": bool(git("status", "--porcelain", "--", ".").strip()),
            }
    except (OSError, subprocess.CalledProcessError):
        pass
    return {"commit": None, "dirty": None}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
