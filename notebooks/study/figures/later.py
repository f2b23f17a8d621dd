"""The figure of what others printed later: score against trained parameters."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from study.figures.drawing import NARROW, marks, shown
from study.labels import SETS, Look
from study.published import ITSELF

FINDING = "Printed scores rise with aerial data,", "not with parameters, where both are said"
DATA = {
    "its own set": Look("its own set", "C0", mark="o"),
    "sets together": Look("RSITMD, RSICD, UCM together", "C1", mark="s"),
    "more aerial data": Look("more aerial data", "C2", mark="v"),
}


def later_scores(table: pd.DataFrame) -> Figure:
    """Mean recall against trained parameters, a panel a set; hollow where test chose the epoch.

    A cross is what somebody else found for the same weights. Rows that train nothing, none of the
    set's pictures, or do not say how much, are left out.

    Args:
        table: from ``study.published.beside_the_paper``.
    """
    table = table[table["data"].isin(DATA) & table["trained_parameters"].notna()]
    figure, axes = plt.subplots(2, sharex=True, figsize=(NARROW, 6.6))
    words = []
    for axis, dataset in zip(axes, ("rsitmd", "rsicd"), strict=True):
        rows = table[table["dataset"] == dataset]
        own = rows["evaluated_by"] == ITSELF
        for row in rows[own].to_dict("records"):
            size, score = row["trained_parameters"], row["mean_recall"]
            on_test = row["chosen_on"] == "test"
            marks(axis, size, score, DATA[row["data"]]._replace(hollow=on_test))
            right = size < 1e6
            name = row["method"].removesuffix(", the paper's row")
            paper = "the paper: " * (name != row["method"])
            axis.annotate(
                fill(paper + name, 28) + " (on test)" * on_test,
                (size, score),
                (6 if right else -6, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=7.5,
            )
            words.append(f"{SETS[dataset].name}, {paper}{name} {score:.1f} with {size / 1e6:.3g} M")
        for row in rows[~own].to_dict("records"):
            size, again = row["trained_parameters"], row["mean_recall"]
            same = rows[own & (rows["method"] == row["method"])]["mean_recall"].iloc[0]
            axis.plot((size, size), (same, again), color=DATA[row["data"]].color, linewidth=1)
            axis.plot(size, again, "x", color=DATA[row["data"]].color, label="evaluated by others")
            words.append(f"{SETS[dataset].name}, {row['method']} by others {again:.1f}")
        axis.set_ylabel(f"{SETS[dataset].name}, mean recall, %")
    axes[1].set_xscale("log")
    axes[1].set_xlim(5e4, 3e8)
    axes[1].set_xlabel("trained parameters")
    axes[0].set_title(f"{FINDING[0]}\n{FINDING[1]}", loc="left")
    return shown(figure, f"{' '.join(FINDING)}. Mean recall, %:", words, 2, fontsize=8)
