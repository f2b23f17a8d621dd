"""Read a set from JSON lists, one a split: the form of ALBEF, BLIP and HarMA (X_train.json)."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import SPLITS, Row, joined, named, set_of_files
from rsstudy.errors import StudyError
from rsstudy.files import first_misfit

LIST = re.compile(rf"(.*?)_?({'|'.join(SPLITS)})\.json")


class Pair(BaseModel):
    """A picture with one caption or several; further fields may be there."""

    image: str
    caption: str | list[str]
    label_name: str | None = None


PAIRS = TypeAdapter(list[Pair])


def read_lists(path: Path, name: str | None = None) -> ImageTextSet:
    """The set of ``X_train.json``, ``X_val.json`` and ``X_test.json``, from the folder or a file.

    Each holds ``[{"image": "train/a.jpg", "caption": "a text" or ["a text", ...]}]``, perhaps with
    the class as ``label_name``. The pictures lie beside them or in one sub-folder.

    Raises:
        StudyError: the folder holds several sets; a file is damaged or of another structure; or as
            of ``set_of_files``.
    """
    matches = [match for file in list_files(path) if (match := LIST.fullmatch(file.name))]
    if path.is_file():
        only = LIST.fullmatch(path.name)
        matches = [match for match in matches if only is None or match[1] == only[1]]
    sets = sorted({match[1] for match in matches})
    folder = path if path.is_dir() else path.parent
    if len(sets) > 1:
        raise StudyError(
            f"{folder} holds several sets ({', '.join(sets)}); "
            f"give the path of a file of one, {folder / matches[0][0]}"
        )
    rows = [
        Row(
            pair.image,
            match[2],
            [pair.caption] if isinstance(pair.caption, str) else pair.caption,
            named(pair.label_name),
        )
        for match in matches
        for pair in _parse(folder / match[0])
    ]
    return set_of_files(folder, name or sets[0] or folder.name, joined(rows))


def list_files(path: Path) -> list[Path]:
    """The files of a folder, or beside a file, that are named like such a list and hold one."""
    if path.is_file() and not LIST.fullmatch(path.name):
        return []
    folder = path if path.is_dir() else path.parent
    return [file for file in sorted(folder.glob("*.json")) if _is_list(file)]


def _is_list(file: Path) -> bool:
    if not LIST.fullmatch(file.name) or not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(64).lstrip()[:1] == b"["


def _parse(file: Path) -> list[Pair]:
    try:
        return PAIRS.validate_json(file.read_bytes())
    except OSError as problem:
        raise StudyError(f"{file} cannot be read ({problem.strerror})") from problem
    except ValidationError as problem:
        raise StudyError(
            f"{file} is no list of pairs ({first_misfit(problem)}); it needs "
            '[{"image", "caption"}]'
        ) from problem
