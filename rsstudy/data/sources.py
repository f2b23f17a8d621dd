"""From a name or a path to an ``ImageTextSet``: the public sets, a user's own, generated scenes."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rsstudy.data.folder import read_pictures
from rsstudy.data.imagefolder import read_imagefolder, tables
from rsstudy.data.imagetext import PICTURES, ImageTextSet
from rsstudy.data.karpathy import JSON, captions_files, read_karpathy
from rsstudy.data.lists import list_files, read_lists
from rsstudy.data.parquet import parquet_files, read_parquet
from rsstudy.data.precomp import read_precomp, text_files
from rsstudy.data.webdataset import read_webdataset, shards
from rsstudy.errors import StudyError, unknown
from rsstudy.files import cache_folder
from rsstudy.registry import SETS, located


@dataclass(frozen=True)
class SetInfo:
    """A set known by name: its size, where it is looked for, whether it is there, its source."""

    name: str
    images: int
    captions: int
    where: str
    present: bool
    how_to_get: str


register = SETS.register

Reader = Callable[..., ImageTextSet]
FORMS: tuple[tuple[str, Callable[[Path], object], Reader], ...] = (
    ("Parquet shards", parquet_files, read_parquet),
    ("WebDataset shards (.tar)", shards, read_webdataset),
    ("JSON lists (X_train.json)", list_files, read_lists),
    (f"a Karpathy JSON ({JSON})", captions_files, read_karpathy),
    ("X_precomp/train_caps.txt and train_filename.txt", text_files, read_precomp),
    ("an imagefolder (metadata.jsonl or .csv)", tables, read_imagefolder),
)
"""The forms of a set on disk: what it is called, what finds its files, and what reads them."""


def load(name_or_path: str | os.PathLike[str], data_root: Path | None = None) -> ImageTextSet:
    """The set of a known name, or the one in a folder or JSON file of the user's own.

    Public sets are looked for in ``ROOT/name``, in any of ``FORMS``; ROOT is ``data_root``, else
    the environment variable RSSTUDY_DATA, else ``data`` in the cache folder. Generated scenes take
    settings in their name: ``scenes?images=400&seed=1``. A path takes the column of its captions,
    where that has another name: ``FOLDER?captions=COLUMN``. A known name comes before a folder
    called the same; write ``./rsicd`` for the folder.

    Raises:
        StudyError: unknown name, set or folder absent, settings or files not understood.
    """
    if isinstance(name_or_path, os.PathLike):  # a path, even where a known set is called so
        name_or_path = str(Path(name_or_path).expanduser().absolute())
    name, _, settings = name_or_path.partition("?")
    if is_generated(name):
        return _generate(name, settings)
    if name_or_path in SETS:
        read, folder = SETS[name], _folder(name, data_root)
        if not _has_files(folder):
            files = about(name).get("files", f"*.parquet, or {JSON} and the pictures,")
            raise StudyError(
                f"{folder} is {'empty' if folder.is_dir() else 'absent'}; put {files} into "
                f"{folder} (the root is set by --data-root or RSSTUDY_DATA). "
                f"Source: {about(name)['source']}"
            )
        known: ImageTextSet = read(folder)
        return known
    path, captions = located(name_or_path)
    if path.exists():
        return read_folder(path, captions=captions)
    if len(path.parts) > 1 or path.suffix or "/" in name_or_path:
        raise StudyError(f"{path} does not exist; give a folder, a {JSON} or a known name")
    raise unknown("data set or folder", name_or_path, SETS)


def is_generated(name: str) -> bool:
    """Whether a name is that of a set which is drawn, not read from files."""
    return "settings" in about(name)


def about(name: str) -> dict[str, Any]:
    """What is known of a set by its name: images, captions, source, manifest and folds' digests.

    Nothing where the name is not known.
    """
    return SETS.about[name] if name in SETS and SETS[name] else {}


def known_sets(data_root: Path | None = None) -> list[SetInfo]:
    """Every set known by name; ``present`` says whether its files are there."""
    SETS.load()
    rows = []
    for name, known in SETS.about.items():
        where, present, source = "generated", True, f"{name}?images=800&seed=0 sets the dials"
        if not is_generated(name):
            folder = _folder(name, data_root)
            where, present, source = str(folder), _has_files(folder), known["source"]
        rows.append(SetInfo(name, known["images"], known["captions"], where, present, source))
    return sorted(rows, key=lambda row: row.where == "generated")


def usable(set: ImageTextSet) -> tuple[ImageTextSet, int]:
    """The set without the blank captions of its train split, and how many those were.

    Train images left without a caption go too.

    Raises:
        StudyError: an image of another split has a blank caption, or none: scores would change
            with what is left out; or the set is a plain folder of pictures.
    """
    if PICTURES in set.splits:
        raise StudyError(
            f"{set.name} is a folder of pictures without captions, so it has no train, val or test "
            "split: `rsstudy search` can use it"
        )
    written = [tuple(text for text in own if text.strip()) for own in set.captions]
    blank = [len(own) - len(texts) for own, texts in zip(set.captions, written, strict=True)]
    for index, split in enumerate(set.splits):
        if split != "train" and (blank[index] or not written[index]):
            raise StudyError(
                f"{set.name}: {set.filenames[index]} ({split}) has "
                f"{f'{blank[index]} empty' if blank[index] else 'no'} caption(s); "
                "write them or take the image out"
            )
    if all(written) and not any(blank):
        return set, 0
    kept = [index for index, texts in enumerate(written) if texts]
    return replace(set, captions=tuple(written)).take(kept), sum(blank)


def hold_out_validation(set: ImageTextSet, fraction: float = 0.2, seed: int = 0) -> ImageTextSet:
    """The set with a validation split drawn anew from train and val together, as the paper does.

    The draw depends on the filenames and the seed, not on the order of the images.

    Raises:
        StudyError: ``fraction`` of the images leaves one of the two splits empty.
    """
    pool = [i for i, split in enumerate(set.splits) if split in ("train", "val")]
    pool.sort(key=lambda i: set.filenames[i])
    count = round(fraction * len(pool))
    if not 0 < count < len(pool):
        raise StudyError(
            f"{set.name}: {count} of {len(pool)} images to hold out for validation; "
            "both splits need some, so choose a fraction between 0 and 1"
        )
    splits = list(set.splits)
    for place, drawn in enumerate(np.random.default_rng(seed).permutation(len(pool))):
        splits[pool[drawn]] = "val" if place < count else "train"
    return replace(set, splits=tuple(splits))


def some_of(set: ImageTextSet, fraction: float, seed: int = 0) -> ImageTextSet:
    """A share of a set's images, rounded up, in the set's order.

    The draw depends on the filenames and the seed alone. A larger share contains a smaller one.
    """
    if fraction == 1:
        return set
    by_name = sorted(range(len(set)), key=lambda i: set.filenames[i])
    drawn = np.random.default_rng(seed).permutation(len(set))[: math.ceil(fraction * len(set))]
    return set.take(sorted(by_name[i] for i in drawn))


def _folder(name: str, data_root: Path | None) -> Path:
    root = data_root or os.environ.get("RSSTUDY_DATA") or cache_folder() / "data"
    return Path(root) / name


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def read_folder(path: Path, name: str | None = None, captions: str | None = None) -> ImageTextSet:
    """The set in a folder or file, in whichever of ``FORMS`` it is, or a folder of pictures.

    Args:
        captions: the column or field of the captions, in a form that has such.

    Raises:
        StudyError: it is in none, or damaged, or has no columns.
    """
    for form, finds, read in FORMS:
        if finds(path):
            if captions is None:
                return read(path, name)
            if "captions" not in inspect.signature(read).parameters:
                raise StudyError(f"{path} is {form}, without columns: leave ?captions= out")
            return read(path, name, captions)
    if path.is_dir() and name is None and (pictures := read_pictures(path)):
        return pictures  # a known set has captions
    forms = ", ".join(form for form, _, _ in FORMS)
    where = ": give a folder" if path.is_file() else ""
    raise StudyError(f"{path} holds no image-text set{where}; the forms read are {forms}")


def _generate(name: str, settings: str) -> ImageTextSet:
    draw, of = SETS[name], about(name)["settings"]
    hints = get_type_hints(of)
    known = [key for key in inspect.signature(of).parameters if key != "domain"]
    values = {}
    for key, text in parse_qsl(settings, keep_blank_values=True):
        if key not in known:
            raise unknown(f"setting of {name}", key, known)
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(text)
        except ValidationError as problem:
            raise StudyError(
                f"{name}: the setting {key}={text} is not understood "
                f"({problem.errors()[0]['msg']}); write for example {name}?images=400&seed=1"
            ) from problem
    asked = f"{name}?{settings}" if settings else name  # by which it can be made again
    return replace(draw(**values), name=asked)
