"""What a run takes: seconds, images a second, memory, bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

MEASURED_MEMORY = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """Begin anew to measure the peak memory, so that a run is not charged for the ones before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        MEASURED_MEMORY[0].write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Bytes at the peak since the reset: of CUDA's allocator, else resident in the process.

    None where the system cannot tell for one run (only Linux can, of processors).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = MEASURED_MEMORY[1].read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def training_cost(
    history: Sequence[Mapping[str, float]], steps: int, device: torch.device, stored: Path
) -> dict[str, float | int | None]:
    """The cost entries of a record.

    Args:
        history: of ``rsstudy.training.Training``.
        stored: the file that holds what was trained.
    """
    seconds = sum(row["seconds"] for row in history)
    images = sum(row["images"] for row in history)
    return {
        "train_seconds": round(seconds, 2),
        "seconds_an_epoch": round(seconds / max(len(history), 1), 3),
        "images_per_second": round(images / seconds, 2) if seconds else 0.0,
        "steps": steps,
        "peak_memory_bytes": peak_memory(device),
        "adapter_bytes": stored.stat().st_size,
    }
