"""The dial experiment, read from its records: what HMMC gains as a set's data grow alike.

For each set of generated scenes, HMMC and its control of the same compute are trained from the same
seed and tested on the same pictures. A seed draws the scenes, the batches and the adapter anew, so
seeds are independent repetitions, and intervals over them cover all of these.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from rsstudy.experiments.arms import recorded
from rsstudy.experiments.compare import mean_over_seeds
from study.suites import CONTROLLED, DIALS, RAISED, arms


def gains(records: pd.DataFrame, score: str = "mean_recall") -> pd.DataFrame:
    """HMMC less its control, in points, for each pair of runs that is on record.

    Args:
        records: from ``experiments.record.read_records``.

    Returns:
        columns form (hinge or InfoNCE), raised (pictures, captions or both), position, seed, hmmc,
        control, gain, hmmc_id, control_id. The scenes with both dials at 0 stand in all three.
    """
    columns = [
        "form",
        "raised",
        "position",
        "seed",
        "hmmc",
        "control",
        "gain",
        "hmmc_id",
        "control_id",
    ]
    found = recorded(arms("dials", "short"), records)
    if found.empty:
        return pd.DataFrame(columns=columns)
    found["position"] = found["level"].astype(float)
    parts = []
    for form, (objective, control) in CONTROLLED.items():
        key = ["factor", "position", "seed"]
        one, other = (
            found[found["objective"] == name].set_index(key)[[score, "id"]]
            for name in (objective, control)
        )
        both = one.merge(other, on=key, suffixes=("_one", "_other")).reset_index()
        both = both.rename(
            columns={
                f"{score}_one": "hmmc",
                f"{score}_other": "control",
                "id_one": "hmmc_id",
                "id_other": "control_id",
            }
        )
        for raised in RAISED:
            rows = both[both["factor"].isin(["none", raised])]
            parts.append(rows.assign(form=form, raised=raised, gain=rows["hmmc"] - rows["control"]))
    whole = pd.concat(parts, ignore_index=True).drop(columns="factor")
    return whole[columns]


def curves(gained: pd.DataFrame, of: str = "gain") -> pd.DataFrame:
    """The mean over seeds of a column of ``gains`` at each position, with 95 % t-intervals.

    Columns: form, raised, position, mean, low, high, p (of zero, two-sided t-test), seeds.
    """
    rows = [
        (*key, *_over_seeds(part[of].to_numpy()))
        for key, part in gained.groupby(["form", "raised", "position"])
    ]
    return pd.DataFrame(
        rows, columns=["form", "raised", "position", "mean", "low", "high", "p", "seeds"]
    )


def slopes(gained: pd.DataFrame, of: str = "gain") -> pd.DataFrame:
    """How a column of ``gains`` changes from one end of a dial to the other, in points.

    A straight line is fitted to each seed's positions; the interval and the two-sided p of no
    change are those of a t-test over the seeds' slopes. Seeds without every position are left out.

    Columns: form, raised, slope, low, high, p, seeds.
    """
    rows = []
    for key, part in gained.groupby(["form", "raised"]):
        table = part.pivot(index="seed", columns="position", values=of)
        table = table.reindex(columns=list(DIALS)).dropna()
        if len(table) < 2:
            continue
        each = np.polyfit(table.columns.to_numpy(float), table.to_numpy().T, 1)[0]
        rows.append((*key, *_over_seeds(each)))
    return pd.DataFrame(rows, columns=["form", "raised", "slope", "low", "high", "p", "seeds"])


def _over_seeds(values: np.ndarray) -> tuple[float, float, float, float, int]:
    """Mean, 95 % t-interval, p of zero and number of seeds."""
    over = mean_over_seeds(list(values))
    p = float(stats.ttest_1samp(values, 0).pvalue) if over.seeds > 1 else np.nan
    return over.mean, over.low, over.high, p, over.seeds


def raised_similarity(by_dial: pd.DataFrame) -> pd.DataFrame:
    """What the dials raise, from one end to the other, to an encoder: measured, not set.

    Args:
        by_dial: from ``study.similarity.by_dial``.

    Returns:
        columns raised, modality, measure, at_0, at_1.
    """
    ends = by_dial[by_dial["position"].isin([0.0, 1.0])]
    table = ends.pivot_table(
        index=["raised", "modality", "measure"], columns="position", values="value"
    ).reset_index()
    return table.rename(columns={0.0: "at_0", 1.0: "at_1"})
