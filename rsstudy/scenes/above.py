"""Scenes seen from above: the ground of each kind of place, its surroundings, and what lies on it.

A scene is drawn in a frame in which the surroundings lie on the left (x < 0.22), the things of the
scene in the middle and its companions on the right (x > 0.8); the frame is then turned so that the
surroundings come to lie on the side that the scene names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rsstudy.scenes.drawing import (
    COLOURS,
    WHITE,
    Chance,
    Colour,
    Pen,
    Point,
    Points,
    bend,
    blob,
    box,
    lozenge,
    mix,
    open_ground,
    places,
    shade,
    wavy,
)
from rsstudy.scenes.things import ABOVE, palm, tree
from rsstudy.scenes.world import KINDS, Scene


@dataclass(frozen=True)
class Stage:
    """What a kind's ground is drawn with, and where its things will stand."""

    pen: Pen
    chance: Chance
    material: dict[str, Colour]
    spots: list[Point]
    size: float
    scene: Scene

    def trees(self, points: list[Point], size: float = 0.09) -> None:
        for x, y in points:
            tint = shade(self.material["tree"], self.chance(0.85, 1.12))
            tree(self.pen.at(x, y, size * self.chance(0.8, 1.25)), tint, self.chance)

    def road(self, points: Points, width: float = 0.1, colour: str = "asphalt") -> None:
        self.pen.path(points, width * 1.15, shade(self.material["concrete"], 0.95))
        self.pen.path(points, width, self.material[colour])
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            count = max(1, round(math.hypot(x1 - x0, y1 - y0) / 0.12))
            self.pen.dashes((x0, y0), (x1, y1), width * 0.07, WHITE, count)

    def strip(self, x0: float, x1: float, colour: Colour) -> None:
        self.pen.box(x0, -0.3, x1, 1.3, colour)


def airport(s: Stage) -> None:
    s.strip(0.36, 0.98, s.material["concrete"])
    s.strip(0.235, 0.335, shade(s.material["asphalt"], 0.9))
    s.pen.dashes((0.285, -0.3), (0.285, 1.3), 0.014, WHITE, 14)
    for y in (-0.1, 1.05):
        for k in range(4):
            s.pen.box(0.25 + 0.02 * k, y, 0.26 + 0.02 * k, y + 0.09, WHITE)
    s.pen.path([(0.41, -0.3), (0.41, 1.3)], 0.012, COLOURS["yellow"])
    for y in (0.1, 0.9):
        s.pen.path(bend((0.41, y), (0.28, y + 0.1), 0.3), 0.05, s.material["asphalt"])
    terminal = box(0.765, 0.08, 0.825, 0.92)
    s.pen.shadow(terminal, 0.05)
    s.pen.shape(terminal, s.material["roof"])
    s.pen.box(0.785, 0.1, 0.8, 0.9, (150, 196, 214))
    for x, y in s.spots:
        s.pen.path([(x, y), (0.41, y)], 0.008, COLOURS["yellow"])


def bareland(s: Stage) -> None:
    for _ in range(7):
        patch = [(x * 1.5, y) for x, y in blob(s.chance(0.08, 0.24), 0.25, s.chance)]
        tone = shade(s.material["soil"], s.chance(0.86, 1.14))
        s.pen.at(s.chance(0.1, 1), s.chance(), 1, s.chance(0, 180)).shape(patch, tone, 130)
    for off in (0, 0.035):
        track = bend((0.25 + off, -0.3), (0.85 + off, 1.3), -0.15)
        s.pen.path(track, 0.012, shade(s.material["soil"], 0.8))


def sports_park(s: Stage) -> None:
    for k in range(0, 16, 2):
        s.strip(0.22 + 0.05 * k, 0.27 + 0.05 * k, shade(s.material["grass"], 1.06))
    s.pen.path(wavy(0.8, 0.015, s.chance), 0.04, s.material["paving"])


def beach(s: Stage) -> None:
    shore = wavy(0.77, 0.025, s.chance)
    for off, colour in (
        (-0.03, shade(s.material["sand"], 0.86)),
        (0.0, WHITE),
        (0.03, mix(s.material["water"], (150, 220, 210), 0.5)),
        (0.09, s.material["water"]),
    ):
        s.pen.shape([(x + off, y) for x, y in shore] + [(1.4, 1.3), (1.4, -0.3)], colour)
    s.pen.path([(x + 0.07, y) for x, y in shore], 0.014, WHITE, 170)


def river_bed(s: Stage, left: float, right: float, swing: float) -> None:
    banks = (
        wavy(left, swing, s.chance),
        [(x + right - left, y) for x, y in wavy(left, swing, s.chance)],
    )
    for grow, colour in ((0.02, shade(s.material["soil"], 1.1)), (0.0, s.material["water"])):
        s.pen.shape(
            [(x - grow, y) for x, y in banks[0]] + [(x + grow, y) for x, y in banks[1]][::-1],
            colour,
        )
    for k in range(9):
        x, y = s.chance(left + 0.06, right - 0.06), -0.05 + 0.13 * k
        s.pen.path([(x, y), (x + 0.012, y + 0.05)], 0.008, WHITE, 60)


def bridged(s: Stage) -> None:
    river_bed(s, 0.3, 0.74, 0.015)


def river(s: Stage) -> None:
    river_bed(s, 0.27, 0.79, 0.025)


def center(s: Stage) -> None:
    for r in (0.5, 0.38, 0.26):
        s.pen.disc(0.52, 0.5, r, shade(s.material["paving"], 0.9))
        s.pen.disc(0.52, 0.5, r - 0.03, s.material["paving"])
    for k in range(8):
        t = math.pi * k / 4
        s.pen.path(
            [(0.52, 0.5), (0.52 + math.cos(t), 0.5 + math.sin(t))],
            0.03,
            shade(s.material["paving"], 1.3),
        )
    for y in (0.02, 0.98):
        s.pen.disc(0.8, y, 0.12, s.material["grass"])


def church_town(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.58, s.material["paving"])
        s.pen.path(bend((x, y), (0.9, y + 0.05), 0.1), 0.04, s.material["paving"])
    s.trees([(0.79, y) for y in (0.05, 0.3, 0.6, 0.95)], 0.07)


def blocks(s: Stage) -> None:
    for y in (0.0, 0.5, 1.0):
        s.road([(0.2, y), (0.9, y)], 0.06)
    s.trees([(0.8, y) for y in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)], 0.06)


def dense(s: Stage) -> None:
    s.strip(0.2, 0.83, mix(s.material["concrete"], s.material["grass"], 0.35))


def desert(s: Stage) -> None:
    for k in range(9):
        x = -0.1 + 0.15 * k
        ridge = wavy(x, 0.035, s.chance)
        wide = s.chance(0.05, 0.1)
        for off, tone in ((wide, 0.86), (wide * 0.45, 0.93)):
            crest = [(a + off, y) for a, y in ridge]
            s.pen.shape(ridge + crest[::-1], shade(s.material["sand"], tone), 190)
        s.pen.path(ridge, 0.01, shade(s.material["sand"], 1.4))


def farmland(s: Stage) -> None:
    for i in range(4):
        for j in range(-1, 5):
            tone = mix(s.material["soil"], s.material["grass"], s.chance(0.3, 0.8))
            x, y = 0.2 + 0.2 * i, 0.25 * j + 0.12 * (i % 2)
            s.pen.box(x, y, x + 0.195, y + 0.245, shade(tone, s.chance(0.72, 0.9)))


def forest(s: Stage) -> None:
    s.strip(0.82, 0.98, shade(s.material["grass"], 0.9))
    keep = s.size * 0.55 + 0.03
    for i in range(8):
        for j in range(14):
            x, y = 0.26 + 0.075 * i + 0.02 * s.chance(-1, 1), -0.05 + 0.085 * j
            y += 0.04 * (i % 2)
            if all(math.hypot(x - a, y - b) > keep for a, b in s.spots):
                tone = shade(s.material["forest"], s.chance(0.75, 1.12))
                s.pen.disc(x, y, 0.056, shade(tone, 0.62))
                s.pen.disc(x - 0.008, y - 0.01, 0.044, tone)


def industrial(s: Stage) -> None:
    s.road([(0.2, 0.5), (0.9, 0.5)], 0.05)
    for k in range(6):
        y = -0.02 + 0.2 * k
        s.pen.box(0.77, y, 0.81, y + 0.09, s.chance.one_of((150, 96, 70), (90, 110, 130)))


def meadow(s: Stage) -> None:
    for _ in range(26):
        x, y, r = s.chance(0.2, 1), s.chance(), s.chance(0.02, 0.08)
        s.pen.disc(x, y, r, shade(s.material["grass"], s.chance(0.88, 1.14)), 120)


def gardens(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.path([(x, y), (0.9, y)], 0.022, s.material["paving"])
    for x, y in s.spots:
        off = s.size * 0.62
        s.trees([(x - off * 0.8, y + off * 0.7), (x + off * 0.75, y - off * 0.8)], 0.06)


def mountain(s: Stage) -> None:
    for k in range(26):
        hill = s.pen.at(s.chance(0.2, 1), k / 25, s.chance(0.16, 0.34))
        tone = mix(s.material["soil"], s.material["forest"], s.chance(0.35, 0.85))
        hill.facets(blob(0.5, 0.3, s.chance, 4), tone, relief=0.25)


def park(s: Stage) -> None:
    s.pen.path(wavy(0.5, 0.12, s.chance), 0.05, s.material["paving"])
    s.pen.path(bend((0.2, 0.2), (1.2, 0.75), s.chance(-0.3, 0.3)), 0.04, s.material["paving"])
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.62, s.material["paving"])
    free = [
        (x, y)
        for x in (0.29, 0.4, 0.62, 0.74)
        for y in (0.06, 0.2, 0.35, 0.5, 0.65, 0.8, 0.94)
        if all(math.hypot(x - a, y - b) > s.size * 0.7 + 0.05 for a, b in s.spots)
    ]
    s.trees([p for p in free if s.chance() < 0.55], 0.085)


def parking(s: Stage) -> None:
    step, rows = s.size * 0.72, sorted({round(x, 3) for x, _ in s.spots})
    if s.scene.arrangement == "scattered":
        rows = [0.36, 0.52, 0.68]
    for x in rows:
        for k in range(-8, 9):
            y = s.spots[0][1] + (k + 0.5) * (step if s.scene.arrangement == "scattered" else s.size)
            s.pen.path([(x - s.size * 0.5, y), (x + s.size * 0.5, y)], 0.01, WHITE)
    s.strip(0.79, 0.81, s.material["grass"])
    s.trees([(0.8, k / 7) for k in range(8)], 0.06)


def playground(s: Stage) -> None:
    for half, radius, colour in (
        (0.28, 0.165, (176, 78, 58)),
        (0.28, 0.155, (196, 92, 70)),
        (0.28, 0.095, (94, 150, 72)),
    ):
        s.pen.shape(lozenge(0.4, 0.5, half, radius), colour)
    for r in (0.115, 0.135):
        ring = lozenge(0.4, 0.5, 0.28, r)
        s.pen.path(ring + ring[:1], 0.006, WHITE)
    for k in range(5):
        s.pen.box(0.335, 0.25 + 0.1 * k, 0.465, 0.3 + 0.1 * k, (108, 166, 82))
    s.pen.path([(0.335, 0.5), (0.465, 0.5)], 0.008, WHITE)
    s.pen.disc(0.4, 0.5, 0.045, WHITE)
    s.pen.disc(0.4, 0.5, 0.036, (108, 166, 82))


def grassland(s: Stage) -> None:
    meadow(s)
    for x, y in s.spots:
        s.trees(
            [
                (x + s.size * 0.52 * math.cos(t), y + s.size * 0.52 * math.sin(t))
                for t in (0.5, 2.0, 2.6, 4.1)
            ],
            0.05,
        )


def port(s: Stage) -> None:
    for k in range(14):
        x, y = s.chance(0.26, 0.74), k / 13
        s.pen.path([(x, y), (x + 0.05, y + 0.01)], 0.008, WHITE, 50)
    s.strip(0.8, 1.3, s.material["concrete"])
    s.strip(0.79, 0.805, shade(s.material["concrete"], 0.6))
    x = sum(x for x, _ in s.spots) / len(s.spots)
    if s.scene.arrangement in ("row", "two rows"):
        x += s.size * 0.55 if s.scene.arrangement == "row" else 0
        pier = box(x - 0.015, 0.03, x + 0.015, 0.97)
        s.pen.shadow(pier, 0.02)
        s.pen.shape(pier, (190, 164, 128))
        s.pen.box(x, 0.48, 0.8, 0.52, (190, 164, 128))
    else:
        for y in (0.03, 0.97):
            s.pen.box(0.6, y - 0.02, 0.8, y + 0.02, (190, 164, 128))


def railway(s: Stage) -> None:
    s.strip(0.22, 0.79, (138, 128, 120))
    for k in range(6):
        x = 0.275 + 0.088 * k
        for y in range(36):
            v = -0.25 + y / 24
            s.pen.path([(x - 0.022, v), (x + 0.022, v)], 0.012, (104, 88, 76))
        for off in (-0.014, 0.014):
            s.pen.path([(x + off, -0.3), (x + off, 1.3)], 0.006, (206, 206, 206))
    hall = box(0.765, 0.15, 0.83, 0.85)
    s.pen.shadow(hall, 0.05)
    s.pen.shape(hall, s.material["roof"])
    s.pen.box(0.78, 0.17, 0.815, 0.83, shade(s.material["roof"], 1.3))


def resort(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.66, s.material["grass"])
        s.pen.path(bend((x, y), (0.86, y + 0.06), 0.2), 0.025, s.material["paving"])
    s.pen.path(wavy(0.86, 0.02, s.chance), 0.05, s.material["paving"])
    for x, y in s.spots:
        for t in (0.4, 2.2, 3.6, 5.2):
            at = (x + s.size * 0.6 * math.cos(t), y + s.size * 0.6 * math.sin(t))
            palm(s.pen.at(*at, 0.075, s.chance(0, 60)), s.material["tree"], s.chance)


def school(s: Stage) -> None:
    s.strip(0.22, 0.8, mix(s.material["paving"], s.material["grass"], 0.35))
    for x, y in s.spots:
        s.pen.box(
            x - 0.2 * s.size,
            y - 0.1 * s.size,
            x + 0.2 * s.size,
            y + 0.45 * s.size,
            s.material["grass"],
        )
    s.trees([(x, y) for x in (0.27, 0.79) for y in (0.08, 0.28, 0.5, 0.72, 0.92)], 0.07)


def square(s: Stage) -> None:
    tone = s.material["paving"]
    for i in range(5):
        for j in range(9):
            if (i + j) % 2:
                s.pen.box(
                    0.24 + 0.112 * i,
                    -0.02 + 0.115 * j,
                    0.352 + 0.112 * i,
                    0.095 + 0.115 * j,
                    shade(tone, 0.9),
                )
    s.strip(0.22, 0.24, shade(tone, 0.75))
    s.strip(0.8, 0.815, shade(tone, 0.75))


def sports_center(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.6, s.material["grass"])
        s.pen.disc(x, y, s.size * 0.54, s.material["paving"])


def tank_farm(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.path([(x, y), (0.79, y)], 0.018, (210, 210, 205))
        s.pen.disc(x, y, s.size * 0.55, shade(s.material["concrete"], 0.95))
    s.pen.path([(0.79, -0.3), (0.79, 1.3)], 0.026, (210, 210, 205))
    s.pen.path([(0.79, -0.3), (0.79, 1.3)], 0.008, (150, 150, 150))


def viaduct(s: Stage) -> None:
    s.road([(0.1, 0.5), (1.3, 0.42)], 0.1)
    for y, sag in ((0.08, 0.5), (0.92, -0.5)):
        s.road(bend((0.5, y), (0.8, 0.45), sag), 0.06)
        s.road(bend((0.5, y), (0.24, 0.49), -sag), 0.06)
    deck = box(0.39, -0.3, 0.63, 1.3)
    s.pen.shadow(deck, 0.07)
    s.pen.shape(deck, shade(s.material["concrete"], 1.1))
    s.strip(0.405, 0.615, s.material["asphalt"])
    s.pen.dashes((0.457, -0.3), (0.457, 1.3), 0.01, WHITE, 14)
    s.pen.dashes((0.563, -0.3), (0.563, 1.3), 0.01, WHITE, 14)
    s.strip(0.505, 0.515, COLOURS["yellow"])
    s.trees([(0.3, 0.2), (0.72, 0.2), (0.3, 0.8), (0.72, 0.78)], 0.08)


@dataclass(frozen=True)
class Plan:
    """How the things of a kind lie: their zone about ``x``, their size, and how they turn.

    ``turn``: "same" (one angle a picture), "each" (one a thing), "right" (a multiple of 90 degrees
    each), "small", or a number. ``fill`` is the part of the room between neighbours that a thing
    takes; with ``road``, cars and buses keep to a road instead of a yard.
    """

    ground: Callable[[Stage], None]
    largest: float = 0.34
    x: float = 0.51
    width: float = 0.52
    turn: str = "each"
    fill: float = 0.9
    road: bool = False


PLANS = {
    "airport": Plan(airport, 0.32, 0.58, 0.34, "same"),
    "bareland": Plan(bareland, 0.26),
    "baseballfield": Plan(sports_park, 0.5, turn="same"),
    "beach": Plan(beach, 0.2, 0.48, 0.46),
    "bridge": Plan(bridged, 0.44, turn="0", fill=9),
    "center": Plan(center, 0.46),
    "church": Plan(church_town, 0.46, 0.5, 0.5, road=True),
    "commercial": Plan(blocks, 0.34, 0.5, 0.5, "0", road=True),
    "denseresidential": Plan(dense, 0.56, turn="0", fill=9, road=True),
    "desert": Plan(desert, 0.22),
    "farmland": Plan(farmland, 0.34, turn="0", fill=0.98),
    "forest": Plan(forest, 0.24),
    "industrial": Plan(industrial, 0.36, 0.5, turn="0", road=True),
    "meadow": Plan(meadow, 0.3),
    "mediumresidential": Plan(gardens, 0.22, turn="right", fill=0.85, road=True),
    "mountain": Plan(mountain, 0.46, fill=1.1),
    "park": Plan(park, 0.22),
    "parking": Plan(parking, 0.2, turn="90", road=True),
    "playground": Plan(playground, 0.3, 0.69, 0.21, "0"),
    "pond": Plan(grassland, 0.42),
    "port": Plan(port, 0.24, 0.5, 0.46, turn="90"),
    "railwaystation": Plan(railway, 0.86, turn="0", fill=9),
    "resort": Plan(resort, 0.3, 0.5, 0.46, "right"),
    "river": Plan(river, 0.34, 0.53, 0.42, turn="small"),
    "school": Plan(school, 0.36, turn="right", road=True),
    "sparseresidential": Plan(gardens, 0.28, 0.5, 0.46, road=True),
    "square": Plan(square, 0.2, road=True),
    "stadium": Plan(sports_center, 0.5, turn="0", road=True),
    "storagetanks": Plan(tank_farm, 0.26, road=True),
    "viaduct": Plan(viaduct, 0.2, turn="0"),
}


def surroundings(s: Stage) -> None:
    """The named surroundings, along the left of the frame."""
    what, edge = s.scene.surroundings, wavy(0.2, 0.018, s.chance)
    area = edge + [(-0.4, 1.3), (-0.4, -0.3)]
    if what == "road":
        s.strip(-0.4, 0.2, shade(s.material["grass"], 0.95))
        s.road([(0.1, -0.3), (0.1, 1.3)], 0.14)
    elif what == "buildings":
        s.strip(-0.4, 0.2, shade(s.material["concrete"], 0.85))
        for k in range(7):
            y, roof = -0.12 + 0.19 * k, shade(s.material["roof"], s.chance(0.8, 1.15))
            block = box(0.02 - 0.06 * s.chance(), y, 0.17, y + 0.14)
            s.pen.shadow(block, 0.06)
            s.pen.shape(block, roof)
            s.pen.box(0.06, y + 0.04, 0.11, y + 0.09, shade(roof, 1.3))
    elif what == "trees":
        s.pen.shape(area, shade(s.material["forest"], 0.8))
        s.trees(
            [(0.05 + 0.085 * (k % 2) + s.chance(-0.02, 0.02), -0.1 + 0.052 * k) for k in range(24)],
            0.125,
        )
    else:
        colour = open_ground(what, s.material)
        s.pen.shape([(x + 0.015, y) for x, y in edge] + area[-2:], shade(colour, 1.35))
        s.pen.shape(area, colour)
        for k in range(12):
            x, y = s.chance(-0.02, 0.14), -0.05 + 0.1 * k
            s.pen.path(
                [(x, y), (x + 0.01, y + 0.06)],
                0.01,
                WHITE if what == "water" else shade(colour, 0.8),
                80,
            )


def lay_out(scene: Scene, plan: Plan, chance: Chance) -> tuple[list[Point], float]:
    """Where the things of a scene stand, and how large they are."""
    n = scene.count
    if scene.kind in ("denseresidential", "bridge"):
        spots, room = [(0.0, (k - (n - 1) / 2) * 0.92 / n) for k in range(n)], 1.0
    elif scene.kind == "railwaystation":
        first = chance.one_of(*range(6 - n))
        spots, room = [((first + k - 2.2) * 0.088, chance(-0.06, 0.06)) for k in range(n)], 1.0
    else:
        spots, room = places(scene.arrangement, n, plan.width, 0.94, chance)
        if scene.kind == "viaduct":
            spots = [(0.055 if x >= 0 else -0.055, y) for x, y in spots]
        if n == 1:
            spots = [(0.0, chance(-0.2, 0.2))]
    size = min(plan.largest * chance(0.88, 1.0), room * plan.fill, plan.width * 1.35)
    return [(plan.x + x, 0.5 + y) for x, y in spots], size


def draw(scene: Scene, pen: Pen, things: Pen, materials: dict[str, Colour], chance: Chance) -> None:
    """Draw ``scene`` from above: its ground with one pen, its things with the other."""
    kind, plan, turn = KINDS[scene.kind], PLANS[scene.kind], 90 * scene.side + chance(-9, 9)
    pen, things = (p.at(0.5, 0.5, 1, turn).at(-0.5, -0.5) for p in (pen, things))
    spots, size = lay_out(scene, plan, chance)
    stage = Stage(pen, chance, materials, spots, size, scene)
    pen.box(-0.5, -0.5, 1.5, 1.5, materials[kind.floor])
    plan.ground(stage)
    surroundings(stage)
    beside = yard(stage, plan)
    pen.texture(chance, 16)
    shared = chance(0, 360)
    for x, y in spots:
        turns = {
            "same": shared,
            "each": chance(0, 360),
            "small": chance(-20, 20),
            "right": 90.0 * chance.one_of(0, 1, 2, 3),
        }
        turn = turns[plan.turn] if plan.turn in turns else float(plan.turn)
        if scene.arrangement == "scattered" and scene.kind in ("airport", "port", "industrial"):
            turn += chance(-50, 50)
        colour = shade(COLOURS[scene.colour], chance(0.94, 1.04))
        ABOVE[kind.thing](things.at(x, y, size, turn), colour, chance)
    for x, y, turn in beside:
        colour = COLOURS[scene.companion_colour]
        ABOVE[scene.companion](things.at(x, y, 0.15, turn), colour, chance)


def yard(s: Stage, plan: Plan) -> list[tuple[float, float, float]]:
    """Where the companions lie and how they turn: along the right, on a road or in a yard."""
    what, middle, n = s.scene.companion, s.chance(0.25, 0.75), s.scene.companions
    turns = {"boat": s.chance(-40, 40), "tent": s.chance(0, 90)}
    turn, step, x = turns.get(what, 90.0), 0.17, 0.9
    if what in ("car", "bus"):
        if plan.road:
            s.road([(0.9, -0.3), (0.9, 1.3)], 0.14)
            turn, step, x = s.chance.one_of(0.0, 180.0), 0.19, 0.9 + s.chance.one_of(-0.035, 0.035)
        else:
            step, half = 0.11, 0.06 + 0.055 * n
            for rim, paint in ((0.01, s.material["concrete"]), (0.0, s.material["asphalt"])):
                s.pen.box(0.825 - rim, middle - half - rim, 0.985, middle + half + rim, paint)
            for k in range(n + 1):
                y = middle + step * (k - n / 2)
                s.pen.path([(0.83, y), (0.97, y)], 0.008, WHITE)
    return [(x, middle + step * (k - (n - 1) / 2), turn) for k in range(n)]
