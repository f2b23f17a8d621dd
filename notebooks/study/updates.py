"""What updates are worth, cost and make forgotten: the tables of the suite ``transfer``.

A method is adapted to a first set, then, from there, to a second that came later; or to the second
alone, beside a first adapter that is kept. ``old``, ``new`` and ``natural`` are the first set, the
second, and the domain that the encoder comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rsstudy.experiments.arms import recorded
from rsstudy.experiments.compare import Contrast, compare, compare_changes, corrected
from rsstudy.training.recipe import Scale
from study.comparison import mean_with_interval, shared_seeds
from study.suites import UPDATED, arms

Record = Mapping[str, Any]

# To whose forgetting that of the others is held.
WHOLE = "full"
# In which words a step, and what it spared, are said to be positive or negative.
WAYS = {"forgotten": ("lost", "gained"), "spared": ("less", "more"), "gained": ("better", "worse")}


def on(record: Record, data: str) -> dict[str, Any]:
    """A run's record as if the set ``data``, which it was scored on too, were its own."""
    if record["config"]["data"] == data:
        return dict(record)
    found = record["elsewhere"][data]
    config = {**record["config"], "data": data, "manifest_digest": record["config"]["also"][data]}
    return {**record, **found, "config": config}


def stages(table: pd.DataFrame, scale: Scale = "short") -> dict[str, dict[str, list[dict]]]:
    """The records of each method by stage: first, second (after the first) and alone.

    Args:
        table: from ``experiments.record.read_records``.

    Returns:
        methods whose first two stages are on record, with the same seeds, each second begun from
        its seed's first; alone has those of them that were run; the base stands among them as
        ``zero-shot``, whose stages are its scores on the two sets.
    """
    names = {
        "first set": "first",
        "second set after the first": "second",
        "second set alone": "alone",
    }
    found: dict[str, dict[str, list[dict]]] = {}
    for arm in arms("transfer", scale):
        records = list(recorded([arm], table)["record"])
        if arm.factor == "zero-shot":
            stage = "first" if arm.level == UPDATED[scale][0] else "second"
            found.setdefault("zero-shot", {})[stage] = records
        else:
            found.setdefault(arm.level, {})[names[arm.factor]] = records
    for of in found.values():
        own = {record["config"]["seed"]: record["identity"] for record in of["first"]}
        of["second"] = [r for r in of["second"] if _began(r) in (None, own.get(_seed(r)))]
        seeds = {_seed(record) for record in of["second"]}
        for stage in ("first", "alone"):
            of[stage] = [r for r in of.get(stage, []) if _seed(r) in seeds]
    return {m: of for m, of in found.items() if of["first"] and of["second"]}


def _began(record: Record) -> str | None:
    """The identity of the run that this one started from."""
    found: str | None = record["config"].get("after", {}).get("identity")
    return found


def _seed(record: Record) -> int:
    return int(record["config"]["seed"])


def updates(table: pd.DataFrame, scale: Scale = "short") -> pd.DataFrame:
    """A row a method: scores before and after the second set, costs of that update.

    Returns:
        columns method, seeds; for the first set ``old_first`` and ``old_second`` (mean recall after
        each step, percent), ``forgotten`` with ``forgotten_low``, ``forgotten_high`` (points lost
        by the second step, 95 %) and its ``forgotten_verdict`` (clearly or likely lost or
        gained, or open), and ``spared`` likewise (points by which it lost less than full
        fine-tuning with the ``spared_seeds`` that both have; less or more was forgotten; NaN where
        there is none, and for that one itself); for the second set ``new_first`` (before it
        was trained on) and, over the seeds that were run alone, too, ``new_alone``, ``new_second``
        and ``gained`` likewise (the detour's scores less those without; NaN without such seeds);
        ``natural_base``, ``natural_first``, ``natural_second``; ``trained``, ``shipped_bytes`` and
        ``train_seconds`` of the update; ``base_equal`` (bit for bit, the method taken off) and
        ``reread`` (tensors that only the base's own files brought back). Means over seeds; verdicts
        are corrected over all of the table.
    """
    old, new, natural = UPDATED[scale]
    found = stages(table, scale)
    base = found.pop("zero-shot", None)
    rows: list[dict[str, Any]] = []
    contrasts: list[tuple[int, str, Contrast]] = []
    changes = {m: _pairs(of, old) for m, of in found.items()}
    for at, (method, of) in enumerate(found.items()):
        first, second = of["first"], of["second"]
        both, alone = shared_seeds(second, of["alone"])
        before, after = zip(*changes[method].values(), strict=True)
        back = [(now, then) for then, now in changes[method].values()]
        contrasts.append((at, "forgotten", compare_changes(back)))
        ours, theirs = changes[method], changes.get(WHOLE, {})
        seeds = [seed for seed in ours if seed in theirs and method != WHOLE]
        if seeds:
            spared = compare_changes([ours[s] for s in seeds], [theirs[s] for s in seeds])
            contrasts.append((at, "spared", spared))
        if alone:
            contrasts.append((at, "gained", compare(both, alone)))
        rows.append(
            {
                "method": method,
                "seeds": len(second),
                "spared_seeds": len(seeds),
                **{
                    name + end: None if end == "_verdict" else float("nan")
                    for name in ("forgotten", "spared", "gained")
                    for end in ("", "_low", "_high", "_verdict")
                },
                "old_first": _mean(before),
                "old_second": _mean(after),
                "new_first": _mean([on(r, new) for r in first]),
                "new_alone": _mean(alone),
                "new_second": _mean(both or second),
                "natural_base": _mean([on(r, natural) for r in base["first"]]) if base else None,
                "natural_first": _mean([on(r, natural) for r in first]),
                "natural_second": _mean([on(r, natural) for r in second]),
                "trained": second[0]["trained_parameters"]["total"],
                "shipped_bytes": second[0]["cost"]["adapter_bytes"],
                "train_seconds": sum(r["cost"]["train_seconds"] for r in second) / len(second),
                "base_equal": all(r["removed"]["base_equal"] for r in [*first, *second]),
                "reread": max(r["removed"]["reread"] for r in [*first, *second]),
            }
        )
    judged = corrected([contrast for *_, contrast in contrasts])
    for (at, name, _), contrast in zip(contrasts, judged, strict=True):
        rows[at] |= {
            name: contrast.estimate,
            f"{name}_low": contrast.low,
            f"{name}_high": contrast.high,
            f"{name}_verdict": contrast.said(*WAYS[name]),
        }
    return pd.DataFrame(rows)


def by_step(table: pd.DataFrame, which: str, scale: Scale = "short") -> pd.DataFrame:
    """Scores on one set before and after a step, for ``study.figures.before_and_after``.

    Args:
        which: ``old`` (after the first step, after the second), ``new`` (alone, after the first) or
            ``natural`` (the base, after both steps).

    Returns:
        a row a method: method, before, after, each with ``_low`` and ``_high`` (see
        ``study.comparison.mean_with_interval``). Percent.
    """
    old, new, natural = UPDATED[scale]
    data = {"old": old, "new": new, "natural": natural}[which]
    found = stages(table, scale)
    base = found.pop("zero-shot", {})
    rows = []
    for method, of in found.items():
        befores: Sequence[Record] = of["first"]
        afters: Sequence[Record] = of["second"]
        if which == "new":
            befores, afters = shared_seeds(of["alone"], afters)
        elif which == "natural":
            befores = base.get("first", [])
        if not befores:
            continue
        row: dict[str, Any] = {"method": method}
        for name, records in (("before", befores), ("after", afters)):
            mean, low, high = mean_with_interval([on(record, data) for record in records])
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _pairs(of: Mapping[str, list[dict]], data: str) -> dict[int, tuple[dict, dict]]:
    """By seed, its scores on a set after the first step, and after the second."""
    first, second = ({_seed(r): on(r, data) for r in of[s]} for s in ("first", "second"))
    return {seed: (first[seed], second[seed]) for seed in first}


def _mean(records: Sequence[Record]) -> float | None:
    scores = [record["scores"]["mean_recall"] for record in records]
    return sum(scores) / len(scores) if scores else None
