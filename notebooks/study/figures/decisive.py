"""Figures of the decisive record, for a phone's width too.

What is drawn of a fold's training is its validation alone, which decides nothing before a look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.figures.drawing import shown
from study.labels import OBJECTIVES, looks

NARROW = 3.9  # inches: a phone shows it whole


def validation_curves(records: Mapping[str, Mapping[str, Any] | None], where: str) -> Figure:
    """Validation by epoch of arms on one fold, a line each; a ring marks the epoch that was kept.

    The title says the best scores on validation, or which arm is not on record yet.

    Args:
        records: by objective; None where a run is not on record.
        where: set and fold, in words.
    """
    figure, axis = plt.subplots(figsize=(NARROW, 3.5))
    told, words = [], []
    for name, look in looks(records, OBJECTIVES).items():
        record = records[name]
        if record is None:
            told.append(f"{look.name} is not on record yet")
            words.append(told[-1])
            continue
        made = {row["epoch"]: row["mean_recall"] for row in record["history"]}
        best = record["best_epoch"]
        axis.plot(list(made), list(made.values()), look.line, color=look.color, label=look.name)
        axis.plot(best, made[best], "o", mfc="none", ms=10, color=look.color)
        told.append(f"{look.name} reaches {made[best]:.1f} %")
        words.append(f"{look.name} from {made[min(made)]:.1f}, kept epoch {best} {made[best]:.1f}")
    axis.set_title("\n".join([f"{where}, validation:", *told]), fontsize=10, loc="left")
    axis.set(xlabel="epoch", ylabel="mean recall, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(x=0.03)
    what = f"Mean recall on validation, %, by epoch, {where}:"
    return shown(figure, what, words, 2, loc="outside lower center")
