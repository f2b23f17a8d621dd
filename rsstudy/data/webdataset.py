"""Read a set from WebDataset shards: pictures and texts in tar files, read where they lie."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rsstudy.data.decoding import suffixes
from rsstudy.data.imagetext import BrokenImage, ImageTextSet
from rsstudy.data.reading import SPLITS, Row, Stored, assemble, caption_columns, named, texts_of
from rsstudy.errors import StudyError

MOST_TEXT = 2**20
"""A text of more bytes is no caption."""


@dataclass(frozen=True)
class Members(Stored):
    """Pictures inside shards: (shard, offset, bytes) of each."""

    filenames: Sequence[str]
    places: Sequence[tuple[Path, int, int]]

    def read(self, index: int) -> tuple[bytes, str]:
        shard, offset, size = self.places[index]
        try:
            with shard.open("rb") as file:
                file.seek(offset)
                return file.read(size), self.filenames[index]
        except OSError as problem:
            raise BrokenImage(f"{shard}: {problem.strerror}") from problem


def read_webdataset(
    path: Path, name: str | None = None, captions: str | None = None
) -> ImageTextSet:
    """The set of the shards in a folder, or of one shard; nothing is unpacked.

    A shard's name or its folder's tells the split: ``train-000000.tar``, ``test/0.tar``. A sample
    is a picture with ``.txt`` (a caption a line) or ``.json`` (captions, caption, text or
    sentences: a text or a list; perhaps class), and perhaps ``.cls``.

    Args:
        captions: the field of the captions in ``.json``, if it has another name.

    Raises:
        StudyError: a shard is damaged, compressed or of no split; a sample lacks a picture; or as
            of ``assemble``.
    """
    root = path if path.is_dir() else path.parent
    rows: list[Row] = []
    places: list[tuple[Path, int, int]] = []
    for shard in shards(path):
        split = _split_of(shard)
        if split is None:
            raise StudyError(
                f"{shard}: its name does not tell the split; "
                "name it like train-000000.tar (or test-, val-)"
            )
        for key, parts in _samples(shard).items():
            if "picture" not in parts:
                raise StudyError(f"{shard}: the sample {key} has no picture")
            filename, offset, size = parts["picture"]
            rows.append(Row(filename, split, *_told(parts, captions, shard / key)))
            places.append((shard, offset, size))
    images = Members([row.path for row in rows], places)
    return assemble(name or root.resolve().name, rows, images)


def shards(path: Path) -> list[Path]:
    """The tars of a folder, else of its sub-folders, if one tells a split; or the given one."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    every = sorted(path.glob("*.tar")) or sorted(path.glob("*/*.tar"))
    found = [file for file in every if not file.name.startswith(".")]
    return found if any(map(_split_of, found)) else []


def _split_of(shard: Path) -> str | None:
    words = [*re.split(r"[-_.]", shard.name), shard.resolve().parent.name]
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def _samples(shard: Path) -> dict[str, dict[str, Any]]:
    """The parts of each sample by its key: a picture's (name, offset, bytes), and texts."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.size < 0:
                    raise tarfile.ReadError("a member of negative size")
                if not member.isreg() or member.issparse() or path.name.startswith("."):
                    continue
                stem, _, kind = path.name.partition(".")
                kind = "picture" if f".{kind.lower()}" in suffixes() else kind
                parts = found.setdefault(str(path.with_name(stem)), {})
                if kind in parts:
                    raise StudyError(f"{shard}: the sample {path.with_name(stem)} has two {kind}s")
                if kind == "picture":
                    parts[kind] = member.name, member.offset_data, member.size
                elif kind in ("txt", "json", "cls") and member.size <= MOST_TEXT:
                    parts[kind] = tar.extractfile(member).read().decode("utf-8-sig")
    except (OSError, tarfile.TarError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())
        raise StudyError(f"{shard} cannot be read ({why}); write a plain tar file") from problem
    return found


def _told(parts: Mapping[str, str], wanted: str | None, sample: Path) -> tuple[list, str | None]:
    """The captions and the class of a sample; those of ``.txt`` come before those of ``.json``."""
    of: Any = {}
    try:
        of = json.loads(parts.get("json", "{}"))
        if not isinstance(of, dict):
            raise ValueError("no object {...}")
    except (ValueError, RecursionError) as problem:
        raise StudyError(f"{sample}.json is no JSON object ({problem})") from problem
    scene = parts.get("cls", named(of.get("class")) or "").strip() or None
    if "txt" in parts and wanted is None:
        return parts["txt"].splitlines(), scene
    return texts_of(of, caption_columns(of, wanted, sample)), scene
