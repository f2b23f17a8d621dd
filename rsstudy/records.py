"""Records: one JSON a run, written whole, and reading them back as a table."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel

from rsstudy.errors import StudyError
from rsstudy.files import check_form, read_json, whole_file
from rsstudy.parallel import together
from rsstudy.protocol import read_choice

RECORD = "record.json"
PACKAGES = ("torch", "open_clip_torch", "timm", "transformers", "numpy")


class AnyRecord(BaseModel):
    """What every record has."""

    id: str
    config: dict[str, Any]
    status: str


class _Rate(BaseModel):
    learning_rate: float


class _Config(BaseModel):
    data: str
    encoder: str
    method: str
    objective: str
    seed: int
    image_size: int
    recipe: _Rate


class _Total(BaseModel):
    total: int


class _Seconds(BaseModel):
    train_seconds: float


class FinishedRecord(BaseModel):
    """What a table takes from the record of a finished run."""

    id: str
    label: str
    objective_label: str = ""
    config: _Config
    scores: dict[str, float]
    trained_parameters: _Total
    best_epoch: int
    cost: _Seconds


def project_folder() -> Path:
    """The study's folder: the nearest one, from here upwards, that holds ``results``."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / "results").is_dir()), here)


def identity(config: Mapping[str, Any]) -> str:
    """sha256 of a configuration: two runs that mean the same have the same identity."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """Where a run was made: versions, commit, whether the tree had changes, processor. No names."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = importlib.metadata.version(package)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "versions": versions,
        **_commit(),
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        **({"processes": together().size} if together().size > 1 else {}),
        "system": platform.system(),
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write ``folder/record.json``, whole or not at all.

    Raises:
        StudyError: the file system refused; an older record is still there then.
    """
    path = Path(folder) / RECORD
    with whole_file(path) as temporary:
        temporary.write_text(readable(record), encoding="utf-8")
    return path


def read_record(path: Path) -> dict[str, Any]:
    """One record.

    Raises:
        StudyError: it is absent or no record.
    """
    try:
        return read_json(path, AnyRecord, "a record")
    except FileNotFoundError:
        raise StudyError(f"no record at {path}") from None


def read_records(*folders: Path) -> pd.DataFrame:
    """The finished runs below some folders as a table; see ``as_table``.

    A run that a search passed over is left out (see ``rsstudy.protocol.choose``), and of copies of
    one run, in several folders, all but the first.
    """
    paths = [path for folder in folders for path in sorted(Path(folder).glob(f"**/{RECORD}"))]
    passed_over: set[str] = set()
    for folder in folders:
        for path in Path(folder).glob("**/choices/*.json"):
            choice = read_choice(path)
            passed_over |= {c["id"] for c in choice["candidates"]} - {choice["chosen"]}
    records = [record for path in paths if "label" in (record := read_record(path))]
    once = {record["id"]: record for record in reversed(records)}  # of copies, the first
    return as_table(
        [
            record
            for record in records
            if once[record["id"]] is record and record["id"] not in passed_over
        ]
    )


def read_validated(*folders: Path) -> list[dict[str, Any]]:
    """The records below some folders of runs whose epoch is chosen, tested or not."""
    paths = [path for folder in folders for path in sorted(Path(folder).glob(f"**/{RECORD}"))]
    return [record for record in map(read_record, paths) if "validation_scores" in record]


def read_choices(*folders: Path) -> pd.DataFrame:
    """What searches compared on validation, one row a candidate; see ``rsstudy.protocol.choose``.

    Columns: search (its file's name), arm (data, method and objective, settings off their defaults
    named), learning_rate, mean_recall (on validation, percent), best_epoch, chosen, id.

    Raises:
        StudyError: the record of a candidate is not there.
    """
    rows = []
    for folder in folders:
        records = {r["id"]: r for r in map(read_record, Path(folder).glob(f"**/{RECORD}"))}
        for path in sorted(Path(folder).glob("**/choices/*.json")):
            choice = read_choice(path)
            for candidate in choice["candidates"]:
                if candidate["id"] not in records:
                    raise StudyError(f"{path} compares {candidate['id']}, whose record is absent")
                record = records[candidate["id"]]
                objective = record.get("objective_label", record["config"]["objective"])
                rows.append({
                    "search": path.stem,
                    "arm": f"{record['config']['data']}: {record['label']}, {objective}",
                    "learning_rate": candidate["learning_rate"],
                    "mean_recall": candidate["validation_mean_recall"],
                    "best_epoch": candidate["best_epoch"],
                    "chosen": candidate["id"] == choice["chosen"], "id": candidate["id"],
                })  # fmt: skip
    return pd.DataFrame(rows)


def as_table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The finished among some runs' records, one row each.

    Columns: id, label and objective_label (method, objective and the settings that are not their
    defaults), the configuration's top entries, scores, trained (parameters), best_epoch, seconds,
    learning_rate and the record itself in ``record``.
    """
    rows = []
    for record in records:
        if record["status"] == "finished":
            check_form(record, FinishedRecord, f"{record['id']} is no record of a finished run")
            config = {k: v for k, v in record["config"].items() if not isinstance(v, dict)}
            rows.append({
                "id": record["id"], "label": record["label"],
                "objective_label": record.get("objective_label", config["objective"]),
                **config, **record["scores"],
                "learning_rate": record["config"]["recipe"]["learning_rate"],
                "trained": record["trained_parameters"]["total"],
                "best_epoch": record["best_epoch"],
                "seconds": record["cost"]["train_seconds"], "record": record,
            })  # fmt: skip
    always = ["id", "label", "objective_label", "data", "encoder", "seed", "learning_rate",
              "image_size", "record"]  # fmt: skip
    return pd.DataFrame(rows, columns=None if rows else always)


def readable(record: Mapping[str, Any]) -> str:
    """Indented JSON in which a list of plain values stays on one line."""

    def write(value: Any, indent: str) -> str:
        if isinstance(value, Mapping) and value:
            inner = indent + "  "
            rows = [f"{inner}{json.dumps(k)}: {write(v, inner)}" for k, v in value.items()]
            return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
        if isinstance(value, list) and any(isinstance(v, (Mapping, list)) for v in value):
            inner = indent + "  "
            return "[\n" + ",\n".join(inner + json.dumps(v) for v in value) + f"\n{indent}]"
        return json.dumps(value, allow_nan=False)

    return write(record, "") + "\n"


def _commit() -> dict[str, str | bool | None]:
    """The commit of the package's own repository and whether the package differs from it."""
    package = Path(__file__).parent
    try:
        answers = [
            subprocess.run(["git", *question], cwd=package, capture_output=True, text=True,
                           check=True).stdout.strip()
            for question in (("rev-parse", "--show-toplevel"), ("rev-parse", "HEAD"),
                             ("status", "--porcelain", "--", "."))
        ]  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    if Path(answers[0]).resolve() != package.parent.resolve():  # installed within another one
        return {"commit": None, "dirty": None}
    return {"commit": answers[1], "dirty": bool(answers[2])}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
