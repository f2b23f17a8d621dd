"""Tensors on disk: safetensors files that are whole or absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsstudy.errors import StudyError
from rsstudy.files import whole_file


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        StudyError: it is absent or not a whole safetensors file.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise StudyError(f"no weights at {path}") from None
    except (SafetensorError, OSError) as problem:
        raise StudyError(f"{path} is not a whole safetensors file ({problem})") from None


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all; ``facts`` go to its metadata.

    Raises:
        StudyError: the file system refused; the message names the path.
    """
    with whole_file(path) as temporary:
        try:
            kept = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
            save_file(kept, temporary, dict(facts) if facts else None)
        except SafetensorError as problem:  # how safetensors reports a full disk
            raise OSError(str(problem)) from problem
