"""Which method should I use: every measure of every method, and where its training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from rsstudy.errors import StudyError
from rsstudy.experiments.record import CHOICES, RUNS, choices_in, records_in
from study.comparison import name_of_row
from study.cost_tables import memory
from study.labels import SETS, named
from study.updates import stages, updates


class Measure(NamedTuple):
    """One thing that methods are compared by.

    Attributes:
        name: in words, with its unit.
        better: 1 where more is better, -1 where less is.
        log: whether an axis of it is logarithmic.
    """

    name: str
    better: int
    log: bool = False


MEASURES = {
    "ucm": Measure("mean recall on UCM-Captions, %", 1),
    "rsicd": Measure("mean recall on RSICD, %", 1),
    "trained": Measure("trained parameters", -1, log=True),
    "file": Measure("file to store, MB", -1, log=True),
    "step": Measure("time of a step, s", -1),
    "memory": Measure("memory of a step, GB", -1),
    "forgotten": Measure("forgotten in an update, points", -1),
}


def front_table(
    compared: Mapping[str, pd.DataFrame],
    counted: pd.DataFrame,
    steps: pd.DataFrame,
    transfers: pd.DataFrame,
) -> pd.DataFrame:
    """Every method in a row, by each of ``MEASURES``; NaN where it has none.

    Args:
        compared: by set, from ``study.comparison.side_by_side``.
        counted: from ``study.cost_tables.read_counted``, of the encoder that was trained.
        steps: from ``study.cost_tables.measured_steps``.
        transfers: the runs that ``study.updates.updates`` takes.

    Returns:
        columns name, family, heads (trained, too), a column a measure, of scores and of what is
        forgotten also ``_low`` and ``_high`` (95 %), and runs: by measure the ids behind it.
    """
    rows: dict[str, dict[str, Any]] = {}
    for data, table in compared.items():
        for row in table.to_dict("records"):
            first = row["records"][0]
            own = rows.setdefault(row["name"], {"name": row["name"], "runs": {}})
            own |= {"family": row["family"], "heads": first["config"]["train_heads"]}
            size = first["cost"]["adapter_bytes"] / 1e6 if row["total"] else 0.0
            own |= {"trained": row["total"], "file": size}
            own |= {
                data: row["mean_recall"],
                f"{data}_low": row["low"],
                f"{data}_high": row["high"],
            }
            own["runs"][data] = [record["id"] for record in row["records"]]
    held = memory(counted, int(steps["batch"].iloc[0])).sum(axis=1) / 1e9
    lost = updates(transfers).set_index("method")
    begun = stages(transfers)
    for name, own in rows.items():
        if own["trained"]:
            own |= {"step": steps["step"].get(name), "memory": held.get(name)}
        if name in lost.index:
            own |= {
                f"forgotten{end}": lost[f"forgotten{end}"][name] for end in ("", "_low", "_high")
            }
            both = [*begun[name]["first"], *begun[name]["second"]]
            own["runs"]["forgotten"] = [record["id"] for record in both]
    return pd.DataFrame(list(rows.values()))


def unbeaten(table: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Which rows have both measures, and no other row that is as good in both and better in one."""
    first, second = (MEASURES[of].better * table[of] for of in (x, y))
    beaten = [
        ((first >= a) & (second >= b) & ((first > a) | (second > b))).any()
        for a, b in zip(first, second, strict=True)
    ]
    return ~pd.Series(beaten, table.index) & table[[x, y]].notna().all(axis=1)


def start_here(results: Path, counted: pd.DataFrame) -> pd.DataFrame:
    """Where to start with each method: the rate that a search chose, and what that search trained.

    Of several searches of a method on a set the decisive record's counts, else the longest.

    Args:
        counted: from ``study.cost_tables.read_counted``, of the encoder that was searched with.

    Returns:
        columns method, searched on, learning rate (with the end of the rates tried, where it is
        one), epochs, batch, file in MB and memory of a step in GB (counted; NaN where it was not).
        Those of the decisive record come first.

    Raises:
        StudyError: the record of a search's run is absent.
    """
    by_id = {record["id"]: record for record in records_in(results / RUNS)}
    rows = []
    for search, choice in choices_in(results / CHOICES).items():
        ids = [run["id"] for run in choice["candidates"][0]["runs"]]
        if absent := [run for run in ids if run not in by_id]:
            raise StudyError(f"the search {search} compares {absent[0]}, whose record is absent")
        tried = [by_id[run] for run in ids]
        if tried[0]["config"]["data"] in SETS:
            rows.append(_started(choice, tried, counted))
    table = pd.DataFrame(rows).sort_values("passes", ascending=False, kind="stable")
    table = table.sort_values("before", kind="stable").drop_duplicates(["data", "method"])
    table = table.sort_values(["before", "method"], kind="stable", ignore_index=True)
    return table.drop(columns=["before", "passes", "data"])


def _started(
    choice: Mapping[str, Any], tried: Sequence[Mapping[str, Any]], counted: pd.DataFrame
) -> dict[str, Any]:
    first, config = tried[0], tried[0]["config"]
    recipe, part = config["recipe"], config["recipe"].get("fraction", 1.0)
    rates = [candidate["learning_rate"] for candidate in choice["candidates"]]
    ends = {min(rates): ", lowest tried", max(rates): ", highest tried"}
    objective = first.get("objective_label", config["objective"])
    of = {"label": first["label"], "encoder": config["encoder"], "objective_label": objective}
    name, before = name_of_row(pd.Series(of)), first.get("record") == "before"
    folds = " and ".join(str(run["config"]["fold"]["number"]) for run in tried if not before)
    where = f"{SETS[config['data']].name}, {'before' if before else f'folds {folds}'}"
    held = memory(counted, recipe["batch"]).sum(axis=1) / 1e9
    return {
        "before": before,
        "passes": recipe["epochs"] * part,
        "data": config["data"],
        "method": named(name),
        "searched on": where + f", {100 * part:g} % of it" * (part < 1),
        "learning rate": f"{choice['chosen']:g}{ends.get(choice['chosen'], '')}",
        "epochs": recipe["epochs"],
        "batch": recipe["batch"],
        "file, MB": first["cost"]["adapter_bytes"] / 1e6,
        "memory, GB": held.get(name, float("nan")),
    }
