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
from study.suites import CONTROLLED, DIALS, RAISED, arms

COLUMNS = ["form", "raised", "position", "seed", "hmmc", "control", "gain", "hmmc_id", "control_id"]
OVER_SEEDS = ("low", "high", "p", "seeds")


def gains(records: pd.DataFrame) -> pd.DataFrame:
    """HMMC's mean recall less its control's, in points, for each pair of runs on record.

    Args:
        records: from ``experiments.record.read_records``.

    Returns:
        columns form (hinge or InfoNCE), raised (pictures, captions or both), position, seed, hmmc,
        control, gain, hmmc_id, control_id. The scenes with both dials at 0 are in all three.
    """
    found = recorded(arms("dials", "short"), records)
    if found.empty:
        return pd.DataFrame(columns=COLUMNS)
    found["position"] = found["level"].astype(float)
    key = ["factor", "position", "seed"]
    parts = []
    for form, objectives in CONTROLLED.items():
        sides = [
            found[found["objective"] == objective][[*key, "mean_recall", "id"]].rename(
                columns={"mean_recall": side, "id": f"{side}_id"}
            )
            for side, objective in zip(("hmmc", "control"), objectives, strict=True)
        ]
        both = sides[0].merge(sides[1], on=key).assign(form=form)
        both["gain"] = both["hmmc"] - both["control"]
        for raised in RAISED:
            parts.append(both[both["factor"].isin(["none", raised])].assign(raised=raised))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def curves(gained: pd.DataFrame, of: str = "gain") -> pd.DataFrame:
    """The mean over seeds of a column of ``gains`` at each position, with 95 % t-intervals.

    Columns: form, raised, position, mean, low, high, p (of zero, two-sided t-test), seeds.
    """
    key = ["form", "raised", "position"]
    rows = [(*at, *_over_seeds(part[of].to_numpy())) for at, part in gained.groupby(key)]
    return pd.DataFrame(rows, columns=[*key, "mean", *OVER_SEEDS])


def slopes(gained: pd.DataFrame, of: str = "gain") -> pd.DataFrame:
    """The change of a column of ``gains`` from one end of a dial to the other, in points.

    A straight line is fitted to each seed's positions. Interval and two-sided p of no change are
    those of a t-test over the seeds' slopes. Seeds without every position are left out.

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
    return pd.DataFrame(rows, columns=["form", "raised", "slope", *OVER_SEEDS])


def _over_seeds(values: np.ndarray) -> tuple[float, float, float, float, int]:
    """Mean, 95 % t-interval, p of zero and number of seeds."""
    mean, seeds = float(np.mean(values)), len(values)
    if seeds == 1:
        return mean, np.nan, np.nan, np.nan, seeds
    found = stats.ttest_1samp(values, 0)
    low, high = found.confidence_interval(0.95)
    return mean, float(low), float(high), float(found.pvalue), seeds


def raised_similarity(by_dial: pd.DataFrame) -> pd.DataFrame:
    """What the dials raise, from one end to the other, to an encoder: measured, not set.

    Args:
        by_dial: from ``study.similarity.by_dial``.

    Returns:
        columns raised, modality, measure, at_0, at_1.
    """
    table = by_dial.pivot_table(
        index=["raised", "modality", "measure"], columns="position", values="value"
    )
    return table[[0.0, 1.0]].set_axis(["at_0", "at_1"], axis="columns").reset_index()
