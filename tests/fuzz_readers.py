"""Damaged and made-up files for every reader: each reads them, or raises the declared error.

    python tests/fuzz_readers.py --examples 1500 --out results/robustness

A made-up file is a good one with bytes changed, cut or put in, or, of JSON, with any part replaced
by any other JSON. Whatever a reader accepts is used as the package would use it.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from conftest import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsstudy.adapters import load_adapter
from rsstudy.data.audit import audit
from rsstudy.data.decoding import decode_bytes
from rsstudy.data.karpathy import read_karpathy
from rsstudy.data.parquet import read_parquet
from rsstudy.data.sources import load
from rsstudy.encoders import create
from rsstudy.encoders.delta import DOWN, UP, apply_delta
from rsstudy.errors import StudyError
from rsstudy.experiments.environment import environment
from rsstudy.experiments.protocol import choose, read_choice
from rsstudy.experiments.record import (
    choices_in,
    compared,
    read_record,
    read_records,
    readable,
    records_in,
)
from rsstudy.experiments.run import Run, execute
from rsstudy.files import whole_file
from rsstudy.methods import attach, create_method, load_trained, trained
from rsstudy.tensors import kept, read_tensors, save_tensors
from rsstudy.training.checkpoint import State
from rsstudy.training.loop import make_optimizer
from rsstudy.training.recipe import Recipe

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../x.png", "/etc/passwd", "a\0b", "..\\x", "train", "finished", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Good bytes with some changed, cut off, taken out or put in."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        # most of what a reader looks at stands at the ends
        span = st.one_of(
            st.integers(0, max(len(found) - 1, 0)),
            st.integers(0, 40),
            st.integers(max(len(found) - 60, 0), max(len(found) - 1, 0)),
        )
        at, what = draw(span), draw(st.sampled_from(["change", "cut", "take out", "put in"]))
        if what == "change" and at < len(found):
            found[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del found[at:]
        elif what == "take out":
            del found[at : at + draw(st.integers(1, 9))]
        else:
            found[at:at] = draw(st.binary(max_size=12))
    return bytes(found)


@st.composite
def made_up(draw, document: object) -> bytes:
    """A good JSON document with any part replaced, taken out or doubled; or damaged bytes of it."""
    if draw(st.integers(0, 4)) == 0:
        return draw(damaged(json.dumps(document).encode()))
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place, parent, key = changed, None, None
        while isinstance(place, (dict, list)) and place and draw(st.integers(0, 3)):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            parent, key = place, draw(st.sampled_from(keys))
            place = parent[key]
        if parent is None:
            changed = draw(JSON)
            break
        if draw(st.booleans()):
            parent[key] = draw(JSON)
        elif isinstance(parent, dict):
            del parent[key]
        else:
            parent.append(copy.deepcopy(place))
    return json.dumps(changed).encode()


Targets = dict[str, tuple[st.SearchStrategy, Callable[[bytes], object]]]


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def set_targets(folder: Path) -> Targets:
    """A set in both layouts and its pictures: the files each reader gets, and its use on one."""
    random = np.random.default_rng(0)
    pictures = [
        encode(random.integers(0, 256, (9, 11, 3), dtype=np.uint8), kind)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
    ]
    splits = ["train", "train", "val", "test"]
    for split in ("train", "val", "test"):
        count = splits.count(split)
        columns = {
            "filename": [f"{split}_{n}.png" for n in range(count)],
            "image": [{"bytes": pictures[0], "path": None}] * count,
            "captions": [["a b .", "c ."]] * count,
        }
        file = put(folder / "set" / f"{split}-00000-of-00001.parquet", b"")
        pq.write_table(pa.table(columns), file, compression="none")
    shard = folder / "set" / "train-00000-of-00001.parquet"
    good_shard = shard.read_bytes()
    images = []
    for number, split in enumerate(splits):
        name, sentences = f"beach_{number}.png", [{"raw": "a b ."}]
        put(folder / "karpathy" / "images" / name, pictures[0])
        entry = {"filename": name, "split": split, "imgid": number, "sentences": sentences}
        images.append(entry)
    document = {"images": images, "dataset": "made"}

    def parquet(content: bytes) -> None:
        shard.write_bytes(content)
        audit(read_parquet(folder / "set"))

    def karpathy(content: bytes) -> None:
        whole = read_karpathy(put(folder / "karpathy" / "dataset.json", content))
        for path in whole.images.paths:
            real = (whole.images.folder / path).resolve()
            assert real.is_relative_to((folder / "karpathy").resolve()), path
        audit(whole)

    pairs = [
        {"image": f"train/beach_{n}.png", "caption": ["a b ."], "label_name": "beach"}
        for n in range(2)
    ]
    for number in range(2):
        for place in ("lists/train", "precomp/train", "imagefolder/train"):
            put(folder / place / f"beach_{number}.png", pictures[0])
    put(folder / "precomp" / "train_caps.txt", b"a b .\nc .\n")
    names = b"beach_0.png\nbeach_1.png\n"
    table = b'{"file_name": "beach_0.png", "text": ["a b ."]}\n{"file_name": "beach_1.png"}\n'
    table = table.replace(b'1.png"', b'1.png", "text": "c ."')
    rows = b"file_name,text,split\nbeach_0.png,a b .,train\nbeach_1.png,c .,test\n"
    with tarfile.open(fileobj=(tar := io.BytesIO()), mode="w") as shard_of:
        for name, content in (
            ("a.png", pictures[0]),
            ("a.txt", b"a b .\nc ."),
            ("a.cls", b"beach"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard_of.addfile(member, io.BytesIO(content))

    def reads(place: str) -> Callable[[bytes], None]:
        def read(content: bytes) -> None:
            whole = load(put(folder / place, content).parent)
            for path in getattr(whole.images, "paths", ()):
                real = (whole.images.folder / path).resolve()
                assert real.is_relative_to((folder / place).parent.resolve()), path
            audit(whole)

        return read

    def picture(content: bytes) -> None:
        decode_bytes(content, "picture")

    kept(folder / "cache.safetensors", "decoding", lambda: {"images": torch.zeros(2, 3, 4, 4)})

    def cache(content: bytes) -> None:
        kept(put(folder / "damaged" / "cache", content), "decoding", lambda: {})

    return {
        "Parquet shards": (damaged(good_shard), parquet),
        "Karpathy JSON": (made_up(document), karpathy),
        "JSON lists": (made_up(pairs), reads("lists/small_train.json")),
        "precomp names": (damaged(names), reads("precomp/train_filename.txt")),
        "imagefolder JSON lines": (damaged(table), reads("imagefolder/train/metadata.jsonl")),
        "imagefolder CSV": (damaged(rows), reads("imagefolder/train/metadata.csv")),
        "WebDataset shards": (damaged(tar.getvalue()), reads("tar/train-0.tar")),
        "picture caches": (damaged((folder / "cache.safetensors").read_bytes()), cache),
        "pictures": (st.sampled_from(pictures).flatmap(damaged), picture),
    }


def run_targets(folder: Path) -> Targets:
    """A run with its adapter, checkpoint, record and choice, and a delta; likewise."""
    recipe = Recipe(epochs=1, batch=2, precision="fp32")
    run = Run("scenes?images=30&size=32", "tiny@random", "bitfit", recipe=recipe)
    record, made = execute(run, folder / "run", progress=False, device="cpu")
    config = json.loads((made / "adapter.json").read_text())
    adapter = (made / "adapter.safetensors").read_bytes()
    encoder = create("tiny@random")
    attach(encoder, create_method("bitfit"))
    parameters = trained(encoder)
    optimizer = make_optimizer(parameters, recipe)
    State(parameters, optimizer, folder / "checkpoint.pt", "x").save()
    choose({0.001: [record]}, folder / "choice.json")
    choice = json.loads((folder / "choice.json").read_text())
    small = {k: v for k, v in record.items() if k != "test_queries"}
    small["environment"] = {}
    plain = create("tiny@random").model
    name, weight = next((n, p) for n, p in plain.named_parameters() if p.dim() == 2)
    low_rank = {name + UP: weight[:, :1], name + DOWN: weight[:1]}
    save_tensors(folder / "delta.safetensors", low_rank)

    def adapter_tensors(content: bytes) -> None:
        tensors = read_tensors(put(folder / "other" / "adapter.safetensors", content))
        load_trained(encoder, tensors, "adapter")

    def adapter_config(content: bytes) -> None:
        put(folder / "other" / "adapter.safetensors", adapter)
        put(folder / "other" / "adapter.json", content)
        load_adapter(folder / "other", device="cpu")

    def one_record(content: bytes) -> None:
        read_record(put(folder / "records" / "one" / "record.json", content))
        read_records(folder / "records")

    def one_choice(content: bytes) -> None:
        put(folder / "choices" / "one" / "record.json", json.dumps(small).encode())
        read_choice(put(folder / "choices" / "choices" / "one.json", content))
        found = choices_in(folder / "choices" / "choices")
        compared(records_in(folder / "choices"), found)
        read_records(folder / "choices")

    def delta(content: bytes) -> None:
        apply_delta(plain, read_tensors(put(folder / "delta", content)), "delta")

    def checkpoint(content: bytes) -> None:
        State(parameters, optimizer, put(folder / "checkpoint", content), "x").stored()

    return {
        "adapters": (damaged(adapter), adapter_tensors),
        "adapters' configurations": (made_up(config), adapter_config),
        "records": (made_up(small), one_record),
        "choices": (made_up(choice), one_choice),
        "deltas": (damaged((folder / "delta.safetensors").read_bytes()), delta),
        "checkpoints": (damaged((folder / "checkpoint.pt").read_bytes()), checkpoint),
    }


OF_SETS = (
    "Parquet shards",
    "Karpathy JSON",
    "JSON lists",
    "precomp names",
    "imagefolder JSON lines",
    "imagefolder CSV",
    "WebDataset shards",
    "picture caches",
    "pictures",
)
OF_RUNS = ("adapters", "adapters' configurations", "records", "choices", "deltas", "checkpoints")
NAMES = OF_SETS + OF_RUNS


def fuzz(name: str, folder: Path, examples: int) -> Counter[str]:
    """Give a reader so many files; how many it read, and how many it refused.

    Raises:
        anything but StudyError that the reader raised.
    """
    folder.mkdir(exist_ok=True)
    files, use = (set_targets if name in OF_SETS else run_targets)(folder)[name]
    tally: Counter[str] = Counter()

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(files)
    def test(content: bytes) -> None:
        try:
            use(content)
        except StudyError as problem:
            assert "\n" not in str(problem), problem
            tally["refused"] += 1
        else:
            tally["read"] += 1

    test()
    return tally


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--examples", type=int, default=1500, help="for each reader")
    options.add_argument("--only", action="append", choices=NAMES)
    options.add_argument("--out", type=Path, help="folder for the tally, fuzz.json")
    chosen = options.parse_args()
    rows = []
    for name in chosen.only or NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            began = time.monotonic()
            tally = fuzz(name, Path(scratch), chosen.examples)
            row = {"reader": name, "examples": tally.total(), **tally}
            row["seconds"] = round(time.monotonic() - began, 1)
            print(row, flush=True)
            rows.append(row)
    facts = {"examples": sum(row["examples"] for row in rows), "rows": rows}
    facts["environment"] = environment(torch.device("cpu"))
    if chosen.out is not None:
        with whole_file(chosen.out / "fuzz.json") as temporary:
            temporary.write_text(readable(facts), encoding="utf-8")
