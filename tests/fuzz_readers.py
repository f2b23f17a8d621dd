"""Damaged and made-up files for every reader: each reads them, or raises the declared error.

    python tests/fuzz_readers.py --examples 1500 --out results/robustness

A made-up file is a good one with bytes changed, cut or put in, or, of JSON, with any part replaced
by any other JSON. Whatever a reader accepts is used as the package would use it.
"""

from __future__ import annotations

import argparse
import copy
import json
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
from rsstudy.data.karpathy import read_karpathy
from rsstudy.data.parquet import read_parquet
from rsstudy.data.pixels import _read_cache
from rsstudy.data.reading import decode_bytes
from rsstudy.encoders import create
from rsstudy.encoders.delta import apply_delta
from rsstudy.errors import StudyError
from rsstudy.experiments.environment import environment
from rsstudy.experiments.protocol import read_choice
from rsstudy.experiments.record import read_choices, read_record, read_records, readable
from rsstudy.experiments.run import Run, execute
from rsstudy.files import whole_file
from rsstudy.methods import attach, create_method, load_trained, trained
from rsstudy.tensors import read_tensors, save_tensors
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


def targets(folder: Path) -> dict[str, tuple[st.SearchStrategy, Callable[[bytes], object]]]:
    """For each reader the files it gets, and how it is used on one."""
    random = np.random.default_rng(0)
    pictures = [
        encode(random.integers(0, 256, (9, 11, 3), dtype=np.uint8), kind)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
    ]
    splits = ["train", "train", "val", "test"]

    def put(name: str, content: bytes) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    # a set in both layouts
    shards = {}
    for split in ("train", "val", "test"):
        count = splits.count(split)
        table = pa.table(
            {
                "filename": [f"{split}_{n}.png" for n in range(count)],
                "image": pa.array(
                    [{"bytes": pictures[0], "path": None}] * count,
                    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
                ),
                "captions": pa.array([["a b .", "c ."]] * count, pa.list_(pa.string())),
            }
        )
        file = folder / "set" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file, compression="none")
        shards[split] = file.read_bytes()
    document = {
        "images": [
            {
                "filename": f"beach_{n}.png",
                "split": split,
                "imgid": n,
                "sentences": [{"raw": "a b ."}],
            }
            for n, split in enumerate(splits)
        ],
        "dataset": "made",
    }
    for entry in document["images"]:
        put(f"karpathy/images/{entry['filename']}", pictures[0])

    def parquet(content: bytes) -> None:
        put("set/train-00000-of-00001.parquet", content)
        audit(read_parquet(folder / "set"))

    def karpathy(content: bytes) -> None:
        whole = read_karpathy(put("karpathy/dataset.json", content))
        for path in whole.images.paths:
            real = (whole.images.folder / path).resolve()
            assert real.is_relative_to((folder / "karpathy").resolve()), path
        audit(whole)

    # a run, with its adapter, its record and a choice
    put("set/train-00000-of-00001.parquet", shards["train"])
    recipe = Recipe(epochs=1, batch=2, precision="fp32")
    run = Run(str(folder / "set"), "tiny@random", "bitfit", recipe=recipe)
    record, made = execute(run, folder / "run", progress=False, device="cpu")
    config = json.loads((made / "adapter.json").read_text())
    adapter = (made / "adapter.safetensors").read_bytes()
    encoder = create("tiny@random")
    attach(encoder, create_method("bitfit"))
    parameters = trained(encoder)
    optimizer = make_optimizer(parameters, recipe)
    state = {
        "identity": "x",
        "epoch": 0,
        "step": 1,
        "losses": 0.0,
        "epoch_seconds": 0.0,
        "images": 2,
        "history": [],
        "best_epoch": 0,
        "best_score": 0.0,
        "best": {},
        "trained": {n: p.detach() for n, p in parameters.items()},
        "optimizer": optimizer.state_dict(),
        "random": [torch.get_rng_state()],
        "device_random": [],
    }
    torch.save(state, folder / "checkpoint.pt")
    choice = {
        "candidates": [
            {
                "learning_rate": 0.001,
                "validation_mean_recall": 3.0,
                "runs": [
                    {
                        "id": record["id"],
                        "identity": "x",
                        "best_epoch": 1,
                        "validation_mean_recall": 3.0,
                    }
                ],
            }
        ],
        "chosen": 0.001,
        "rule": "r",
    }
    small = {k: v for k, v in record.items() if k != "test_queries"}
    small["environment"] = {}
    cached = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 32, dtype=torch.uint8)
    save_tensors(folder / "cache.safetensors", {"images": cached[0], "digests": cached[1]})
    plain = create("tiny@random").model
    name, weight = next((n, p) for n, p in plain.named_parameters() if p.dim() == 2)
    low = {
        f"{name}.low_rank_up": torch.zeros(weight.shape[0], 1),
        f"{name}.low_rank_down": torch.zeros(1, weight.shape[1]),
    }
    save_tensors(folder / "delta.safetensors", low)

    def adapter_tensors(content: bytes) -> None:
        tensors = read_tensors(put("other/adapter.safetensors", content))
        load_trained(encoder, tensors, "adapter")

    def adapter_config(content: bytes) -> None:
        put("other/adapter.safetensors", adapter)
        put("other/adapter.json", content)
        load_adapter(folder / "other", device="cpu")

    def one_record(content: bytes) -> None:
        read_record(put("records/one/record.json", content))
        read_records(folder / "records")

    def one_choice(content: bytes) -> None:
        put("choices/one/record.json", json.dumps(small).encode())
        read_choice(put("choices/choices/one.json", content))
        read_choices(folder / "choices")
        read_records(folder / "choices")

    def delta(content: bytes) -> None:
        apply_delta(plain, read_tensors(put("delta", content)), "delta")

    def checkpoint(content: bytes) -> None:
        State(parameters, optimizer, put("checkpoint", content), "x").stored()

    def cache(content: bytes) -> None:
        _read_cache(put("cache", content), (2, 3, 4, 4))

    def picture(content: bytes) -> None:
        decode_bytes(content, "picture")

    return {
        "Parquet shards": (damaged(shards["train"]), parquet),
        "Karpathy JSON": (made_up(document), karpathy),
        "adapters": (damaged(adapter), adapter_tensors),
        "adapters' configurations": (made_up(config), adapter_config),
        "records": (made_up(small), one_record),
        "choices": (made_up(choice), one_choice),
        "deltas": (damaged((folder / "delta.safetensors").read_bytes()), delta),
        "checkpoints": (damaged((folder / "checkpoint.pt").read_bytes()), checkpoint),
        "picture caches": (damaged((folder / "cache.safetensors").read_bytes()), cache),
        "pictures": (st.sampled_from(pictures).flatmap(damaged), picture),
    }


NAMES = (
    "Parquet shards",
    "Karpathy JSON",
    "adapters",
    "adapters' configurations",
    "records",
    "choices",
    "deltas",
    "checkpoints",
    "picture caches",
    "pictures",
)


def fuzz(name: str, folder: Path, examples: int) -> Counter[str]:
    """Give a reader so many files; how many it read, and how many it refused.

    Raises:
        anything but StudyError that the reader raised.
    """
    folder.mkdir(exist_ok=True)
    files, use = targets(folder)[name]
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
            row = {
                "reader": name,
                "examples": tally.total(),
                **tally,
                "seconds": round(time.monotonic() - began, 1),
            }
            print(row, flush=True)
            rows.append(row)
    facts = {
        "examples": sum(row["examples"] for row in rows),
        "rows": rows,
        "environment": environment(torch.device("cpu")),
    }
    if chosen.out is not None:
        with whole_file(chosen.out / "fuzz.json") as temporary:
            temporary.write_text(readable(facts), encoding="utf-8")
