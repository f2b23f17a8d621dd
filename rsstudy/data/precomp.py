"""Read a set in the layout of VSE++, AMFMN, GaLR and PE-RSITR: X_precomp/train_caps.txt."""

from __future__ import annotations

from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import SPLITS, Row, joined, set_of_files
from rsstudy.errors import StudyError

ENDS = ("_caps.txt", "_filename.txt")


def read_precomp(folder: Path, name: str | None = None) -> ImageTextSet:
    """The set of ``{train,val,test}_caps.txt`` and ``{train,val,test}_filename.txt``.

    They lie in the folder or in its only sub-folder ``X_precomp``, the pictures beside them or in
    one sub-folder of either. A line of captions belongs to the line of names with its number; or,
    where there are fewer names, every name has as many captions.

    Raises:
        StudyError: one of two files is absent or no text; the numbers of lines do not fit; or as
            of ``set_of_files``.
    """
    places = {file.parent: None for file in text_files(folder)}
    if len(places) > 1:
        names = ", ".join(place.name for place in places)
        raise StudyError(f"{folder} holds several sets ({names}); give the folder of one of them")
    (place,) = places
    splits = [of for of in SPLITS if any((place / (of + end)).exists() for end in ENDS)]
    rows = joined(row for split in splits for row in _rows(split, place))
    return set_of_files(place, name or place.resolve().name.removesuffix("_precomp"), rows, folder)


def text_files(folder: Path) -> list[Path]:
    """The texts of each split: of the folder, else of its sub-folders ``X_precomp``."""
    places = [folder, *sorted(folder.glob("*_precomp"))]
    found = [[place / (split + end) for split in SPLITS for end in ENDS] for place in places]
    there = [[file for file in files if file.is_file()] for files in found]
    return there[0] or [file for files in there for file in files]


def _rows(split: str, place: Path) -> list[Row]:
    texts, filenames = (_lines(place / (split + end)) for end in ENDS)
    each = len(texts) // max(len(filenames), 1)
    if each * len(filenames) != len(texts) or (filenames and not each):
        raise StudyError(
            f"{place}: {split}{ENDS[1]} has {len(filenames)} lines and {split}{ENDS[0]} "
            f"{len(texts)}; give each name one caption, or all as many"
        )
    owners = [filename for filename in filenames for _ in range(each)]
    return [Row(owner, split, [text]) for owner, text in zip(owners, texts, strict=True)]


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as problem:
        raise StudyError(f"{file} cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError as problem:
        raise StudyError(f"{file} is no UTF-8 text ({problem.reason}); save it so") from problem
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
