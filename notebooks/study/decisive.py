"""The primary contrasts of the decisive record at each look, as ``book/plan.md`` declares them.

All else that this record is told with is descriptive: see ``study.descriptive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import (
    POWER,
    TEST_OVER_TRAIN,
    Contrast,
    Word,
    at_look,
    compare_folds,
    corrected,
)
from rsstudy.experiments.queue import is_before
from rsstudy.experiments.record import RUNS, fold_name, records_in
from rsstudy.files import note
from study.comparison import interval
from study.labels import SETS, named
from study.suites import FIRST_LOOK, SECOND_LOOK

Record = dict[str, Any]

Way = tuple[str, str]  # method, objective

# After how many of the test folds the record is looked at.
LOOKED_AT = (FIRST_LOOK, (*FIRST_LOOK, *SECOND_LOOK))


@dataclass(frozen=True)
class Primary:
    """One question of the plan: the score of one way less that of the other, on one set.

    Attributes:
        recipe: the name of the recipe that both have; see ``rsstudy.training.recipe``.
        margin: of equivalence, in points of mean recall.
    """

    name: str
    data: str
    one: Way
    other: Way
    recipe: str
    margin: float


ADAPTER, FULL, HMMC = ("mrs-adapter", "infonce"), ("full", "infonce"), ("mrs-adapter", "hmmc")
PRIMARY = (
    Primary("adapter less full fine-tuning", "rsicd", ADAPTER, FULL, "ten-epochs", 1.0),
    Primary("adapter less full fine-tuning", "ucm", ADAPTER, FULL, "paper", 2.0),
    Primary("HMMC less InfoNCE on the adapter", "ucm", HMMC, ADAPTER, "paper", 2.0),
)


def decisive_records(results: Path, *status: str) -> list[Record]:
    """The records of the decisive record; see ``report`` for what noting them does.

    Args:
        status: those that are taken, such as ``finished``; all where none is given.
    """
    folder = Path(results) / RUNS
    found = [
        record
        for record in records_in(folder)
        if not is_before(record) and (not status or record["status"] in status)
    ]
    for record in found:
        note(folder / f"{record['id']}.json")
    return found


def primary_contrasts(
    results: Path, folds: Sequence[int], asked: Sequence[Primary] = PRIMARY
) -> list[Contrast]:
    """Primary contrasts at a look: at its nominal level, then Holm over all three.

    Args:
        results: the folder of results.
        folds: the test folds of the look, one of ``LOOKED_AT``.
        asked: the questions whose runs are there; each other one counts with a p-value of 1.

    Raises:
        StudyError: a run of a fold is not on record, or is there twice; no look is planned after so
            many folds.
    """
    records = decisive_records(results, "finished")
    contrasts = [
        compare_folds(
            runs_of(records, one, one.one, folds),
            runs_of(records, one, one.other, folds),
            margin=one.margin,
        )
        for one in asked
    ]
    taken = [at_look(contrast) for contrast in contrasts]
    return corrected(taken, by="holm", absent=len(PRIMARY) - len(asked))


def looks(results: Path) -> pd.DataFrame:
    """The primary contrasts at each look, set by set; where a run is missing, which, and no more.

    Returns:
        a row a look and question: look (its folds), set, contrast, of_one and of_other (runs on
        record of each side), runs (that a side has in the look), missing (runs, in words), and in
        points: margin, estimate, low, high (95 %), low_corrected, high_corrected, spread (standard
        deviation of the folds' differences), smallest_gap (the true difference that is shown in
        four of five cases, at the look's level before Holm's correction), comparable (within the
        margin) and word. NaN, and no word, for a set whose look is not complete.

    Raises:
        StudyError: a run is on record twice.
    """
    records = decisive_records(results, "finished")
    rows: list[dict[str, Any]] = []
    earlier: dict[Primary, Contrast] = {}
    for folds in LOOKED_AT:
        missing = {asked: _missing(records, asked, folds) for asked in PRIMARY}
        waiting = {asked.data for asked, runs in missing.items() if runs}
        there = [asked for asked in PRIMARY if asked.data not in waiting]
        found = dict(zip(there, primary_contrasts(results, folds, there), strict=True))
        for asked in PRIMARY:
            about: dict[str, Any] = {
                "look": f"folds {folds[0]} to {folds[-1]}",
                "set": SETS[asked.data].name,
            }
            about |= {"contrast": asked.name, "missing": missing[asked], "margin": asked.margin}
            for side, way in (("of_one", asked.one), ("of_other", asked.other)):
                about[side] = sum(bool(on_record(records, asked, way, fold)) for fold in folds)
            about["runs"] = len(folds)
            rows.append(about | _told(found.get(asked), earlier.get(asked)))
        earlier = found
    return pd.DataFrame(rows)


def looks_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """``looks`` as it is printed: intervals together, and what a look still lacks."""
    rows = []
    for row in table.itertuples():
        found = {"look": row.look, "set": row.set, "contrast": row.contrast}
        if not row.word:
            found |= dict.fromkeys(("difference", "corrected", "smallest gap"), "-")
            lacks = f"lacks {row.missing}" if row.missing else "waits for its set"
            rows.append(found | {"what the look says": lacks})
            continue
        found["difference"] = f"{row.estimate:+.1f} ({row.low:+.1f} to {row.high:+.1f})"
        found["corrected"] = f"{row.low_corrected:+.1f} to {row.high_corrected:+.1f}"
        found["smallest gap"] = f"{row.smallest_gap:.1f} (s {row.spread:.1f})"
        said = row.word + ", comparable" * row.comparable
        rows.append(found | {"what the look says": said})
    return pd.DataFrame(rows)


def looks_of(results: Path, contrast: str) -> pd.DataFrame:
    """One question at each look, for a reader: its runs, and what the look says once it is there.

    Args:
        contrast: the name of some of ``PRIMARY``, such as "adapter less full fine-tuning".
    """
    table = looks(results)
    rows = []
    for row in table[table["contrast"] == contrast].itertuples():
        own = dict(zip(contrast.split(" less "), (row.of_one, row.of_other), strict=True))
        found = {"Set": row.set, "Look": row.look}
        found |= {
            f"{side[0].upper()}{side[1:]}: runs": f"{there} of {row.runs}"
            for side, there in own.items()
        }
        said = row.word + ", comparable" * row.comparable or "not complete"
        apart = interval(row) if row.word else "-"
        found |= {"Difference (95 %)": apart, "Comparable within": row.margin}
        rows.append(found | {"What the look says": said})
    return pd.DataFrame(rows)


def validated_on(results: Path, asked: Primary, fold: int) -> dict[str, Record | None]:
    """The record of each side of a question in one fold, by the method or the objective in which
    they differ; None where there is none."""
    records, differ = decisive_records(results, "finished"), asked.one[0] == asked.other[0]
    sides = {way[differ]: on_record(records, asked, way, fold) for way in (asked.one, asked.other)}
    return {name: own[0] if own else None for name, own in sides.items()}


def word_at(contrast: Contrast, first: Contrast | None) -> Word:
    """The plan's word for a contrast at a look.

    *Likely* is a word of the last look alone. What was clear at the first look stays clear, unless
    the second makes it open or turns it.

    Args:
        first: the same contrast at the look before; None at the first look.
    """
    if first is None:
        return "clear" if contrast.word == "clear" else "open"
    if first.word != "clear":
        return contrast.word
    stays = contrast.word != "open" and contrast.estimate * first.estimate > 0
    return "clear" if stays else "open"


def _told(contrast: Contrast | None, first: Contrast | None) -> dict[str, Any]:
    names = ("estimate", "low", "high", "low_corrected", "high_corrected")
    if contrast is None:
        return dict.fromkeys((*names, "spread", "smallest_gap"), np.nan) | {
            "comparable": False,
            "word": "",
        }
    quantiles = stats.t.ppf([1 - contrast.alpha / 2, POWER], contrast.freedom)
    return {
        **{name: getattr(contrast, name) for name in names},
        "spread": contrast.error / (1 / contrast.folds + TEST_OVER_TRAIN) ** 0.5,
        "smallest_gap": float(quantiles.sum() * contrast.error),
        "comparable": contrast.comparable,
        "word": word_at(contrast, first),
    }


def _missing(records: Sequence[Record], asked: Primary, folds: Sequence[int]) -> str:
    """The runs of a question that are not on record, in words."""
    said = []
    for way in (asked.one, asked.other):
        absent = [str(fold) for fold in folds if not on_record(records, asked, way, fold)]
        if absent:
            which = f"folds {', '.join(absent)}" if len(absent) < len(folds) else "all folds"
            said.append(f"{named(', '.join(way))}: {which}")
    return "; ".join(said)


def runs_of(
    records: Sequence[Record], asked: Primary, way: Way, folds: Sequence[int]
) -> list[Record]:
    """The records of one way on the set of a question, one a fold, in the first assignment.

    Raises:
        StudyError: a fold has none, or several.
    """
    found = []
    for fold in folds:
        own = on_record(records, asked, way, fold)
        if len(own) != 1:
            raise StudyError(
                f"{len(own)} runs of {' with '.join(way)} on {asked.data}, fold "
                f"{fold}, are on record: there must be one"
            )
        found += own
    return found


def on_record(records: Sequence[Record], asked: Primary, way: Way, fold: int) -> list[Record]:
    """The records of one way on the set of a question in one fold of the first assignment."""
    wanted = (asked.data, f"f{fold}", *way, way[0], False, asked.recipe)
    return [record for record in records if _columns(record) == wanted]


def _columns(record: Record) -> tuple[Any, ...]:
    config = record["config"]
    return (
        config["data"],
        fold_name(config.get("fold")),
        config["method"],
        config["objective"],
        record["label"],
        config["train_heads"],
        record.get("recipe"),
    )
