"""Files from elsewhere are read or refused; they run nothing, fill nothing and lead nowhere."""

import ast
import json
import pickle
import struct
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from fuzz_readers import NAMES, fuzz

import rsstudy
from rsstudy.data.decoding import decode_bytes
from rsstudy.data.imagetext import BrokenImage
from rsstudy.data.karpathy import read_karpathy
from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.experiments.record import read_record
from rsstudy.experiments.run import Run, execute
from rsstudy.training.recipe import Recipe

PACKAGE = Path(rsstudy.__file__).parent


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path, own_cache):
    """A few examples here; results/robustness/fuzz.json has the count of many."""
    tally = fuzz(name, tmp_path / "files", examples=25)
    assert tally.total() >= 25


class Evil:
    """Whoever unpickles it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_in_the_place_of_weights_is_not_run(tmp_path, own_cache):
    for number, save in enumerate((torch.save, lambda x, f: f.write_bytes(pickle.dumps(x)))):
        file = tmp_path / f"weights{number}.pt"
        save({"visual.proj": Evil(tmp_path / "made")}, file)
        with pytest.raises(StudyError, match="cannot be read safely|can be read safely"):
            create(f"ViT-B-32@{file}", 224)
    assert not (tmp_path / "made").exists()


def test_a_pickle_in_the_place_of_a_checkpoint_is_not_run(rows, write_parquet, own_cache, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save({"identity": Evil(tmp_path / "made")}, folder / "checkpoint.pt")
    run = Run(str(write_parquet(rows)), "tiny@random", recipe=Recipe(epochs=1, batch=3))
    with pytest.raises(StudyError, match="is damaged"):
        execute(run, folder, progress=False)
    assert not (tmp_path / "made").exists()


@cache
def calls() -> list[tuple[str, str]]:
    """Every call in the package: the name that is called, and the call's text."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found.append((name, ast.unparse(node)))
    return found


def test_nothing_in_the_package_unpickles_or_unpacks():
    """What torch loads is weights only; no archive is unpacked, so there is none to escape from."""
    loads = [c for n, c in calls() if c.startswith("torch.load(") or n == "load_checkpoint"]
    assert len(loads) >= 3 and all("weights_only=True" in call for call in loads), loads
    unsafe = {"extractall", "extract", "unpack_archive", "loads", "read_pickle", "eval", "exec"}
    found = [call for name, call in calls() if name in unsafe]
    assert not [c for c in found if not c.startswith("json.loads") and ".eval()" not in c]


def bomb(width, height):
    """A PNG of a few bytes that claims so many pixels."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("size", [(8193, 8192), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_claims_a_huge_size_is_refused_before_its_memory_is_taken(size):
    with pytest.raises(BrokenImage, match="too many|broken image") as problem:
        decode_bytes(bomb(*size), "bomb.png")
    assert "\n" not in str(problem.value)


OUTSIDE = ["../outside.png", "/etc/hostname", "a/../../outside.png", "..\\outside.png", "C:\\x.png"]
OUTSIDE += ["images/../../outside.png", ""]


@pytest.mark.parametrize("name", [*OUTSIDE, "a\0b.png"])
def test_a_filename_does_not_lead_out_of_the_set(tmp_path, name):
    (tmp_path / "outside.png").write_bytes(b"secret")
    (tmp_path / "set" / "images").mkdir(parents=True)
    entry = {"filename": name, "split": "train", "sentences": [{"raw": "x"}]}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"images": [entry]}))
    message = "leads out of the image folder" if name in OUTSIDE else "not in|null"
    with pytest.raises(StudyError, match=message) as problem:
        read_karpathy(tmp_path / "set")
    assert "\n" not in str(problem.value)


def test_a_filename_in_a_shard_is_a_name_and_never_a_path(rows, write_parquet, own_cache):
    odd = [replace(row, filename=f"../../{row.filename}") for row in rows]
    whole = read_parquet(write_parquet(odd))
    assert sorted(whole.filenames) == sorted(row.filename for row in rows)  # all in one folder
    for index in range(len(whole)):
        assert whole.images.decode(index).shape == (24, 32, 3)  # from the shard's own bytes


def test_json_that_is_nested_without_end_is_refused(tmp_path):
    for name in ("record.json", "dataset.json"):
        (tmp_path / name).write_text('{"images": ' + "[" * 100_000)
    with pytest.raises(StudyError, match="is not a record"):
        read_record(tmp_path / "record.json")
    with pytest.raises(StudyError, match="is no Karpathy JSON"):
        read_karpathy(tmp_path / "dataset.json")
