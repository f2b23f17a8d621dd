"""The protocol's first rule, nothing is chosen on test, as a mechanism.

A run writes its record once its epoch is chosen on validation; a search writes its choice once its
candidates are compared there. The test split is sealed until those files exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

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


class Candidate(BaseModel):
    """What is read of a candidate."""

    id: str
    identity: str
    learning_rate: float
    best_epoch: int
    validation_mean_recall: float


class Choice(BaseModel):
    """What is read of a choice."""

    candidates: list[Candidate]
    chosen: str


def read_choice(path: Path) -> dict[str, Any]:
    """A choice on record.

    Raises:
        StudyError: the file is absent or damaged.
    """
    try:
        return read_json(path, Choice, "a choice")
    except FileNotFoundError:
        raise StudyError(f"no choice at {path}") from None


def choose(candidates: Sequence[Mapping[str, Any]], path: Path) -> int:
    """Choose among runs by their mean recall on validation, and put the choice on record.

    Args:
        candidates: records of runs that are validated.
        path: where the choice is written, whole or not at all.

    Returns:
        the index of the chosen candidate; of equals, the first. A choice among the same candidates
        that is on record already stays as it is.

    Raises:
        StudyError: the choice on record is damaged.
    """
    scores = [record["validation_scores"]["mean_recall"] for record in candidates]
    best = scores.index(max(scores))
    choice = {
        "rule": "highest mean recall on validation",
        "candidates": [
            {"id": record["id"], "identity": record["identity"],
             "learning_rate": record["config"]["recipe"]["learning_rate"],
             "best_epoch": record["best_epoch"], "validation_mean_recall": score,
             "tested_before_the_choice": record["status"] == "finished"}
            for record, score in zip(candidates, scores, strict=True)
        ],
        "chosen": candidates[best]["id"],
    }  # fmt: skip
    if path.is_file():
        before = read_choice(path)["candidates"]
        compared = ("identity", "validation_mean_recall")
        if [[c[k] for k in compared] for c in before] == [
            [c[k] for k in compared] for c in choice["candidates"]
        ]:
            return best
    with hold(path.parent, wait=True), whole_file(path) as temporary:
        temporary.write_text(json.dumps(choice, indent=2) + "\n", encoding="utf-8")
    return best
