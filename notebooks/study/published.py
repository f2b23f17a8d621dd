"""The paper's own tables, what arithmetic says of them, and what others printed later."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsstudy.errors import StudyError

PAPER = "paper"
"""The folder of these tables within ``results``."""
RECALLS = tuple(f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in (1, 5, 10))
CAPTIONS = 5  # a test image, on all three sets
ROUNDING = 0.01
"""How far a printed mean may be from that of six printed recalls: all are rounded."""


def read_table(results: Path, name: str, **options: Any) -> pd.DataFrame:
    """One of the tables of published figures in a ``results`` folder.

    Raises:
        StudyError: it is absent.
    """
    path = Path(results) / PAPER / name
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


# How the paper's own rows are shown beside later ones: name, data and what its epoch was chosen on.
OF_THE_PAPER = {
    "Zero-shot CLIP": ("zero-shot CLIP, the paper's row", "none", "nothing chosen"),
    "Full fine-tuning": ("full fine-tuning, the paper's row", "its own set", "validation"),
    "Ours": ("MRS adapter with HMMC, the paper's row", "its own set", "validation"),
}
ITSELF = "the authors"


def read_later(results: Path) -> pd.DataFrame:
    """What others printed later on the same test splits: a row a method, set and evaluator.

    Returns:
        columns method, base (the pretrained encoder), data (that it was trained on), dataset,
        trained_parameters, test_images, seeds (whole numbers, or missing where they are not said),
        mean_recall, spread (standard deviation over the seeds; both in percent), chosen_on
        (validation, test, not said, nothing chosen), re_evaluated_by (missing where the authors
        evaluated it), verified (source: read there; elsewhere: in a table of somebody else;
        unverified), source (a key of ``book/references.bib``, or an address), note.

    Raises:
        StudyError: it is absent.
    """
    whole = dict.fromkeys(("trained_parameters", "test_images", "seeds"), "Int64")
    return read_table(results, "later.csv", dtype=whole)


def beside_the_paper(results: Path) -> pd.DataFrame:
    """The paper's rows with later ones: ``read_later``'s columns, and who evaluated."""
    found = read_reported(results).query("method in @OF_THE_PAPER")
    names = pd.DataFrame(found["method"].map(OF_THE_PAPER).to_list(), index=found.index)
    own = found[["dataset", "source"]].assign(
        method=names[0],
        base="CLIP ViT-B/32",
        data=names[1],
        chosen_on=names[2],
        trained_parameters=(1e6 * found["trainable_params_millions"]).round().astype("Int64"),
        mean_recall=found["mean_recall_printed"],
        verified="source",
    )
    later = read_later(results)
    return pd.concat([own, later], ignore_index=True)[later.columns].assign(
        evaluated_by=lambda table: table["re_evaluated_by"].fillna(ITSELF)
    )


def as_shown(table: pd.DataFrame) -> pd.DataFrame:
    """``beside_the_paper`` as a reader sees it: a row a method and evaluator, the sets in columns.

    A score that was read in somebody else's table has a degree sign, one that is unverified a
    question mark. A method links to its source where that is an address.
    """
    marks = {"source": "", "elsewhere": "°", "unverified": "?"}

    def score(row: dict[str, Any]) -> str:
        spread = "" if pd.isna(row["spread"]) else f" ± {row['spread']:.2f}"
        return f"{row['mean_recall']:.2f}{spread}{marks[row['verified']]}"

    def how(row: dict[str, Any]) -> str:
        seeds = "" if pd.isna(row["seeds"]) else f"; seeds: {row['seeds']}"
        return row["chosen_on"] + seeds

    def size(number: Any) -> str:
        return "not said" if pd.isna(number) else f"{number / 1e6:.3g}"

    def name(row: dict[str, Any]) -> str:
        source, method = row["source"], row["method"]
        return f'<a href="{escape(source)}">{method}</a>' if source.startswith("http") else method

    rows = table.to_dict("records")
    columns = {"data": "trained on", "evaluated_by": "evaluated by"}
    said = table[["dataset", *columns]].rename(columns=columns)
    for column, of in {"method": name, "chosen on": how, "score": score}.items():
        said[column] = [of(row) for row in rows]
    said["trained, M"] = list(map(size, table["trained_parameters"]))
    index = ["method", "trained, M", "trained on", "chosen on", "evaluated by"]
    wide = said.pivot(index=index, columns="dataset", values="score").fillna("-")
    sets = {"rsitmd": "RSITMD", "rsicd": "RSICD", "ucm": "UCM"}
    wide = wide.loc[pd.MultiIndex.from_frame(said[index].drop_duplicates()), list(sets)]
    return wide.reset_index().rename(columns=sets).rename_axis(columns=None)
