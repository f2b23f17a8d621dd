"""The pictures of the notebooks: each takes data or records and gives one matplotlib figure.

Each carries, as its label, what it shows in words: the text beside the picture in a notebook, and
the alternative text of the picture in the book.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.encoders import MODALITIES, DualEncoder
from rsstudy.objectives import OBJECTIVES
from rsstudy.retrieval import recall_interval

WIDTH = 7.2  # inches: the book's column; letters stay readable on a phone at this size


def use_style() -> None:
    """Set the look of every figure: colour-blind safe, light grid, letters of 10 points.

    In a notebook it also makes a figure's plain text what ``in_words`` says.
    """
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.dpi": 100, "savefig.dpi": 100, "font.size": 10, "axes.titlesize": 11,
            "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9,
            "legend.fontsize": 9, "figure.constrained_layout.use": True,
        },
    )  # fmt: skip
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        plt.switch_backend(plt.get_backend())  # a notebook's, which forgets the line below at start
        plain = shell.display_formatter.formatters["text/plain"]
        plain.for_type(Figure, lambda figure, printer, _: printer.text(in_words(figure)))


def in_words(figure: Figure) -> str:
    """What a figure shows, for who cannot see it: its label, else its titles and axes."""
    if figure.get_label():
        return str(figure.get_label())
    found = [figure.get_suptitle()]
    for axis in figure.axes:
        found += [axis.get_title(), axis.get_ylabel(), axis.get_xlabel()]
    words = [" ".join(text.split()) for text in found if text.strip()]
    return f"Figure: {', '.join(dict.fromkeys(words)) or 'pictures'}."


def contact_sheet(
    pictures: ImageTextSet, indices: Sequence[int], columns: int = 6, title: str = ""
) -> Figure:
    """Pictures in a grid, each under its class."""
    rows = -(-len(indices) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, WIDTH / columns * 1.16 * rows), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, index in zip(axes.flat, indices, strict=False):
        axis.imshow(pictures.images.decode(index), interpolation="lanczos")
        axis.set_title(pictures.classes[index] or "", fontsize=9, pad=2)
    figure.suptitle(title, fontsize=11)
    shown = [pictures.classes[index] or "no class" for index in indices]
    figure.set_label(f"{title or 'Contact sheet'}. {len(shown)} pictures: {', '.join(shown)}.")
    return figure


def captioned(pictures: ImageTextSet, indices: Sequence[int], captions: int = 3) -> Figure:
    """A few pictures, each with the first of its captions beside it."""
    figure, axes = plt.subplots(
        len(indices), 2, figsize=(WIDTH, 1.5 * len(indices)), width_ratios=(1, 3.6), squeeze=False
    )
    for (left, right), index in zip(axes, indices, strict=True):
        left.imshow(pictures.images.decode(index), interpolation="lanczos")
        own = pictures.captions[index][:captions]
        lines = [fill(caption, 68, subsequent_indent="   ") for caption in own]
        right.text(0, 0.5, "\n".join(f"• {text}" for text in lines), va="center", fontsize=9)
        left.set_axis_off()
        right.set_axis_off()
    firsts = [f"“{pictures.captions[index][0]}”" for index in indices]
    figure.set_label(f"{len(firsts)} pictures beside their captions: {'; '.join(firsts)}.")
    return figure


def dials(sheets: Mapping[float, ImageTextSet], indices: Sequence[int]) -> Figure:
    """The same scenes at several positions of the picture dial, one row a position."""
    figure, axes = plt.subplots(
        len(sheets), len(indices),
        figsize=(WIDTH, WIDTH / len(indices) * len(sheets) * 1.05), squeeze=False,
    )  # fmt: skip
    for row, (position, pictures) in zip(axes, sheets.items(), strict=True):
        for axis, index in zip(row, indices, strict=True):
            axis.imshow(pictures.images.decode(index), interpolation="lanczos")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"dial {position:g}", fontsize=10)
    positions = ", ".join(f"{position:g}" for position in sheets)
    figure.set_label(f"The same {len(indices)} scenes with the picture dial at {positions}: "
                     "a row each, ever more alike.")  # fmt: skip
    return figure


def alikeness(table: pd.DataFrame) -> Figure:
    """Two measures against the dials: ``dial``, ``picture_distance``, ``distinct_captions``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    sns.lineplot(table, x="dial", y="picture_distance", marker="o", ax=left)
    left.set(xlabel="alike_images", ylabel="mean distance of two pictures\n(grey levels of 255)",
             ylim=(0, None), title="Pictures grow alike")  # fmt: skip
    sns.lineplot(table, x="dial", y="distinct_captions", marker="o", ax=right, color="C1")
    right.set(xlabel="alike_captions", ylabel="distinct captions, % of all",
              ylim=(0, 105), title="Captions grow alike")  # fmt: skip
    first, last = table.iloc[0], table.iloc[-1]
    figure.set_label(
        f"Two line charts, dials from {first['dial']:g} to {last['dial']:g}: the mean distance of "
        f"two pictures goes from {first['picture_distance']:.1f} to {last['picture_distance']:.1f} "
        f"grey levels, the distinct captions from {first['distinct_captions']:.1f} to "
        f"{last['distinct_captions']:.1f} % of all."
    )
    return figure


def repeated_captions(table: pd.DataFrame) -> Figure:
    """For each set, the share of test captions whose exact text labels another test image, too.

    ``table`` has the columns ``set`` and ``shared`` (percent).
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 0.5 * len(table) + 1.1))
    bars = axis.barh(table["set"], table["shared"], color="C0")
    axis.bar_label(bars, fmt="%.1f %%", padding=4)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set(xlabel="test captions that also label another test image, %", ylabel="", xlim=(0, 100))
    found = ", ".join(f"{row['set']} {row['shared']:.1f} %" for _, row in table.iterrows())
    figure.set_label(f"Bar chart, test captions that also label another test image: {found}.")
    return figure


def adapter_parts(encoder: DualEncoder) -> Figure:
    """Where the parameters of one MRS adapter instance lie, by part."""
    instance = encoder.method.layers[0]
    parts = {}
    for modality in MODALITIES:
        for part in ("down", "up"):
            layer = getattr(instance[modality], part)
            parts[f"{modality}, {part}"] = sum(p.numel() for p in layer.parameters())
    parts["shared"] = sum(p.numel() for p in instance["image"].share.parameters())
    figure, axis = plt.subplots(figsize=(WIDTH, 2.6))
    names = list(parts)
    colors = ["C0", "C0", "C1", "C1", "C2"]
    bars = axis.barh(names, list(parts.values()), color=colors)
    axis.bar_label(bars, labels=[f"{n:,}" for n in parts.values()], padding=4)
    axis.invert_yaxis()
    axis.set(xlabel=f"trained parameters (sum {sum(parts.values()):,})",
             xlim=(0, 1.18 * max(parts.values())))  # fmt: skip
    axis.grid(visible=False, axis="y")
    found = "; ".join(f"{name} {count:,}" for name, count in parts.items())
    figure.set_label(f"Bar chart, trained parameters by part of the adapter: {found}.")
    return figure


def scores_with_intervals(table: pd.DataFrame, by: str = "label") -> Figure:
    """Mean recall of runs, a row each, with 95 % intervals over test pictures.

    ``table`` comes from ``rsstudy.records.read_records``, with a column ``by`` that names a row;
    several seeds of one row are drawn as several points.
    """
    names = list(dict.fromkeys(table[by]))
    figure, axis = plt.subplots(figsize=(WIDTH, 0.55 * len(names) + 1.2))
    found = []
    for _, row in table.iterrows():
        low, high = recall_interval(row["record"]["test_queries"])
        trains = row["trained"] > 0
        color = f"C{list(OBJECTIVES).index(row['objective'])}" if trains else "0.3"
        same = table[table[by] == row[by]]
        shift = 0.16 * (list(same.index).index(row.name) - (len(same) - 1) / 2)
        value = row["mean_recall"]
        axis.errorbar(value, names.index(row[by]) + shift,
                      xerr=[[value - low], [high - value]], fmt="o", color=color, capsize=3,
                      label=row["objective"] if trains else "not trained")  # fmt: skip
        objective = f", {row['objective']}" if trains else ""
        found.append(f"{row[by]}{objective} {value:.1f} ({low:.1f} to {high:.1f})")
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axis.legend(
        unique.values(), unique.keys(), loc="lower left", bbox_to_anchor=(0, 1), ncols=4,
        frameon=False,
    )  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlabel="mean recall on test, % (bars: 95 % interval over test pictures)")
    axis.grid(visible=False, axis="y")
    figure.set_label(f"Mean recall on test, %, with 95 % intervals: {'; '.join(found)}.")
    return figure


def learning_curves(records: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Validation mean recall by epoch, a line a run; a ring marks the epoch that was kept."""
    figure, axis = plt.subplots(figsize=(WIDTH, 3.0))
    found = []
    for number, (name, record) in enumerate(records.items()):
        epochs = [row["epoch"] for row in record["history"]]
        recalls = [row["mean_recall"] for row in record["history"]]
        style = ["-", "--", "-.", ":"][number % 4]
        axis.plot(epochs, recalls, style, marker=".", color=f"C{number}", label=name)
        best = record["best_epoch"]
        axis.plot(best, recalls[best - 1], "o", mfc="none", ms=10, color=f"C{number}")
        found.append(f"{name} from {recalls[0]:.1f} to {recalls[-1]:.1f}, kept epoch {best}")
    axis.set(xlabel="epoch", ylabel="mean recall on validation, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend()
    figure.set_label(f"Mean recall on validation, %, by epoch: {'; '.join(found)}.")
    return figure
