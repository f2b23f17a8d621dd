"""What every reader does alike: find the pictures of named files, and make a set of them."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rsstudy.data.decoding import decode_bytes
from rsstudy.data.imagetext import BrokenImage, Images, ImageTextSet
from rsstudy.errors import StudyError
from rsstudy.files import first_misfit

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


class Stored(ABC):
    """Pictures that are kept as the bytes of a file each; a reader says where they lie."""

    @abstractmethod
    def read(self, index: int) -> tuple[bytes, str]:
        """The bytes of picture ``index``, and its name in messages.

        Raises:
            BrokenImage: they cannot be read.
        """

    def decode(self, index: int) -> np.ndarray:
        return decode_bytes(*self.read(index))

    def content(self, index: int) -> bytes:
        return hashlib.sha256(self.read(index)[0]).digest()


@dataclass(frozen=True)
class Files(Stored):
    """Pictures that lie as files in a folder."""

    folder: Path
    paths: Sequence[PurePosixPath]

    def read(self, index: int) -> tuple[bytes, str]:
        try:
            return (self.folder / self.paths[index]).read_bytes(), str(self.paths[index])
        except OSError as problem:
            raise BrokenImage(f"{problem.filename}: {problem.strerror}") from problem


def parsed(file: Path, form: TypeAdapter[Any], what: str) -> Any:
    """A JSON file, checked.

    Args:
        what: it must be, for the message.

    Raises:
        StudyError: it cannot be read, or is of another structure.
    """
    try:
        return form.validate_json(file.read_bytes().removeprefix(BOM_UTF8))
    except OSError as problem:
        raise StudyError(f"{file} cannot be read ({problem.strerror})") from problem
    except ValidationError as problem:
        raise StudyError(f"{file} is no {what}: {first_misfit(problem)}") from problem


def set_of_files(source: Path, name: str, rows: Sequence[Row], *places: Path) -> ImageTextSet:
    """The set that a file describes, whose pictures lie beside it or in one sub-folder.

    Args:
        source: the file, or the folder of several; messages name it.
        places: further folders that may hold the pictures.

    Raises:
        StudyError: as of ``assemble``; a path is absent, there twice, or leads out of the folder.
    """
    _refuse_twice(name, [row.path for row in rows])
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
    files = _find(source, [PurePosixPath(row.path) for row in rows], places)
    return assemble(name, [replace(row, split=SPLITS[row.split]) for row in rows], files)


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
        known = {word for word in words if word} - {*SPLITS}
    told = (word if word in known else None for word in words)
    return [row.scene or word for row, word in zip(rows, told, strict=True)]


def named(scene: object) -> str | None:
    """A class as its name; numbers are names, too."""
    return None if scene is None or scene == "" else str(scene)


def joined(rows: Iterable[Row]) -> list[Row]:
    """Rows of one picture in one split as a single row with all their captions."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        row = replace(row, path=str(PurePosixPath(row.path)))
        known = found.get((row.path, row.split), replace(row, captions=()))
        captions, scene = [*known.captions, *row.captions], row.scene or known.scene
        found[row.path, row.split] = replace(row, captions=captions, scene=scene)
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


def texts_of(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """The captions of a table's row: a text, a list of texts or nothing in each of the columns."""
    parts = [row[column] for column in columns if row[column] or len(columns) == 1]
    return [
        text
        for part in parts
        if part is not None
        for text in (part if isinstance(part, list) else [part])
    ]


def assemble(name: str, rows: Sequence[Row], images: Images) -> ImageTextSet:
    """The set of these pictures; a folder that only repeats what is known leaves their names.

    Some packs of a public set keep one folder in all names ("rsicd_images/park_1.jpg"), or one for
    each split ("test/park_1.jpg"), and some do not; without it, their manifests agree. Names that
    stand in several splits take the split before them.

    Raises:
        StudyError: there is no picture, a name stands twice in a split, or a name or a caption is
            no text.
    """
    if not rows:
        raise StudyError(f"{name} holds no images")
    for row in rows:
        for what, text in (("a name", row.path), *(("a caption", of) for of in row.captions)):
            if not _is_text(text):
                shown = row.path.encode(errors="replace").decode()
                raise StudyError(f"{name}: {shown} has {what} that is no text; write a text")
    paths = [PurePosixPath(row.path) for row in rows]
    names, splits = [row.path for row in rows], [row.split for row in rows]
    short, folders = [path.name for path in paths], [path.parent for path in paths]
    of_splits = [SPLITS.get(folder.name) for folder in folders] == splits
    if len({*folders}) == 1 or (of_splits and len({*short}) == len(short)):
        names = short
    placed = [f"{row.split}/{name}" for row, name in zip(rows, names, strict=True)]
    if len({*names}) < len({*placed}):
        names = placed
    _refuse_twice(name, names)
    return ImageTextSet(
        name=name,
        filenames=tuple(names),
        captions=tuple(tuple(row.captions) for row in rows),
        splits=tuple(splits),
        classes=tuple(scenes_of(rows)),
        images=images,
    )


def _is_text(text: object) -> bool:
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can hold
        return False


def _refuse_twice(name: str, names: Sequence[str]) -> None:
    if twice := [filename for filename, count in Counter(names).items() if count > 1]:
        raise StudyError(
            f"{name}: {len(twice)} filename(s) stand more than once, the first {twice[0]!r}; "
            "every image needs a name of its own"
        )


def _find(source: Path, paths: Sequence[PurePosixPath], further: Sequence[Path]) -> Files:
    """The pictures beside the source, or in a sub-folder; as named, else without their folders."""
    places = [source if source.is_dir() else source.parent, *further]
    inner = [sorted(entry for entry in place.iterdir() if entry.is_dir()) for place in places]
    folders = [*dict.fromkeys([*places, *(folder for own in inner for folder in own)])]
    short = [PurePosixPath(path.name) for path in paths]
    ways = (paths, short) if len({*short}) == len({*paths}) else (paths,)
    for named in ways:
        whole = [f for f in folders if all(os.path.isfile(f / path) for path in named)]
        if len(whole) == 1 or whole[:1] == places[:1]:
            return Files(whole[0], named)
        if whole:
            raise StudyError(
                f"{source}: {whole[0]} and {whole[1]} both hold pictures of these names; leave one "
                "there, or write the folder into the names"
            )
    tried = [
        ([path for path in named if not os.path.isfile(folder / path)], folder)
        for folder in folders
        for named in ways
    ]
    missing, folder = min(tried, key=lambda item: len(item[0]))
    names = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
    raise StudyError(
        f"{source} names {len(missing)} of {len(paths)} files that are not in {folder} "
        f"({names}); put the pictures beside it or in one sub-folder, or take their rows out"
    )
