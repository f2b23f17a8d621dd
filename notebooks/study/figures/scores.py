"""Figures of scores: arms side by side, their differences, and what they depend on.

Scores are mean recall in percent, differences are in points. Intervals of 95 % are over test
pictures, where a figure says nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rsstudy.experiments.compare import Contrast
from rsstudy.retrieval import recall_interval
from study.comparison import interval
from study.figures.drawing import (
    NARROW,
    WIDTH,
    ZERO,
    line,
    marks,
    named_above,
    note,
    point,
    rows,
    shown,
    ticks,
)
from study.labels import FAMILIES, OBJECTIVES, SETS, UNTRAINED, Look, looks, named

SCORE = "mean recall on test, %"


def scores_with_intervals(table: pd.DataFrame, by: str = "label") -> Figure:
    """Scores of runs, a row a name, a point a seed, the colour of the objective.

    ``table`` comes from ``experiments.record.read_records``; its column ``by`` names a row.
    """
    names = list(dict.fromkeys(table[by]))
    figure, axis = rows(names, 0.5, 1.2, f"{SCORE} (bars: 95 % interval over test pictures)")
    own = table.groupby(by)[by]
    shifts = 0.16 * (own.cumcount() - (own.transform("size") - 1) / 2)
    words = []
    for run, shift in zip(table.to_dict("records"), shifts, strict=True):
        name, trains = run[by], run["trained"] > 0
        low, high = recall_interval(run["record"]["test_queries"])
        look = OBJECTIVES[run["objective"]] if trains else UNTRAINED
        point(axis, names.index(name) + shift, run["mean_recall"], (low, high), look)
        said = f"{name}, {run['objective']}" if trains else name
        words.append(f"{said} {run['mean_recall']:.1f} ({low:.1f} to {high:.1f})")
    return shown(figure, "Mean recall on test, %, with 95 % intervals:", words, 4)


def contrasts(found: Mapping[str, Contrast], better: str = "the first", title: str = "") -> Figure:
    """Differences, a row each, with both intervals and the margin of equivalence.

    A row is clear where the corrected interval excludes zero, likely where the 95 % one does, else
    open.

    Args:
        better: the side that is ahead to the right of zero.
        title: the finding.
    """
    xlabel = f"difference of mean recall, points (right: {better} is ahead)"
    xlabel += "\nthick: 95 %; thin: corrected for the table"
    figure, axis = rows(found, 0.6 if len(found) <= 12 else 0.45, 1.3, xlabel, wrap=28)
    margin = next(iter(found.values())).margin
    axis.axvspan(-margin, margin, color="0.9", label=f"margin of equivalence: {margin:g} point")
    axis.axvline(0, **ZERO)
    for at, of in enumerate(found.values()):
        thin = of.low_corrected, of.high_corrected
        point(axis, at, of.estimate, (of.low, of.high), Look("_", "C0"), thin)
    axis.margins(x=0.15)
    axis.set_title(title, loc="left")
    axis.set_ylim(len(found) - 0.5, -0.7)
    left, right = axis.get_xlim()
    words = []
    for at, (name, of) in enumerate(found.items()):
        place, side = of.estimate, "center"
        if (place - left) / (right - left) > 0.7:  # it would jut out of the figure
            place, side = of.high_corrected, "right"
        note(axis, f"{interval(of)}: {of.word}", (place, at), 8, ha=side)
        words.append(f"{name} {interval(of)}, {of.word}")
    return shown(figure, "Differences of mean recall, points, with 95 % intervals:", words)


def differences(found: Mapping[str, Any], title: str) -> Figure:
    """The same for a phone: each name above its row, with the word that follows at the right.

    Args:
        found: contrasts by name, or rows of a table with a contrast's numbers and word.
        title: what they show, as a finding.
    """
    figure, axis = plt.subplots(figsize=(NARROW, 0.52 * len(found) + 1.3))
    axis.axvline(0, **ZERO)
    for at, of in enumerate(found.values()):
        thin = of.low_corrected, of.high_corrected
        point(axis, at, of.estimate, (of.low, of.high), Look("_", "C0"), thin)
        said, place = f"{of.estimate:+.1f}, {of.word}", axis.get_yaxis_transform()
        axis.text(0.99, at - 0.22, said, ha="right", va="bottom", weight="bold", transform=place)
    named_above(axis, found)
    axis.margins(x=0.08)
    axis.set_xlabel("difference of mean recall, points\nthick: 95 %; thin: corrected")
    axis.set_title(title, loc="left", fontsize=11)
    words = [f"{name} {interval(of)}, {of.word}" for name, of in found.items()]
    return shown(figure, f"{' '.join(title.split())}. Points, with 95 % intervals:", words)


def before_and_after(panels: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Two scores of each method, hollow before and filled after, a panel a set.

    Args:
        panels: from ``study.updates.by_step``, by what was scored, in words.
        title: what it shows, as a finding.
    """
    sizes = [len(table) for table in panels.values()]
    figure, axes = plt.subplots(
        len(sizes), figsize=(NARROW, sum(sizes) * 0.6 + len(sizes) * 0.6 + 1.2), squeeze=False
    )
    words = []
    for axis, (said, table) in zip(axes[:, 0], panels.items(), strict=True):
        for at, row in enumerate(table.itertuples()):
            family = "a branch" if "adapter" in row.method else "the base's own weights"
            axis.plot((row.before, row.after), (at, at), color="0.5", linewidth=1)
            before = (row.before, row.before_low, row.before_high)
            after = (row.after, row.after_low, row.after_high)
            for hollow, (value, low, high) in ((True, before), (False, after)):
                look = FAMILIES[family]._replace(name="_", hollow=hollow)
                point(axis, at, value, (low, high), look)
                note(axis, f"{value:.1f}", (value, at), -14)
            words.append(f"{said}, {named(row.method)} {row.before:.1f}, then {row.after:.1f}")
        named_above(axis, map(named, table["method"]))
        axis.set_title(said, loc="left", fontsize=10, weight="bold")
        axis.set_xlim(0, 1.08 * table[["before_high", "after_high"]].max(axis=None))
    axis.set_xlabel("mean recall on test, % (hollow: before, filled: after)")
    figure.suptitle(title, fontsize=11)
    return shown(figure, "Mean recall on test, %:", words)


def answer(table: pd.DataFrame) -> Figure:
    """The front page's picture: a panel a set, a row an arm, its score beside full fine-tuning's.

    A line is the interval of the difference to full fine-tuning, over pictures and seeds, drawn
    around the arm's score; the words at the right follow from it. ``table`` comes from
    ``study.front_page.picture_table``.
    """
    sets = looks(table["data"], SETS)
    most = table["name"].nunique() - 1
    size = NARROW, len(sets) * (0.42 * most + 0.8) + 0.4  # narrow: no scrolling on a phone
    figure, axes = plt.subplots(len(sets), 1, figsize=size, squeeze=False)
    words = []
    for axis, (data, of) in zip(axes.flat, sets.items(), strict=True):
        arms = table[table["data"] == data]
        compared = arms["estimate"].notna()
        [whole] = arms.loc[~compared, "mean_recall"]
        axis.axvline(whole, color="0.3", linestyle="--", linewidth=1)
        note(axis, f"full fine-tuning {whole:.1f}", (whole, -0.6), 2, ha="right")
        for at, row in enumerate(arms[compared].itertuples()):
            [look] = looks([row.name]).values() if row.trained else [UNTRAINED]
            ends = (row.low, row.high, row.low_corrected, row.high_corrected)
            low, high, *thin = (whole + end for end in ends)
            point(axis, at, row.mean_recall, (low, high), look._replace(name="_"), tuple(thin))
            behind = {"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8}
            style = {"xycoords": axis.get_yaxis_transform(), "color": look.color, "bbox": behind}
            said = _beside(row.estimate, row.word)
            note(axis, row.name, (0.01, at), 6, **style | {"ha": "left", "color": "0.15"})
            note(axis, f"{row.mean_recall:.1f}  {said}", (0.99, at), 6, ha="right", **style)
            words.append(
                f"{of.name}, {row.name} {row.mean_recall:.1f} %, {said} "
                f"({interval(row, ' points')})"
            )
        [adapter] = arms[arms["name"] == "adapter, InfoNCE"].itertuples()
        axis.set(ylim=(most - 0.6, -1), yticks=[], xlim=(0, 1.25 * whole))
        said = _beside(adapter.estimate, adapter.word)
        finding = "adapter or full, open" if said == "open" else f"the adapter is {said}"
        axis.set_title(f"{of.name}: {finding}", fontsize=11, weight="bold", loc="left")
        words.append(f"{of.name}, full fine-tuning {whole:.1f} %")
    axes.flat[-1].set_xlabel(
        "mean recall on test, %\nlines: of the difference to full fine-tuning\n"
        "thick: 95 %, over pictures and seeds; thin: corrected"
    )
    return shown(figure, "Mean recall on test beside full fine-tuning's:", words)


def _beside(estimate: float, word: str) -> str:
    """Clearly or likely ahead or behind, or open."""
    if word == "open":
        return word
    return f"{'clearly' if word == 'clear' else word} {'ahead' if estimate > 0 else 'behind'}"


def searched_rates(table: pd.DataFrame, title: str = "") -> Figure:
    """Scores on validation against the learning rate, a line an arm; a ring marks the choice.

    ``table`` comes from ``experiments.record.compared``; ``title`` is the finding.
    """
    figure, axis = plt.subplots(figsize=(NARROW, 3.6))
    own, words = looks(table["arm"]), []
    for _, arm in table.groupby("search", sort=False):
        arm, name = arm.sort_values("learning_rate"), arm["arm"].iloc[0]
        [ring] = arm.loc[arm["chosen"], ["learning_rate", "mean_recall"]].to_numpy()
        line(axis, arm["learning_rate"], arm["mean_recall"], own[name], ring=ring)
        words.append(f"{name} {ring[0]:g}")
    ticks(axis, table["learning_rate"])
    axis.set_title(title, loc="left")
    axis.set(xlabel="learning rate", ylabel="mean recall on validation, %")
    return shown(figure, "Learning rates chosen on validation:", words, 1)


def learning_curves(records: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Scores on validation by epoch, a line a run; a ring marks the epoch that was kept."""
    figure, axis = plt.subplots(figsize=(WIDTH, 3.2))
    words = []
    for name, look in looks(records).items():
        made = {row["epoch"]: row["mean_recall"] for row in records[name]["history"]}
        best, recalls = records[name]["best_epoch"], list(made.values())
        line(axis, list(made), recalls, look, ring=(best, made[best]))
        words.append(f"{name} from {recalls[0]:.1f} to {recalls[-1]:.1f}, kept epoch {best}")
    axis.set(xlabel="epoch", ylabel="mean recall on validation, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return shown(figure, "Mean recall on validation, %, by epoch:", words, 2)


def by_factor(table: pd.DataFrame) -> Figure:
    """Scores of a suite's arms, a row a level, grouped by what they change; a point a seed.

    ``table`` has the columns ``factor``, ``level`` and ``mean_recall``.
    """
    arms = dict(list(table.groupby(["factor", "level"], sort=False)["mean_recall"]))
    names = [": ".join(map(str, arm)) for arm in arms]
    figure, axis = rows(names, 0.29, 0.9, SCORE)
    own, last = looks(table["factor"]), next(iter(arms))[0]
    for at, ((factor, _), scores) in enumerate(arms.items()):
        marks(axis, scores, [at] * len(scores), own[factor]._replace(name="_"))
        if factor != last:
            axis.axhline(at - 0.5, color="0.8", linewidth=0.8)
        last = factor
    words = [f"{name} {of.mean():.1f}" for name, of in zip(names, arms.values(), strict=True)]
    return shown(figure, "Mean recall on test, %:", words)


def by_share(table: pd.DataFrame) -> Figure:
    """Scores against the share of the training pictures, a line a method.

    ``table`` has the columns factor (the method), level (percent), mean_recall, low and high.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8))
    words = []
    table = table.assign(level=table["level"].astype(float))
    for number, (name, look) in enumerate(looks(table["factor"]).items()):
        own = table[table["factor"] == name].sort_values("level")
        bounds = own["low"], own["high"]
        line(axis, own["level"] * 1.03 ** (number - 2), own["mean_recall"], look, bounds)
        scores = [f"{row.mean_recall:.1f} with {row.level:g} %" for row in own.itertuples()]
        words.append(f"{name} {', '.join(scores)}")
    ticks(axis, table["level"])
    axis.set(xlabel="training pictures, % of the split", ylabel=SCORE)
    return shown(figure, "Mean recall on test, %, by share of training pictures:", words)


def shares(table: pd.DataFrame, of: str) -> Figure:
    """A table of percentages as coloured cells with their numbers; ``of`` is what a cell is."""
    figure, axis = plt.subplots(figsize=(WIDTH, 0.33 * len(table) + 1.5))
    cells = {"annot": True, "fmt": ".0f", "annot_kws": {"fontsize": 9}, "linewidths": 0.5}
    named_table = table.rename(index=named, columns=named)
    sns.heatmap(named_table, cmap="cividis", cbar=False, ax=axis, **cells)
    axis.xaxis.tick_top()
    axis.set_xticks(axis.get_xticks(), named_table, fontsize=9, rotation=30, ha="left")
    axis.tick_params(axis="y", labelsize=9, labelrotation=0)
    axis.set(xlabel=of, ylabel="")
    words = [f"{name} {row.min():.0f} to {row.max():.0f}" for name, row in table.iterrows()]
    return shown(figure, f"{of}:", words)
