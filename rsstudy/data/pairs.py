"""A set made in Python: pairs of a picture and its captions, from a list or a torch dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rsstudy.data.imagetext import BrokenImage, ImageTextSet
from rsstudy.data.reading import SPLITS, Row, Stored, assemble
from rsstudy.errors import StudyError


@dataclass(frozen=True)
class Given(Stored):
    """Pictures as they were given: a path, uint8 RGB (height, width, 3), or one of Pillow's."""

    filenames: Sequence[str]
    pictures: Sequence[Any]

    def read(self, index: int) -> tuple[bytes, str]:
        path = self.pictures[index]
        try:
            return path.read_bytes(), str(path)
        except OSError as problem:
            raise BrokenImage(f"{problem.filename}: {problem.strerror}") from problem

    def decode(self, index: int) -> np.ndarray:
        picture = self.pictures[index]
        if isinstance(picture, Path):
            return super().decode(index)
        if isinstance(picture, Image.Image):
            return np.array(picture.convert("RGB"))
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise BrokenImage(
                f"{self.filenames[index]}: an array of {picture.dtype} and shape {picture.shape}; "
                "give uint8 of shape (height, width, 3)"
            )
        return picture

    def content(self, index: int) -> bytes:
        picture = self.pictures[index]
        if isinstance(picture, Path):
            return super().content(index)
        shape, data = np.shape(picture), np.asarray(picture).tobytes()
        return hashlib.sha256(repr(shape).encode() + data).digest()


def from_pairs(pairs: Iterable[Any], name: str = "pairs", split: str = "train") -> ImageTextSet:
    """The set of pairs (picture, captions) or triples (picture, captions, split).

    A picture is a path, an array of uint8 RGB (height, width, 3), or an image of Pillow. Captions
    are one text or several. Pairs of one path become one picture with all their captions. Arrays
    and images stay in memory: give paths of a large set.

    Args:
        pairs: a list, or a dataset with ``len`` and ``[]``, such as torch's.
        split: of the pairs that name none.

    Raises:
        StudyError: there is no pair, or one of another form or split.
    """
    sized = hasattr(pairs, "__len__") and hasattr(pairs, "__getitem__")
    given = (pairs[i] for i in range(len(pairs))) if sized else pairs  # type: ignore[arg-type,index]
    found: dict[str, tuple[Any, list[str], str]] = {}
    for number, pair in enumerate(given):
        if not isinstance(pair, Sequence) or len(pair) not in (2, 3):
            raise StudyError(
                f"pair {number} is no (picture, captions) or (picture, captions, split)"
            )
        picture, captions, of = (*pair, split)[:3]
        if of not in SPLITS:
            raise StudyError(f"pair {number} has the split {of!r}; known are {', '.join(SPLITS)}")
        is_path = isinstance(picture, (str, os.PathLike))
        if not is_path and not isinstance(picture, (np.ndarray, Image.Image)):
            raise StudyError(
                f"pair {number} has a picture of type {type(picture).__name__}; "
                "give a path, an array of uint8 or an image of Pillow"
            )
        key = Path(picture).as_posix() if is_path else f"{number:06}"
        known = found.setdefault(key, (Path(picture) if is_path else picture, [], SPLITS[of]))
        if known[2] != SPLITS[of]:
            raise StudyError(f"pair {number}: {key} stands in the splits {known[2]} and {of}")
        known[1].extend([captions] if isinstance(captions, str) else captions)
    rows = [Row(path, of, texts) for path, (_, texts, of) in found.items()]
    return assemble(name, rows, Given([*found], [picture for picture, *_ in found.values()]))
