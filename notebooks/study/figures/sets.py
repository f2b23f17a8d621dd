"""Figures of sets: their pictures and captions, how alike these are, and what the dials change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsstudy.data.imagetext import ImageTextSet
from study.figures.drawing import (
    NARROW,
    WIDTH,
    ZERO,
    bars,
    line,
    name_rows,
    named_above,
    point,
    shown,
    ticks,
)
from study.labels import OBJECTIVES, SETS, Look, looks

MODALITY = {"image": "pictures", "text": "captions"}
# The forms of HMMC, of which each dial experiment has both.
FORMS = {
    "hinge": OBJECTIVES["hmmc"]._replace(name="hinge"),
    "InfoNCE": OBJECTIVES["hmmc-infonce"]._replace(name="InfoNCE"),
}


def _sheet(
    pictures: Iterable[tuple[ImageTextSet, int]],
    rows: int,
    columns: int,
    height: float,
    width: float = WIDTH,
) -> tuple[Figure, np.ndarray]:
    """Pictures row by row; ``height`` of a row over the width of a column; ``width`` in inches."""
    size = width, width / columns * height * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, (of, index) in zip(axes.flat, pictures, strict=False):
        axis.imshow(of.images.decode(index), interpolation="lanczos")
    return figure, axes


def contact_sheet(
    pictures: ImageTextSet,
    indices: Sequence[int],
    columns: int = 6,
    title: str = "",
    width: float = WIDTH,
) -> Figure:
    """Pictures in a grid, each under its class; ``width`` in inches."""
    rows = -(-len(indices) // columns)
    figure, axes = _sheet([(pictures, index) for index in indices], rows, columns, 1.16, width)
    classes = [pictures.classes[index] or "no class" for index in indices]
    for axis, name in zip(axes.flat, classes, strict=False):
        axis.set_title(name, fontsize=9, pad=2)
    figure.suptitle(title, fontsize=11)
    what = f"{title or 'Contact sheet'}. {len(classes)} pictures:"
    return shown(figure, what, [", ".join(classes)])


def captioned(pictures: ImageTextSet, indices: Sequence[int], captions: int = 3) -> Figure:
    """A few pictures, each with the first of its captions beside it."""
    figure, axes = _sheet([(pictures, index) for index in indices], len(indices), 1, 0.21)
    for axis, index in zip(axes.flat, indices, strict=True):
        axis.set_anchor("W")
        own = pictures.captions[index][:captions]
        lines = "\n".join(fill(f"• {text}", 70, subsequent_indent="   ") for text in own)
        axis.text(1.06, 0.5, lines, va="center", fontsize=9, transform=axis.transAxes)
    firsts = [f"“{pictures.captions[index][0]}”" for index in indices]
    return shown(figure, f"{len(firsts)} pictures beside their captions:", firsts)


def dials(sheets: Mapping[float, ImageTextSet], indices: Sequence[int]) -> Figure:
    """The same scenes at several positions of the picture dial, one row a position."""
    pictures = [(sheet, index) for sheet in sheets.values() for index in indices]
    figure, axes = _sheet(pictures, len(sheets), len(indices), 1.05)
    for first, position in zip(axes[:, 0], sheets, strict=True):
        first.set_ylabel(f"dial {position:g}")
    positions = ", ".join(f"{position:g}" for position in sheets)
    what = f"The same {len(indices)} scenes with the picture dial at {positions}:"
    return shown(figure, what, ["a row each, ever more alike"])


def alikeness(table: pd.DataFrame) -> Figure:
    """Two measures against the dials: ``dial``, ``picture_distance``, ``distinct_captions``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    line(left, table["dial"], table["picture_distance"], Look("_", "C0"))
    line(right, table["dial"], table["distinct_captions"], Look("_", "C1"))
    left.set(title="Pictures grow alike", xlabel="alike_images", ylim=(0, None))
    left.set_ylabel("mean distance of two pictures\n(grey levels of 255)")
    right.set(title="Captions grow alike", xlabel="alike_captions", ylim=(0, 105))
    right.set_ylabel("distinct captions, % of all")
    first, last = table.iloc[0], table.iloc[-1]
    found = (
        f"the mean distance of two pictures goes from {first['picture_distance']:.1f} to "
        f"{last['picture_distance']:.1f} grey levels, the distinct captions from "
        f"{first['distinct_captions']:.1f} to {last['distinct_captions']:.1f} % of all"
    )
    what = f"Two line charts, dials from {first['dial']:g} to {last['dial']:g}:"
    return shown(figure, what, [found])


def repeated_captions(table: pd.DataFrame, title: str = "") -> Figure:
    """For each set, the share of test captions whose exact text labels another test image, too.

    ``table`` has the columns ``set`` and ``shared`` (percent).
    """
    of = "test captions that also label another test image"
    names = [SETS[name].name for name in table["set"]]
    figure, axis = plt.subplots(figsize=(NARROW, 0.5 * len(names) + 1.2))
    shares = [f"{share:.1f} %" for share in table["shared"]]
    bars(axis, table["shared"], shares, height=0.35)
    named_above(axis, names)
    axis.set(xlim=(0, 100), xlabel=f"{of}, %".replace(" also", " also\n"))
    figure.suptitle(title)
    found = ", ".join(map(" ".join, zip(names, shares, strict=True)))
    return shown(figure, f"Bar chart, {of}:", [found])


def _panels(height: float) -> tuple[Figure, list[tuple[Axes, str, str]]]:
    """Two axes side by side: of pictures and of captions, with the modality and its name."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, height), sharey=True)
    for axis, name in zip(axes, MODALITY.values(), strict=True):
        axis.set_title(name.capitalize())
    return figure, [(axis, *of) for axis, of in zip(axes, MODALITY.items(), strict=True)]


def cosine_distributions(found: Mapping[str, Any], of: str = "all") -> Figure:
    """How the cosines within pictures and within captions are distributed, a line a set.

    ``found`` comes from ``study.similarity.compare``; ``of`` is "all" pairs, or each one's
    "nearest" other.
    """
    figure, panels = _panels(3.2)
    words = []
    for axis, modality, name in panels:
        for key, look in looks(found["sets"], SETS).items():
            summary = found["sets"][key][modality][of]
            counts = np.array(summary["histogram"])
            style: dict[str, Any] = {"color": look.color}
            edges = np.linspace(-1, 1, len(counts) + 1)
            shares = 100 * counts / counts.sum()
            axis.stairs(shares, edges, label=look.name, linestyle=look.line, linewidth=1.8, **style)
            axis.axvline(summary["mean"], linestyle=":", linewidth=1.2, **style)
            words.append(f"{look.name}, {name}, mean {summary['mean']:.2f}")
        seen = (-0.25, 0, 0.25, 0.5, 0.75) if of == "all" else (0.25, 0.5, 0.75)
        axis.set(xlim=(-0.4 if of == "all" else 0.2, 1), ylim=(0, None), xticks=seen)
    what = "two of them" if of == "all" else "each and its nearest other"
    figure.supxlabel(f"cosine of {what} (dotted: mean)", fontsize=10)
    figure.axes[0].set_ylabel("share, % a bar of 0.02")
    return shown(figure, f"Two histograms, cosine of {what}:", words)


def fewer_different(found: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Effective numbers over those of everyday data, with 95 % intervals.

    ``found`` has, by the encoder's name, what ``study.similarity.against`` gave.
    """
    figure, axes = plt.subplots(2, 1, figsize=(NARROW, 0.95 * len(found) + 2.6), sharex=True)
    words = []
    for axis, (modality, name) in zip(axes, reversed(MODALITY.items()), strict=True):
        axis.axvline(1, **ZERO)
        for at, (under, table) in enumerate(found.items()):
            own = table[(table["modality"] == modality) & (table["measure"] == "effective_number")]
            for row, shift in zip(own.itertuples(), (-0.02, 0.16), strict=True):
                look, bounds = SETS[row.set], (row.ratio_low, row.ratio_high)
                point(axis, at + shift, row.ratio, bounds, look)
                words.append(f"{name}, {under}, {look.name} {100 * row.ratio:.0f} %")
        named_above(axis, found)
        axis.set_title(name.capitalize())
    ticks(axes[1], (0.25, 0.5, 1, 1.5))
    axes[1].set_xticklabels(["25", "50", "100", "150"])
    axes[1].set(
        xlim=(0.22, 1.9), xlabel="different ones, % of those of Flickr8k\n(bars: 95 % intervals)"
    )
    figure.suptitle(title)
    what = "Different pictures and captions of 500, in % of those of everyday data:"
    return shown(figure, what, words, 2, loc="outside lower center")


def class_contrast(found: Mapping[str, Any]) -> Figure:
    """The mean cosine within a scene class and between classes, for each set that has classes.

    A set without classes shows that of all its pairs.
    """
    figure, panels = _panels(0.5 * len(found["sets"]) + 1.6)
    words = []
    for axis, modality, name in panels:
        for row, (key, look) in enumerate(looks(found["sets"], SETS).items()):
            numbers = found["sets"][key][modality]["headline"]
            if "same_class" not in numbers:
                mean = numbers["mean"]["value"]
                axis.plot(mean, row, "D", color="0.3", label="all pairs (no classes)")
                words.append(f"{name}, {look.name}, all pairs {mean:.2f}")
                continue
            low, high = numbers["different_classes"]["value"], numbers["same_class"]["value"]
            axis.plot([low, high], [row, row], color=look.color, linewidth=2, alpha=0.6)
            axis.plot(low, row, "o", mfc="white", color="0.3", label="different classes")
            axis.plot(high, row, "o", color="0.3", label="same class")
            words.append(f"{name}, {look.name}, different {low:.2f}, same {high:.2f}")
        name_rows(axis, found["sets"])
        axis.set(xlim=(0, 1), xticks=(0.2, 0.4, 0.6, 0.8))
    figure.supxlabel("mean cosine of two of them", fontsize=10)
    return shown(figure, "Mean cosines by class:", words)


def embedding_map(found: Mapping[str, Any]) -> Figure:
    """Pictures and captions of several sets on the two principal axes that the sets share."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8))
    words, own = [], looks(found["sets"], SETS)
    for axis, (modality, name) in zip(axes, MODALITY.items(), strict=True):
        drawn = found["map"][modality]
        # Everyday things first, the smaller clouds above them.
        for key in sorted(drawn["points"], key=lambda key: key != "flickr8k"):
            look, (x, y) = own[key], np.array(drawn["points"][key]).T
            style = {"marker": look.mark, "color": look.color, "label": look.name}
            axis.scatter(x, y, s=9, alpha=0.55, linewidths=0, **style)
            words.append(f"{name}, {look.name}, spread {np.hypot(x.std(), y.std()):.2f}")
        share = 100 * sum(drawn["variance_shown"])
        axis.set_title(f"{name.capitalize()} ({share:.0f} % of the variance)")
        axis.set(aspect="equal", adjustable="datalim", xlabel="first axis", ylabel="second axis")
        axis.set(xticklabels=[], yticklabels=[])
    return shown(figure, "Two scatter plots on shared principal axes:", words, markerscale=2)


def _along_dials(
    panels: Mapping[str, Sequence[tuple[Look, pd.DataFrame]]],
    ylabel: str,
    what: str,
    form: str,
    xlabel: str = "dial",
) -> Figure:
    """Lines of position, mean, low and high, some a panel; numbers in ``form``."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.2), sharey=True)
    words = []
    for axis, (panel, lines) in zip(axes, panels.items(), strict=True):
        axis.axhline(0, **ZERO) if "+" in form else None
        for look, points in lines:
            points = points.sort_values("position")
            place, mean = points["position"], points["mean"]
            line(axis, place, mean, look, (points["low"], points["high"]))
            words.append(
                f"{panel}, {look.name}, from {mean.iloc[0]:{form}} to {mean.iloc[-1]:{form}}"
            )
        axis.set(title=panel[0].upper() + panel[1:], xlabel=xlabel, xticks=(0, 0.5, 1))
    axes[0].set_ylabel(ylabel)
    return shown(figure, f"Line charts, {what}:", words)


def similarity_by_dial(table: pd.DataFrame, measure: str = "mean") -> Figure:
    """A measure of generated scenes against the dials, raised apart and together.

    ``table`` comes from ``study.similarity.by_dial``; ``measure`` is mean (cosine),
    effective_number, or another headline number.
    """
    raised = {
        "pictures": Look("pictures raised", "C0"),
        "captions": Look("captions raised", "C1", "--", "s"),
        "both": Look("both raised", "0.3", ":", "D", hollow=True),
    }
    table = table[table["measure"] == measure].rename(columns={"value": "mean"})
    spread = 1.96 * table["standard_error"]
    table = table.assign(low=table["mean"] - spread, high=table["mean"] + spread)
    parts = dict(list(table.groupby(["modality", "raised"])))
    panels = {
        name: [(look, parts[modality, dial]) for dial, look in raised.items()]
        for modality, name in MODALITY.items()
    }
    said = {
        "mean": "mean cosine of two of them",
        "nearest": "cosine of each and its nearest other",
        "same_class": "mean cosine of two of a class",
    }
    name = measure.replace("_", " ")
    return _along_dials(panels, said.get(measure, name), f"{name} by dial", ".2f")


def gain_by_dial(curves: pd.DataFrame) -> Figure:
    """What HMMC gains over its control along the dials, a panel for what is raised, a line a form.

    ``curves`` comes from ``study.dials.curves``.
    """
    parts = dict(list(curves.groupby(["raised", "form"])))
    panels = {
        f"{raised} raised": [
            (look, parts[raised, form])
            for form, look in FORMS.items()
            if len(parts[raised, form]) > 1
        ]
        for raised in ("both", "captions", "pictures")
    }
    ylabel = f"gain of HMMC, points\n(95 % interval over {curves['seeds'].max()} seeds)"
    return _along_dials(panels, ylabel, "gain of HMMC over its control, points", "+.1f")


def levels_by_dial(hmmc: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Scores of HMMC and of its control as both dials are raised, a panel a form.

    Both come from ``study.dials.curves``, of the columns ``hmmc`` and ``control``.
    """
    sides = (OBJECTIVES["hmmc"], hmmc), (Look("control", "0.3", "--", "s"), control)
    panels = {
        form: [(look, of[(of["raised"] == "both") & (of["form"] == form)]) for look, of in sides]
        for form in FORMS
    }
    ylabel = "mean recall on test, %\n(95 % interval over seeds)"
    return _along_dials(panels, ylabel, "mean recall, %, by dial", ".1f", "both dials")
