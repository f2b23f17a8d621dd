"""The plan of the decisive record beside what was done of it, and which of its arms still gain."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd

from rsstudy.experiments.arms import Arm, is_run
from rsstudy.experiments.queue import OPENING_SECONDS, expected_seconds, is_before
from rsstudy.experiments.record import RUNS, choices_of, compared, records_in
from rsstudy.experiments.run import Run
from rsstudy.training.recipe import Scale
from study.decisive import Record, decisive_records
from study.labels import named
from study.suites import arms

# The items of the plan: what is run, and the core-hours that the plan reckons, searches with them.
ITEMS: dict[str, tuple[str, float]] = {
    "a": ("UCM-Captions, folds 3 to 6: primary arms, untrained encoder", 9.7),
    "b": ("RSICD, folds 3 to 6: the same", 15.2),
    "c": ("UCM-Captions, fold 3: every caption in every epoch; HMMC for 45 epochs", 5.4),
    "d": ("UCM-Captions, folds 3 to 6: probe, trained heads, full with HMMC", 9.8),
    "e": ("UCM-Captions, folds 3 and 4: forms of HMMC; the dials", 9.8),
    "f": ("folds 7 to 10 of (a) and of (b)", 17.5),
    "g": ("UCM-Captions, folds 3 and 4: every method", 24.0),
    "h": ("published split, other assignments, updates, both sets at once", np.nan),
}
HOUR = 3600.0
# An arm whose validation gains more, in points within its last five epochs, still gains.
STILL_GAINS, LAST = 0.5, 5
# Of a set that is divided into ten, eight parts are trained on.
TRAINED_ON = 0.8


def progress(results: Path, scale: Scale = "bench") -> pd.DataFrame:
    """The plan beside what was done, item by item, by the arms of the suite ``decisive``.

    A run that several items take counts for the first of them. An item without runs is not in the
    suite yet.

    Returns:
        a row an item: item, what, searches and searched (runs that search learning rates, planned
        and done), runs and done (all others), reckoned (core-hours, by the plan), spent (core-hours
        on processors, by the records; what else ran on the core is in them), gpu_hours and left
        (core-hours expected for what is not done, at the rate of the records; NaN without runs).
    """
    found = planned_runs(results, scale)
    rows = []
    for item, (what, reckoned) in ITEMS.items():
        own = found[found["item"] == item]
        search, others = own[own["search"]], own[~own["search"]]
        rows.append(
            {
                "item": item,
                "what": what,
                "searches": len(search),
                "searched": int(search["done"].sum()),
                "runs": len(others),
                "done": int(others["done"].sum()),
                "reckoned": reckoned,
                "spent": own["cpu"].sum() / HOUR,
                "gpu_hours": own["gpu"].sum() / HOUR,
                "left": own["left"].sum(min_count=1) / HOUR,
            }
        )
    return pd.DataFrame(rows)


def progress_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """``progress`` as it is printed: counts together, and which are hours."""

    def counts(done: str, of: str) -> list[str]:
        both = zip(table[done], table[of], strict=True)
        return [f"{some} of {every}" if every else "-" for some, every in both]

    found = table[["item", "what"]].assign(
        **{"searches done": counts("searched", "searches"), "runs done": counts("done", "runs")},
        **{"core-hours planned": table["reckoned"], "spent": table["spent"]},
        **{"on a GPU": table["gpu_hours"], "left": table["left"]},
    )
    return rounded(found)


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is printed: three digits, and a dash for what is not there."""

    def short(value: Any) -> Any:
        if value is None or value != value:
            return "-"
        return f"{value:.3g}" if isinstance(value, float) else value

    return table.astype(object).map(short)


def planned_runs(results: Path, scale: Scale = "bench") -> pd.DataFrame:
    """Every run of the suite ``decisive``, once.

    Returns:
        a row a run: item, search (whether of a search of learning rates), done, and in seconds cpu
        and gpu (spent) and left.
    """
    by_seed = defaultdict(list)
    for record in decisive_records(results):
        by_seed[record["config"]["seed"]].append(record)
    known = [record for record in records_in(Path(results) / RUNS) if record.get("cost")]
    once: dict[str, dict[str, Any]] = {}
    for arm in arms("decisive", scale):
        for run, rates, ends in _runs_of(arm):
            if repr(run) in once:
                continue
            at = [replace(run, recipe=replace(run.recipe, learning_rate=rate)) for rate in rates]
            found = [r for r in by_seed[run.seed] if any(is_run(one, r) for one in at)]
            done = any(record["status"] in ends for record in found)
            row = {"item": arm.factor, "search": "validated" in ends, "done": done}
            row |= {"cpu": 0.0, "gpu": 0.0, "left": 0.0 if done else _left(run, results, known)}
            for record in found:
                cost = record.get("cost") or {"wall_seconds": 0.0, "train_seconds": 0.0}
                # The wall is that of a run's last sitting alone.
                seconds = max(cost["wall_seconds"], cost["train_seconds"])
                row["cpu" if record["environment"]["device"] == "cpu" else "gpu"] += seconds
            once[repr(run)] = row
    return pd.DataFrame(once.values())


def _runs_of(arm: Arm) -> Iterator[tuple[Run, Sequence[float], Sequence[str]]]:
    """An arm's runs, the learning rates that each may have, and how its record ends."""
    for run in arm.searches():
        yield run, [run.recipe.learning_rate], ("validated", "finished", "diverged")
    for run in arm.repeats(arm.run):
        yield run, arm.learning_rates, ("finished",)


def _left(run: Run, results: Path, known: Sequence[Record]) -> float:
    """The seconds that a run takes, by records of its encoder; of before where none is newer."""
    own = [record for record in known if record["config"]["encoder"] == run.encoder]
    new = [record for record in own if not is_before(record)]
    # The queue keeps a reserve, for which nothing is spent in the end.
    return expected_seconds(run, _pictures(run.data_name, results), new or own) - OPENING_SECONDS


def _pictures(data: str, results: Path) -> int:
    """About how many pictures are trained on."""
    name, _, settings = data.partition("?")
    if settings:
        return round(TRAINED_ON * int(parse_qs(settings)["images"][0]))
    checked = json.loads((Path(results) / "data" / f"{name}.json").read_text("utf-8"))
    return round(TRAINED_ON * checked["images"])


def rates_tried(results: Path) -> pd.DataFrame:
    """What the searches of the decisive record compared; see ``record.compared``."""
    choices = choices_of(results, lambda choice: not is_before(choice))
    return compared(decisive_records(results, "validated", "finished"), choices)


def convergence(results: Path) -> pd.DataFrame:
    """How much each arm still gains on validation at the end of its training.

    Returns:
        a row an arm: set, arm, recipe, epochs, learning_rate, runs, gain (points within its last
        five epochs, see ``late_gain``; the mean over runs), deviation (of it over runs; NaN of
        one) and still_gains.
    """
    rows = [
        {**arm_of(record), "gain": late_gain(record["history"])}
        for record in decisive_records(results, "validated", "finished")
        if record["trained_parameters"]["total"]
    ]
    names = ["set", "arm", "recipe", "epochs", "learning_rate"]
    grouped = pd.DataFrame(rows, columns=[*names, "gain"]).groupby(names, sort=True)["gain"]
    found = grouped.agg(runs="size", gain="mean", deviation="std").reset_index()
    return found.assign(still_gains=found["gain"] > STILL_GAINS)


def late_gain(history: Sequence[Mapping[str, Any]]) -> float:
    """The points of mean recall that validation gained within the last five epochs of a run.

    The mean over the validations of the last five epochs, less that over the five epochs before, by
    the epochs between the centres of the two, times five. The five before leave out the first third
    of the run, whose rise is not the end's. The definition is the same where only every few epochs
    are validated. NaN where either has no validation.
    """
    rows = np.array([(r["epoch"], r["mean_recall"]) for r in history if "mean_recall" in r])
    epochs, end = rows[:, 0], rows[-1, 0]
    late = epochs > end - LAST
    earlier = ~late & (epochs > end - 2 * LAST) & (epochs > end / 3)
    if not earlier.any():
        return float("nan")
    between = rows[late].mean(axis=0) - rows[earlier].mean(axis=0)
    return float(LAST * between[1] / between[0])


def arm_of(record: Record) -> dict[str, Any]:
    config, recipe = record["config"], record["config"]["recipe"]
    return {
        "set": named(config["data"].partition("?")[0]),
        "arm": named(f"{record['label']}, {record['objective_label']}"),
        "recipe": record["recipe"],
        "epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
    }
