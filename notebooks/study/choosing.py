"""Which method should I use: every measure of every method, what to take in which situation, and
where its training starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import Contrast, SeedSpread, compare_factor
from rsstudy.experiments.record import (
    CHOICES,
    RUNS,
    choices_before,
    choices_in,
    records_before,
    records_in,
)
from rsstudy.retrieval import chance
from study.comparison import contrasted, interval, name_of_row, side_by_side
from study.cost_tables import memory
from study.labels import SETS, named
from study.published import read_reported
from study.report import benchmark_runs
from study.suites import OBJECTIVES_RUNS
from study.updates import stages, updates
from study.verdicts import others_beside, spread, trained_runs


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


# What follows a method's name, in words.
WORDS = {
    "share layers": "layers shared",
    "towers both": "both towers",
    "rank 8, matrices q,v": "queries and values",
    "full (cnn-gru)": "CNN and GRU",
}
ADAPTER = "mrs-adapter"
CHANCE, HIGHEST = "by chance", "highest possible"


class Situation(NamedTuple):
    """A reader's situation, as a question, and the arms that suit it there.

    Attributes:
        data: the set that speaks for it.
        arms: by the names of ``study.comparison.side_by_side``; the first is the one to take.
    """

    question: str
    data: str
    arms: tuple[str, ...]


SITUATIONS = (
    Situation("8.7 thousand pictures,\nand one model kept?", "rsicd", ("full",)),
    Situation("8.7 thousand pictures,\nbut small files?", "rsicd", ("lora",)),
    Situation("1.7 thousand, and a\nstep must be cheap?", "ucm", ("linear-probe",)),
    Situation("Otherwise, and for\nmany sets or updates", "ucm", (ADAPTER, "ia3", "layernorm")),
)


def readable(name: str) -> str:
    """A name of ``study.comparison.side_by_side`` in a reader's words."""
    for part, words in WORDS.items():
        name = name.replace(part, words)
    return named(name)


def compared_on(results: Path, data: str) -> pd.DataFrame:
    """Every arm of one set with frozen heads, then those with trained ones; ``side_by_side``."""
    reported = read_reported(results).query("dataset == @data")
    found = [benchmark_runs(results, data, heads) for heads in (False, True)]
    return pd.concat([side_by_side(of, reported) for of in found if len(of)], ignore_index=True)


def ends(results: Path, compared: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """By set, the mean recall that chance gives and the highest that any scorer can, percent."""
    found = {}
    for data, table in compared.items():
        queries = table["records"].iloc[0][0]["test_queries"]
        checked = json.loads((Path(results) / "data" / f"{data}.json").read_text("utf-8"))
        found[data] = {
            CHANCE: chance(queries["captions_of_image"])["mean_recall"],
            HIGHEST: checked["test_highest"]["mean_recall"],
        }
    return found


def beside_the_adapter(results: Path, table: pd.DataFrame, data: str) -> dict[str, Contrast]:
    """Each trained arm of a set less the paper's adapter with InfoNCE, heads frozen in both.

    The words of the other small parts are corrected over these, as ``study.verdicts`` has them, and
    those of what else is in the table over that. The best comes first.
    """
    runs = trained_runs(results, *OBJECTIVES_RUNS)
    small, records = others_beside(runs, data), table.set_index("name")["records"]
    rest = [n for n in records.index if n not in small and n != ADAPTER and "heads" not in n]
    asked = {name: (records[name], records[ADAPTER]) for name in rest}
    found = small | contrasted(asked, spread(runs, data))
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate))


def searches(results: Path) -> pd.DataFrame:
    """What the searches of the comparison gained over the rates that they began with.

    Returns:
        a row a search: name (as ``study.comparison.side_by_side`` has it), default and chosen
        (learning rates), default_score and chosen_score (mean recall on validation after training
        on a quarter of the pictures, percent), and end (lowest or highest, where the chosen rate is
        that of the rates tried; else empty).
    """
    by_id, rows = {record["id"]: record for record in records_before(results, "benchmark")}, []
    for _, tried in choices_before(results, "benchmark").groupby("search", sort=False):
        record = by_id[tried["id"].iloc[0]]
        of = {"encoder": record["config"]["encoder"], "label": record["label"]}
        of["objective_label"] = record.get("objective_label", record["config"]["objective"])
        [chosen] = tried[tried["chosen"]].to_dict("records")
        first = tried.iloc[1]  # the rates are its own and one on each side, then further ones
        rates = tried["learning_rate"]
        lowest, highest = (chosen["learning_rate"] == end for end in (rates.min(), rates.max()))
        rows.append(
            {
                "name": name_of_row(pd.Series(of)),
                "default": first["learning_rate"],
                "default_score": first["mean_recall"],
                "chosen": chosen["learning_rate"],
                "chosen_score": chosen["mean_recall"],
                "end": "lowest" if lowest else "highest" if highest else "",
            }
        )
    return pd.DataFrame(rows)


def method_table(results: Path, compared: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table to choose from: each method in its own form, heads frozen, the best first.

    Args:
        compared: by set, from ``compared_on``.

    Returns:
        columns Method, Trained (parameters), UCM-Captions, % and RSICD, % (mean recall), Beside the
        adapter (on UCM-Captions: points, 95 % interval and word), Default rate and Searched rate;
        with rows for chance and the highest possible score.
    """
    table = compared["ucm"].set_index("name")
    own = ~table.index.str.contains("share layers|one a layer|trained heads|cnn-gru")
    found, rates = beside_the_adapter(results, compared["ucm"], "ucm"), searches(results)
    rates = rates.set_index("name")
    there = compared["rsicd"].set_index("name")["mean_recall"]
    rows = [
        {
            "Method": readable(str(name)),
            "Trained": row["total"],
            "UCM-Captions, %": row["mean_recall"],
            "RSICD, %": there.get(name),
            "Beside the adapter": f"{interval(found[name])}, {found[name].word}"
            if name in found
            else "",
            "Default rate": rates["default"].get(name),
            "Searched rate": rates["chosen"].get(name),
        }
        for name, row in table[own].iterrows()
    ]
    bounds = ends(results, compared)
    for what in (CHANCE, HIGHEST):
        scores = {f"{SETS[data].name}, %": of[what] for data, of in bounds.items()}
        rows.append({"Method": what, "Beside the adapter": "", **scores})
    return pd.DataFrame(rows).sort_values("UCM-Captions, %", ascending=False, ignore_index=True)


def scores_table(table: pd.DataFrame) -> pd.DataFrame:
    """Scores with their intervals, from ``study.comparison.side_by_side``, the best first.

    Returns:
        columns Method, Seeds, Mean recall, %, 95 % interval (over test pictures), Trained, Of them
        heads (parameters) and Still rising (points of the last epoch; see ``side_by_side``).
    """
    intervals = [f"{row.low:.1f} to {row.high:.1f}" for row in table.itertuples()]
    columns = {
        "Method": table["name"].str.replace(", trained heads", "").map(readable),
        "Seeds": table["seeds"],
        "Mean recall, %": table["mean_recall"],
        "95 % interval": intervals,
        "Trained": table["total"],
        "Of them heads": table["heads"],
        "Still rising": table["rise"],
    }
    return pd.DataFrame(columns).sort_values("Mean recall, %", ascending=False)


def sharing_table(table: pd.DataFrame, pool: SeedSpread) -> pd.DataFrame:
    """One instance a layer beside one for all, for each method of a table that has both.

    Args:
        table: from ``compared_on``.
        pool: see ``rsstudy.experiments.compare.compare``.

    Returns:
        columns Method, Shared, % and One a layer, % (mean recall), Difference (in words; corrected
        over the methods) and Times the parameters; the last row asks once over all of them.
    """
    rows, pairs = table.set_index("name"), {}
    for name in rows.index:
        if name.endswith(", share layers"):
            pairs[name.removesuffix(", share layers")] = name, name.removesuffix(", share layers")
        elif name.endswith(", one a layer"):
            pairs[name.removesuffix(", one a layer")] = name.removesuffix(", one a layer"), name
    sides = {
        name: (rows["records"][each], rows["records"][shared])
        for name, (shared, each) in pairs.items()
    }
    found = contrasted(sides, pool) | {
        "all of them": compare_factor(list(sides.values()), pool=pool)
    }
    told = []
    for name, of in found.items():
        row = {"Method": readable(name), "Difference": f"{interval(of)}, {of.word}"}
        if name in pairs:
            shared, each = (rows.loc[of] for of in pairs[name])
            row |= {"Shared, %": shared["mean_recall"], "One a layer, %": each["mean_recall"]}
            row["Times the parameters"] = each["total"] / shared["total"]
        told.append(row)
    columns = ["Method", "Shared, %", "One a layer, %", "Difference", "Times the parameters"]
    return pd.DataFrame(told)[columns]


def advised(
    results: Path, compared: Mapping[str, pd.DataFrame], methods: pd.DataFrame
) -> pd.DataFrame:
    """What to take in which situation, with what speaks for it.

    Args:
        compared: by set, from ``compared_on``.
        methods: from ``front_table``.

    Returns:
        a row an arm of ``SITUATIONS``: question, data, name, family, mean_recall (percent),
        contrast (to the adapter; None of itself), file (MB) and step (of the adapter's step).
    """
    contrasts = {data: beside_the_adapter(results, of, data) for data, of in compared.items()}
    known = methods.set_index("name")
    return pd.DataFrame(
        {
            "question": situation.question,
            "data": situation.data,
            "name": name,
            "family": known["family"][name],
            "mean_recall": known[situation.data][name],
            "contrast": contrasts[situation.data].get(name),
            "file": known["file"][name],
            "step": known["step"][name] / known["step"][ADAPTER],
        }
        for situation in SITUATIONS
        for name in situation.arms
    )


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


def near_the_top(methods: pd.DataFrame, least: int, within: float) -> tuple[int, int]:
    """How many methods score within some points of the highest on UCM-Captions, and of how many.

    Args:
        methods: from ``front_table``; those count that train ``least`` parameters, heads frozen.
    """
    frozen = methods[~methods["heads"]]
    large = frozen[frozen["trained"] >= least]
    return int((large["ucm"] > frozen["ucm"].max() - within).sum()), len(large)


def start_here(results: Path, counted: pd.DataFrame) -> pd.DataFrame:
    """Where to start with each method: the rate that a search chose, and what that search trained.

    Of several searches of a method on a set the decisive record's counts, else the longest.

    Args:
        counted: from ``study.cost_tables.read_counted``, of the encoder that was searched with.

    Returns:
        columns Method, Searched on, Learning rate (with the end of the rates tried, where it is
        one), Epochs, Batch, File, MB and Memory, GB (of a step, counted; NaN where it was not).
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
    table = table.sort_values("before", kind="stable").drop_duplicates(["data", "Method"])
    table["alphabet"] = table["Method"].str.lower()
    table = table.sort_values(["before", "alphabet"], kind="stable", ignore_index=True)
    table = table.drop(columns="alphabet")
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
    how = "short recipe" if before else f"the paper's recipe, folds {folds}"
    where = f"{SETS[config['data']].name}, {how}"
    held = memory(counted, recipe["batch"]).sum(axis=1) / 1e9
    return {
        "before": before,
        "passes": recipe["epochs"] * part,
        "data": config["data"],
        "Method": readable(name),
        "Searched on": where + f", {100 * part:g} % of the pictures" * (part < 1),
        "Learning rate": f"{choice['chosen']:g}{ends.get(choice['chosen'], '')}",
        "Epochs": recipe["epochs"],
        "Batch": recipe["batch"],
        "File, MB": first["cost"]["adapter_bytes"] / 1e6,
        "Memory, GB": held.get(name, float("nan")),
    }
