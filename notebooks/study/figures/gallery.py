"""The gallery: what encoders find for one caption and for one picture, right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill, shorten
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.encoders import DualEncoder
from rsstudy.evaluation import embed, prepare
from rsstudy.retrieval import distinct
from rsstudy.search import best
from study.figures.drawing import NARROW, shown

TOP = 5
# Told apart by colour, by width and by the mark in front.
RIGHT, WRONG = ("✓", "C2", 3.0), ("✗", "0.45", 1.0)

Retrieved = Mapping[str, tuple[Sequence[int], Sequence[int]]]


def retrieved(
    encoder: DualEncoder, split: ImageTextSet, picture: int, caption: int = 0
) -> tuple[list[int], list[int]]:
    """The best pictures for one caption of a picture, and the best captions for that picture.

    Args:
        split: whose pictures and captions are the candidates.
        picture: its row in the split; ``caption`` is one of its own.

    Returns:
        rows of the split, and indices of its distinct captions, as ``retrieval.distinct`` orders
        them; the best ``TOP`` of each. Equals stand in the set's order.
    """
    pairs = prepare(encoder, split)
    images, texts = (vectors.cpu() for vectors in embed(encoder, pairs))
    first = sum(len(own) for own in split.captions[:picture])
    query = texts[pairs.text_of[first + caption]]
    return best(images, query, TOP)[0], best(texts, images[picture], TOP)[0]


def gallery(split: ImageTextSet, picture: int, found: Retrieved, caption: int = 0) -> Figure:
    """What each encoder finds for a caption, and for its picture: five a row, the best first.

    What is right has a thick green frame or line and a tick, the rest a thin grey one and a cross.
    A picture is right where it has the very caption, and a caption where the picture has it.

    Args:
        found: by the name of an encoder, what ``retrieved`` gave.
    """
    texts, own = distinct(split.captions)[0], set(split.captions[picture])
    query = split.captions[picture][caption]
    sheet = _Sheet(2.1 * len(found) + 1.6)
    sheet.say(fill(f"Pictures for “{query}”", 52), lines=2)
    words = []
    for name, (rows, _) in found.items():
        right = [query in split.captions[row] for row in rows]
        sheet.pictures(f"{name}: {sum(right)} of {len(rows)}", split, rows, right)
        words.append(f"{name}, {sum(right)} of {len(rows)} pictures right")
    sheet.query(split, picture, "Captions for this picture")
    for name, (_, places) in found.items():
        right = [texts[place] in own for place in places]
        sheet.lines(f"{name}: {sum(right)} of {len(places)}", [texts[at] for at in places], right)
        words.append(f"{name}, {sum(right)} of {len(places)} captions right")
    what = f"The best {TOP} of {len(split)} pictures for “{query}”, and captions for its picture:"
    return shown(sheet.figure, what, words)


class _Sheet:
    """A figure that is filled from the top, in inches."""

    def __init__(self, height: float):
        self.figure = plt.figure(figsize=(NARROW, height), layout="none")
        self.height, self.down = height, 0.08

    def say(self, text: str, lines: int = 1, left: float = 0.03, **style: Any) -> None:
        place = left / NARROW, 1 - self.down / self.height
        self.figure.text(*place, text, va="top", **{"fontsize": 9, **style})
        self.down += 0.17 * lines + 0.03

    def pictures(
        self, name: str, split: ImageTextSet, rows: Sequence[int], right: Sequence[bool]
    ) -> None:
        self.say(name, fontweight="bold")
        size = NARROW / TOP
        for place, (row, good) in enumerate(zip(rows, right, strict=True)):
            mark, color, width = RIGHT if good else WRONG
            axis = self._picture(split, row, place * size + 0.04, size - 0.08)
            for side in axis.spines.values():
                side.set(visible=True, color=color, linewidth=width)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axis.text(0.05, 0.95, mark, va="top", color=color, transform=axis.transAxes, bbox=box)
        self.down += size + 0.04

    def query(self, split: ImageTextSet, row: int, text: str) -> None:
        self.down += 0.06
        self._picture(split, row, 0.04, 0.9)
        self.say(text, left=1.04)
        self.down += 0.78

    def lines(self, name: str, texts: Sequence[str], right: Sequence[bool]) -> None:
        self.say(name, fontweight="bold")
        for text, good in zip(texts, right, strict=True):
            mark, color, _ = RIGHT if good else WRONG
            weight = "bold" if good else "normal"
            said = f"{mark} {shorten(text, 54, placeholder=' …')}"
            self.say(said, color=color, fontsize=8, fontweight=weight)
            self.down -= 0.03
        self.down += 0.07

    def _picture(self, split: ImageTextSet, row: int, left: float, size: float) -> Axes:
        wide, high = size / NARROW, size / self.height
        axis = self.figure.add_axes((left / NARROW, 1 - self.down / self.height - high, wide, high))
        axis.imshow(split.images.decode(row), interpolation="lanczos", aspect="auto")
        axis.set(xticks=[], yticks=[])
        return axis
