"""The primary contrasts of the decisive record, as ``book/plan.md`` declares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import Contrast, at_look, compare_folds, corrected
from rsstudy.experiments.record import RUNS, fold_name, records_in
from study.suites import FIRST_LOOK, SECOND_LOOK

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


def primary_contrasts(results: Path, folds: Sequence[int]) -> list[Contrast]:
    """The primary contrasts at a look: at its nominal level, then Holm over the three.

    Args:
        results: the folder of results.
        folds: the test folds of the look, one of ``LOOKED_AT``.

    Raises:
        StudyError: a run of a fold is not on record, or is there twice; no look is planned after so
            many folds.
    """
    records = [r for r in records_in(results / RUNS) if r["status"] == "finished"]
    contrasts = [
        compare_folds(
            _of(records, asked, asked.one, folds),
            _of(records, asked, asked.other, folds),
            margin=asked.margin,
        )
        for asked in PRIMARY
    ]
    return corrected([at_look(contrast) for contrast in contrasts], by="holm")


def _of(
    records: Sequence[dict[str, Any]], asked: Primary, way: Way, folds: Sequence[int]
) -> list[dict[str, Any]]:
    """The records of one way on the set of a question, one a fold, in the first assignment."""
    found = []
    for fold in folds:
        wanted = (asked.data, f"f{fold}", *way, way[0], False, asked.recipe)
        own = [record for record in records if _columns(record) == wanted]
        if len(own) != 1:
            raise StudyError(
                f"{len(own)} runs of {' with '.join(way)} on {asked.data}, fold "
                f"{fold}, are on record: there must be one"
            )
        found += own
    return found


def _columns(record: dict[str, Any]) -> tuple[Any, ...]:
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
