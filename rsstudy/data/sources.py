"""From a name or a path to an ``ImageTextSet``: the public sets, a user's own, generated scenes."""

from __future__ import annotations

import os
from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.parquet import read_parquet
from rsstudy.files import cache_folder


def load(name_or_path: str, data_root: Path | None = None) -> ImageTextSet:
    """The set of a known name or in a folder."""
    root = Path(data_root or os.environ.get("RSSTUDY_DATA") or cache_folder() / "data")
    folder = Path(name_or_path)
    return read_parquet(folder if folder.is_dir() else root / name_or_path)
