"""What to take in which situation; and methods by any two measures, to explore and as a picture.

The explorable is plain SVG drawn by a script beside this file, which goes into the page with its
data. It needs no network, no library and no file of its own in the book.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from study.choosing import MEASURES, readable, unbeaten
from study.figures.drawing import NARROW, line, marks, note, shown
from study.labels import FAMILIES, OBJECTIVES, SETS, Look, looks

LABELLED = (
    *("zero-shot", "linear-probe", "layernorm", "ia3"),
    *("mrs-adapter", "mrs-adapter, hmmc", "lora", "full"),
)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Explorable:
    """A scatter whose axes a reader chooses; ``spec`` is what its script is given."""

    spec: dict[str, Any]
    caption: str

    def __repr__(self) -> str:
        return f"{len(self.spec['methods'])} methods by {len(self.spec['measures'])} measures"

    def _repr_html_(self) -> str:
        data = json.dumps(self.spec, separators=(",", ":")).replace("<", "\\u003c")
        style, script = ((HERE / f"front.{of}").read_text("utf-8") for of in ("css", "js"))
        return (
            f"<style>{style}</style>\n<figure class='front-figure'><div class='front'>Run the "
            "notebook, or open the book, to choose the axes."
            f"<script type='application/json'>{data}</script></div>\n"
            f"<figcaption>{self.caption}</figcaption></figure>\n<script>{script}</script>"
        )


def explorable(
    table: pd.DataFrame,
    bounds: Mapping[str, Mapping[str, float]],
    caption: str,
    x: str = "trained",
    y: str = "ucm",
) -> Explorable:
    """The scatter to explore, with two of ``study.choosing.MEASURES`` on its axes at first.

    Args:
        table: from ``study.choosing.front_table``.
        bounds: by measure, what chance gives and the highest possible; ``study.choosing.ends``.
    """
    drawn = _looks(table)
    measures = [{"key": key, **of._asdict()} for key, of in MEASURES.items()]
    methods = []
    for row in table.to_dict("records"):
        at: dict[str, list[float]] = {}
        for key in MEASURES:
            found = [row.get(key + end, math.nan) for end in ("", "_low", "_high")]
            values = [float(f"{value:.4g}") for value in found if not math.isnan(value)]
            at |= {key: [row[key]] if key == "trained" else values} if values else {}
        runs = [[_set_or_what(key), ids] for key, ids in row["runs"].items()]
        own = {"look": list(drawn).index(_kind(row)), "heads": bool(row["heads"])}
        label = row["name"] in LABELLED
        methods.append(
            {"name": readable(row["name"]), **own, "label": label, "at": at, "runs": runs}
        )
    seen = [{"name": of.name, "color": _hex(of.color), "mark": of.mark} for of in drawn.values()]
    ends = {key: [[of, float(f"{v:.4g}")] for of, v in own.items()] for key, own in bounds.items()}
    spec = {"axes": {"x": x, "y": y}, "measures": measures, "ends": ends, "looks": seen}
    return Explorable(spec | {"methods": methods}, caption)


def decision(table: pd.DataFrame, title: str) -> Figure:
    """Questions from top to bottom, and beside each what to take there, in its family's look.

    ``table`` comes from ``study.choosing.advised``; ``title`` says what it shows, as a finding.
    """
    groups = [of for _, of in table.groupby("question", sort=False)]
    heights = [0.72 if len(of) == 1 else 0.2 + 0.36 * len(of) for of in groups]
    high = 0.95 + sum(heights) + 0.3 * len(heights)
    figure = plt.figure(figsize=(NARROW, high), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, NARROW), ylim=(high, 0))
    axis.set_axis_off()
    text: dict[str, Any] = {"va": "center", "fontsize": 8.5}
    axis.text(0.05, 0.26, title, va="center", fontsize=10.5, weight="bold")
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": "0.3"}
    words, top, above = [], 0.55, 0.0
    for of, height in zip(groups, heights, strict=True):
        question, middle = of["question"].iloc[0], top + height / 2
        if above:
            axis.annotate("", (0.85, middle - 0.3), (0.85, above + 0.3), arrowprops=arrow)
            axis.text(0.92, (above + middle) / 2, "no", style="italic", **text)
        _box(axis, (0.05, middle - 0.3), (1.6, 0.6), "0.4")
        axis.text(0.85, middle, question, ha="center", **text)
        axis.annotate("", (2.0, middle), (1.65, middle), arrowprops=arrow)
        if question.endswith("?"):
            axis.text(1.81, middle - 0.1, "yes", ha="center", style="italic", **text)
        _box(axis, (2.0, top), (1.85, height), FAMILIES[of["family"].iloc[0]].color)
        lines = [line for row in of.to_dict("records") for line in _told(row, len(of) == 1)]
        for at, (said, family) in enumerate(lines):
            place = top + height * (at + 0.75) / (len(lines) + 0.5)
            if family:
                marks(axis, 2.13, place, FAMILIES[family]._replace(name="_"))
                axis.text(2.24, place, said, **text | {"fontsize": 9.5}, weight="bold")
            else:
                axis.text(2.08, place, said, **text)
        words.append(f"{' '.join(question.split())} {', '.join(said for said, _ in lines)}")
        top, above = top + height + 0.3, middle
    told = "Points, and the time of a step: beside the MRS adapter.\nMB: the file of a trained set."
    axis.text(0.05, top, told, **text)
    return shown(figure, f"{' '.join(title.split())}.", words)


def _told(row: dict[str, Any], alone: bool) -> list[tuple[str, str]]:
    """The lines of a method in its box; the first, its name, with its family."""
    found, size = row["contrast"], row["file"]
    score = f"{SETS[row['data']].name.split('-')[0]} {row['mean_recall']:.1f} %"
    points = f"{found.estimate:+.1f}: {found.word}" if found is not None else score
    file = f"{size:.3g} MB" if size >= 100 else f"{size:.2g} MB"
    lines = [f"{score}, {points}", f"{file}; step × {row['step']:.1f}"]
    lines = lines if alone else [f"{points}; {file}"]
    return [(readable(row["name"]), row["family"]), *((line, "") for line in lines)]


def _box(axis: Axes, corner: tuple[float, float], size: tuple[float, float], color: str) -> None:
    style: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.07", "linewidth": 1.2}
    face = to_rgba(color, 0.15) if color.startswith("C") else "white"
    axis.add_patch(FancyBboxPatch(corner, *size, facecolor=face, edgecolor=color, **style))


def picture(table: pd.DataFrame, title: str, x: str = "trained", y: str = "ucm") -> Figure:
    """The same for two measures as a picture, of the methods whose heads stay as they are.

    The line joins what no other method beats in both. Its points are numbered, and those of a few
    other methods.

    Args:
        title: what it shows, as a finding.
    """
    table = table[~table["heads"] & table[[x, y]].notna().all(axis=1)]
    table = table[(table[x] > 0) | (not MEASURES[x].log)].sort_values(x, ignore_index=True)
    best = unbeaten(table, x, y)
    told = table[best | table["name"].isin(LABELLED)].to_dict("records")
    figure, axis = plt.subplots(figsize=(NARROW, 4 + 0.17 * len(told)))
    for kind, look in _looks(table).items():
        own = table[[_kind(row) == kind for row in table.to_dict("records")]]
        bounds = (own[f"{y}_low"], own[f"{y}_high"]) if f"{y}_low" in own else None
        line(axis, own[x], own[y], look._replace(line="none"), bounds)
    axis.step(table[x][best], table[y][best], where="post", color="0.5", linewidth=1)
    keys, words = [], []
    for number, row in enumerate(told, 1):
        end, away = ((f"{y}_high", 3), (f"{y}_low", -12))[number % 2]
        note(axis, str(number), (row[x], row.get(end, row[y])), away)
        words.append(f"{readable(row['name'])}, {_short(row[y])} with {_short(row[x])}")
        mark: dict[str, Any] = {
            "marker": f"${number}$",
            "markersize": 5 if number < 10 else 8,
            "color": "0.2",
        }
        keys.append(Line2D([], [], ls="", markeredgewidth=0.3, label=words[-1], **mark))
    axis.set(xlabel=MEASURES[x].name, ylabel=MEASURES[y].name)
    axis.set_xscale("log" if MEASURES[x].log else "linear")
    axis.set_title(title, loc="left", fontsize=11)
    style: dict[str, Any] = {"frameon": False, "fontsize": 9, "handletextpad": 0.1}
    figure.legend(handles=keys, loc="outside lower left", labelspacing=0.25, **style)
    what = f"{title}. {MEASURES[y].name}, against {MEASURES[x].name}:"
    return shown(figure, what, words, 2, columnspacing=0.8, **style)


def _kind(row: dict[str, Any]) -> str:
    return "hmmc" if "hmmc" in row["name"] else row["family"]


def _looks(table: pd.DataFrame) -> dict[str, Look]:
    """A look a family, and HMMC's own."""
    kinds = sorted({_kind(row) for row in table.to_dict("records")})
    return looks(kinds, FAMILIES | {"hmmc": OBJECTIVES["hmmc"]})


def _set_or_what(measure: str) -> str:
    return SETS[measure].name if measure in SETS else MEASURES[measure].name.split(",")[0]


def _short(value: float) -> str:
    """Three digits, with k and M for thousands and millions."""
    sizes = ((1e6, " M"), (1e3, " k"), (1.0, ""))
    size, unit = next((of for of in sizes if value >= of[0]), (1.0, ""))
    return f"{value / size:.3g}{unit}"


def _hex(color: str) -> str:
    """A colour as the web names it; C0 and so on are of the palette that figures have."""
    palette = sns.color_palette("colorblind")
    return to_hex(palette[int(color[1:])] if color.startswith("C") else color)
