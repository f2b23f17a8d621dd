"""The protocol's first rule, nothing is chosen on test, as a mechanism.

A run writes its record once its epoch is chosen on validation; a search writes its choice once its
candidates are compared there. The test split is sealed until those files exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean as mean
from typing import Any

from pydantic import BaseModel, Field

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.errors import StudyError
from rsstudy.files import hold, read_json, whole_file


@dataclass(frozen=True)
class Sealed:
    """A set's test split, to be opened only after the choices that it judges.

    Attributes:
        whole: the set.
        until: files that record those choices.
    """

    whole: ImageTextSet
    until: tuple[Path, ...]

    def open(self) -> ImageTextSet:
        """The test split.

        Raises:
            StudyError: a choice is not on record yet, or there is no test split.
        """
        for choice in self.until:
            if not choice.is_file():
                raise StudyError(
                    f"the test split is sealed until {choice} is written: choose on validation "
                    "first"
                )
        return self.whole.split("test")


class CandidateRun(BaseModel):
    """What is read of one run of a candidate."""

    id: str
    identity: str
    best_epoch: int
    validation_mean_recall: float


class Candidate(BaseModel):
    """What is read of a candidate: a learning rate, and the runs that tried it."""

    learning_rate: float
    validation_mean_recall: float
    runs: list[CandidateRun] = Field(min_length=1)


class Choice(BaseModel):
    """What is read of a choice; ``chosen`` is the chosen learning rate."""

    candidates: list[Candidate]
    chosen: float


def read_choice(path: Path) -> dict[str, Any]:
    """A choice on record.

    Raises:
        StudyError: the file is absent or damaged.
    """
    return read_json(path, Choice, "a choice")


def choose(candidates: Mapping[float, Sequence[Mapping[str, Any]]], path: Path) -> float:
    """Choose a learning rate by the mean recall on validation, and put the choice on record.

    Args:
        candidates: for each learning rate the records of its runs, which are validated. Where a
            rate has several, their mean counts.
        path: where the choice is written, whole or not at all.

    Returns:
        the chosen rate; of equals, the first. A choice among the same candidates that is on record
        already stays as it is.

    Raises:
        StudyError: the choice on record is damaged, or compared the same runs by other scores: what
            was tested after it would not be what it chose.
    """
    rows: list[dict[str, Any]] = [
        {
            "learning_rate": rate,
            "validation_mean_recall": mean(r["validation_scores"]["mean_recall"] for r in records),
            "runs": [
                {
                    "id": r["id"],
                    "identity": r["identity"],
                    "best_epoch": r["best_epoch"],
                    "validation_mean_recall": r["validation_scores"]["mean_recall"],
                    "tested_before_the_choice": r["status"] == "finished",
                }
                for r in records
            ],
        }
        for rate, records in candidates.items()
    ]
    best: float = max(rows, key=lambda row: row["validation_mean_recall"])["learning_rate"]
    choice = {
        "rule": "highest mean recall on validation, mean over a rate's runs",
        "candidates": rows,
        "chosen": best,
    }
    if path.is_file():
        before = read_choice(path)
        if _compared(before) == _compared(choice):
            return best
        if [run for run, _ in _compared(before)] == [run for run, _ in _compared(choice)]:
            raise StudyError(
                f"{path} compared the same runs by other scores: restore the records that it names"
            )
    with hold(path.parent, wait=True), whole_file(path) as temporary:
        temporary.write_text(json.dumps(choice, indent=2) + "\n", encoding="utf-8")
    return best


def _compared(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [
        (run["identity"], run["validation_mean_recall"])
        for candidate in choice["candidates"]
        for run in candidate["runs"]
    ]
