"""Methods by any two of their measures: a scatter to explore, and the same as a picture.

The explorable is plain SVG drawn by a script beside this file, which goes into the page with its
data. It needs no network, no library and no file of its own in the book.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.choosing import MEASURES, unbeaten
from study.figures.drawing import line, note, shown
from study.labels import FAMILIES, OBJECTIVES, SETS, Look, looks, named

NARROW = 3.9  # inches: a phone shows it whole
LABELLED = (
    *("zero-shot", "linear-probe", "layernorm", "ia3"),
    *("mrs-adapter", "mrs-adapter, hmmc", "lora", "full"),
)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Explorable:
    """A scatter whose axes a reader chooses; ``spec`` is what its script is given."""

    spec: dict[str, Any]

    def __repr__(self) -> str:
        return f"{len(self.spec['methods'])} methods by {len(self.spec['measures'])} measures"

    def _repr_html_(self) -> str:
        data = json.dumps(self.spec, separators=(",", ":")).replace("<", "\\u003c")
        style, script = ((HERE / f"front.{of}").read_text("utf-8") for of in ("css", "js"))
        return (
            f"<style>{style}</style>\n<div class='front'>Run the notebook, or open the book, to "
            f"choose the axes.<script type='application/json'>{data}</script></div>\n"
            f"<script>{script}</script>"
        )


def explorable(table: pd.DataFrame, x: str = "trained", y: str = "ucm") -> Explorable:
    """The scatter to explore, with two of ``study.choosing.MEASURES`` on its axes at first.

    ``table`` comes from ``study.choosing.front_table``.
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
        methods.append({"name": named(row["name"]), **own, "label": label, "at": at, "runs": runs})
    seen = [{"name": of.name, "color": _hex(of.color), "mark": of.mark} for of in drawn.values()]
    return Explorable(
        {"axes": {"x": x, "y": y}, "measures": measures, "looks": seen, "methods": methods}
    )


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
        words.append(f"{named(row['name'])}, {_short(row[y])} with {_short(row[x])}")
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
