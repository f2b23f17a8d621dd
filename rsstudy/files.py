"""Files that are either whole or absent, and the digests that name them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rsstudy.errors import StudyError


def cache_folder() -> Path:
    """Where decoded pictures and pretrained towers are kept: RSSTUDY_CACHE, or the user's cache."""
    return Path(os.environ.get("RSSTUDY_CACHE") or platformdirs.user_cache_dir("rsstudy"))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    On any failure (a full disk, Ctrl-C) the temporary file is removed and ``path`` keeps what it
    held before.

    Raises:
        StudyError: the file system refused (no space, no permission); the message names the path.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as problem:
        raise StudyError(f"could not write {path}: {problem.strerror or problem}") from problem
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        StudyError: the file system refused; the message names the path.
    """
    with whole_file(path) as temporary:
        try:
            save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, temporary)
        except SafetensorError as problem:  # how safetensors reports a full disk
            raise OSError(str(problem)) from problem
