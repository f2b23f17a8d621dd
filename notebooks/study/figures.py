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
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.encoders import MODALITIES, DualEncoder
from rsstudy.experiments.compare import Contrast
from rsstudy.objectives import OBJECTIVES
from rsstudy.retrieval import recall_interval
from study.comparison import pareto_front

MODALITY = {"image": "pictures", "text": "captions"}
# The look of each real set: its name, its colour, its line, its mark.
SETS = {
    "rsicd": ("RSICD", "C0", "-", "o"),
    "ucm": ("UCM-Captions", "C1", "--", "s"),
    "flickr8k": ("Flickr8k (everyday)", "C2", "-.", "D"),
}
QUALITY = {"jpeg": {"pil_kwargs": {"quality": 85}}}
WIDTH = 7.2  # inches: the book's column; letters stay readable on a phone at this size


def look_of(key: str, among: Sequence[str]) -> tuple[str, str, str, str]:
    """A set's name, colour, line and mark; of one that is not in ``SETS``, by its place."""
    if key in SETS:
        return SETS[key]
    at = [other for other in among if other not in SETS].index(key)
    return key, f"C{(3 + at) % 10}", ("-", "--", "-.", ":")[at % 4], "v^P*"[at % 4]


def use_style(format: str = "png") -> None:
    """Set the look of every figure: colour-blind safe, light grid, letters of 10 points.

    In a notebook it also makes a figure's plain text what ``in_words`` says.

    Args:
        format: in which a notebook keeps figures; sheets of pictures take a quarter of png's bytes
            as jpeg.
    """
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "figure.constrained_layout.use": True,
        },
    )
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats  # IPython brings it

        # Both forget a figure's plain text, which is therefore set after them.
        plt.switch_backend(plt.get_backend())
        set_matplotlib_formats(format, **QUALITY.get(format, {}))
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
        len(sheets),
        len(indices),
        figsize=(WIDTH, WIDTH / len(indices) * len(sheets) * 1.05),
        squeeze=False,
    )
    for row, (position, pictures) in zip(axes, sheets.items(), strict=True):
        for axis, index in zip(row, indices, strict=True):
            axis.imshow(pictures.images.decode(index), interpolation="lanczos")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"dial {position:g}", fontsize=10)
    positions = ", ".join(f"{position:g}" for position in sheets)
    figure.set_label(
        f"The same {len(indices)} scenes with the picture dial at {positions}: "
        "a row each, ever more alike."
    )
    return figure


def alikeness(table: pd.DataFrame) -> Figure:
    """Two measures against the dials: ``dial``, ``picture_distance``, ``distinct_captions``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    sns.lineplot(table, x="dial", y="picture_distance", marker="o", ax=left)
    left.set(
        xlabel="alike_images",
        ylabel="mean distance of two pictures\n(grey levels of 255)",
        ylim=(0, None),
        title="Pictures grow alike",
    )
    sns.lineplot(table, x="dial", y="distinct_captions", marker="o", ax=right, color="C1")
    right.set(
        xlabel="alike_captions",
        ylabel="distinct captions, % of all",
        ylim=(0, 105),
        title="Captions grow alike",
    )
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
    axis.set(
        xlabel=f"trained parameters (sum {sum(parts.values()):,})",
        xlim=(0, 1.18 * max(parts.values())),
    )
    axis.grid(visible=False, axis="y")
    found = "; ".join(f"{name} {count:,}" for name, count in parts.items())
    figure.set_label(f"Bar chart, trained parameters by part of the adapter: {found}.")
    return figure


def scores_with_intervals(table: pd.DataFrame, by: str = "label") -> Figure:
    """Mean recall of runs, a row each, with 95 % intervals over test pictures.

    ``table`` comes from ``experiments.record.read_records``, with a column ``by`` that names a row;
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
        axis.errorbar(
            value,
            names.index(row[by]) + shift,
            xerr=[[value - low], [high - value]],
            fmt="o",
            color=color,
            capsize=3,
            label=row["objective"] if trains else "not trained",
        )
        objective = f", {row['objective']}" if trains else ""
        found.append(f"{row[by]}{objective} {value:.1f} ({low:.1f} to {high:.1f})")
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axis.legend(
        unique.values(),
        unique.keys(),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        frameon=False,
    )
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlabel="mean recall on test, % (bars: 95 % interval over test pictures)")
    axis.grid(visible=False, axis="y")
    figure.set_label(f"Mean recall on test, %, with 95 % intervals: {'; '.join(found)}.")
    return figure


def _difference(
    axis: Axes,
    at: float,
    estimate: float,
    thick: tuple[float, float],
    thin: tuple[float, float],
    color: str = "C0",
) -> None:
    """A point with its 95 % interval thick and the one corrected for its table thin."""
    axis.plot(thin, (at, at), color=color, linewidth=1, solid_capstyle="butt")
    axis.plot(thick, (at, at), color=color, linewidth=4, alpha=0.55, solid_capstyle="butt")
    axis.plot(estimate, at, "o", color=color)


def contrasts(found: Mapping[str, Contrast], better: str = "the first") -> Figure:
    """Differences of mean recall, a row each, with both intervals and the margin of equivalence.

    The 95 % interval is thick, the one corrected for the table (``experiments.compare.corrected``)
    thin. A row is clear where the thin one excludes zero, likely where the thick one does, else
    open.

    Args:
        found: for each row's name a contrast of ``experiments.compare.compare``.
        better: which side of a contrast lies to the right of zero, in words.
    """
    height = 0.6 if len(found) <= 12 else 0.45  # inches a row
    figure, axis = plt.subplots(figsize=(WIDTH, height * len(found) + 1.3))
    margin = next(iter(found.values())).margin
    axis.axvspan(-margin, margin, color="0.9", label=f"margin of equivalence: {margin:g} point")
    axis.axvline(0, color="0.4", linewidth=1)
    words, above = [], []
    for at, (name, contrast) in enumerate(found.items()):
        thick, thin = (
            (contrast.low, contrast.high),
            (contrast.low_corrected, contrast.high_corrected),
        )
        _difference(axis, at, contrast.estimate, thick, thin)
        shown = f"{contrast.estimate:+.1f} ({contrast.low:+.1f} to {contrast.high:+.1f})"
        above.append(f"{shown}: {contrast.word}")
        words.append(f"{name} {shown}, {contrast.word}")
    axis.margins(x=0.15)
    left, right = axis.get_xlim()
    for at, (text, contrast) in enumerate(zip(above, found.values(), strict=True)):
        place, side = contrast.estimate, "center"
        if (place - left) / (right - left) > 0.7:  # it would jut out of the figure
            place, side = contrast.high_corrected, "right"
        axis.annotate(text, (place, at), (0, 8), textcoords="offset points", ha=side, fontsize=9)
    names = [name if "\n" in name else fill(name, 26) for name in found]
    axis.set_yticks(range(len(found)), names)
    axis.set(
        xlabel=f"difference of mean recall, points (right: {better} is ahead)\n"
        "thick: 95 %; thin: corrected for the table",
        ylim=(len(found) - 0.5, -0.7),
    )
    axis.grid(visible=False, axis="y")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    figure.set_label(
        f"Differences of mean recall, points, with 95 % intervals: {'; '.join(words)}."
    )
    return figure


def before_and_after(table: pd.DataFrame, before: str, after: str, on: str) -> Figure:
    """Two scores of each method on one set, with 95 % intervals over test pictures.

    Args:
        table: from ``study.updates.by_step``.
        before, after: what the two scores are, in words.
        on: the test set, in words.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 0.75 * len(table) + 1.3))
    words = []
    for at, row in enumerate(table.itertuples()):
        for name, shift, color, mark, label in (
            ("before", -0.15, "C7", "s", before),
            ("after", 0.15, "C0", "o", after),
        ):
            value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
            axis.errorbar(
                value,
                at + shift,
                xerr=[[value - low], [high - value]],
                fmt=mark,
                color=color,
                capsize=3,
                label=label if at == 0 else None,
            )
            axis.annotate(
                f"{value:.1f}",
                (value, at + shift),
                (0, 5 if name == "before" else -14),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        words.append(f"{row.method} {row.before:.1f}, then {row.after:.1f}")
    axis.set_yticks(range(len(table)), list(table["method"]))
    axis.set(
        xlabel=f"mean recall on the test pictures of {on}, %\n(bars: 95 % over test pictures)",
        ylim=(len(table) - 0.4, -0.6),
    )
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.1)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.set_label(f"Mean recall on {on}, %, {before} and {after}: {'; '.join(words)}.")
    return figure


def answer(table: pd.DataFrame) -> Figure:
    """The front page's picture: a panel a set, a row an arm, its difference to training all of it.

    Its line is the interval of that difference, over pictures and seeds; the word follows from it.

    Args:
        table: from ``study.front_page.picture_table``.
    """
    sets = list(dict.fromkeys(table["data"]))
    drawn = {
        data: table[(table["data"] == data) & table["estimate"].notna() & (table["trained"] > 0)]
        for data in sets
    }
    rows = max(map(len, drawn.values()))
    figure, axes = plt.subplots(
        len(sets),
        1,
        figsize=(0.64 * WIDTH, len(sets) * (0.5 * rows + 0.5) + 0.6),
        squeeze=False,
        sharex=True,
    )  # narrow, for it is not scrolled on a phone
    words = []
    for axis, data in zip(axes.flat, sets, strict=True):
        title = look_of(data, sets)[0]
        axis.axvline(0, color="0.4", linewidth=1)
        for at, row in enumerate(drawn[data].itertuples()):
            _difference(
                axis,
                at,
                row.estimate,
                (row.low, row.high),
                (row.low_corrected, row.high_corrected),
                "C3" if "HMMC" in row.name else "C0",
            )
            part = f"{100 * row.trained / row.of:.1f} %"
            for text, place, side in (
                (f"{row.name} ({part}): {row.mean_recall:.1f} %", 0.01, "left"),
                (f"{row.estimate:+.1f}, {row.word}", 0.99, "right"),
            ):
                axis.annotate(
                    text,
                    (place, at),
                    (0, 6),
                    textcoords="offset points",
                    ha=side,
                    xycoords=axis.get_yaxis_transform(),
                    fontsize=10,
                )
            words.append(
                f"{title}, {row.name} ({part} of the parameters trained) "
                f"{row.mean_recall:.1f} %, {row.estimate:+.1f} points ({row.low:+.1f} to "
                f"{row.high:+.1f}), {row.word}"
            )
        ends = table[(table["data"] == data) & ~table.index.isin(drawn[data].index)]
        said = ", ".join(f"{row.name} {row.mean_recall:.1f} %" for row in ends.itertuples())
        axis.set(ylim=(rows - 0.6, -0.8), yticks=[])
        axis.set_title(f"{title}: {said}", fontsize=10, loc="left")
        words.append(f"{title}: {said}")
    axes.flat[-1].set_xlabel(
        "mean recall less that of all of it trained, points\n"
        "thick: 95 %, over pictures and seeds; thin: corrected\nin brackets: share trained"
    )
    figure.set_label(f"Mean recall on test less that of training all of it: {'; '.join(words)}.")
    return figure


def searched_rates(table: pd.DataFrame) -> Figure:
    """Mean recall on validation against the learning rate, a line an arm; a ring marks the choice.

    ``table`` comes from ``experiments.record.read_choices``.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.6))
    words = []
    for number, (_, arm) in enumerate(table.groupby("search", sort=False)):
        arm, name = arm.sort_values("learning_rate"), arm["arm"].iloc[0]
        axis.plot(
            arm["learning_rate"],
            arm["mean_recall"],
            ["-", "--", "-.", ":"][number % 4],
            marker="osDv"[number % 4],
            color=f"C{number}",
            label=name,
        )
        chosen = arm[arm["chosen"]]
        axis.plot(
            chosen["learning_rate"],
            chosen["mean_recall"],
            "o",
            mfc="none",
            ms=13,
            color=f"C{number}",
        )
        words.append(f"{name} {chosen['learning_rate'].iloc[0]:g}")
    axis.set_xscale("log")
    rates = sorted(set(table["learning_rate"]))
    axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set(xlabel="learning rate", ylabel="mean recall on validation, %")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.set_label(f"Learning rates chosen on validation: {'; '.join(words)}.")
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
        axis.plot(best, recalls[epochs.index(best)], "o", mfc="none", ms=10, color=f"C{number}")
        found.append(f"{name} from {recalls[0]:.1f} to {recalls[-1]:.1f}, kept epoch {best}")
    axis.set(xlabel="epoch", ylabel="mean recall on validation, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.set_label(f"Mean recall on validation, %, by epoch: {'; '.join(found)}.")
    return figure


def cosine_distributions(found: Mapping[str, Any], of: str = "all") -> Figure:
    """How the cosines within pictures and within captions are distributed, a line a set.

    Args:
        found: from ``study.similarity.compare``.
        of: "all" pairs, or each one's "nearest" other.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2), sharey=True)
    words = []
    for axis, (modality, name) in zip(axes, MODALITY.items(), strict=True):
        for key, measured in found["sets"].items():
            label, color, line, _ = look_of(key, list(found["sets"]))
            summary = measured[modality][of]
            bars = np.array(summary["histogram"])
            axis.stairs(
                100 * bars / bars.sum(),
                np.linspace(-1, 1, len(bars) + 1),
                color=color,
                linestyle=line,
                linewidth=1.8,
                label=label,
            )
            axis.axvline(summary["mean"], color=color, linestyle=":", linewidth=1.2)
            words.append(f"{label}, {name}, mean {summary['mean']:.2f}")
        axis.set(
            title=name.capitalize(),
            xlim=(-0.4 if of == "all" else 0.2, 1),
            ylim=(0, None),
            xticks=(-0.25, 0, 0.25, 0.5, 0.75)[0 if of == "all" else 2 :],
        )
    what = "two of them" if of == "all" else "each and its nearest other"
    figure.supxlabel(f"cosine of {what} (dotted: mean)", fontsize=10)
    axes[0].set_ylabel("share, % a bar of 0.02")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    figure.set_label(f"Two histograms, cosine of {what}: {'; '.join(words)}.")
    return figure


def effective_numbers(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """How many different pictures and captions each set's sample amounts to, by encoder.

    Args:
        found: what the encoder is called -> from ``study.similarity.compare``.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.75 * len(found) + 1.6), sharey=True)
    words = []
    for axis, (modality, name) in zip(axes, MODALITY.items(), strict=True):
        for row, (encoder, measured) in enumerate(found.items()):
            for place, (key, of_set) in enumerate(measured["sets"].items()):
                label, color, _, mark = look_of(key, list(measured["sets"]))
                number = of_set[modality]["headline"]["effective_number"]
                axis.errorbar(
                    number["value"],
                    row + 0.2 * (place - 1),
                    fmt=mark,
                    color=color,
                    xerr=1.96 * number["standard_error"],
                    capsize=3,
                    label=label if not row else None,
                )
                words.append(f"{name}, {encoder}, {label} {number['value']:.0f}")
        axis.set(
            title=name.capitalize(),
            xscale="log",
            yticks=range(len(found)),
            yticklabels=list(found),
            xlim=(3, 200),
        )
        axis.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(visible=False, axis="y")
    axes[0].invert_yaxis()
    pictures = next(iter(found.values()))["pictures"]
    figure.supxlabel(f"effective number of {pictures:,} (bars: 95 % interval)", fontsize=10)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    figure.set_label(f"Effective numbers of {pictures:,}: {'; '.join(words)}.")
    return figure


def class_contrast(found: Mapping[str, Any]) -> Figure:
    """The mean cosine within a scene class and between classes, for each set that has classes.

    A set without classes shows that of all its pairs.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.5 * len(found["sets"]) + 1.6), sharey=True)
    words = []
    labels = [look_of(key, list(found["sets"]))[0] for key in found["sets"]]
    for axis, (modality, name) in zip(axes, MODALITY.items(), strict=True):
        for row, (key, measured) in enumerate(found["sets"].items()):
            _, color, _, _ = look_of(key, list(found["sets"]))
            numbers = measured[modality]["headline"]
            if "same_class" not in numbers:
                mean = numbers["mean"]["value"]
                axis.plot(mean, row, "D", color="0.3", label="all pairs (no classes)")
                words.append(f"{name}, {labels[row]}, all pairs {mean:.2f}")
                continue
            low, high = numbers["different_classes"]["value"], numbers["same_class"]["value"]
            axis.plot([low, high], [row, row], color=color, linewidth=2, alpha=0.6)
            axis.plot(low, row, "o", mfc="white", color="0.3", label="different classes")
            axis.plot(high, row, "o", color="0.3", label="same class")
            words.append(f"{name}, {labels[row]}, different {low:.2f}, same {high:.2f}")
        axis.set(
            title=name.capitalize(),
            yticks=range(len(labels)),
            yticklabels=labels,
            xlim=(0, 1),
            xticks=(0.2, 0.4, 0.6, 0.8),
        )
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.grid(visible=False, axis="y")
    handles, names = axes[0].get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(
        unique.values(), unique.keys(), loc="outside upper center", ncols=3, frameon=False
    )
    figure.supxlabel("mean cosine of two of them", fontsize=10)
    figure.set_label(f"Mean cosines by class: {'; '.join(words)}.")
    return figure


def embedding_map(found: Mapping[str, Any]) -> Figure:
    """Pictures and captions of several sets on the two principal axes that the sets share."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8))
    words = []
    for axis, (modality, name) in zip(axes, MODALITY.items(), strict=True):
        drawn = found["map"][modality]
        # Everyday things first, the smaller clouds above them.
        for key in sorted(drawn["points"], key=lambda key: key != "flickr8k"):
            label, color, _, mark = look_of(key, list(found["sets"]))
            x, y = np.array(drawn["points"][key]).T
            axis.scatter(x, y, s=9, marker=mark, color=color, alpha=0.55, linewidths=0, label=label)
            words.append(f"{name}, {label}, spread {np.hypot(x.std(), y.std()):.2f}")
        shown = 100 * sum(drawn["variance_shown"])
        axis.set(
            title=f"{name.capitalize()} ({shown:.0f} % of the variance)",
            aspect="equal",
            xticklabels=[],
            yticklabels=[],
            xlabel="first axis",
            ylabel="second axis",
        )
        axis.set_adjustable("datalim")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, markerscale=2, frameon=False)
    figure.set_label(f"Two scatter plots on shared principal axes: {'; '.join(words)}.")
    return figure


def similarity_by_dial(table: pd.DataFrame, measure: str = "mean") -> Figure:
    """A measure of generated scenes against the dials, raised apart and together.

    Args:
        table: from ``study.similarity.by_dial``.
        measure: mean (cosine), effective_number, or another headline number.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.1), sharey=True)
    words = []
    looks = {"pictures": ("C0", "-", "o"), "captions": ("C1", "--", "s"), "both": ("0.3", ":", "D")}
    for axis, (modality, name) in zip(axes, MODALITY.items(), strict=True):
        for raised, (color, line, mark) in looks.items():
            rows = table[
                (table["raised"] == raised)
                & (table["modality"] == modality)
                & (table["measure"] == measure)
            ].sort_values("position")
            axis.errorbar(
                rows["position"],
                rows["value"],
                yerr=1.96 * rows["standard_error"],
                color=color,
                linestyle=line,
                marker=mark,
                capsize=3,
                mfc="none" if raised == "both" else color,
                ms=10 if raised == "both" else 6,
                label=f"dial of {raised} raised" if raised != "both" else "both raised",
            )
            first, last = rows["value"].iloc[0], rows["value"].iloc[-1]
            words.append(f"{name}, {raised} raised, from {first:.2f} to {last:.2f}")
        axis.set(title=name.capitalize(), xlabel="dial", xticks=sorted(set(table["position"])))
    said = {
        "mean": "mean cosine of two of them",
        "nearest": "cosine of each and its nearest other",
        "same_class": "mean cosine of two of a class",
    }
    axes[0].set_ylabel(said.get(measure, measure.replace("_", " ")))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    figure.set_label(f"Line charts, {measure.replace('_', ' ')} by dial: {'; '.join(words)}.")
    return figure


FORMS = {"hinge": ("C0", "-", "o"), "InfoNCE": ("C1", "--", "s")}


def gain_by_dial(curves: pd.DataFrame) -> Figure:
    """What HMMC gains over its control along the dials, a panel for what is raised, a line a form.

    ``curves`` comes from ``study.dials.curves``.
    """
    raised = [name for name in ("both", "captions", "pictures") if name in set(curves["raised"])]
    figure, axes = plt.subplots(1, len(raised), figsize=(WIDTH, 3.3), sharey=True, squeeze=False)
    words = []
    for axis, name in zip(axes.flat, raised, strict=True):
        axis.axhline(0, color="0.4", linewidth=1)
        for form, (color, line, mark) in FORMS.items():
            rows = curves[(curves["raised"] == name) & (curves["form"] == form)]
            rows = rows.sort_values("position")
            if len(rows) < 2:
                continue
            bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            shift = 0.015 * (list(FORMS).index(form) - 0.5)
            axis.errorbar(
                rows["position"] + shift,
                rows["mean"],
                yerr=bars,
                color=color,
                linestyle=line,
                marker=mark,
                capsize=3,
                label=f"{form} form",
            )
            words.append(
                f"{name} raised, {form}, from {rows['mean'].iloc[0]:+.1f} to "
                f"{rows['mean'].iloc[-1]:+.1f}"
            )
        axis.set(title=f"{name.capitalize()} raised", xlabel="dial", xticks=(0, 0.5, 1))
    axes[0, 0].set_ylabel(
        f"gain of HMMC, points\n(95 % interval over {curves['seeds'].max()} seeds)"
    )
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
    )
    figure.set_label(f"Line charts, gain of HMMC over its control, points: {'; '.join(words)}.")
    return figure


def levels_by_dial(hmmc: pd.DataFrame, control: pd.DataFrame, raised: str = "both") -> Figure:
    """Mean recall of HMMC and of its control along a dial, a panel a form.

    Both come from ``study.dials.curves``, of the columns ``hmmc`` and ``control``.
    """
    figure, axes = plt.subplots(1, len(FORMS), figsize=(WIDTH, 3.1), sharey=True)
    sides = ("HMMC", hmmc, "C2", "-", "o"), ("control", control, "0.3", "--", "s")
    words = []
    for axis, form in zip(axes, FORMS, strict=True):
        for name, curves, color, line, mark in sides:
            rows = curves[(curves["raised"] == raised) & (curves["form"] == form)]
            rows = rows.sort_values("position")
            bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            axis.errorbar(
                rows["position"],
                rows["mean"],
                yerr=bars,
                color=color,
                linestyle=line,
                marker=mark,
                capsize=3,
                label=name,
            )
            words.append(
                f"{form}, {name}, from {rows['mean'].iloc[0]:.1f} to {rows['mean'].iloc[-1]:.1f}"
            )
        axis.set(title=f"{form} form", xlabel="both dials", xticks=sorted(set(hmmc["position"])))
    axes[0].set_ylabel("mean recall on test, %\n(95 % interval over seeds)")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
    )
    figure.set_label(f"Line charts, mean recall, %, by dial: {'; '.join(words)}.")
    return figure


def by_factor(table: pd.DataFrame) -> Figure:
    """Mean recall of a suite's arms, a row a level, grouped by what they change; a point a seed.

    ``table`` has the columns ``factor``, ``level`` and ``mean_recall``.
    """
    rows = list(dict.fromkeys(zip(table["factor"], table["level"], strict=True)))
    factors = list(dict.fromkeys(table["factor"]))
    figure, axis = plt.subplots(figsize=(WIDTH, 0.29 * len(rows) + 0.9))
    words = []
    for at, (factor, level) in enumerate(rows):
        scores = table[(table["factor"] == factor) & (table["level"] == level)]["mean_recall"]
        number = factors.index(factor)
        axis.plot(scores, [at] * len(scores), "osDv^P*X"[number % 8], color=f"C{number % 10}")
        words.append(f"{factor}: {level} {scores.mean():.1f}")
    for at in range(1, len(rows)):
        if rows[at][0] != rows[at - 1][0]:
            axis.axhline(at - 0.5, color="0.8", linewidth=0.8)
    names = [f"{factor}: {level}" for factor, level in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.set(xlabel="mean recall on test, %", ylim=(len(rows) - 0.5, -0.5))
    axis.grid(visible=False, axis="y")
    figure.set_label(f"Mean recall on test, %: {'; '.join(words)}.")
    return figure


def pareto(table: pd.DataFrame) -> Figure:
    """Mean recall against trained parameters, a point an arm; those that none beats are numbered.

    ``table`` comes from ``study.comparison.side_by_side``. Arms that train nothing are a line.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 4.6))
    words = []
    for row in table[table["total"] == 0].itertuples():
        axis.axhline(
            row.mean_recall, color="0.4", linestyle=":", label=f"{row.label}, none trained"
        )
        words.append(f"{row.name} {row.mean_recall:.1f}")
    shown = table[table["total"] > 0]
    for number, (family, rows) in enumerate(shown.groupby("family", sort=False)):
        bars = [rows["mean_recall"] - rows["low"], rows["high"] - rows["mean_recall"]]
        axis.errorbar(
            rows["total"],
            rows["mean_recall"],
            yerr=bars,
            fmt="osDv^P"[number % 6],
            color=f"C{number}",
            ecolor=to_rgba(f"C{number}", 0.3),
            label=family,
        )
    front = shown[pareto_front(shown)].sort_values("total")
    axis.step(front["total"], front["mean_recall"], where="post", color="0.5", linewidth=1)
    numbers = []
    for number, row in enumerate(front.itertuples(), 1):
        axis.annotate(
            str(number),
            (row.total, row.high),
            (0, 3 + 11 * (1 - number % 2)),
            ha="center",
            fontsize=10,
            textcoords="offset points",
        )
        numbers.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker=f"${number}$",
                color="0.2",
                markersize=7,
                label=f"{row.name} {row.mean_recall:.1f}",
            )
        )
        words.append(f"{row.name} {row.mean_recall:.1f} with {row.total:,}")
    figure.legend(handles=numbers, loc="outside lower left", ncols=2, frameon=False, fontsize=10)
    axis.set_xscale("log")
    axis.set(xlabel="trained parameters", ylabel="mean recall on test, %")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    figure.set_label(f"Mean recall on test, %, against trained parameters: {'; '.join(words)}.")
    return figure


def ranking(table: pd.DataFrame) -> Figure:
    """Mean recall with its 95 % interval, a row an arm, in the table's order; a colour a family.

    ``table`` comes from ``study.comparison.side_by_side``. Arms of one seed have open marks,
    those of several a thin stroke for each seed.
    """
    families = list(dict.fromkeys(sorted(table["family"])))
    figure, axis = plt.subplots(figsize=(WIDTH, 0.27 * len(table) + 1.6))
    marks = []
    for number, family in enumerate(families):
        look: dict[str, Any] = {"marker": "osDv^P"[number % 6], "color": f"C{number}"}
        marks.append(Line2D([], [], linestyle="", label=family, **look))
        for at, row in table[table["family"] == family].iterrows():
            value, several = row["mean_recall"], row["seeds"] > 1
            axis.errorbar(
                value,
                at,
                xerr=[[value - row["low"]], [row["high"] - value]],
                ecolor=to_rgba(f"C{number}", 0.5),
                **look,
                markerfacecolor=None if several else "white",
            )
            if several:
                each = [record["scores"]["mean_recall"] for record in row["records"]]
                axis.plot(each, [at] * len(each), "|", color="0.2", markersize=7)
    axis.set_yticks(table.index, table["name"], fontsize=9)
    axis.set(
        xlabel="mean recall on test, % (bars: 95 % interval over test pictures;\n"
        "open marks: one seed; strokes: the seeds where there are more)",
        ylim=(len(table) - 0.5, -0.5),
    )
    figure.legend(handles=marks, loc="outside upper left", ncols=3, frameon=False)
    found = "; ".join(
        f"{row.name} {row.mean_recall:.1f} ({row.seeds} seed{'s' * (row.seeds > 1)})"
        for row in table.itertuples()
    )
    figure.set_label(f"Mean recall on test, %, with 95 % intervals over test pictures: {found}.")
    return figure


def sharing(pairs: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Figure:
    """One instance in all layers against one a layer: both scores of each method, with intervals.

    Args:
        pairs: each method's two rows of ``study.comparison.side_by_side``, the shared first.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 0.6 * len(pairs) + 1.3))
    looks = (("one instance in all layers", "C1", "s", -0.13), ("one a layer", "C0", "o", 0.13))
    words = []
    for at, (name, rows) in enumerate(pairs.items()):
        for row, (label, color, mark, shift) in zip(rows, looks, strict=True):
            bars = [[row["mean_recall"] - row["low"]], [row["high"] - row["mean_recall"]]]
            axis.errorbar(
                row["mean_recall"],
                at + shift,
                xerr=bars,
                fmt=mark,
                color=color,
                capsize=3,
                label=label if at == 0 else None,
            )
            words.append(f"{name}, {label} {row['mean_recall']:.1f} with {row['total']:,}")
    axis.set_yticks(range(len(pairs)), list(pairs))
    axis.set(xlabel="mean recall on test, % (bars: 95 % interval)", ylim=(len(pairs) - 0.5, -0.5))
    axis.grid(visible=False, axis="y")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.set_label(f"Mean recall on test, %: {'; '.join(words)}.")
    return figure


def by_share(table: pd.DataFrame) -> Figure:
    """Mean recall against the share of the training pictures, a line a method, with intervals.

    ``table`` has the columns factor (the method), level (percent), mean_recall, low and high.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8))
    words = []
    for number, (name, rows) in enumerate(table.groupby("factor", sort=False)):
        rows = rows.assign(level=rows["level"].astype(float)).sort_values("level")
        bars = [rows["mean_recall"] - rows["low"], rows["high"] - rows["mean_recall"]]
        axis.errorbar(
            rows["level"] * 1.03 ** (number - 2),
            rows["mean_recall"],
            yerr=bars,
            fmt="osDv^"[number % 5],
            linestyle=["-", "--", "-.", ":"][number % 4],
            color=f"C{number}",
            ecolor=to_rgba(f"C{number}", 0.4),
            label=name,
        )
        words.append(
            f"{name} "
            + ", ".join(f"{r.mean_recall:.1f} with {r.level:g} %" for r in rows.itertuples())
        )
    axis.set_xscale("log")
    levels = sorted(set(table["level"].astype(float)))
    axis.set_xticks(levels, [f"{level:g}" for level in levels])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set(xlabel="training pictures, % of the split", ylabel="mean recall on test, %")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    figure.set_label(f"Mean recall on test, %, by share of training pictures: {'; '.join(words)}.")
    return figure


def shares(table: pd.DataFrame, of: str, low: str = "", height: float = 0.33) -> Figure:
    """A table of percentages as coloured cells with their numbers.

    Args:
        of: what a cell is, in words.
        low: what the rows are.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, height * len(table) + 1.5))
    sns.heatmap(
        table,
        annot=True,
        fmt=".0f",
        cmap="cividis",
        cbar=False,
        ax=axis,
        linewidths=0.5,
        annot_kws={"fontsize": 9},
    )
    axis.xaxis.tick_top()
    axis.set_xticks(axis.get_xticks(), table.columns, fontsize=9, rotation=30, ha="left")
    axis.tick_params(axis="y", labelsize=9, labelrotation=0)
    axis.set(xlabel=of, ylabel=low)
    found = "; ".join(
        f"{name} {row.min():.0f} to {row.max():.0f}" for name, row in table.iterrows()
    )
    figure.set_label(f"{of}: {found}.")
    return figure
