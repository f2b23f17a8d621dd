"""What a scene holds: thirty kinds of place, and the attributes that captions may name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

SIDES = {
    "aerial": ("on the left", "at the top", "on the right", "at the bottom"),
    "ground": ("on the left", "in the back", "on the right", "in the front"),
}
SKIES = {"aerial": ("",), "ground": ("under a blue sky", "under a cloudy sky", "at sunset")}
COMPANION_COLOURS = ("red", "white", "blue", "yellow")
COMPANION_COUNTS = (1, 2, 3)


@dataclass(frozen=True)
class Kind:
    """A kind of place: the things in it and every value that their attributes may take."""

    name: str
    thing: str
    counts: tuple[int, ...]
    colours: tuple[str, ...]
    arrangements: tuple[str, ...]
    verb: str
    place: str
    floor: str
    surroundings: tuple[str, ...]
    companions: tuple[str, ...]

    def formations(self) -> list[tuple[int, str]]:
        """The pairs of count and arrangement that can be told apart."""
        least = {"row": 2, "scattered": 3, "two rows": 4, "circle": 5, "": 1}
        pairs = list(product(self.counts, (*self.arrangements, "")))
        return [
            (n, a)
            for n, a in pairs
            if n >= least[a] and (a or n == 1 or not any(n >= least[b] for b in self.arrangements))
        ]


def _kind(name, thing, counts, colours, arrangements, verb, place, floor, near, companions):
    def listed(text):
        return tuple(part for part in text.split(", ") if part)

    return Kind(
        name,
        thing,
        tuple(range(counts[0], counts[1] + 1)),
        listed(colours),
        listed(arrangements),
        verb,
        place,
        floor,
        listed(near),
        listed(companions),
    )


_ALL = "row, two rows, scattered, circle"
KINDS = {
    kind.name: kind
    for kind in (
        _kind(
            "airport",
            "plane",
            (1, 6),
            "white, red, blue, yellow, green",
            "row, two rows, scattered",
            "parked",
            "in an airport",
            "grass",
            "trees, buildings, water, bare land",
            "car, bus",
        ),
        _kind(
            "bareland",
            "rock",
            (1, 8),
            "gray, white, black, red",
            _ALL,
            "lying",
            "on a piece of bare land",
            "soil",
            "trees, road, water, lawn",
            "car, tent",
        ),
        _kind(
            "baseballfield",
            "baseball field",
            (1, 4),
            "brown, orange, red, yellow",
            "row, two rows, scattered",
            "built",
            "in a sports park",
            "grass",
            "trees, road, buildings, bare land",
            "car, bus",
        ),
        _kind(
            "beach",
            "umbrella",
            (1, 8),
            "red, blue, yellow, green, white",
            _ALL,
            "standing",
            "on a beach",
            "sand",
            "trees, road, buildings, lawn",
            "boat",
        ),
        _kind(
            "bridge",
            "bridge",
            (1, 3),
            "white, gray, red, yellow, brown",
            "",
            "built",
            "over a river",
            "grass",
            "trees, road, buildings, bare land",
            "car, house",
        ),
        _kind(
            "center",
            "round building",
            (1, 4),
            "white, blue, gray, brown, green",
            "row, scattered",
            "standing",
            "in a city center",
            "paving",
            "trees, road, water, lawn",
            "car, bus",
        ),
        _kind(
            "church",
            "church",
            (1, 3),
            "red, gray, brown, blue, white",
            "row, scattered",
            "built",
            "in a town",
            "grass",
            "trees, water, buildings, bare land",
            "car, house",
        ),
        _kind(
            "commercial",
            "tall building",
            (2, 6),
            "white, gray, blue, brown, red",
            "row, two rows, scattered",
            "standing",
            "in a commercial area",
            "concrete",
            "trees, bare land, water, lawn",
            "car, bus",
        ),
        _kind(
            "denseresidential",
            "row of houses",
            (2, 5),
            "red, gray, brown, blue, white",
            "",
            "built",
            "in a dense residential area",
            "concrete",
            "trees, lawn, water, bare land",
            "car, bus",
        ),
        _kind(
            "desert",
            "tent",
            (1, 8),
            "white, red, blue, green, brown",
            _ALL,
            "pitched",
            "in a desert",
            "sand",
            "trees, road, water, buildings",
            "car, house",
        ),
        _kind(
            "farmland",
            "field",
            (2, 6),
            "yellow, green, brown, orange, white",
            "row, two rows, scattered",
            "lying",
            "in a piece of farmland",
            "soil",
            "trees, road, water, buildings",
            "house, car",
        ),
        _kind(
            "forest",
            "house",
            (1, 4),
            "red, gray, brown, white, blue",
            "row, scattered",
            "hidden",
            "in a forest",
            "forest",
            "road, water, bare land, lawn",
            "car, tent",
        ),
        _kind(
            "industrial",
            "factory",
            (1, 5),
            "gray, blue, white, red, green",
            "row, two rows, scattered",
            "built",
            "in an industrial area",
            "concrete",
            "trees, lawn, water, bare land",
            "car, bus",
        ),
        _kind(
            "meadow",
            "patch of flowers",
            (1, 7),
            "red, yellow, white, purple, orange",
            _ALL,
            "growing",
            "on a meadow",
            "grass",
            "trees, road, water, bare land",
            "house, tent",
        ),
        _kind(
            "mediumresidential",
            "house",
            (4, 8),
            "red, gray, brown, blue, white",
            "two rows, scattered, circle",
            "built",
            "in a medium residential area",
            "grass",
            "trees, buildings, water, bare land",
            "car, bus",
        ),
        _kind(
            "mountain",
            "peak",
            (1, 5),
            "white, gray, brown, green, red",
            "row, scattered, circle",
            "rising",
            "in a range of mountains",
            "soil",
            "trees, road, water, lawn",
            "house, tent",
        ),
        _kind(
            "park",
            "pavilion",
            (1, 5),
            "red, yellow, blue, gray, white",
            "row, scattered, circle",
            "standing",
            "in a park",
            "grass",
            "trees, road, buildings, water",
            "tent, bus",
        ),
        _kind(
            "parking",
            "car",
            (2, 8),
            "red, white, blue, yellow, black",
            "row, two rows, scattered",
            "parked",
            "in a parking lot",
            "asphalt",
            "trees, buildings, lawn, bare land",
            "bus, house",
        ),
        _kind(
            "playground",
            "basketball court",
            (1, 4),
            "blue, green, orange, purple, red",
            "row",
            "marked out",
            "beside a running track",
            "grass",
            "trees, road, buildings, bare land",
            "car, bus",
        ),
        _kind(
            "pond",
            "pond",
            (1, 5),
            "blue, green, brown, gray",
            "row, scattered",
            "lying",
            "on a piece of grassland",
            "grass",
            "trees, road, buildings, bare land",
            "house, car, tent",
        ),
        _kind(
            "port",
            "boat",
            (1, 8),
            "white, red, blue, yellow, brown",
            "row, two rows, scattered",
            "docked",
            "in a port",
            "water",
            "trees, road, buildings, bare land",
            "car, bus",
        ),
        _kind(
            "railwaystation",
            "train",
            (1, 5),
            "red, blue, white, green, yellow",
            "",
            "stopped",
            "in a railway station",
            "concrete",
            "trees, road, buildings, bare land",
            "car, bus",
        ),
        _kind(
            "resort",
            "villa",
            (1, 5),
            "red, orange, white, blue, brown",
            "row, scattered, circle",
            "built",
            "in a resort",
            "sand",
            "trees, road, water, lawn",
            "car, bus",
        ),
        _kind(
            "river",
            "island",
            (1, 4),
            "green, yellow, white, brown",
            "row, scattered",
            "lying",
            "in a river",
            "grass",
            "trees, road, buildings, bare land",
            "house, car, tent",
        ),
        _kind(
            "school",
            "teaching building",
            (1, 4),
            "red, white, gray, blue, brown",
            "row, scattered",
            "built",
            "in a school",
            "grass",
            "trees, buildings, water, bare land",
            "car, bus",
        ),
        _kind(
            "sparseresidential",
            "house",
            (1, 3),
            "red, gray, brown, blue, white",
            "row, scattered",
            "built",
            "in a sparse residential area",
            "grass",
            "trees, buildings, water, bare land",
            "car, tent",
        ),
        _kind(
            "square",
            "flower bed",
            (1, 8),
            "red, yellow, white, purple, orange",
            _ALL,
            "laid out",
            "on a square",
            "paving",
            "trees, road, buildings, lawn",
            "car, bus",
        ),
        _kind(
            "stadium",
            "stadium",
            (1, 2),
            "white, blue, red, gray, yellow",
            "row",
            "built",
            "in a sports center",
            "concrete",
            "trees, buildings, water, lawn",
            "car, bus",
        ),
        _kind(
            "storagetanks",
            "storage tank",
            (1, 8),
            "white, gray, red, green, blue",
            _ALL,
            "standing",
            "in a tank farm",
            "soil",
            "trees, lawn, water, buildings",
            "car, house",
        ),
        _kind(
            "viaduct",
            "bus",
            (1, 6),
            "red, white, blue, yellow, green",
            "row, two rows",
            "driving",
            "on a viaduct",
            "grass",
            "trees, buildings, water, bare land",
            "car, house",
        ),
    )
}
SCENE_TYPES = tuple(KINDS)
THINGS = sorted({t for kind in KINDS.values() for t in (kind.thing, *kind.companions)})


@dataclass(frozen=True)
class Scene:
    """One scene: what captions may name, and ``look``, the seed of all that none names."""

    kind: str
    count: int
    arrangement: str
    colour: str
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
    """Where ``number`` stands in a random order of ``range(total)`` (a Feistel network)."""
    half = ((total - 1).bit_length() + 1) // 2
    while True:
        left, right = number >> half, number & (2**half - 1)
        for turn in range(4):
            left, right = right, left ^ seed_of(turn, right, *key) & (2**half - 1)
        number = left << half | right
        if number < total:
            return number


def scene(index: int, seed: int, domain: str) -> Scene:
    """Scene ``index`` of the endless row of scenes that ``seed`` and ``domain`` name.

    Every thirty scenes hold each kind once, in an order of their own. The n-th scene of a kind
    takes the n-th of all combinations of its attributes, in a random order: none comes twice
    before all are used.
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
    total = math.prod(len(axis) for axis in axes.values())
    number = shuffled(turn % total, total, seed, domain, kind.name)
    chosen: dict[str, Any] = {}
    for name, axis in axes.items():
        number, k = divmod(number, len(axis))
        chosen[name] = axis[k]
    count, arrangement = chosen.pop("formation")
    return Scene(
        kind=kind.name,
        count=count,
        arrangement=arrangement,
        **chosen,
        look=seed_of("look", seed, domain, index),
    )
