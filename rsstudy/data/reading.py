"""What every reader does alike: find the pictures of named files, and make a set of them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from rsstudy.data.decoding import decode_bytes
from rsstudy.data.imagetext import BrokenImage, Images, ImageTextSet
from rsstudy.errors import StudyError

SPLITS = {"train": "train", "restval": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)
CLASS_NAME = re.compile(r"([A-Za-z][A-Za-z_-]*?)_?\d+\.\w+")
CAPTIONS = ("captions", "caption", "text", "sentences")
"""Columns that hold captions; of several the first counts."""


@dataclass(frozen=True)
class Row:
    """One picture as a file names it; a path is below the folder of the pictures."""

    path: str
    split: str
    captions: Sequence[str]
    scene: str | None = None


@dataclass(frozen=True)
class Files:
    """Pictures that lie as files in a folder."""

    folder: Path
    paths: Sequence[PurePosixPath]

    def decode(self, index: int) -> np.ndarray:
        return decode_bytes(self._read(index), str(self.paths[index]))

    def content(self, index: int) -> bytes:
        return hashlib.sha256(self._read(index)).digest()

    def _read(self, index: int) -> bytes:
        try:
            return (self.folder / self.paths[index]).read_bytes()
        except OSError as problem:
            raise BrokenImage(f"{problem.filename}: {problem.strerror}") from problem


def set_of_files(source: Path, name: str, rows: Sequence[Row]) -> ImageTextSet:
    """The set that a file describes, whose pictures lie beside it or in one sub-folder.

    Args:
        source: the file, or the folder of several; messages name it.

    Raises:
        StudyError: as of ``assemble``; a path is absent or leads out of the folder.
    """
    for number, row in enumerate(rows):
        for flavour in (PurePosixPath, PureWindowsPath):
            parts = flavour(row.path)
            if parts.anchor or ".." in parts.parts or not parts.name:
                raise StudyError(
                    f"{source}: image {number} has the name {row.path!r}, which leads out of "
                    "the image folder; name files inside it"
                )
        if row.split not in SPLITS:
            raise StudyError(
                f"{source}: image {number} ({row.path}) has the split {row.split!r}; "
                f"known are {', '.join(SPLITS)}"
            )
    return assemble(
        name=name,
        filenames=[row.path for row in rows],
        captions=[row.captions for row in rows],
        splits=[SPLITS[row.split] for row in rows],
        classes=scenes_of(rows),
        images=_find(source, [PurePosixPath(row.path) for row in rows]),
    )


def scenes_of(rows: Sequence[Row]) -> list[str | None]:
    """The scene class of each row; where it has none, what its name tells.

    ``storage_tanks_12.jpg`` tells storage_tanks. ``IMG_001.tif`` tells none: the word before the
    number is a class only where other rows name it, or, if no row has a class, where there are
    several such words, and fewer than pictures.
    """
    matches = [CLASS_NAME.fullmatch(PurePosixPath(row.path).name) for row in rows]
    words = [match and match[1] for match in matches]
    known = {row.scene for row in rows if row.scene}
    if not known and 1 < len({*words} - {None}) < len([*filter(None, words)]):
        known = {word for word in words if word}
    told = (word if word in known else None for word in words)
    return [row.scene or word for row, word in zip(rows, told, strict=True)]


def named(scene: object) -> str | None:
    """A class as its name; numbers are names, too."""
    return None if scene is None or scene == "" else str(scene)


def joined(rows: Iterable[Row]) -> list[Row]:
    """Rows of one picture in one split as a single row with all their captions."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        known = found.get((row.path, row.split))
        captions = [*(known.captions if known else ()), *row.captions]
        found[row.path, row.split] = replace(row, captions=captions)
    return [*found.values()]


def caption_columns(columns: Iterable[str], wanted: str | None, source: Path) -> list[str]:
    """The columns that hold captions: ``wanted``, or the first of ``CAPTIONS``, or all that are
    called ``caption_0``, ``caption_1`` and so on.

    Raises:
        StudyError: there is none.
    """
    columns = [*columns]
    found = [column for column in ([wanted] if wanted else CAPTIONS) if column in columns][:1]
    found = found or [of for of in columns if not wanted and re.fullmatch(r"caption_?\d+", of)]
    if not found:
        raise StudyError(
            f"{source} lacks the column {wanted or 'captions'} (texts); it has "
            f"{', '.join(columns) or 'none'}; name one: --data 'FOLDER?captions=COLUMN'"
        )
    return found


def texts_of(row: Mapping[str, Any], columns: Iterable[str]) -> list[Any]:
    """The captions of a table's row: a text, a list of texts or nothing in each of the columns."""
    parts = [row[column] for column in columns]
    return [
        text
        for part in parts
        if part is not None
        for text in (part if isinstance(part, list) else [part])
    ]


def assemble(
    name: str,
    filenames: Sequence[str],
    captions: Sequence[Sequence[str]],
    splits: Sequence[str],
    classes: Sequence[str | None],
    images: Images,
) -> ImageTextSet:
    """The set of these pictures; a folder that only repeats what is known leaves their names.

    Some packs of a public set keep one folder in all names ("rsicd_images/park_1.jpg"), or one for
    each split ("test/park_1.jpg"), and some do not; without it, their manifests agree.

    Raises:
        StudyError: there is no picture, a name stands twice, or a caption is no text.
    """
    if not filenames:
        raise StudyError(f"{name} holds no images")
    paths = [PurePosixPath(filename) for filename in filenames]
    short, folders = [path.name for path in paths], [path.parent for path in paths]
    of_splits = [SPLITS.get(folder.name) for folder in folders] == [*splits]
    if len({*folders}) == 1 or (of_splits and len({*short}) == len(short)):
        filenames = short
    twice = [filename for filename, count in Counter(filenames).items() if count > 1]
    if twice:
        raise StudyError(
            f"{name}: {len(twice)} filename(s) stand more than once, the first {twice[0]!r}; "
            "every image needs a name of its own"
        )
    for filename, texts in zip(filenames, captions, strict=True):
        if not all(isinstance(text, str) for text in texts):
            raise StudyError(f"{name}: {filename} has a caption that is no text; write a text")
    return ImageTextSet(
        name=name,
        filenames=tuple(filenames),
        captions=tuple(tuple(texts) for texts in captions),
        splits=tuple(splits),
        classes=tuple(classes),
        images=images,
    )


def _find(source: Path, paths: Sequence[PurePosixPath]) -> Files:
    """The pictures in the source's folder, or in that of its sub-folders that holds the most."""
    place = source if source.is_dir() else source.parent
    short = [PurePosixPath(path.name) for path in paths]
    tried: list[tuple[list[PurePosixPath], Files]] = []
    for folder in (place, *sorted(entry for entry in place.iterdir() if entry.is_dir())):
        for named in (paths, short) if len({*short}) == len({*paths}) else (paths,):
            absent = [path for path in named if not os.path.isfile(folder / path)]
            tried.append((absent, Files(folder, named)))
    missing, files = min(tried, key=lambda item: len(item[0]))
    if missing:
        names = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise StudyError(
            f"{source} names {len(missing)} of {len(paths)} files that are not in {files.folder} "
            f"({names}); put the set's pictures beside it or in one sub-folder"
        )
    return files
