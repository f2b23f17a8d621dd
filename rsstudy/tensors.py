"""Tensors on disk: safetensors files that are whole or absent."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsstudy.errors import StudyError
from rsstudy.files import whole_file

log = logging.getLogger(__name__)


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


def kept(path: Path, doing: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of the cache folder: read where their file is whole, else computed and written.

    Args:
        doing: what ``compute`` does, for warnings, such as "decoding".
    """
    if path.exists():
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                checksum = (file.metadata() or {}).get("sha256")
            if checksum != _sha256(tensors):
                raise SafetensorError("another checksum" if checksum else "no checksum")
            return tensors
        except (SafetensorError, OSError) as problem:
            log.warning("%s is damaged (%s): %s anew", path, problem, doing)
            path.unlink(missing_ok=True)
    tensors = compute()
    try:
        save_tensors(path, tensors, {"sha256": _sha256(tensors)})
    except StudyError as problem:  # they are at hand all the same
        log.warning("%s; %s anew next time", problem, doing)
    return tensors


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    """Of some tensors: a disk's flipped bit would go into every run unseen."""
    whole = hashlib.sha256()
    for name in sorted(tensors, reverse=True):  # the order of caches that are there already
        whole.update(tensors[name].numpy().data)
    return whole.hexdigest()


def state_sha256(module: nn.Module, but: str = "") -> str:
    """sha256 over a module's tensors (names, types, shapes, bytes), but for one by its name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name == but:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
