"""Every picture of a set as uint8 in one tensor: decoded in parallel, once, and kept."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from filelock import FileLock
from PIL import Image

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.errors import StudyError
from rsstudy.files import cache_folder, remove_leftovers
from rsstudy.progress import Progress
from rsstudy.tensors import kept

DECODING_VERSION = 2
"""Raised when the same files come to give other pixels, so that old caches are not used."""

AHEAD = 256
"""As many pictures at most are decoded before they are asked for."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pixels:
    """A set's pictures at one size.

    Attributes:
        images: uint8, shape (images, 3, size, size), RGB, in the set's order.
        digests: uint8, shape (images, 32), sha256 of each decoded picture at its full size.
        digest: sha256 of all those, whatever their order; it tells packs apart whose pictures
            were encoded anew.
    """

    images: torch.Tensor
    digests: torch.Tensor
    digest: str


def pixels(set: ImageTextSet, size: int, progress: bool = True) -> Pixels:
    """The pictures of ``set`` at ``size`` pixels a side, with CLIP's geometry.

    Decoded once: the result is kept under the cache folder, by the pictures' encoded contents and
    ``size``, and read back memory-mapped.

    Raises:
        BrokenImage: a picture cannot be decoded.
    """
    name = f"{set.fingerprint()}-{size}-v{DECODING_VERSION}.safetensors"
    path = cache_folder() / "pixels" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock")).acquire()
    except OSError as problem:
        raise StudyError(
            f"cannot use the cache folder {path.parent} ({problem.strerror or problem}); "
            "set RSSTUDY_CACHE to a folder that can be written"
        ) from problem
    with lock:
        remove_leftovers(path.parent, path.name)
        found = kept(path, "decoding", lambda: _decoded(set, size, progress))
    digest = pixel_digest(set, [bytes(row) for row in found["digests"].numpy()])
    return Pixels(**found, digest=digest)


def fit(picture: np.ndarray, size: int) -> np.ndarray:
    """CLIP's geometry: the shorter side to ``size`` (bicubic, antialiased), then the centre.

    Takes uint8 of shape (height, width, 3), returns uint8 of shape (3, size, size). The rounding
    is torchvision's ``Resize`` and ``CenterCrop``, which open_clip applies to a picture.
    """
    height, width = picture.shape[:2]
    if (height, width) != (size, size):
        shorter = min(height, width)
        width, height = int(size * width / shorter), int(size * height / shorter)
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - size) / 2), round((height - size) / 2)
        picture = np.asarray(resized.crop((left, top, left + size, top + size)))
    return picture.transpose(2, 0, 1)


def picture_digest(picture: np.ndarray) -> bytes:
    """sha256 (32 bytes) of one decoded picture's shape and values."""
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def pixel_digest(set: ImageTextSet, digests: list[bytes]) -> str:
    """The digest of a set's decoded pictures from those of each, in the order of filenames."""
    in_order = (digest for _, digest in sorted(zip(set.filenames, digests, strict=True)))
    return hashlib.sha256(b"".join(in_order)).hexdigest()


def each_picture(
    set: ImageTextSet, work: Callable[[int], Result], progress: bool = True
) -> Iterator[Result]:
    """``work(index)`` for every picture, in parallel; the results come in the set's order."""
    pool = ThreadPoolExecutor(os.cpu_count())
    shown: dict[str, Any] = {"desc": f"decoding {set.name}", "unit": " images", "delay": 1}
    try:
        ahead = deque(pool.submit(work, index) for index in range(min(AHEAD, len(set))))
        for index in Progress(range(len(set)), disable=not progress, **shown):
            yield ahead.popleft().result()
            if index + AHEAD < len(set):
                ahead.append(pool.submit(work, index + AHEAD))
    finally:  # after a broken image or Ctrl-C, what has not begun is not begun
        pool.shutdown(cancel_futures=True)


def _decoded(set: ImageTextSet, size: int, progress: bool) -> dict[str, torch.Tensor]:
    images = torch.empty((len(set), 3, size, size), dtype=torch.uint8)
    rows = images.numpy()

    def decode(index: int) -> bytes:
        picture = set.images.decode(index)
        rows[index] = fit(picture, size)
        return picture_digest(picture)

    joined = bytearray(b"".join(each_picture(set, decode, progress)))
    digests = torch.frombuffer(joined, dtype=torch.uint8).reshape(len(set), 32)
    return {"images": images, "digests": digests}
