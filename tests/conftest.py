"""Small sets of real files, and the real sets where they are at hand."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from PIL import Image

# Before torch is imported: on Intel's processors its products depend, in the last bit, on where a
# buffer lies in memory, unless this is strict. Tests compare bits.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

from rsstudy.encoders.compat import import_torchvision  # noqa: E402

import_torchvision()  # before any test imports open_clip itself

from open_clip import factory  # noqa: E402

from rsstudy.data.parquet import read_parquet  # noqa: E402
from rsstudy.experiments import run  # noqa: E402
from rsstudy.experiments.cli import main  # noqa: E402
from rsstudy.training import loop  # noqa: E402


@dataclass(frozen=True)
class Row:
    """One image of a small set, with its encoded picture."""

    filename: str
    split: str
    captions: list[str]
    content: bytes
    scene: str | None = None


def encode(picture: np.ndarray, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def rows() -> list[Row]:
    """Ten images of two classes, 24 x 32 pixels: six for training, two each for val and test."""
    random = np.random.default_rng(0)
    made = []
    for number, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        scene = ("beach", "farmland")[number % 2]
        picture = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        captions = [f"a {scene} of kind {number} seen from side {side} ." for side in range(5)]
        made.append(Row(f"{scene}_{number}.png", split, captions, encode(picture), scene))
    return made


@pytest.fixture
def write_parquet(tmp_path):
    """``write_parquet(rows, folder="set")``: one shard a split; returns the folder."""

    def write(rows: list[Row], folder: str = "set") -> Path:
        (tmp_path / folder).mkdir(parents=True)
        for split in sorted({row.split for row in rows}):
            mine = [row for row in rows if row.split == split]
            pictures = [{"bytes": row.content, "path": row.filename} for row in mine]
            columns = {
                "filename": [row.filename for row in mine],
                "image": pa.array(
                    pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
                ),
                "captions": pa.array([row.captions for row in mine], pa.list_(pa.string())),
                "class": pa.array([row.scene for row in mine], pa.string()),
            }
            pq.write_table(pa.table(columns), tmp_path / folder / f"{split}-00000-of-00001.parquet")
        return tmp_path / folder

    return write


@pytest.fixture
def write_karpathy(tmp_path):
    """``write_karpathy(rows, folder="set", images="images")``; returns the folder."""

    def write(rows: list[Row], folder: str = "set", images: str = "images") -> Path:
        (tmp_path / folder / images).mkdir(parents=True)
        entries = []
        for row in rows:
            (tmp_path / folder / images / row.filename).write_bytes(row.content)
            sentences = [{"raw": text, "tokens": text.split()} for text in row.captions]
            entry = {"filename": row.filename, "split": row.split, "sentences": sentences}
            entries.append(entry)
        text = json.dumps({"images": entries, "dataset": "small"})
        (tmp_path / folder / "dataset_small.json").write_text(text)
        return tmp_path / folder

    return write


@pytest.fixture
def changed(rows):
    """``changed(number, field=value, ...)``: the rows with one of them changed."""

    def change(number: int, **fields) -> list[Row]:
        return [
            replace(row, **fields) if index == number else row for index, row in enumerate(rows)
        ]

    return change


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder for one test."""
    monkeypatch.setenv("RSSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def last_epoch_best(monkeypatch) -> None:
    """Validation prefers each epoch to the one before: a run keeps what it has trained.

    On ten pictures the encoder before the first step is often the best, or as good.
    """
    train = loop.train

    def rising(*given, validate, **named):
        scores = count()
        return train(*given, validate=lambda _: float(next(scores)), **named)

    monkeypatch.setattr(run, "train", rising)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Headless chromium without a network, one a file of tests."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def small(rows, write_parquet, own_cache):
    """The ten images, read, with a cache of their own."""
    return read_parquet(write_parquet(rows))


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """``call("list", "data")``: the exit status of the command, its output and its errors."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["rsstudy", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            main()
        output, error = capsys.readouterr()
        return SimpleNamespace(code=leaving.value.code, output=output, error=error)

    return command


@pytest.fixture
def train(call, rows, write_parquet, own_cache):
    """``train("--seed", 1)``: the command; a run of one epoch in the folder ``run``."""
    start = ["train", "--data", write_parquet(rows)]
    start += ["--encoder", "tiny@random", "--batch", "3", "--epochs", "1"]
    return lambda *more, out="run": call(*start, "--out", out, *more)


@pytest.fixture(scope="module")
def shallow_clips(tmp_path_factory):
    """open_clip's ViT-B models, one narrow block a tower: for what is of their names and forms."""
    folder = tmp_path_factory.mktemp("shallow")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16"):
            config = deepcopy(factory._MODEL_CONFIGS[name])
            for tower in ("vision_cfg", "text_cfg"):
                config[tower].update(layers=1, width=64)
            (folder / f"{name}.json").write_text(json.dumps(config))
        for kept in ("_MODEL_CONFIG_PATHS", "_MODEL_CONFIGS"):
            patched.setattr(factory, kept, copy(getattr(factory, kept)))
        factory.add_model_config(folder)  # a model that a test adds has all files read again
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds the real sets."""
    if not os.environ.get("RSSTUDY_DATA"):
        pytest.skip("RSSTUDY_DATA names no folder with the real sets")
    return Path(os.environ["RSSTUDY_DATA"])
