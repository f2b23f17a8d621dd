"""What all figures share: their style, their words, and the shapes that they are made of."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from PIL import Image

from study.labels import Look, named

WIDTH = 7.2  # inches: the book's column; on a phone it scrolls
NARROW = 3.9  # of a figure that a phone shows whole, in a cell that is tagged narrow
QUALITY = {"jpeg": {"pil_kwargs": {"quality": 85}}}
ZERO: dict[str, Any] = {"color": "0.4", "linewidth": 1}

Bounds = tuple[float, float]


def use_style(format: str = "png") -> None:
    """Set the look of every figure: colour-blind safe, light grid, letters of 10 points.

    In a notebook it also makes a figure's plain text what ``in_words`` says.

    Args:
        format: in which a notebook keeps figures; sheets of pictures take a quarter of png's bytes
            as jpeg.
    """
    of_10 = ("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    rc = {"figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True}
    rc |= {"axes.titlesize": 11} | dict.fromkeys(of_10, 10)
    sns.set_theme(style="whitegrid", palette="colorblind", rc=rc)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats  # IPython brings it

        # Both forget a figure's plain text, which is therefore set after them.
        plt.switch_backend(plt.get_backend())
        set_matplotlib_formats(format, **QUALITY.get(format, {}))
        if format == "png":
            shell.display_formatter.formatters["image/png"].for_type(Figure, _of_few_colours)
        plain = shell.display_formatter.formatters["text/plain"]
        plain.for_type(Figure, lambda figure, printer, _: printer.text(in_words(figure)))


def _of_few_colours(figure: Figure) -> bytes:
    """A figure as PNG with 256 colours: a third of the bytes that a notebook keeps."""
    from IPython.core.pylabtools import print_figure

    drawn, small = Image.open(BytesIO(print_figure(figure, "png"))).convert("RGB"), BytesIO()
    drawn.quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def in_words(figure: Figure) -> str:
    """What a figure shows, for who cannot see it: its label, else its titles and axes."""
    if figure.get_label():
        return str(figure.get_label())
    found = [figure.get_suptitle()]
    for axis in figure.axes:
        found += [axis.get_title(), axis.get_ylabel(), axis.get_xlabel()]
    words = [" ".join(text.split()) for text in found if text.strip()]
    return f"Figure: {', '.join(dict.fromkeys(words)) or 'pictures'}."


def shown(
    figure: Figure, what: str, words: Iterable[str], columns: int = 3, **style: Any
) -> Figure:
    """The figure with a legend above it and its words set.

    Args:
        what: it shows, before a part of ``words`` for each thing in it.
        columns: of the legend, which has each name once; ``style`` is the legend's.
    """
    figure.set_label(f"{what} {'; '.join(words)}.")
    found: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if found:
        style = {"loc": "outside upper left", "ncols": columns, "frameon": False, **style}
        figure.legend(found.values(), found, **style)
    return figure


def rows(
    names: Iterable[str],
    each: float,
    room: float,
    xlabel: str,
    wrap: int = 60,
    width: float = WIDTH,
) -> tuple[Figure, Axes]:
    """A figure with a row for each name; ``each`` and ``room`` (beside the rows) in inches."""
    figure, axis = plt.subplots(figsize=(width, each * len(list(names)) + room))
    name_rows(axis, names, wrap)
    axis.grid(visible=each < 0.3, axis="y")  # the eye follows close rows along lines
    axis.set_xlabel(xlabel)
    return figure, axis


def name_rows(axis: Axes, names: Iterable[str], wrap: int = 60) -> None:
    """Name the rows of an axis, the first on top, and draw no grid between them."""
    said = [n if "\n" in n else fill(n, wrap) for n in map(named, names)]
    axis.set_yticks(range(len(said)), said, fontsize=9)
    axis.set_ylim(len(said) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def named_above(axis: Axes, names: Iterable[str]) -> None:
    """Write each row's name above its marks, the first on top: a narrow figure has no room left."""
    said = list(names)
    for at, name in enumerate(said):
        axis.text(0, at - 0.22, name, va="bottom", transform=axis.get_yaxis_transform())
    axis.set(yticks=[], ylim=(len(said) - 0.6, -0.8))


def point(
    axis: Axes, at: float, value: float, bounds: Bounds, look: Look, corrected: Bounds | None = None
) -> None:
    """A score in row ``at`` with its 95 % interval, thick, and the corrected one, thin."""
    if corrected is not None:
        axis.plot(corrected, (at, at), color=look.color, linewidth=1, solid_capstyle="butt")
    axis.plot(bounds, (at, at), color=look.color, linewidth=4, alpha=0.45, solid_capstyle="butt")
    marks(axis, value, at, look)


def marks(axis: Axes, x: Any, y: Any, look: Look) -> None:
    """Points without intervals."""
    inner = "white" if look.hollow else look.color
    axis.plot(x, y, look.mark, color=look.color, mfc=inner, label=look.name)


def line(
    axis: Axes,
    x: Sequence[float],
    y: Sequence[float],
    look: Look,
    bounds: tuple[Any, Any] | None = None,
    ring: tuple[float, float] | None = None,
) -> None:
    """A line with a mark at each value, in ``bounds`` (below, above), and a ring around a choice.

    A score over epochs, rates, dials or shares.
    """
    axis.errorbar(
        x,
        y,
        yerr=bounds and (y - bounds[0], bounds[1] - y),
        linestyle=look.line,
        marker=look.mark,
        color=look.color,
        mfc="none" if look.hollow else look.color,
        ms=9 if look.hollow else 6,
        ecolor=to_rgba(look.color, 0.4),
        capsize=3,
        label=look.name,
    )
    if ring is not None:
        axis.plot(*ring, "o", mfc="none", ms=13, color=look.color)


def bars(axis: Axes, lengths: Sequence[float], texts: Sequence[str] = (), **style: Any) -> None:
    """A bar in each row, with texts at their ends."""
    style = {"y": range(len(lengths)), "color": "C0", "edgecolor": "white", **style}
    drawn = axis.barh(width=lengths, linewidth=0.3, **style)
    if texts:
        axis.bar_label(drawn, texts, padding=4)
        axis.margins(x=0.15)


def note(axis: Axes, text: str, at: tuple[float, float], above: float, **style: Any) -> None:
    """A text at a point, typographic points above it."""
    style = {"ha": "center", "fontsize": 9, **style}
    axis.annotate(text, at, (0, above), textcoords="offset points", **style)


def ticks(axis: Axes, values: Iterable[float], form: str = "{:g}", **style: Any) -> None:
    """On a logarithmic axis, ticks at these values alone."""
    values = sorted(set(values))
    axis.set_xscale("log")
    axis.set_xticks(values, [form.format(value) for value in values], **style)
    axis.xaxis.set_minor_locator(NullLocator())
