"""The scenes: thirty kinds of place (``kinds.csv``) and the attributes that captions may name."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

SIDES = {
    "aerial": ("on the left", "at the top", "on the right", "at the bottom"),
    "ground": ("on the left", "in the back", "on the right", "in the front"),
}
SKIES = {"aerial": ("",), "ground": ("under a blue sky", "under a cloudy sky", "at sunset")}
COMPANION_COLOURS = ("red", "white", "blue", "yellow")
COMPANION_COUNTS = (1, 2, 3)
# The fewest things that show an arrangement.
FEWEST = {"row": 2, "scattered": 3, "two rows": 4, "circle": 5}


@dataclass(frozen=True)
class Kind:
    """A kind of place: one row of ``kinds.csv``, with lists separated by "; ".

    Attributes:
        thing: what the place shows, ``fewest`` to ``most`` of it.
        verb, place: how captions say it: boats are ``docked`` ``in a port``.
        floor: the material of the ground.
        cars_on: whether accompanying cars and buses use a "road" or a "yard", from above.
        above_size, beside_size: the largest width of a thing, in picture widths.
        above_middle, above_width: the zone of the things across the picture.
        above_turn: "same" (one angle a picture), "each" (one a thing), "right" (a multiple of 90
            degrees a thing), "small", or degrees.
        above_fill: the width of a thing relative to the distance of its neighbours.
    """

    name: str
    thing: str
    fewest: int
    most: int
    colours: tuple[str, ...]
    arrangements: tuple[str, ...]
    verb: str
    place: str
    floor: str
    surroundings: tuple[str, ...]
    companions: tuple[str, ...]
    cars_on: str
    above_size: float
    above_middle: float
    above_width: float
    above_turn: str
    above_fill: float
    beside_size: float

    def formations(self) -> list[tuple[int, str]]:
        """The pairs of count and arrangement that can be told apart."""
        return [
            (count, arrangement)
            for count in range(self.fewest, self.most + 1)
            for arrangement in [a for a in self.arrangements if count >= FEWEST[a]] or [""]
        ]


def read_kinds() -> dict[str, Kind]:
    def listed(cell: str) -> tuple[str, ...]:
        return tuple(cell.split("; ")) if cell else ()

    read: dict[Any, Any] = {"str": str, "int": int, "float": float, "tuple[str, ...]": listed}
    with Path(__file__).with_name("kinds.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    kinds = (Kind(**{f.name: read[f.type](row[f.name]) for f in fields(Kind)}) for row in rows)
    return {kind.name: kind for kind in kinds}


KINDS = read_kinds()
SCENE_TYPES = tuple(KINDS)


@dataclass(frozen=True)
class Scene:
    """What captions may name of one picture, and ``look``, the seed of all other choices."""

    kind: str
    count: int
    colour: str
    arrangement: str
    surroundings: str
    side: int
    companion: str
    companions: int
    companion_colour: str
    sky: str
    look: int


def seed_of(*parts: object) -> int:
    """A seed that depends on nothing but ``parts``."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def shuffled(number: int, total: int, *key: object) -> int:
    """The rank of ``number`` in a random order of ``range(total)`` (a Feistel network)."""
    half = ((total - 1).bit_length() + 1) // 2
    while True:
        left, right = number >> half, number & (2**half - 1)
        for turn in range(4):
            left, right = right, left ^ seed_of(turn, right, *key) & (2**half - 1)
        number = left << half | right
        if number < total:
            return number


def scene(index: int, seed: int, domain: str) -> Scene:
    """Scene ``index`` of the endless sequence of ``seed`` and ``domain``.

    Each block of thirty scenes has every kind once, in a random order. The n-th scene of a kind
    takes the n-th of a random order of all combinations of its attributes. So no combination
    repeats before all are used.
    """
    turn, place = divmod(index, len(SCENE_TYPES))
    ranks = Random(seed_of("order", seed, domain, turn))
    kind = KINDS[sorted(SCENE_TYPES, key=lambda _: ranks.random())[place]]
    axes: dict[str, Sequence] = {
        "formation": kind.formations(),
        "colour": kind.colours,
        "surroundings": kind.surroundings,
        "side": range(4),
        "companion": kind.companions,
        "companions": COMPANION_COUNTS,
        "companion_colour": COMPANION_COLOURS,
        "sky": SKIES[domain],
    }
    shape = [len(axis) for axis in axes.values()]
    number = shuffled(turn % math.prod(shape), math.prod(shape), seed, domain, kind.name)
    digits = np.unravel_index(number, shape, order="F")
    chosen = {name: axis[int(k)] for (name, axis), k in zip(axes.items(), digits, strict=True)}
    count, arrangement = chosen.pop("formation")
    look = seed_of("look", seed, domain, index)
    return Scene(kind=kind.name, count=count, arrangement=arrangement, **chosen, look=look)
