"""The paper's own tables, and what arithmetic says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsstudy.errors import StudyError

RECALLS = tuple(f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in (1, 5, 10))
CAPTIONS = 5  # a test image, on all three sets
ROUNDING = 0.01
"""How far a printed mean may be from that of six printed recalls: all are rounded."""


def read_table(results: Path, name: str, **options: Any) -> pd.DataFrame:
    """One of the tables of published figures in a ``results`` folder.

    Raises:
        StudyError: it is absent.
    """
    path = Path(results) / name
    if not path.is_file():
        raise StudyError(f"{path} is absent: check out the study's results/ folder again")
    return pd.read_csv(path, **options)


def read_reported(results: Path) -> pd.DataFrame:
    """Every row of the paper's tables: dataset, method, group, millions trained, recalls in %."""
    return read_table(results, "reported.csv")


def possible(percent: float, queries: int) -> bool:
    """Whether a printed recall can come from one run: some k of the queries gives its two decimals.

    Rounded to the nearest, or cut off: both are granted.
    """
    found = 10_000 * np.arange(queries + 1) / queries
    hundredths = round(100 * percent)
    ways = np.floor(found + 1e-6), np.floor(found + 0.5 + 1e-6), np.ceil(found - 0.5 - 1e-6)
    return any(bool((way == hundredths).any()) for way in ways)


def granularity(reported: pd.DataFrame, test_images: dict[str, int]) -> pd.DataFrame:
    """How many of each row's six recalls cannot come from one run on a test set of the stated size.

    Args:
        test_images: of each set; each image has five captions.

    Returns:
        dataset, method, group, impossible (0 to 6) and cells, their names. Why such a cell stands
        there is not known: a mean over runs would do it, and so would a slip.
    """

    def not_possible(row: dict[str, Any]) -> list[str]:
        images = test_images[row["dataset"]]
        queries = {name: images * (CAPTIONS if name[0] == "t" else 1) for name in RECALLS}
        return [name for name in RECALLS if not possible(row[name], queries[name])]

    table = reported[["dataset", "method", "group"]]
    found = list(map(not_possible, reported.to_dict("records")))
    return table.assign(impossible=list(map(len, found)), cells=list(map(", ".join, found)))


def unsound_means(reported: pd.DataFrame) -> pd.DataFrame:
    """The rows whose printed mean recall is not the mean of their six printed recalls.

    Rounding alone is granted, not cutting off. Columns: dataset, method, printed, recomputed, off
    (points).
    """
    table = reported[["dataset", "method"]].assign(
        printed=reported["mean_recall_printed"], recomputed=reported[list(RECALLS)].mean(axis=1)
    )
    table["off"] = table["printed"] - table["recomputed"]
    return table[table["off"].abs() > ROUNDING + 1e-9].reset_index(drop=True)


def leads(reported: pd.DataFrame) -> pd.DataFrame:
    """The paper's method less its best rivals, in points of printed mean recall, for each set.

    Columns: dataset, over (best traditional, full fine-tuning, zero-shot CLIP), rival, points.
    """
    rows = []
    for dataset, part in reported.groupby("dataset", sort=False):
        scores = part.set_index("method")["mean_recall_printed"]
        own = scores["Ours"]
        best = scores[part.set_index("method")["group"] == "traditional"].idxmax()
        for over, rival in (
            ("best traditional", best),
            ("full fine-tuning", "Full fine-tuning"),
            ("zero-shot CLIP", "Zero-shot CLIP"),
        ):
            rows.append([dataset, over, rival, round(own - scores[rival], 2)])
    return pd.DataFrame(rows, columns=["dataset", "over", "rival", "points"])
