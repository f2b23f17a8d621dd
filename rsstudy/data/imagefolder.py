"""Read a set from a Hugging Face imagefolder: pictures beside metadata.jsonl or metadata.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import SPLITS, Row, caption_columns, joined, named, set_of_files, texts_of
from rsstudy.errors import StudyError

METADATA = ("metadata.jsonl", "metadata.csv")


def read_imagefolder(
    path: Path, name: str | None = None, captions: str | None = None
) -> ImageTextSet:
    """The set of the metadata in a folder or in its sub-folders, or of one table's path.

    A row has the columns file_name (a path below the table's folder), captions (also called
    caption, text or sentences: a text, in .jsonl also a list), and perhaps split and class (or
    label). Without a column split, the first folder that is called like a split tells it; else it
    is train. Rows of one picture are joined.

    Args:
        captions: the column of the captions, if it has another name.

    Raises:
        StudyError: a table is damaged or lacks a column; or as of ``set_of_files``.
    """
    root = path if path.is_dir() else path.parent
    rows = joined(row for table in tables(path) for row in _rows(root, table, captions))
    return set_of_files(root, name or root.resolve().name, rows)


def tables(path: Path) -> list[Path]:
    """The metadata of a folder and its sub-folders down to the second, if it names pictures.

    Raises:
        StudyError: two tables may name the same pictures.
    """
    if path.is_file():
        return [path] if path.suffix in (".jsonl", ".csv") else []
    places = [path, *path.glob("*/"), *path.glob("*/*/")]
    every = (place / name for place in places for name in METADATA)
    found = sorted(file for file in every if file.is_file())
    if not any(map(_names_pictures, found)):
        return []
    for first, second in combinations(found, 2):
        if second.parent.is_relative_to(first.parent) or first.parent.is_relative_to(second.parent):
            raise StudyError(f"{first} and {second} may name the same pictures; leave one of them")
    return found


def _names_pictures(table: Path) -> bool:
    with table.open("rb") as file:
        first = file.readline()
    return b"file_name" in first or b"filename" in first


def _rows(root: Path, table: Path, wanted: str | None) -> Iterator[Row]:
    place = table.parent.relative_to(root)
    for number, of in enumerate(_records(table)):
        filename = of.get("file_name", of.get("filename"))
        if not isinstance(filename, str):
            raise StudyError(f"{table}: row {number} lacks a text file_name; name its picture")
        texts = texts_of(of, caption_columns(of, wanted, table))
        path = place / filename
        folders = (*path.parts[:-1], root.resolve().name)
        of_folder = next((part for part in folders if part in SPLITS), "train")
        scene = named(of.get("class", of.get("label")))
        yield Row(path.as_posix(), str(of.get("split") or of_folder), texts, scene)


def _records(table: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            if table.suffix == ".csv":
                for row in csv.DictReader(file, strict=True):
                    if None in row or None in row.values():
                        raise StudyError(f"{table}: {[*row.values()]} does not fit the first line")
                    yield row
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _record(line, f"{table}: line {number}")
    except (OSError, ValueError, csv.Error) as problem:
        raise StudyError(f"{table} cannot be read ({problem}); write it again") from problem


def _record(line: str, place: str) -> Mapping[str, Any]:
    try:
        of = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise StudyError(f"{place} is no JSON ({problem}); mend it") from problem
    if not isinstance(of, dict):
        raise StudyError(f"{place} is no JSON object {{...}}; mend it")
    return of
