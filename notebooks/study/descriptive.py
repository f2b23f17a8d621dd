"""What is told of the decisive record beside its primary contrasts: transfer, and classes.

What training on one set is worth on the other, and whether HMMC loses less in classes that repeat
their captions. Both are tables at any stage of the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from rsstudy.experiments.record import fold_name, records_before
from study.comparison import recall_by_class
from study.decisive import (
    ADAPTER,
    FULL,
    HMMC,
    LOOKED_AT,
    PRIMARY,
    Record,
    decisive_records,
    on_record,
)
from study.labels import named
from study.planned import arm_of
from study.suites import UNTRAINED

# Where HMMC and InfoNCE are told apart by class: on both sets, on the adapter.
BY_CLASS = (replace(PRIMARY[2], data="rsicd", recipe=PRIMARY[0].recipe), PRIMARY[2])
RESAMPLES = 2000


def scores_by_fold(results: Path) -> pd.DataFrame:
    """What the primary arms, and the encoder as it is, score in each test fold of the plan.

    Returns:
        a row a set and fold that any of them is tested in: set, fold, and by each arm's name its
        mean recall on test, percent; NaN where it has no run.
    """
    records, rows = decisive_records(results, "finished"), []
    for asked, fold in product((PRIMARY[1], PRIMARY[0]), LOOKED_AT[-1]):
        row: dict[str, object] = {"set": named(asked.data), "fold": fold}
        for way in (UNTRAINED[:2], ADAPTER, HMMC, FULL):
            found = on_record(records, asked, way, fold)
            scores = [record["scores"]["mean_recall"] for record in found]
            name = way[0] if way == UNTRAINED[:2] else ", ".join(way)
            row[named(name)] = scores[0] if scores else np.nan
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.dropna(subset=table.columns[2:], how="all").reset_index(drop=True)


def transfer(results: Path) -> pd.DataFrame:
    """What is trained on one set and tested on another, beside the encoder that is not trained.

    Returns:
        a row an arm and tested set: trained_on, tested_on, arm, recipe, folds (how many), and means
        of mean recall over them, percent: score, untouched (of the encoder before training) and
        gain (their difference); and untouched_on (the same folds, or the published split where no
        fold of that encoder is on record).
    """
    records = decisive_records(results, "finished")
    untouched: dict[tuple, float] = {}
    for record in [*records_before(results, "transfer"), *records]:
        if record["status"] == "finished" and not record["trained_parameters"]["total"]:
            for on, scores in _tested(record):
                untouched[on, *_setting(record)] = scores["mean_recall"]
    rows = []
    for record in records:
        for on, scores in (
            list(_tested(record))[1:] if record["trained_parameters"]["total"] else ()
        ):
            size, encoder, fold = _setting(record)
            same = untouched.get((on, size, encoder, fold))
            start = untouched.get((on, size, encoder, ""), np.nan) if same is None else same
            row = arm_of(record) | {"trained_on": arm_of(record)["set"], "tested_on": named(on)}
            row |= {"score": scores["mean_recall"], "untouched": start}
            row |= {"untouched_on": "the published split" if same is None else "the same folds"}
            rows.append(row | {"folds": fold})
    names = ["trained_on", "tested_on", "arm", "recipe", "untouched_on"]
    grouped = pd.DataFrame(rows, columns=[*names, "folds", "score", "untouched"]).groupby(names)
    found = grouped.agg({"folds": "nunique", "score": "mean", "untouched": "mean"}).reset_index()
    return found.assign(gain=found["score"] - found["untouched"])


def _tested(record: Record) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Each set that a run was tested on, its own first, with its scores."""
    yield record["config"]["data"], record["scores"]
    yield from ((on, of["scores"]) for on, of in record.get("elsewhere", {}).items())


def _setting(record: Record) -> tuple[int, str, str]:
    config = record["config"]
    return config["image_size"], config["encoder"], fold_name(config.get("fold"))


def class_gains(results: Path) -> dict[str, pd.DataFrame]:
    """HMMC less InfoNCE by class on each set whose runs of a look are on record; see ``by_class``.

    Of two looks the later.
    """
    records, found = decisive_records(results, "finished"), {}
    for asked in BY_CLASS:
        for folds in LOOKED_AT:
            sides = [
                [on_record(records, asked, way, fold) for fold in folds]
                for way in (asked.one, asked.other)
            ]
            if all(len(own) == 1 for side in sides for own in side):
                found[asked.data] = by_class(*([own for (own,) in side] for side in sides))
    return found


def class_table(results: Path) -> pd.DataFrame:
    """``class_gains`` as one table, with the columns set and class in front."""
    columns = ["set", "class", "repeated", "hmmc", "infonce", "gain", "kept"]
    parts = [
        table.reset_index().assign(set=named(data)) for data, table in class_gains(results).items()
    ]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def class_correlations(results: Path) -> pd.DataFrame:
    """``rank_correlation`` of each set and measure; columns set, of, value, low, high, classes."""
    rows = [
        {"set": named(data), "of": of, **asdict(rank_correlation(table, of))}
        for data, table in class_gains(results).items()
        for of in ("gain", "kept")
    ]
    return pd.DataFrame(rows, columns=["set", "of", "value", "low", "high", "classes"])


def by_class(hmmc: Sequence[Record], infonce: Sequence[Record]) -> pd.DataFrame:
    """HMMC less InfoNCE within each class, beside how often its captions repeat.

    Args:
        hmmc, infonce: records of one set, in the same folds or on the same test pictures.

    Returns:
        a row a class (the index): repeated (captions whose text another test picture has, too,
        percent), hmmc and infonce (mean recall, percent; see ``recall_by_class``), gain (their
        difference, points) and kept (HMMC's share of InfoNCE's, percent). Means over the records.

    Raises:
        StudyError: a record does not tell the classes of its test pictures.
    """
    sides = {
        name: recall_by_class({record["id"]: record for record in side}).mean(axis=1)
        for name, side in (("hmmc", hmmc), ("infonce", infonce))
    }
    repeated = pd.concat([_repeated(record) for record in infonce], axis=1).mean(axis=1)
    found = pd.DataFrame({"repeated": repeated, **sides}).rename_axis("class")
    gain, kept = found["hmmc"] - found["infonce"], 100 * found["hmmc"] / found["infonce"]
    return found.assign(gain=gain, kept=kept).sort_values("repeated")


def _repeated(record: Record) -> pd.Series:
    queries = record["test_queries"]
    captions, text_of = (np.array(queries[n]) for n in ("captions_of_image", "text_of_caption"))
    pairs = np.stack([text_of, np.repeat(np.arange(len(captions)), captions)])
    sharing = np.bincount(np.unique(pairs, axis=1)[0])  # the pictures that have each text
    of_caption = np.repeat(queries["classes"], captions)
    return pd.Series(100.0 * (sharing[text_of] > 1)).groupby(of_caption).mean()


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's, with a 95 % percentile interval of a bootstrap over classes."""

    value: float
    low: float
    high: float
    classes: int


def rank_correlation(table: pd.DataFrame, of: str = "gain", seed: int = 0) -> RankCorrelation:
    """Of what HMMC loses with how often a class repeats its captions; above zero: less there.

    Args:
        table: from ``by_class``.
        of: ``gain``; or ``kept``, since a class with a low score has few points to lose.
    """
    columns = table[["repeated", of]].to_numpy()
    rows = np.random.default_rng(seed).integers(len(columns), size=(RESAMPLES, len(columns)))
    ranks = stats.rankdata(np.concatenate([columns[None], columns[rows]]), axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).sum(axis=1).prod(axis=1))
    with np.errstate(invalid="ignore"):  # a draw of equal classes has no correlation
        found = centred.prod(axis=2).sum(axis=1) / spread
    drawn = found[1:][~np.isnan(found[1:])]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return RankCorrelation(float(found[0]), float(low), float(high), len(columns))
