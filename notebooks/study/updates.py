"""What updates are worth, cost and make forgotten: the tables of the suite ``transfer``.

A method is adapted to a first set, then, from there, to a second that came later; or to the second
alone, while the first adapter is kept. ``old``, ``new`` and ``natural`` are the first set, the
second, and the domain that the encoder comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rsstudy.experiments.arms import recorded
from rsstudy.experiments.compare import Contrast, compare
from rsstudy.training.recipe import Scale
from study.comparison import judged, mean_with_interval, shared_seeds
from study.labels import named
from study.suites import UPDATED, arms

Record = Mapping[str, Any]
Stages = dict[str, list[Record]]

STAGES = {"first set": "first", "second set after the first": "second", "second set alone": "alone"}
# The method with whose forgetting the others' is compared.
WHOLE = "full"
# The words for a positive and for a negative difference, by column.
WAYS = {"forgotten": ("lost", "gained"), "spared": ("less", "more"), "gained": ("better", "worse")}


def on(record: Record, data: str) -> dict[str, Any]:
    """A run's record as if the set ``data``, which it was scored on too, were its own."""
    if record["config"]["data"] == data:
        return dict(record)
    found = record["elsewhere"][data]
    config = {**record["config"], "data": data, "manifest_digest": record["config"]["also"][data]}
    return {**record, **found, "config": config}


def stages(table: pd.DataFrame, scale: Scale = "short") -> dict[str, Stages]:
    """The records of each method by stage: first, second (after the first) and alone.

    Args:
        table: from ``experiments.record.read_records``.

    Returns:
        methods whose first two stages are on record with the same seeds, each second begun from
        its seed's first. ``alone`` has the same seeds, where they were run. The base is
        ``zero-shot``; its stages are its scores on the two sets.
    """
    found: dict[str, Stages] = {}
    for arm in arms("transfer", scale):
        if arm.factor == "zero-shot":
            method, stage = "zero-shot", ("second", "first")[arm.level == UPDATED[scale][0]]
        else:
            method, stage = arm.level, STAGES[arm.factor]
        own = found.setdefault(method, {stage: [] for stage in STAGES.values()})
        own[stage] = list(recorded([arm], table)["record"])
    for of in found.values():
        first = {record["config"]["seed"]: record["identity"] for record in of["first"]}
        # A run without ``after``, such as the base's, began from no other.
        begun = [(r, r["config"].get("after", {}).get("identity")) for r in of["second"]]
        of["second"] = [r for r, by in begun if by in (None, first.get(r["config"]["seed"]))]
        for stage in ("first", "alone"):
            of[stage] = shared_seeds(of[stage], of["second"])[0]
    return {m: of for m, of in found.items() if of["first"] and of["second"]}


def updates(table: pd.DataFrame, scale: Scale = "short") -> pd.DataFrame:
    """A row a method: scores before and after the second set, costs of that update.

    Means are over seeds, scores are mean recall in percent, differences are in points. Each of
    ``forgotten``, ``spared`` and ``gained`` has columns with ``_low``, ``_high`` (95 %) and
    ``_verdict`` (clearly, likely or open, corrected over the table), and is NaN without seeds.

    Returns:
        columns method, seeds; on the first set ``old_first`` and ``old_second`` (after each step),
        ``forgotten`` (lost by the second step) and ``spared`` (lost less than full fine-tuning by,
        with the ``spared_seeds`` of both); on the second set ``new_first`` (before training on it),
        ``new_alone``, ``new_second`` and ``gained`` (the detour's scores less those without, over
        the seeds of both); ``natural_base``, ``natural_first``, ``natural_second``; ``trained``,
        ``shipped_bytes`` and ``train_seconds`` of the update; ``base_equal`` (bit for bit, the
        method taken off) and ``reread`` (tensors that only the base's own files brought back).
    """
    old, new, natural = UPDATED[scale]
    found = stages(table, scale)
    base = found.pop("zero-shot", {"first": []})
    rows = []
    asked: dict[tuple[str, str], Contrast] = {}
    changes = {method: _changes(of, old) for method, of in found.items()}
    for method, of in found.items():
        first, second = of["first"], of["second"]
        both, alone = shared_seeds(second, of["alone"])
        own, whole = changes[method], changes.get(WHOLE, {})
        asked[method, "forgotten"] = compare([(now, then) for then, now in own.values()])
        seeds = [seed for seed in own if seed in whole and method != WHOLE]
        if seeds:
            ours, theirs = ([side[seed] for seed in seeds] for side in (own, whole))
            asked[method, "spared"] = compare(ours, theirs)
        if alone:
            asked[method, "gained"] = compare(both, alone)
        rows.append(
            {
                "method": method,
                "seeds": len(second),
                "spared_seeds": len(seeds),
                **{name + of: None for name in WAYS for of in ("", "_low", "_high", "_verdict")},
                "old_first": _mean(first, old),
                "old_second": _mean(second, old),
                "new_first": _mean(first, new),
                "new_alone": _mean(alone, new),
                "new_second": _mean(both or second, new),
                "natural_base": _mean(base["first"], natural),
                "natural_first": _mean(first, natural),
                "natural_second": _mean(second, natural),
                "trained": second[0]["trained_parameters"]["total"],
                "shipped_bytes": second[0]["cost"]["adapter_bytes"],
                "train_seconds": sum(r["cost"]["train_seconds"] for r in second) / len(second),
                "base_equal": all(r["removed"]["base_equal"] for r in [*first, *second]),
                "reread": max(r["removed"]["reread"] for r in [*first, *second]),
            }
        )
    said = judged(asked)
    for row in rows:
        for name, ways in WAYS.items():
            row |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
            if contrast := said.get((row["method"], name)):
                row |= {name: contrast.estimate, f"{name}_verdict": contrast.said(*ways)}
                row |= {f"{name}_low": contrast.low, f"{name}_high": contrast.high}
    return pd.DataFrame(rows)


def told(table: pd.DataFrame) -> pd.DataFrame:
    """A row of ``updates`` a method, as the book tells it: percent, points and MB."""
    rows = table.to_dict("records")
    ends = ("forgotten", "forgotten_low", "forgotten_high")
    return pd.DataFrame(
        {
            "Method": [named(row["method"]) for row in rows],
            "Update, MB": table["shipped_bytes"] / 1e6,
            "RSICD, first": table["old_first"],
            "RSICD, at the end": table["old_second"],
            "Forgotten": ["{:.1f} ({:.1f} to {:.1f})".format(*map(row.get, ends)) for row in rows],
            "UCM-Captions": table["new_second"],
            "Everyday pictures": table["natural_second"],
        }
    )


def by_step(table: pd.DataFrame, which: str, scale: Scale = "short") -> pd.DataFrame:
    """Scores on one set before and after a step, for ``study.figures.before_and_after``.

    Args:
        which: ``old`` (after the first step, after the second) or ``natural`` (the base, after both
            steps).

    Returns:
        a row a method: method, before, after, each with ``_low`` and ``_high`` (see
        ``study.comparison.mean_with_interval``). Percent.
    """
    old, _, natural = UPDATED[scale]
    data = {"old": old, "natural": natural}[which]
    found = stages(table, scale)
    base = found.pop("zero-shot", {"first": []})
    rows = []
    for method, of in found.items():
        before, after = of["first"], of["second"]
        if which == "natural":
            before = base["first"]
        if not before:
            continue
        row: dict[str, Any] = {"method": method}
        for name, records in (("before", before), ("after", after)):
            mean, low, high = mean_with_interval([on(record, data) for record in records])
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _changes(of: Stages, data: str) -> dict[int, tuple[dict, dict]]:
    """By seed, its scores on a set after the first step, and after the second."""
    first, second = ({r["config"]["seed"]: on(r, data) for r in of[s]} for s in ("first", "second"))
    return {seed: (first[seed], second[seed]) for seed in first}


def _mean(records: Sequence[Record], data: str) -> float | None:
    scores = [on(record, data)["scores"]["mean_recall"] for record in records]
    return sum(scores) / len(scores) if scores else None
