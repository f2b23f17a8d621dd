"""Records: one JSON a run, written whole, and reading them back as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from rsstudy.data.folds import Fold
from rsstudy.errors import StudyError
from rsstudy.experiments.protocol import read_choice
from rsstudy.files import check_form, note, read_json, whole_file

RECORD = "record.json"
# The folders of a results folder: records, runs that were done twice, choices of searches.
RUNS, AGAIN, CHOICES = "runs", "again", "choices"


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


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write ``folder/record.json``, whole or not at all.

    Raises:
        StudyError: the file system refused; an older record is still there then.
    """
    path = Path(folder) / RECORD
    write_readable(path, record)
    return path


def read_record(path: Path) -> dict[str, Any]:
    """One record.

    Raises:
        StudyError: it is absent or no record.
    """
    return read_json(path, AnyRecord, "a record")


def read_records(*folders: Path) -> pd.DataFrame:
    """The finished runs below some folders as a table; see ``as_table``.

    A run that a search passed over is left out (see ``protocol.choose``), and of copies of
    one run, in several folders, all but the first.
    """
    choices = [choice for f in folders for choice in choices_in(Path(f) / CHOICES).values()]
    return _chosen([record for f in folders for record in records_in(f)], choices)


def before(results: Path, *suites: str) -> pd.DataFrame:
    """The finished runs of some suites of the record of before; see ``read_records``."""
    choices = choices_of(results, lambda choice: choice.get("suite") in suites).values()
    return _chosen(records_before(results, *suites), choices)


def records_before(results: Path, *suites: str) -> list[dict[str, Any]]:
    """The records of some suites of the record of before, suite by suite.

    They carry ``record``, which is ``before``, and ``suite``.
    """
    found = []
    for folder in (Path(results) / RUNS, Path(results) / AGAIN):
        for record in records_in(folder):
            if record.get("suite") in suites:
                note(folder / f"{record['id']}.json")
                found.append(record)
    return [record for suite in suites for record in found if record["suite"] == suite]


def _chosen(
    records: Iterable[dict[str, Any]], choices: Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    passed_over = {
        run["id"]
        for choice in choices
        for candidate in choice["candidates"]
        if candidate["learning_rate"] != choice["chosen"]
        for run in candidate["runs"]
    }
    once: dict[str, dict[str, Any]] = {}
    for record in records:
        if "label" in record and record["id"] not in passed_over:
            once.setdefault(record["id"], record)
    return as_table(once.values())


def records_in(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder, by id: ``ID.json``, or ``ID/record.json`` beside its adapter.

    Records are for reading: all callers are given the same.
    """
    flat = [path for path in Path(folder).glob("*.json") if not path.name.startswith(".")]
    paths = {str(p.relative_to(folder)): p for p in [*flat, *Path(folder).glob(f"**/{RECORD}")]}
    stamps = ((path, path.stat()) for _, path in sorted(paths.items()))
    return [_record_at(path, stat.st_mtime_ns, stat.st_size) for path, stat in stamps]


@cache
def _record_at(path: Path, changed: int, size: int) -> dict[str, Any]:
    return read_record(path)


def choices_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Every choice of a folder by its file's name; see ``protocol.choose``."""
    return {path.stem: read_choice(path) for path in sorted(Path(folder).glob("*.json"))}


def choices_before(results: Path, suite: str) -> pd.DataFrame:
    """What the searches of a suite of the record of before compared; see ``compared``."""
    choices = choices_of(results, lambda choice: choice.get("suite") == suite)
    return compared(records_before(results, suite), choices)


def choices_of(
    results: Path, wanted: Callable[[Mapping[str, Any]], bool]
) -> dict[str, dict[str, Any]]:
    """Some choices of a folder of results by their files' names; their files are noted as read."""
    folder = Path(results) / CHOICES
    found = {name: choice for name, choice in choices_in(folder).items() if wanted(choice)}
    for name in found:
        note(folder / f"{name}.json")
    return found


def compared(
    records: Iterable[Mapping[str, Any]], choices: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """What some searches compared on validation.

    Returns:
        a row a candidate (see ``protocol.choose``): search (its file's name), arm (data, method and
        objective, settings off their defaults named), learning_rate, mean_recall (on validation,
        percent), best_epoch (of the candidate's first run), chosen, id (of that run).

    Raises:
        StudyError: the record of a candidate is not there.
    """
    by_id = {record["id"]: record for record in records}
    rows = []
    for search, choice in choices.items():
        for candidate in choice["candidates"]:
            first = candidate["runs"][0]
            if first["id"] not in by_id:
                raise StudyError(
                    f"the search {search} compares {first['id']}, whose record is absent"
                )
            record = by_id[first["id"]]
            objective = record.get("objective_label", record["config"]["objective"])
            rows.append(
                {
                    "search": search,
                    "arm": f"{record['config']['data']}: {record['label']}, {objective}",
                    "learning_rate": candidate["learning_rate"],
                    "mean_recall": candidate["validation_mean_recall"],
                    "best_epoch": first["best_epoch"],
                    "chosen": candidate["learning_rate"] == choice["chosen"],
                    "id": first["id"],
                }
            )
    names = ("search", "arm", "learning_rate", "mean_recall", "best_epoch", "chosen", "id")
    return pd.DataFrame(rows, columns=names)


# The columns of ``runs.csv``: where each is found in a record.
COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id",),
    "status": ("status",),
    "data": ("config", "data"),
    "fold": ("config", "fold"),
    "encoder": ("config", "encoder"),
    "image_size": ("config", "image_size"),
    "method": ("config", "method"),
    "objective": ("config", "objective"),
    "train_heads": ("config", "train_heads"),
    "label": ("label",),
    "recipe": ("recipe",),
    "epochs": ("config", "recipe", "epochs"),
    "batch": ("config", "recipe", "batch"),
    "steps": ("cost", "steps"),
    "learning_rate": ("config", "recipe", "learning_rate"),
    "seed": ("config", "seed"),
    "device": ("environment", "device"),
    "best_epoch": ("best_epoch",),
    "val_mean_recall": ("validation_scores", "mean_recall"),
    "mean_recall": ("scores", "mean_recall"),
    "trained_parameters": ("trained_parameters", "total"),
    "record": ("record",),
}


def runs_table(folder: Path) -> pd.DataFrame:
    """Every run of a folder of records, a row each; what a run does not have is None.

    Columns: those of ``COLUMNS``; ``fold`` is empty for the published splits, ``record`` is
    ``before`` for the record of before.
    """

    def value(record: Any, where: tuple[str, ...]) -> Any:
        for name in where:
            record = record.get(name) if isinstance(record, Mapping) else None
        return fold_name(record) if where[-1] == "fold" else record

    rows = [{c: value(r, where) for c, where in COLUMNS.items()} for r in records_in(folder)]
    whole = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = ["epochs", "batch", "steps", "seed", "best_epoch", "image_size", "trained_parameters"]
    return whole.astype(dict.fromkeys(counts, "Int64"))


def write_runs_table(results: Path) -> Path:
    """Write ``results/runs.csv`` from ``results/runs``.

    Raises:
        StudyError: the file system refused.
    """
    path = Path(results) / "runs.csv"
    with whole_file(path) as temporary:
        runs_table(Path(results) / RUNS).to_csv(temporary, index=False, float_format="%.6g")
    return path


def fold_name(fold: Fold | Mapping[str, Any] | None) -> str:
    """A fold in short, such as f3 or f3-second-grouped; nothing for the published splits."""
    if fold is None:
        return ""
    of = fold if isinstance(fold, Mapping) else vars(fold)
    second, grouped = of["assignment"] == "second", of["grouped"]
    return f"f{of['number']}{'-second' * second}{'-grouped' * grouped}"


# The columns that a table of records has even without a row.
ALWAYS = ["id", "label", "objective_label", "data", "encoder", "seed", "fold"]
ALWAYS += ["learning_rate", "image_size", "record"]


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
            rows.append(
                {
                    "id": record["id"],
                    "label": record["label"],
                    "objective_label": record.get("objective_label", config["objective"]),
                    **config,
                    "fold": fold_name(record["config"].get("fold")),
                    **record["scores"],
                    "learning_rate": record["config"]["recipe"]["learning_rate"],
                    "trained": record["trained_parameters"]["total"],
                    "best_epoch": record["best_epoch"],
                    "seconds": record["cost"]["train_seconds"],
                    "record": record,
                }
            )
    return pd.DataFrame(rows, columns=None if rows else ALWAYS)


def write_readable(path: Path, facts: Any) -> None:
    """Write facts to a file, whole or not at all; see ``readable``."""
    with whole_file(path) as temporary:
        temporary.write_text(readable(facts), encoding="utf-8")


def readable(record: Any) -> str:
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
