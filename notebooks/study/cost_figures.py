"""The pictures of the chapter on costs; see ``study.figures`` for how all are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from study.figures import WIDTH

Record = Mapping[str, Any]


def stacked(table: pd.DataFrame, of: str, mark: str = "full") -> Figure:
    """A bar a row, made of the table's columns, the smallest on top; the row ``mark`` is a line.

    Args:
        of: what the bars add up, with its unit.
    """
    table = table.loc[table.sum(axis=1).sort_values().index]
    figure, axis = plt.subplots(figsize=(WIDTH, 0.26 * len(table) + 1.2))
    left = pd.Series(0.0, index=table.index)
    looks = zip(table.columns, ("C0", "C1", "C2", "0.7"), ("", "//", "..", ""), strict=False)
    for column, color, hatch in looks:
        axis.barh(
            table.index,
            table[column],
            left=left,
            color=color,
            hatch=hatch,
            label=column,
            edgecolor="white",
            linewidth=0.3,
        )
        left += table[column]
    if mark in table.index:
        axis.axvline(left[mark], color="0.3", linestyle="--", linewidth=1)
    axis.set(xlabel=of, ylim=(len(table) - 0.5, -0.5))
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", labelsize=9)
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=len(table.columns),
        frameon=False,
    )
    figure.set_label(f"{of}: " + "; ".join(f"{n} {v:.1f}" for n, v in left.items()) + ".")
    return figure


def over(values: Mapping[str, pd.Series], of: str, bound: float = 1.0, said: str = "") -> Figure:
    """Ratios as points, a row a name, a mark a series, beside a line at ``bound``.

    Args:
        said: what the line is.
    """
    first = next(iter(values.values()))
    names = list(first.sort_values().index)
    figure, axis = plt.subplots(figsize=(WIDTH, 0.26 * len(names) + 1.4))
    axis.axvline(bound, color="0.3", linestyle="--", linewidth=1, label=said or None)
    words = []
    for number, (label, series) in enumerate(values.items()):
        series = series.reindex(names).dropna()
        axis.plot(
            series,
            series.index,
            "osD^"[number],
            color=f"C{number}",
            label=label,
            mfc=f"C{number}" if number % 2 == 0 else "none",
        )
        words.append(f"{label}: " + ", ".join(f"{n} {v:.2f}" for n, v in series.items()))
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set(xlabel=of, ylim=(len(names) - 0.5, -0.5))
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False
    )
    figure.set_label(f"{of}. {'; '.join(words)}.")
    return figure


def operators(profile: Record, most: int = 6) -> Figure:
    """Where the seconds of a step go, before and after, by operator; the rest in one bar."""
    rows = profile["rows"]
    names = list(
        dict.fromkeys(o["operator"] for of in rows.values() for o in of["operators"][:most])
    )
    figure, axis = plt.subplots(figsize=(WIDTH, 0.5 * len(names) + 1.6))
    words = []
    for number, (label, of) in enumerate(rows.items()):
        shares = {o["operator"]: o["share"] for o in of["operators"]}
        seconds = [of["seconds"] * shares.get(name, 0.0) for name in names]
        rest = of["seconds"] - sum(seconds)
        at = [place + 0.38 * (number - 0.5) for place in range(len(names) + 1)]
        axis.barh(
            at,
            [*seconds, rest],
            height=0.36,
            color=f"C{number}",
            hatch=("", "//")[number],
            edgecolor="white",
            label=f"{label}: {of['seconds']:.2f} s",
        )
        parts = ", ".join(f"{n} {s:.2f}" for n, s in zip(names, seconds, strict=True))
        words.append(f"{label} {of['seconds']:.2f} s, of it {parts}")
    fused = "_scaled_dot_product_flash_attention_for_cpu"
    short = [name.removeprefix("aten::").replace(fused, "attention") for name in names]
    axis.set_yticks(range(len(names) + 1), [*short, "all other"], fontsize=9)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set(xlabel="seconds of one step")
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False
    )
    figure.set_label(f"Seconds of a step by operator: {'; '.join(words)}.")
    return figure


def growth(record: Record) -> Figure:
    """Seconds against each thing that grows, on logarithmic axes, with its slope in the title."""
    rows = record["rows"]
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.0), sharey=False)
    words = []
    for axis, (what, of) in zip(axes.flat, rows.items(), strict=False):
        points = of["points"]
        sizes = [point[what] for point in points]
        for key, color, mark, label in (
            ("seconds", "C0", "o-", "seconds"),
            ("kept_bytes", "C1", "s--", "bytes kept"),
        ):
            if key in points[0]:
                relative = [point[key] / points[0][key] for point in points]
                axis.plot(sizes, relative, mark, color=color, label=label)
        axis.set(xscale="log", yscale="log", xlabel=what)
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=9, rotation=30)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_minor_formatter(NullFormatter())
        slopes = [f"{of['slope of seconds']:.2f}"]
        if "slope of bytes" in of:
            slopes.append(f"{of['slope of bytes']:.2f}")
        axis.set_title(f"slope {' / '.join(slopes)}", fontsize=10)
        words.append(f"{what}: {' and '.join(slopes)}")
    for axis in list(axes.flat)[len(rows) :]:
        axis.set_axis_off()
    axes[0, 0].set_ylabel("times the first")
    axes[1, 0].set_ylabel("times the first")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False
    )
    figure.set_label(f"Slopes of seconds and of bytes kept, by what grows: {'; '.join(words)}.")
    return figure


def bars(values: Mapping[str, float], of: str, form: str = "{:.2f}") -> Figure:
    """A bar a name with its value."""
    names: Sequence[str] = list(values)
    figure, axis = plt.subplots(figsize=(WIDTH, 0.36 * len(names) + 0.9))
    drawn = axis.barh(names, list(values.values()), color="C0")
    axis.bar_label(drawn, [form.format(value) for value in values.values()], padding=4)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.12)
    axis.tick_params(axis="y", labelsize=9)
    axis.set(xlabel=of)
    found = "; ".join(f"{n} {form.format(v)}" for n, v in values.items())
    figure.set_label(f"{of}: {found}.")
    return figure
