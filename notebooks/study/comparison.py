"""The comparison's tables: scores beside sizes, who answers what others miss, recall by class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from rsstudy.errors import StudyError
from rsstudy.experiments.arms import Arm, is_run
from rsstudy.experiments.compare import Contrast, SeedSpread, compare, corrected
from rsstudy.retrieval import KS, counts_of, recall_interval

Record = Mapping[str, Any]
Name = TypeVar("Name")

# Which row of the paper's tables is a method's; ``Ours`` is its adapter with HMMC. The VSE++ that
# it quotes is another author's training of the same recipe.
PRINTED: dict[tuple[str, str], str] = {
    ("zero-shot", "infonce"): "Zero-shot CLIP",
    ("linear-probe", "infonce"): "Linear probe",
    ("full", "infonce"): "Full fine-tuning",
    ("coop", "infonce"): "CoOp",
    ("vpt", "infonce"): "VPT",
    ("vl-prompt", "infonce"): "VL-Prompt",
    ("adapter", "infonce"): "Adapter",
    ("clip-adapter", "infonce"): "CLIP-Adapter",
    ("convpass", "infonce"): "Convpass",
    ("adaptformer", "infonce"): "AdaptFormer",
    ("cross-modal-adapter", "infonce"): "Cross-Modal Adapter",
    ("uniadapter", "infonce"): "UniAdapter",
    ("mrs-adapter", "hmmc"): "Ours",
    ("cnn-gru", "hinge"): "VSE++",
}
# A second row of the paper for the same method. It quotes "Single Language" from Al Rahhal et al.
# (2022), who train both towers.
QUOTED: dict[tuple[str, str], str] = {("full", "infonce"): "Single Language"}


def name_of_row(row: Any) -> str:
    """Method with what differs from its defaults, the encoder and the objective if not usual."""
    encoder = f" ({row.encoder})" if str(row.encoder).startswith("cnn-gru") else ""
    objective = "" if row.objective_label == "infonce" else f", {row.objective_label}"
    return f"{row.label}{encoder}{objective}"


def side_by_side(found: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Every arm of one set in a row, the best first.

    Args:
        found: from ``study.suites.recorded``, of one set and encoder.
        reported: the paper's rows of that set, from ``study.published.read_reported``.

    Returns:
        columns family, label, name, seeds, mean_recall (mean over seeds), low, high (95 % over test
        pictures, see ``mean_with_interval``), deviation (over seeds; NaN of one), method, heads,
        total (trained parameters), printed (the paper's mean recall, percent, of another encoder;
        NaN where it has none), printed_millions, quoted (the paper's mean recall of a row that it
        quotes for the same method, see ``QUOTED``; else NaN), rise (points of validation mean
        recall that the last epoch brought, where it was the best; else 0; of the first seed),
        records (by seed). Recalls in percent.
    """
    rows = []
    for _, runs in found.groupby(["encoder", "label", "objective_label"], sort=False):
        first, records = next(runs.itertuples()), list(runs["record"])
        mean, low, high = mean_with_interval(records)
        counts, history = first.record["trained_parameters"], first.record["history"]
        made = [row["mean_recall"] for row in history]
        still = len(made) > 1 and first.best_epoch == history[-1]["epoch"]
        kind = "cnn-gru" if str(first.encoder).startswith("cnn-gru") else first.method
        paper, quoted = (
            reported[reported["method"] == names.get((kind, first.objective), "")].max()
            for names in (PRINTED, QUOTED)
        )
        rows.append(
            {
                "family": first.factor,
                "label": first.label,
                "name": name_of_row(first),
                "seeds": len(runs),
                "mean_recall": mean,
                "low": low,
                "high": high,
                "deviation": runs["mean_recall"].std(),
                **{part: counts[part] for part in ("method", "heads", "total")},
                "printed": paper["mean_recall_printed"],
                "printed_millions": paper["trainable_params_millions"],
                "quoted": quoted["mean_recall_printed"],
                "rise": made[-1] - max(made[:-1]) if still else 0.0,
                "records": records,
            }
        )
    return pd.DataFrame(rows).sort_values("mean_recall", ascending=False, ignore_index=True)


def judged(asked: Mapping[Name, Contrast]) -> dict[Name, Contrast]:
    """The contrasts of one table by name, corrected over all of them."""
    return dict(zip(asked, corrected(list(asked.values())), strict=True))


def contrasted(
    asked: Mapping[Name, tuple[Sequence[Record], Sequence[Record]]], pool: SeedSpread | None = None
) -> dict[Name, Contrast]:
    """For each name, its first arm less its second, corrected over all that are asked.

    Args:
        asked: by name, the records of both arms, one a seed.
        pool: see ``rsstudy.experiments.compare.compare``.
    """
    return judged({name: compare(*sides, pool=pool) for name, sides in asked.items()})


def interval(found: Any, unit: str = "") -> str:
    """An estimate in words, with its 95 % interval, both signed."""
    return f"{found.estimate:+.1f}{unit} ({found.low:+.1f} to {found.high:+.1f})"


def recall_by_class(records: Mapping[str, Record]) -> pd.DataFrame:
    """Mean recall within the queries of each class, percent: a row a class, a column a record.

    Captions belong to the class of their picture; candidates are those of the whole test split.

    Raises:
        StudyError: a record that does not tell the classes of its test pictures, or a set has none.
    """
    columns = {}
    for name, record in records.items():
        queries = record["test_queries"]
        classes = queries.get("classes", [])
        if not classes or None in classes:
            raise StudyError(
                f"no classes of the test pictures on record for {name}: do its run again"
            )
        of_caption = np.repeat(classes, queries["captions_of_image"])
        i2t, t2i = counts_of(queries)
        columns[name] = sum(
            pd.Series(100 * ranks.recall(k)).groupby(np.asarray(of)).mean()
            for ranks, of in ((i2t, classes), (t2i, of_caption))
            for k in KS
        ) / (2 * len(KS))
    return pd.DataFrame(columns)


def mean_with_interval(records: Sequence[Record]) -> tuple[float, float, float]:
    """Mean recall over seeds, and the mean bounds of its 95 % intervals over test pictures.

    Percent. How the seeds differ does not enter the interval.
    """
    bounds = [recall_interval(record["test_queries"]) for record in records]
    means = [record["scores"]["mean_recall"] for record in records]
    low, high = (sum(bound) / len(bound) for bound in zip(*bounds, strict=True))
    return sum(means) / len(means), low, high


def shared_seeds(
    one: Sequence[Record], other: Sequence[Record]
) -> tuple[list[Record], list[Record]]:
    """Those records of two arms whose seed both have, so that neither has more than the other."""
    seeds = {r["config"]["seed"] for r in one} & {r["config"]["seed"] for r in other}
    kept = [[r for r in side if r["config"]["seed"] in seeds] for side in (one, other)]
    return kept[0], kept[1]


def on_validation(rows: Sequence[Arm], records: Iterable[Record]) -> pd.DataFrame:
    """What the arms of a suite scored on validation, whether their runs went on to test or not.

    Args:
        rows: arms whose first seed is looked for.
        records: of runs whose epoch is chosen, and maybe of others.

    Returns:
        a row an arm on record: name (its level), trained (parameters), mean_recall (on validation,
        percent), best_epoch, seconds (of training), record.
    """
    records = [record for record in records if "validation_scores" in record]
    found = [(arm, r) for arm in rows for r in [r for r in records if is_run(arm.run, r)][:1]]
    return pd.DataFrame(
        {
            "name": arm.level,
            "trained": record["trained_parameters"]["total"],
            "mean_recall": record["validation_scores"]["mean_recall"],
            "best_epoch": record["best_epoch"],
            "seconds": record["cost"]["train_seconds"],
            "record": record,
        }
        for arm, record in found
    )
