"""Read a set in the layout of VSE++, AMFMN, GaLR and PE-RSITR: X_precomp/train_caps.txt."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import SPLITS, Row, joined, set_of_files
from rsstudy.errors import StudyError

CAPTIONS, FILENAMES = "_caps.txt", "_filename.txt"


def read_precomp(folder: Path, name: str | None = None) -> ImageTextSet:
    """The set of ``{train,val,test}_caps.txt`` and ``{train,val,test}_filename.txt``.

    They lie in the folder or in its only sub-folder ``X_precomp``, the pictures beside them or in
    one sub-folder. A line of captions belongs to the line of names with its number; or, where
    there are fewer names, every name has as many captions.

    Raises:
        StudyError: one of two files is absent or no text; the numbers of lines do not fit; or as
            of ``set_of_files``.
    """
    names = name_files(folder)
    if len({file.parent for file in names}) > 1:
        places = ", ".join(sorted({file.parent.name for file in names}))
        raise StudyError(f"{folder} holds several sets ({places}); give the folder of one of them")
    rows: list[Row] = []
    for file in names:
        split = file.name.removesuffix(FILENAMES)
        rows += _rows(split, file, file.with_name(split + CAPTIONS))
    place = names[0].parent
    return set_of_files(place, name or place.name.removesuffix("_precomp"), joined(rows))


def name_files(folder: Path) -> list[Path]:
    """The files of names of each split: of the folder, else of its sub-folders ``X_precomp``."""
    places = [folder, *sorted(folder.glob("*_precomp"))]
    found = [[place / (split + FILENAMES) for split in SPLITS] for place in places]
    there = [[file for file in files if file.is_file()] for files in found]
    return there[0] or [file for files in there for file in files]


def _rows(split: str, names: Path, captions: Path) -> list[Row]:
    filenames, texts = _lines(names), _lines(captions)
    each = len(texts) // max(len(filenames), 1)
    if not each or each * len(filenames) != len(texts):
        raise StudyError(
            f"{names} has {len(filenames)} lines and {captions.name} {len(texts)}; "
            "give each name one caption, or all as many"
        )
    owners = [filename for filename in filenames for _ in range(each)]
    pairs = groupby(zip(owners, texts, strict=True), key=lambda pair: pair[0])
    return [Row(owner, split, [text for _, text in own]) for owner, own in pairs]


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as problem:
        raise StudyError(f"{file} cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError as problem:
        raise StudyError(
            f"{file} is no UTF-8 text ({problem.reason}); save it as such"
        ) from problem
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
