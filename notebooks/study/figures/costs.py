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
from study.cost_tables import memory
from study.figures import drawing
from study.figures.drawing import NARROW, WIDTH, line, marks, named_above, rows, shown, ticks
from study.labels import FAMILIES, FREE, OBJECTIVES, Look, named

Record = Mapping[str, Any]
MARKED: dict[str, Any] = {"color": "0.3", "linestyle": "--", "linewidth": 1}
BELOW = "outside lower center"
# Methods that stand for all, by their names in ``cost_tables``.
MAIN = {
    "mrs-adapter": FAMILIES["a branch"]._replace(name="adapter, InfoNCE"),
    "mrs-adapter, hmmc": OBJECTIVES["hmmc"]._replace(name="adapter, HMMC", line="--"),
    "lora, rank 8, matrices q,v": FAMILIES["a weight"]._replace(name="LoRA on q and v"),
    "linear-probe": FAMILIES["the base's own weights"]._replace(name="linear probe"),
}
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


def saved(shares: pd.DataFrame, title: str) -> Figure:
    """What the main methods take of full fine-tuning's, a bar a method in a group a cost.

    Args:
        shares: percent, from ``cost_tables.share_of_full``; a column is a group.
        title: what it shows, as a finding.
    """
    figure, axis = plt.subplots(figsize=(NARROW, 1.15 * shares.shape[1] + 1.3))
    each = 0.19
    for group, cost in enumerate(shares):
        values = shares.loc[list(MAIN), cost]
        drawn = axis.barh(
            [group + each * at for at in range(len(MAIN))],
            values,
            height=0.9 * each,
            color=[look.color for look in MAIN.values()],
        )
        axis.bar_label(drawn, [_short(value) for value in values], padding=3, fontsize=9)
        axis.text(1, group - 0.65 * each, cost, va="bottom", weight="bold")
    for look in MAIN.values():
        axis.barh(0, 0, color=look.color, label=look.name)
    axis.axvline(100, **MARKED)
    axis.set(yticks=[], ylim=(shares.shape[1] - 0.25, -0.45), xlim=(0, 160))
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("% of full fine-tuning's (dashed line)")
    axis.set_title(title, loc="left")
    words = [
        f"{look.name}: " + ", ".join(f"{c} {_short(v)}" for c, v in shares.loc[name].items())
        for name, look in MAIN.items()
    ]
    return shown(figure, "Of full fine-tuning's, %:", words, 2, loc=BELOW)


def memory_by_batch(counted: pd.DataFrame, title: str) -> Figure:
    """What the main methods hold in a step, of full fine-tuning's, against the pairs of the step.

    Args:
        counted: from ``cost_tables.read_counted``.
        title: what it shows, as a finding.
    """
    batches = [4**power for power in range(1, 6)]
    held = pd.DataFrame({n: memory(counted, n).sum(axis=1) for n in batches})
    held *= 100 / held.loc["full"]
    figure, axis = plt.subplots(figsize=(NARROW, 3.9))
    words = []
    for name, look in MAIN.items():
        line(axis, batches, held.loc[name], look)
        said = ", ".join(f"{of:.0f} at {n}" for n, of in held.loc[name].items())
        words.append(f"{look.name} {said}")
    axis.axhline(100, **MARKED)
    ticks(axis, batches)
    axis.set(xlabel="pairs in a step", ylabel="% of full fine-tuning's", ylim=(0, None))
    axis.set_title(title, loc="left")
    return shown(figure, "Memory of a step, % of full fine-tuning's:", words, 2, loc=BELOW)


def _short(value: float) -> str:
    """Percent with a digit behind the point where it is small."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


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
        words.append(f"{label}: " + ", ".join(f"{named(n)} {v:.2f}" for n, v in series.items()))
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
        parts = ", ".join(f"{n} {s:.2f}" for n, s in zip(short, seconds, strict=True))
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
