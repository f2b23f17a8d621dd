"""Read a set from a Karpathy JSON and its image folder, the form these sets are published in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from pydantic import BaseModel, ValidationError

from rsstudy.data.imagetext import BrokenImage, ImageTextSet
from rsstudy.data.reading import SPLITS, assemble, decode_bytes
from rsstudy.errors import StudyError
from rsstudy.files import first_misfit

JSON = "dataset*.json"
CLASS_NAME = re.compile(r"([A-Za-z]+)_\d+\.\w+")


class Sentence(BaseModel):
    raw: str


class Entry(BaseModel):
    filename: str
    split: str
    sentences: list[Sentence]
    filepath: str = ""

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.filepath, self.filename)


class Published(BaseModel):
    """The part of the JSON that is read; further fields (tokens, numbers) may be there."""

    images: list[Entry]
    dataset: str | None = None


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


def read_karpathy(path: Path, name: str | None = None) -> ImageTextSet:
    """The set of a JSON file, or of the one ``dataset*.json`` in a folder.

    The pictures lie beside the JSON or in one sub-folder of any name. "restval" counts as train.
    An image named like ``airport_12.jpg`` is of the class airport; other names tell no class.

    Raises:
        StudyError: the JSON is missing, damaged or of another structure; it names pictures that
            are absent or lie outside the folder, or none. The message names the file.
    """
    path = Path(path)
    file = path if path.is_file() else _only_json(path)
    published = _parse(file)
    for number, entry in enumerate(published.images):
        if entry.split not in SPLITS:
            raise StudyError(
                f"{file}: image {number} ({entry.filename}) has the split {entry.split!r}; "
                f"known are {', '.join(SPLITS)}"
            )
        for flavour in (PurePosixPath, PureWindowsPath):
            parts = flavour(entry.path)
            if parts.anchor or ".." in parts.parts or not entry.filename:
                raise StudyError(
                    f"{file}: image {number} has the name {str(entry.path)!r}, which leads out of "
                    "the image folder; name files inside it"
                )
    paths = [entry.path for entry in published.images]
    classes = [CLASS_NAME.fullmatch(entry.filename) for entry in published.images]
    return assemble(
        name=name or published.dataset or file.parent.name,
        filenames=[str(path) for path in paths],
        captions=[[sentence.raw for sentence in entry.sentences] for entry in published.images],
        splits=[SPLITS[entry.split] for entry in published.images],
        classes=[match and match[1] for match in classes],
        images=Files(_image_folder(file, paths), paths),
    )


def captions_files(folder: Path) -> list[Path]:
    """The files of a folder that are named like a Karpathy JSON."""
    return sorted(folder.glob(JSON))


def _only_json(folder: Path) -> Path:
    files = captions_files(folder)
    if not files:
        raise StudyError(f"{folder} holds no {JSON}; give the folder or the file that does")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise StudyError(f"{folder} holds several sets ({names}); give the path of one of them")
    return files[0]


def _parse(file: Path) -> Published:
    try:
        return Published.model_validate_json(file.read_bytes())
    except OSError as problem:
        raise StudyError(f"{file} cannot be read ({problem.strerror})") from problem
    except ValidationError as problem:
        raise StudyError(
            f"{file} is no Karpathy JSON ({first_misfit(problem)}); it needs "
            '{"images": [{"filename", "split", "sentences": [{"raw"}]}]}'
        ) from problem


def _image_folder(file: Path, paths: Sequence[PurePosixPath]) -> Path:
    """Where the pictures lie: the JSON's folder or that of its sub-folders that holds the most."""
    subfolders = sorted(entry for entry in file.parent.iterdir() if entry.is_dir())
    absent = {
        folder: [path for path in paths if not (folder / path).is_file()]
        for folder in (file.parent, *subfolders)
    }
    folder, missing = min(absent.items(), key=lambda item: len(item[1]))
    if missing:
        names = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise StudyError(
            f"{file} names {len(missing)} of {len(paths)} files that are not in {folder} "
            f"({names}); put the set's pictures beside it or in one sub-folder"
        )
    return folder
