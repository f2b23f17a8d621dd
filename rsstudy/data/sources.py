"""From a name or a path to an ``ImageTextSet``: the public sets, a user's own, generated scenes."""

from __future__ import annotations

import inspect
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_type_hints
from urllib.parse import parse_qsl

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.karpathy import JSON, captions_files, read_karpathy
from rsstudy.data.parquet import parquet_files, read_parquet
from rsstudy.errors import StudyError, unknown
from rsstudy.files import cache_folder


@dataclass(frozen=True)
class SetInfo:
    """A set known by name: its size, where it is looked for, whether it is there, its source."""

    name: str
    images: int
    captions: int
    where: str
    present: bool
    how_to_get: str


# name: images, captions, source
PUBLIC = {
    "rsicd": (
        10_921,
        54_605,
        "RSICD (Lu et al., TGRS 2018): github.com/201528014227051/RSICD_optimal, or in Parquet "
        "the hub data set arampacha/rsicd",
    ),
    "rsitmd": (4_743, 23_715, "RSITMD (Yuan et al., TGRS 2022): github.com/xiaoyuan1996/AMFMN"),
    "ucm": (
        2_100,
        10_500,
        "UCM-Captions (Qu et al., CITS 2016): among the data sets linked from "
        "github.com/201528014227051/RSICD_optimal",
    ),
    "flickr8k": (
        8_091,
        40_455,
        "Flickr8k (Hodosh et al., JAIR 2013): pictures from its authors at the University of "
        "Illinois, splits and captions from cs.stanford.edu/people/karpathy/deepimagesent",
    ),
}
# Manifest digests of the complete sets that the study's records were made with.
MANIFESTS = {
    "rsicd": "52aea80a7f364e8c1c72d0445fd66d5ac5790bd3dcef997b1e5ae588f48cf73a",
    "ucm": "ee502b244d1afecbf602bb172a761ae637346343e38861b8bc621cbcb141f9d1",
    "flickr8k": "4db5ba2f62f0ca060f04a43b74796e350b5887c6b9bbd8f2063287f58768277d",
}
# Digests of their ten folds, by name, assignment and grouping (``folds.assignment_digest``).
ASSIGNMENTS = {
    ("rsicd", "first", False): "3cedfeb3301f69c58f7a8d105faffe71dd5e69ea0ca7b2b9023726073c766aa4",
    ("rsicd", "second", False): "4cf06977a94d73da24a867626304149a5ba19562cc7986a9d7809d1ef1fb96a7",
    ("rsicd", "first", True): "677a6eec28a031d607c7203d3db32b54fb301379c9bfd5f8e5dd492d8b8917fc",
    ("rsicd", "second", True): "77f77ada6a26c97a755902e205de32ea26d99fc7c3247a8ccabf1d5ea398427f",
    ("ucm", "first", False): "fc9f34f57459c403022bfe3c6dfa8bbfad5fd1627ebdbee2244ad4fd4687f111",
    ("ucm", "second", False): "5e07dc9e08ae4f1b93e79f4880dbab0d6ec168fc1ab4e971c25ef944c19f0123",
}
GENERATED = {"scenes": "aerial", "scenes-ground": "ground"}


def load(name_or_path: str, data_root: Path | None = None) -> ImageTextSet:
    """The set of a known name, or the one in a folder or JSON file of the user's own.

    Public sets are looked for as ``ROOT/name/*.parquet`` (or ``ROOT/name/data/*.parquet``), then
    ``ROOT/name/dataset*.json`` with its pictures; ROOT is ``data_root``, else the environment
    variable RSSTUDY_DATA, else ``data`` in the cache folder. Generated scenes take settings in
    their name: ``scenes?images=400&seed=1``. A known name comes before a folder called the same;
    write ``./rsicd`` for the folder.

    Raises:
        StudyError: unknown name, set or folder absent, settings or files not understood.
    """
    name, _, settings = name_or_path.partition("?")
    if name in GENERATED:
        return _generate(name, settings)
    if name_or_path in PUBLIC:
        folder = _folder(name_or_path, data_root)
        if not folder.is_dir():
            raise StudyError(f"{folder} is absent; {_how_to_get(name_or_path, folder)}")
        return _read(folder, name_or_path, f"; {_how_to_get(name_or_path, folder)}")
    try:
        path = Path(name_or_path).expanduser()
        found = path.exists()
    except (OSError, RuntimeError) as problem:  # a name too long, no such user, no permission
        raise StudyError(f"cannot look at {name_or_path[:80]}: {problem}") from None
    if found:
        return _read(
            path,
            None,
            f": neither Parquet shards nor a {JSON} with its pictures, "
            '{"images": [{"filename": "a.jpg", "split": "train", '
            '"sentences": [{"raw": "a caption ."}]}]}',
        )
    if len(path.parts) > 1 or path.suffix or "/" in name_or_path:
        raise StudyError(f"{path} does not exist; give a folder, a {JSON} or a known name")
    raise unknown("data set", name_or_path, [*PUBLIC, *GENERATED])


def known_sets(data_root: Path | None = None) -> list[SetInfo]:
    """Every set known by name; ``present`` tells whether its files are there."""
    public = []
    for name, (images, captions, source) in PUBLIC.items():
        folder = _folder(name, data_root)
        present = bool(parquet_files(folder) or captions_files(folder))
        public.append(SetInfo(name, images, captions, str(folder), present, source))
    return public + [
        SetInfo(name, 800, 4_000, "generated", True, f"{name}?images=800&seed=0 sets the dials")
        for name in GENERATED
    ]


def usable(set: ImageTextSet) -> tuple[ImageTextSet, int]:
    """The set without the blank captions of its train split, and how many those were.

    Train images left without a caption go too.

    Raises:
        StudyError: an image of another split has a blank caption, or none: scores would change
            with what is left out.
    """
    keep, captions, dropped = [], [], 0
    for index, (filename, split) in enumerate(zip(set.filenames, set.splits, strict=True)):
        texts = tuple(text for text in set.captions[index] if text.strip())
        blank = len(set.captions[index]) - len(texts)
        if split != "train" and (blank or not texts):
            raise StudyError(
                f"{set.name}: {filename} ({split}) has {f'{blank} empty' if blank else 'no'} "
                "caption(s); write them or take the image out"
            )
        dropped += blank
        if texts:
            keep.append(index)
            captions.append(texts)
    if not dropped and len(keep) == len(set):
        return set, 0
    return replace(set.take(keep), captions=tuple(captions)), dropped


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

    The draw depends on the filenames and the seed alone; a larger share holds a smaller one.
    """
    if fraction == 1:
        return set
    by_name = sorted(range(len(set)), key=lambda i: set.filenames[i])
    drawn = np.random.default_rng(seed).permutation(len(set))[: math.ceil(fraction * len(set))]
    return set.take(sorted(by_name[i] for i in drawn))


def _folder(name: str, data_root: Path | None) -> Path:
    root = data_root or os.environ.get("RSSTUDY_DATA") or cache_folder() / "data"
    return Path(root) / name


def _how_to_get(name: str, folder: Path) -> str:
    return (
        f"put *.parquet, or {JSON} and the pictures, into {folder} (the root is set by "
        f"--data-root or RSSTUDY_DATA). Source: {PUBLIC[name][2]}"
    )


def _read(path: Path, name: str | None, otherwise: str) -> ImageTextSet:
    if parquet_files(path):
        return read_parquet(path, name)
    if path.is_file() or captions_files(path):
        return read_karpathy(path, name)
    raise StudyError(f"{path} holds no image-text set{otherwise}")


def _generate(name: str, settings: str) -> ImageTextSet:
    from rsstudy.scenes import scenes  # takes its time to import

    hints = get_type_hints(scenes)
    known = [key for key in inspect.signature(scenes).parameters if key != "domain"]
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
    return replace(scenes(**values, domain=GENERATED[name]), name=asked)
