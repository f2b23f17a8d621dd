"""``ImageTextSet``: pictures, the captions that belong to each, and the split each lies in."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from rsstudy.errors import StudyError

CURES = {
    "val": "; --set recipe.validation=random draws one",
    "test": "; --fold 1 draws one, and a validation split; --no-test trains without",
}
PICTURES = "pictures"
"""The split of pictures that have no captions: a plain folder's."""


class BrokenImage(StudyError):
    """A picture that cannot be decoded; the message names it."""


class Images(Protocol):
    """Where a set's pictures come from; one entry a picture, in the set's order."""

    def decode(self, index: int) -> np.ndarray:
        """Picture ``index`` as uint8 RGB of shape (height, width, 3).

        Raises:
            BrokenImage: it cannot be decoded.
        """

    def content(self, index: int) -> bytes:
        """A sha256 (32 bytes) of what picture ``index`` is decoded from; cheap, no decoding."""


@dataclass(frozen=True)
class Taken:
    """Some of another source's pictures, in a given order."""

    images: Images
    indices: tuple[int, ...]

    def decode(self, index: int) -> np.ndarray:
        return self.images.decode(self.indices[index])

    def content(self, index: int) -> bytes:
        return self.images.content(self.indices[index])


@dataclass(frozen=True, repr=False)
class ImageTextSet:
    """Images with captions; ``captions[i]`` belong to image i, and image i lies in ``splits[i]``.

    All sequences have one entry an image. ``classes`` holds scene classes where the set has them.
    """

    name: str
    filenames: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    splits: tuple[str, ...]
    classes: tuple[str | None, ...]
    images: Images

    def __len__(self) -> int:
        return len(self.filenames)

    def __repr__(self) -> str:
        parts = [f"{n:,} {split}" for split, n in Counter(self.splits).items()]
        classes = len({*self.classes} - {None})
        parts += [f"{sum(map(len, self.captions)):,} captions"]
        parts += [f"{classes} classes"] if classes else []
        return f"{type(self).__name__}({self.name}: {', '.join(parts)})"

    def take(self, indices: Sequence[int]) -> ImageTextSet:
        """The set of the given images, in the given order."""
        indices = tuple(int(i) for i in indices)
        taken: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in indices)
            for name in ("filenames", "captions", "splits", "classes")
        }
        return replace(self, images=Taken(self.images, indices), **taken)

    def require(self, split: str) -> None:
        """Make sure that the set has a split.

        Raises:
            StudyError: it has no image in that split.
        """
        if split not in self.splits:
            has = ", ".join(sorted(set(self.splits))) or "none"
            raise StudyError(
                f"{self.name} has no {split} split (it has: {has}){CURES.get(split, '')}"
            )

    def split(self, name: str) -> ImageTextSet:
        """The images of one split.

        Raises:
            StudyError: the set has no image in that split.
        """
        self.require(name)
        return self.take([i for i, split in enumerate(self.splits) if split == name])

    def manifest_digest(self) -> str:
        """sha256 of names, splits and captions, whatever the order of the images and the encoding.

        Two copies of a published set agree in it however their pictures were stored.
        """
        rows = sorted(zip(self.filenames, self.splits, self.captions, strict=True))
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return hashlib.sha256(text.encode()).hexdigest()

    def fingerprint(self) -> str:
        """sha256 of the pictures' encoded contents in order: the key of the decoded cache."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            digest.update(self.images.content(index))
        return digest.hexdigest()
