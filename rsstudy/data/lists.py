"""Read a set from JSON lists, one a split: the form of ALBEF, BLIP and HarMA (X_train.json)."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import SPLITS, Row, joined, named, parsed, set_of_files
from rsstudy.errors import StudyError

LIST = re.compile(rf"(?:(.+)_)?({'|'.join(SPLITS)})\.json")


class Pair(BaseModel):
    """A picture with one caption or several; further fields may be there."""

    image: str
    caption: str | list[str]
    label_name: str | int | None = None


PAIRS = TypeAdapter(list[Pair])


def read_lists(path: Path, name: str | None = None) -> ImageTextSet:
    """The set of ``X_train.json``, ``X_val.json`` and ``X_test.json``, from the folder or a file.

    Each holds ``[{"image": "train/a.jpg", "caption": "a text" or ["a text", ...]}]``, perhaps with
    the class as ``label_name``. The pictures lie beside them or in one sub-folder.

    Raises:
        StudyError: the folder holds several sets; a file is damaged or of another structure; or as
            of ``set_of_files``.
    """
    files = list_files(path)
    folder = files[0].parent
    matches = [match for file in files if (match := LIST.fullmatch(file.name))]
    sets = sorted({match[1] or "" for match in matches})
    if len(sets) > 1:
        raise StudyError(
            f"{folder} holds several sets ({', '.join(sets)}); "
            f"give the path of a file of one, {files[0]}"
        )
    rows = [
        Row(
            pair.image,
            match[2],
            [pair.caption] if isinstance(pair.caption, str) else pair.caption,
            named(pair.label_name),
        )
        for match in matches
        for pair in parsed(folder / match[0], PAIRS, 'list of pairs, [{"image", "caption"}]')
    ]
    return set_of_files(folder, name or sets[0] or folder.resolve().name, joined(rows))


def list_files(path: Path) -> list[Path]:
    """The files of a folder, or beside a file, that are named like such a list and hold one."""
    folder = path if path.is_dir() else path.parent
    of_name = {file: LIST.fullmatch(file.name) for file in sorted(folder.glob("*.json"))}
    known = {file: match[1] for file, match in of_name.items() if match}
    if path.is_file():
        known = {file: name for file, name in known.items() if name == known.get(path, "/")}
    lists = {name for file, name in known.items() if _is_list(file)}
    return [file for file, name in known.items() if name in lists]


def _is_list(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(64).removeprefix(BOM_UTF8).lstrip()[:1] == b"["
