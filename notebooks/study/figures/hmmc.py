"""Figures of HMMC beside InfoNCE, for a phone's width too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rsstudy.experiments.compare import Contrast
from study.comparison import interval
from study.figures.drawing import NARROW, ZERO, note, point, shown
from study.labels import HMMC, OBJECTIVES, Look, looks


def validation_curves(records: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Validation by epoch of two runs on one fold; a ring marks the epoch that was kept.

    Args:
        records: by objective or method.
        title: the finding.
    """
    figure, axis = plt.subplots(figsize=(NARROW, 3.6))
    made = {
        name: {row["epoch"]: row["mean_recall"] for row in record["history"]}
        for name, record in records.items()
    }
    words = []
    for name, look in looks(records, OBJECTIVES).items():
        scores, best = made[name], records[name]["best_epoch"]
        axis.plot(list(scores), list(scores.values()), look.line, color=look.color, label=look.name)
        axis.plot(best, scores[best], "o", mfc="none", ms=10, color=look.color)
        words.append(
            f"{look.name} from {scores[min(scores)]:.1f}, kept epoch {best} {scores[best]:.1f}"
        )
    axis.set_title(title, fontsize=11)
    axis.set(xlabel="epoch", ylabel="mean recall on validation, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(x=0.03)
    return shown(figure, "Mean recall on validation, %, by epoch:", words)


def forest(groups: Mapping[str, Mapping[str, Contrast]], title: str) -> Figure:
    """Differences of HMMC, a row each below the name of its group, with both intervals.

    Args:
        groups: by heading and row; of the contrasts of one table, corrected together.
        title: the finding.
    """
    places = sum(map(len, groups.values())) + 0.8 * len(groups)
    figure, axis = plt.subplots(figsize=(NARROW, 0.42 * places + 1.3))
    axis.axvline(0, **ZERO)
    words, at = [], 0.0
    style: dict[str, Any] = {"xycoords": axis.get_yaxis_transform()}
    for heading, found in groups.items():
        note(axis, heading, (0.02, at), 0, ha="left", fontsize=10, fontweight="bold", **style)
        for name, of in found.items():
            at += 1
            thin = of.low_corrected, of.high_corrected
            point(axis, at, of.estimate, (of.low, of.high), Look("_", HMMC), thin)
            note(axis, name, (0.02, at), 6, ha="left", **style)
            note(axis, f"{of.estimate:+.1f}, {of.word}", (0.98, at), 6, ha="right", **style)
            words.append(f"{heading}, {name} {interval(of)}, {of.word}")
        at += 0.8
    left, right = axis.get_xlim()  # with room for what is written at either side
    axis.set_xlim(left - 0.03 * (right - left), right + 0.25 * (right - left))
    axis.set(yticks=[], ylim=(at - 0.3, -0.5))
    axis.set_xlabel("difference of mean recall on test, points\nthick: 95 %; thin: corrected")
    figure.suptitle(title)
    return shown(figure, "Differences of mean recall, points, with 95 % intervals:", words)
