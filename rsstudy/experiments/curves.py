"""Curves and scores of runs: from the record of a finished run, else from its ``history.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsstudy.errors import StudyError
from rsstudy.experiments.record import RECORD, read_record, runs_table
from rsstudy.experiments.show import score_columns
from rsstudy.files import is_held, whole_file
from rsstudy.training.curve import HISTORY, read_history

PICTURES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which colour-blind people tell apart; black is for axes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
Curve = Mapping[str, Any]


def read_curves(paths: Sequence[Path]) -> list[Curve]:
    """The curve and the scores of some runs.

    Args:
        paths: folders, or files in them; or records, wherever they are.

    Returns:
        for each: ``run`` (method, objective and seed; the path, where that is not unique), ``id``,
        ``data``, ``status`` (of the record; else running or interrupted), ``epochs`` and ``steps``
        (see ``training.curve``), ``best_epoch``, ``validation_scores`` and ``scores``.

    Raises:
        StudyError: one is no run.
    """
    found = [_read(Path(path)) for path in paths]
    names = [curve["run"] for curve in found]
    unique = [names.count(name) == 1 for name in names]
    return [
        curve if alone else {**curve, "run": str(path)}
        for curve, alone, path in zip(found, unique, paths, strict=True)
    ]


def _read(path: Path) -> Curve:
    if not path.exists():
        raise StudyError(f"there is no {path}: give the folder of a run; `rsstudy runs` lists them")
    folder = path if path.is_dir() else path.parent
    file = path if path.suffix == ".json" and path.name != "adapter.json" else folder / RECORD
    lines = read_history(folder / HISTORY) if path.is_dir() or file.name == RECORD else []
    record = read_record(file) if lines == [] or file.exists() else {}
    epochs = record.get("history") or [row for row in lines if "mean_recall" in row]
    best = max(epochs, key=lambda row: row["mean_recall"], default={"epoch": None})
    of = record.get("config", {})
    named = [str(record.get(name) or "") for name in ("label", "objective_label")]
    return {
        "run": f"{' '.join(named)} s{of['seed']}" if all(named) else record.get("id", folder.name),
        "id": record.get("id", folder.name),
        "data": of.get("data"),
        "status": record.get("status") or _status(folder),
        "epochs": epochs,
        "steps": [row for row in lines if "mean_recall" not in row],
        "best_epoch": record.get("best_epoch", best["epoch"]),
        **{name: record[name] for name in ("validation_scores", "scores") if name in record},
    }


def _status(folder: Path) -> str:
    return "running" if is_held(folder) else "interrupted"


def curve_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row an epoch: of each run the mean loss, and mean recall on validation in percent."""
    several = len(curves) > 1
    by_run = {
        f"{curve['run']}: " * several: {row["epoch"]: row for row in curve["epochs"]}
        for curve in curves
    }
    rows = []
    for epoch in sorted({epoch for of in by_run.values() for epoch in of}):
        rows.append({"epoch": epoch})
        for run, of in by_run.items():
            row = of.get(epoch, {})
            for name, key, places in (("loss", "loss", 4), ("validation", "mean_recall", 2)):
                value = row.get(key)
                rows[-1][f"{run}{name}"] = "-" if value is None else f"{value:.{places}f}"
    return rows


def score_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row a run and split that it has been scored on."""
    rows = []
    for curve in curves:
        first = {name: curve[name] for name in ("run", "status", "best_epoch")}
        for split, name in (("validation", "validation_scores"), ("test", "scores")):
            if name in curve:
                rows.append({**first, "split": split, **score_columns(curve[name])})
    return rows


def draw(curves: Sequence[Curve], file: Path) -> None:
    """Draw loss and recall on validation over epochs; a star is the epoch that is kept.

    Raises:
        StudyError: no picture has that ending, or the file system refused.
    """
    if file.suffix not in PICTURES:
        raise StudyError(f"{file}: name the picture {', '.join(PICTURES)}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, curve in enumerate(curves):
        look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)]}
        look["linestyle"] = ("-", "--", ":")[number // len(COLOURS) % 3]
        trained = [row for row in curve["epochs"] if row["loss"] is not None]
        if steps := curve["steps"]:
            left.plot(*_points(steps, "loss"), alpha=0.4, linewidth=1, **look)
        left.plot(*_points(trained, "loss"), marker=".", label=curve["run"], **look)
        right.plot(*_points(curve["epochs"], "mean_recall"), marker=".", **look)
        best = [row for row in curve["epochs"] if row["epoch"] == curve["best_epoch"]]
        right.plot(*_points(best, "mean_recall"), marker="*", markersize=14, **look)
    for axes, what in (
        (left, "training loss"),
        (right, "mean recall on validation, %; star: kept"),
    ):
        axes.set(xlabel="epoch", title=what)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    sets = ", ".join(dict.fromkeys(str(curve["data"]) for curve in curves if curve["data"]))
    figure.suptitle("Loss and recall by epoch" + f" on {sets}" * bool(sets))
    figure.legend(loc="outside lower center", ncols=min(len(curves), 3))
    with whole_file(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:])


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    return [row["epoch"] for row in rows], [row[name] for row in rows]


def all_runs(folder: Path) -> list[dict[str, Any]]:
    """A row for every run of a folder, as ``record.runs_table``, those under way with them.

    Raises:
        StudyError: there is no folder, or no run in it.
    """
    rows: list[dict[str, Any]] = []
    if folder.is_dir():
        rows = json.loads(runs_table(folder).to_json(orient="records"))
    for file in sorted(folder.glob(f"**/{HISTORY}")):
        if not (file.parent / RECORD).exists():
            rows.append({"id": file.parent.name, "status": _status(file.parent)})
    if not rows:
        raise StudyError(f"there is no run in {folder}: name the folder of your runs")
    return rows
