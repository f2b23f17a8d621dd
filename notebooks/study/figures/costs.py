"""Figures of costs: parameters, operations, memory and seconds, by method and by part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rsstudy.encoders import MODALITIES, DualEncoder
from study.figures import drawing
from study.figures.drawing import NARROW, WIDTH, line, marks, named_above, rows, shown, ticks
from study.labels import FREE, Look

Record = Mapping[str, Any]
MARKED: dict[str, Any] = {"color": "0.3", "linestyle": "--", "linewidth": 1}
FUSED = "_scaled_dot_product_flash_attention_for_cpu"


def kills(counted: Mapping[str, int], title: str) -> Figure:
    """Where the kills of ``tests/kill_at_random.py`` fell, a bar a place."""
    figure, axis = plt.subplots(figsize=(NARROW, 0.5 * len(counted) + 1.2))
    drawing.bars(axis, list(counted.values()), list(map(str, counted.values())), height=0.35)
    named_above(axis, counted)
    axis.set_xlabel("kills")
    figure.suptitle(title)
    return shown(figure, "Kills:", [f"{place} {number}" for place, number in counted.items()])


def bars(
    values: Mapping[str, float], of: str, form: str = "{:.2f}", what: str = "", color: Any = "C0"
) -> Figure:
    """A bar a name with its value; ``what`` the figure shows, in words, is else ``of``."""
    figure, axis = rows(values, 0.36, 0.9, of)
    texts = [form.format(value) for value in values.values()]
    drawing.bars(axis, list(values.values()), texts, color=color)
    return shown(figure, f"{what or of}:", map(" ".join, zip(values, texts, strict=True)))


def adapter_drawn(encoder: DualEncoder, title: str) -> Figure:
    """One block of each tower with its MRS adapter: what is frozen, what is trained, how much."""
    instance = encoder.method.layers[0]
    layers = {f"{m}, {p}": getattr(instance[m], p) for m in MODALITIES for p in ("down", "up")}
    layers["shared"] = instance["image"].share
    sizes = {name: sum(p.numel() for p in layer.parameters()) for name, layer in layers.items()}
    figure, axis = plt.subplots(figsize=(NARROW, 5.2))
    axis.set(xlim=(0, 10), ylim=(0.2, 13))
    axis.set_axis_off()

    def box(x: float, y: float, width: float, height: float, text: str, color: str) -> None:
        style: dict[str, Any] = {
            "facecolor": to_rgba(color, 0.25),
            "edgecolor": color,
            "linewidth": 1.2,
        }
        axis.add_patch(plt.Rectangle((x, y), width, height, **style))
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)

    def arrow(*points: tuple[float, float]) -> None:
        axis.plot(*zip(*points[:-1], strict=True), color="0.3", linewidth=1)
        axis.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "->", "color": "0.3"})

    for modality, frozen, branch, side in (("image", 0.95, 3.45, 1), ("text", 9.05, 6.55, -1)):
        axis.text((frozen + branch) / 2, 12.4, f"{modality} tower", ha="center", weight="bold")
        down, up = (sizes[f"{modality}, {part}"] for part in ("down", "up"))
        box(frozen - 0.95, 10.2, 1.9, 1.5, "attention", "0.5")
        box(frozen - 0.95, 4.3, 1.9, 4.2, "MLP", "0.5")
        box(branch - 1.25, 7.0, 2.5, 1.5, f"down\n{down:,}", "C0")
        box(branch - 1.25, 4.3, 2.5, 1.5, f"up, own\n{up:,}", "C0")
        arrow((frozen, 10.2), (frozen, 8.5))
        arrow((frozen, 9.3), (branch, 9.3), (branch, 8.5))
        arrow((branch, 7.0), (branch, 5.8))
        arrow((branch, 6.4), (5 - 0.15 * side, 6.4), (5 - 0.15 * side, 3.6))
        axis.text(frozen, 1.1, "+", ha="center", va="center", fontsize=13)
        arrow((frozen, 4.3), (frozen, 1.5))
        arrow((branch, 4.3), (branch, 1.1), (frozen + 0.3 * side, 1.1))
        arrow((5 - 0.15 * side, 2.1), (5 - 0.15 * side, 1.1), (frozen + 0.3 * side, 1.1))
    box(3.85, 2.1, 2.3, 1.5, f"up, shared\n{sizes['shared']:,}", "C2")
    axis.text(5, 0.4, "grey: frozen; coloured: trained", ha="center", fontsize=9)
    figure.suptitle(title)
    parts = [f"{name} {size:,}" for name, size in sizes.items()]
    what = (
        f"One block of each tower; frozen: attention, MLP; trained, {sum(sizes.values()):,} in all:"
    )
    return shown(figure, what, parts)


def stacked(table: pd.DataFrame, of: str) -> Figure:
    """A bar a row, made of the table's columns, the smallest on top; full fine-tuning is a line.

    ``of`` is what the bars add up, with its unit.
    """
    table = table.loc[table.sum(axis=1).sort_values().index]
    figure, axis = rows(table.index, 0.26, 1.2, of)
    left = 0.0 * table.sum(axis=1)
    fills = zip(table, ("C0", "C1", "C2", "0.7"), ("", "//", "..", ""), strict=False)
    for column, color, hatch in fills:
        drawing.bars(axis, table[column], left=left, color=color, hatch=hatch, label=column)
        left = left + table[column]
    if "full" in table.index:
        axis.axvline(left["full"], **MARKED)
    words = [f"{name} {value:.1f}" for name, value in left.items()]
    return shown(figure, f"{of}:", words, len(table.columns))


def over(values: Mapping[str, pd.Series], of: str, bound: float = 1.0, said: str = "") -> Figure:
    """Ratios as points, a row a name, a mark a series; ``said`` names the line at ``bound``."""
    names = list(next(iter(values.values())).sort_values().index)
    figure, axis = rows(names, 0.26, 1.4, of)
    axis.axvline(bound, **MARKED, label=said or None)
    words = []
    for number, (label, series) in enumerate(values.items()):
        series = series.reindex(names).dropna()
        look = FREE[number]._replace(name=label, hollow=number % 2 > 0)
        marks(axis, series, [names.index(name) for name in series.index], look)
        words.append(f"{label}: " + ", ".join(f"{n} {v:.2f}" for n, v in series.items()))
    return shown(figure, f"{of}.", words)


def operators(profile: Record) -> Figure:
    """Where the seconds of a step go, before and after, by operator; the rest in one bar."""
    both = profile["rows"]
    first = (o["operator"] for of in both.values() for o in of["operators"][:6])
    names = list(dict.fromkeys(first))
    short = [name.removeprefix("aten::").replace(FUSED, "attention") for name in names]
    figure, axis = rows([*short, "all other"], 0.5, 1.1, "seconds of one step")
    words = []
    for number, (label, of) in enumerate(both.items()):
        shares = {o["operator"]: o["share"] for o in of["operators"]}
        seconds = [of["seconds"] * shares.get(name, 0.0) for name in names]
        whole = f"{of['seconds']:.2f} s"
        drawing.bars(
            axis,
            [*seconds, of["seconds"] - sum(seconds)],
            y=[place + 0.38 * (number - 0.5) for place in range(len(names) + 1)],
            height=0.36,
            color=f"C{number}",
            hatch=("", "//")[number],
            label=f"{label}: {whole}",
        )
        parts = ", ".join(f"{n} {s:.2f}" for n, s in zip(names, seconds, strict=True))
        words.append(f"{label} {whole}, of it {parts}")
    return shown(figure, "Seconds of a step by operator:", words)


def growth(record: Record) -> Figure:
    """Seconds against each thing that grows, on logarithmic axes, with its slope in the title."""
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.0))
    seconds, kept = Look("seconds", "C0"), Look("bytes kept", "C1", "--", "s")
    words = []
    for axis, (what, of) in zip(axes.flat, record["rows"].items(), strict=False):
        points = pd.DataFrame(of["points"])
        for key, look in ("seconds", seconds), ("kept_bytes", kept):
            if key in points:
                line(axis, points[what], points[key] / points[key].iloc[0], look)
        ticks(axis, points[what], "{:,}", fontsize=9, rotation=30)
        axis.set(yscale="log", xlabel=what)
        axis.yaxis.set_minor_formatter(NullFormatter())
        slopes = [f"{of[n]:.2f}" for n in ("slope of seconds", "slope of bytes") if n in of]
        axis.set_title(f"slope {' / '.join(slopes)}", fontsize=10)
        words.append(f"{what}: {' and '.join(slopes)}")
    for axis in list(axes.flat)[len(record["rows"]) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("times the first")
    return shown(figure, "Slopes of seconds and of bytes kept, by what grows:", words)
