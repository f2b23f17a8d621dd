"""Scenes seen from above: the ground of each kind of place, its surroundings, and its things.

The frame has the surroundings on the left (x < 0.22), the things in the middle and the companions
on the right (x > 0.8). It is turned so that the surroundings come to the side that the scene names.
Each kind's ground is drawn by the function of its name.
"""

from __future__ import annotations

import math
from functools import partial

from rsstudy.scenes.drawing import (
    COLOURS,
    WHITE,
    Chance,
    Colour,
    Pen,
    Point,
    Points,
    Stage,
    arc,
    bend,
    blob,
    box,
    lozenge,
    mix,
    places,
    shade,
    wavy,
)
from rsstudy.scenes.things import ABOVE, palm, tree
from rsstudy.scenes.world import KINDS, SCENE_TYPES, Kind, Scene

TOP, END = -0.3, 1.3  # along y; a turned picture shows parts of the frame beyond 0 and 1


def trees(s: Stage, points: list[Point], size: float = 0.09) -> None:
    for x, y in points:
        tint = s.tone("tree", s.chance(0.85, 1.12))
        tree(s.pen.at(x, y, size * s.chance(0.8, 1.25)), tint, s.chance)


def road(s: Stage, points: Points, width: float = 0.1) -> None:
    s.pen.path(points, width * 1.15, s.tone("concrete", 0.95))
    s.pen.path(points, width, s.material["asphalt"])
    for one, other in zip(points, points[1:], strict=False):
        count = max(1, round(math.dist(one, other) / 0.12))
        s.pen.dashes(one, other, width * 0.07, WHITE, count)


def strip(s: Stage, x0: float, x1: float, colour: Colour) -> None:
    s.pen.box(x0, TOP, x1, END, colour)


def free(s: Stage, x: float, y: float, distance: float) -> bool:
    return all(math.hypot(x - a, y - b) > distance for a, b in s.spots)


def airport(s: Stage) -> None:
    strip(s, 0.36, 0.98, s.material["concrete"])
    strip(s, 0.235, 0.335, s.tone("asphalt", 0.9))
    s.pen.dashes((0.285, TOP), (0.285, END), 0.014, WHITE, 14)
    for y in (-0.1, 1.05):
        for k in range(4):
            s.pen.box(0.25 + 0.02 * k, y, 0.26 + 0.02 * k, y + 0.09, WHITE)
    s.pen.line(0.41, TOP, 0.41, END, 0.012, COLOURS["yellow"])
    for y in (0.1, 0.9):
        s.pen.path(bend((0.41, y), (0.28, y + 0.1), 0.3), 0.05, s.material["asphalt"])
    s.pen.raised(box(0.765, 0.08, 0.825, 0.92), 0.05, s.material["roof"])
    s.pen.box(0.785, 0.1, 0.8, 0.9, (150, 196, 214))
    for x, y in s.spots:
        s.pen.line(x, y, 0.41, y, 0.008, COLOURS["yellow"])


def bareland(s: Stage) -> None:
    for _ in range(7):
        patch = [(x * 1.5, y) for x, y in blob(s.chance(0.08, 0.24), 0.25, s.chance)]
        tone = s.tone("soil", s.chance(0.86, 1.14))
        s.pen.at(s.chance(0.1, 1), s.chance(), 1, s.chance(0, 180)).shape(patch, tone, 130)
    for off in (0, 0.035):
        track = bend((0.25 + off, TOP), (0.85 + off, END), -0.15)
        s.pen.path(track, 0.012, s.tone("soil", 0.8))


def baseballfield(s: Stage) -> None:
    for k in range(0, 16, 2):
        strip(s, 0.22 + 0.05 * k, 0.27 + 0.05 * k, s.tone("grass", 1.06))
    s.pen.path(wavy(0.8, 0.015, s.chance), 0.04, s.material["paving"])


def beach(s: Stage) -> None:
    shore = wavy(0.77, 0.025, s.chance)
    shallow = mix(s.material["water"], (150, 220, 210), 0.5)
    colours = (s.tone("sand", 0.86), WHITE, shallow, s.material["water"])
    for off, colour in zip((-0.03, 0.0, 0.03, 0.09), colours, strict=True):
        s.pen.shape([(x + off, y) for x, y in shore] + [(1.4, END), (1.4, TOP)], colour)
    s.pen.path([(x + 0.07, y) for x, y in shore], 0.014, WHITE, 170)


def water_course(s: Stage, left: float, right: float, swing: float) -> None:
    one = wavy(left, swing, s.chance)
    other = [(x + right - left, y) for x, y in wavy(left, swing, s.chance)][::-1]
    for grow, colour in ((0.02, s.tone("soil", 1.1)), (0.0, s.material["water"])):
        s.pen.shape([(x - grow, y) for x, y in one] + [(x + grow, y) for x, y in other], colour)
    for k in range(9):
        x, y = s.chance(left + 0.06, right - 0.06), -0.05 + 0.13 * k
        s.pen.line(x, y, x + 0.012, y + 0.05, 0.008, WHITE, 60)


bridge = partial(water_course, left=0.3, right=0.74, swing=0.015)
river = partial(water_course, left=0.27, right=0.79, swing=0.025)


def center(s: Stage) -> None:
    for r in (0.5, 0.38, 0.26):
        s.pen.disc(0.52, 0.5, r, s.tone("paving", 0.9))
        s.pen.disc(0.52, 0.5, r - 0.03, s.material["paving"])
    for tip in arc(0.52, 0.5, 1, 1, [math.pi * k / 4 for k in range(8)]):
        s.pen.line(0.52, 0.5, *tip, 0.03, s.tone("paving", 1.3))
    for y in (0.02, 0.98):
        s.pen.disc(0.8, y, 0.12, s.material["grass"])


def church(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.58, s.material["paving"])
        s.pen.path(bend((x, y), (0.9, y + 0.05), 0.1), 0.04, s.material["paving"])
    trees(s, [(0.79, y) for y in (0.05, 0.3, 0.6, 0.95)], 0.07)


def commercial(s: Stage) -> None:
    for y in (0.0, 0.5, 1.0):
        road(s, [(0.2, y), (0.9, y)], 0.06)
    trees(s, [(0.8, y) for y in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)], 0.06)


def denseresidential(s: Stage) -> None:
    strip(s, 0.2, 0.83, mix(s.material["concrete"], s.material["grass"], 0.35))


def desert(s: Stage) -> None:
    for k in range(9):
        ridge = wavy(-0.1 + 0.15 * k, 0.035, s.chance)
        wide = s.chance(0.05, 0.1)
        for off, factor in ((wide, 0.86), (wide * 0.45, 0.93)):
            crest = [(x + off, y) for x, y in ridge]
            s.pen.shape(ridge + crest[::-1], s.tone("sand", factor), 190)
        s.pen.path(ridge, 0.01, s.tone("sand", 1.4))


def farmland(s: Stage) -> None:
    for i in range(4):
        for j in range(-1, 5):
            tone = mix(s.material["soil"], s.material["grass"], s.chance(0.3, 0.8))
            x, y = 0.2 + 0.2 * i, 0.25 * j + 0.12 * (i % 2)
            s.pen.box(x, y, x + 0.195, y + 0.245, shade(tone, s.chance(0.72, 0.9)))


def forest(s: Stage) -> None:
    strip(s, 0.82, 0.98, s.tone("grass", 0.9))
    for i in range(8):
        for j in range(14):
            x, y = 0.26 + 0.075 * i + 0.02 * s.chance(-1, 1), -0.05 + 0.085 * j
            y += 0.04 * (i % 2)
            if free(s, x, y, s.size * 0.55 + 0.03):
                tone = s.tone("forest", s.chance(0.75, 1.12))
                s.pen.disc(x, y, 0.056, shade(tone, 0.62))
                s.pen.disc(x - 0.008, y - 0.01, 0.044, tone)


def industrial(s: Stage) -> None:
    road(s, [(0.2, 0.5), (0.9, 0.5)], 0.05)
    for k in range(6):
        y = -0.02 + 0.2 * k
        s.pen.box(0.77, y, 0.81, y + 0.09, s.chance.one_of((150, 96, 70), (90, 110, 130)))


def meadow(s: Stage) -> None:
    for _ in range(26):
        x, y, r = s.chance(0.2, 1), s.chance(), s.chance(0.02, 0.08)
        s.pen.disc(x, y, r, s.tone("grass", s.chance(0.88, 1.14)), 120)


def mediumresidential(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.line(x, y, 0.9, y, 0.022, s.material["paving"])
    off = s.size * 0.62
    for x, y in s.spots:
        trees(s, [(x - off * 0.8, y + off * 0.7), (x + off * 0.75, y - off * 0.8)], 0.06)


sparseresidential = mediumresidential


def mountain(s: Stage) -> None:
    for k in range(26):
        hill = s.pen.at(s.chance(0.2, 1), k / 25, s.chance(0.16, 0.34))
        tone = mix(s.material["soil"], s.material["forest"], s.chance(0.35, 0.85))
        hill.facets(blob(0.5, 0.3, s.chance, 4), tone)


def park(s: Stage) -> None:
    s.pen.path(wavy(0.5, 0.12, s.chance), 0.05, s.material["paving"])
    s.pen.path(bend((0.2, 0.2), (1.2, 0.75), s.chance(-0.3, 0.3)), 0.04, s.material["paving"])
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.62, s.material["paving"])
    ys = (0.06, 0.2, 0.35, 0.5, 0.65, 0.8, 0.94)
    grid = [(x, y) for x in (0.29, 0.4, 0.62, 0.74) for y in ys]
    lawn = [spot for spot in grid if free(s, *spot, s.size * 0.7 + 0.05)]
    trees(s, [spot for spot in lawn if s.chance() < 0.55], 0.085)


def parking(s: Stage) -> None:
    step, rows = s.size, sorted({round(x, 3) for x, _ in s.spots})
    if s.scene.arrangement == "scattered":
        step, rows = s.size * 0.72, [0.36, 0.52, 0.68]
    for x in rows:
        for k in range(-8, 9):
            y = s.spots[0][1] + (k + 0.5) * step
            s.pen.line(x - s.size * 0.5, y, x + s.size * 0.5, y, 0.01, WHITE)
    strip(s, 0.79, 0.81, s.material["grass"])
    trees(s, [(0.8, k / 7) for k in range(8)], 0.06)


def playground(s: Stage) -> None:
    lawn = (108, 166, 82)
    for radius, colour in ((0.165, (176, 78, 58)), (0.155, (196, 92, 70)), (0.095, (94, 150, 72))):
        s.pen.shape(lozenge(0.4, 0.5, 0.28, radius), colour)
    for r in (0.115, 0.135):
        ring = lozenge(0.4, 0.5, 0.28, r)
        s.pen.path(ring + ring[:1], 0.006, WHITE)
    for k in range(5):
        s.pen.box(0.335, 0.25 + 0.1 * k, 0.465, 0.3 + 0.1 * k, lawn)
    s.pen.line(0.335, 0.5, 0.465, 0.5, 0.008, WHITE)
    s.pen.disc(0.4, 0.5, 0.045, WHITE)
    s.pen.disc(0.4, 0.5, 0.036, lawn)


def pond(s: Stage) -> None:
    meadow(s)
    for x, y in s.spots:
        trees(s, arc(x, y, s.size * 0.52, s.size * 0.52, (0.5, 2.0, 2.6, 4.1)), 0.05)


def port(s: Stage) -> None:
    wood = (190, 164, 128)
    for k in range(14):
        x, y = s.chance(0.26, 0.74), k / 13
        s.pen.line(x, y, x + 0.05, y + 0.01, 0.008, WHITE, 50)
    strip(s, 0.8, 1.3, s.material["concrete"])
    strip(s, 0.79, 0.805, s.tone("concrete", 0.6))
    if s.scene.arrangement in ("row", "two rows"):
        x = sum(x for x, _ in s.spots) / len(s.spots)
        x += s.size * 0.55 if s.scene.arrangement == "row" else 0
        s.pen.raised(box(x - 0.015, 0.03, x + 0.015, 0.97), 0.02, wood)
        s.pen.box(x, 0.48, 0.8, 0.52, wood)
    else:
        for y in (0.03, 0.97):
            s.pen.box(0.6, y - 0.02, 0.8, y + 0.02, wood)


def railwaystation(s: Stage) -> None:
    strip(s, 0.22, 0.79, (138, 128, 120))
    for k in range(6):
        x = 0.275 + 0.088 * k
        for tie in range(36):
            y = -0.25 + tie / 24
            s.pen.line(x - 0.022, y, x + 0.022, y, 0.012, (104, 88, 76))
        for rail in (x - 0.014, x + 0.014):
            s.pen.line(rail, TOP, rail, END, 0.006, (206, 206, 206))
    s.pen.raised(box(0.765, 0.15, 0.83, 0.85), 0.05, s.material["roof"])
    s.pen.box(0.78, 0.17, 0.815, 0.83, s.tone("roof", 1.3))


def resort(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.66, s.material["grass"])
        s.pen.path(bend((x, y), (0.86, y + 0.06), 0.2), 0.025, s.material["paving"])
    s.pen.path(wavy(0.86, 0.02, s.chance), 0.05, s.material["paving"])
    for x, y in s.spots:
        for spot in arc(x, y, s.size * 0.6, s.size * 0.6, (0.4, 2.2, 3.6, 5.2)):
            palm(s.pen.at(*spot, 0.075, s.chance(0, 60)), s.material["tree"], s.chance)


def school(s: Stage) -> None:
    strip(s, 0.22, 0.8, mix(s.material["paving"], s.material["grass"], 0.35))
    half = 0.2 * s.size
    for x, y in s.spots:
        top, low = y - 0.1 * s.size, y + 0.45 * s.size
        s.pen.box(x - half, top, x + half, low, s.material["grass"])
    trees(s, [(x, y) for x in (0.27, 0.79) for y in (0.08, 0.28, 0.5, 0.72, 0.92)], 0.07)


def square(s: Stage) -> None:
    for i in range(5):
        for j in range((i + 1) % 2, 9, 2):
            x0, x1 = 0.24 + 0.112 * i, 0.352 + 0.112 * i
            y0, y1 = -0.02 + 0.115 * j, 0.095 + 0.115 * j
            s.pen.box(x0, y0, x1, y1, s.tone("paving", 0.9))
    strip(s, 0.22, 0.24, s.tone("paving", 0.75))
    strip(s, 0.8, 0.815, s.tone("paving", 0.75))


def stadium(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.disc(x, y, s.size * 0.6, s.material["grass"])
        s.pen.disc(x, y, s.size * 0.54, s.material["paving"])


def storagetanks(s: Stage) -> None:
    for x, y in s.spots:
        s.pen.line(x, y, 0.79, y, 0.018, (210, 210, 205))
        s.pen.disc(x, y, s.size * 0.55, s.tone("concrete", 0.95))
    s.pen.line(0.79, TOP, 0.79, END, 0.026, (210, 210, 205))
    s.pen.line(0.79, TOP, 0.79, END, 0.008, (150, 150, 150))


def viaduct(s: Stage) -> None:
    road(s, [(0.1, 0.5), (1.3, 0.42)])
    for y, sag in ((0.08, 0.5), (0.92, -0.5)):
        road(s, bend((0.5, y), (0.8, 0.45), sag), 0.06)
        road(s, bend((0.5, y), (0.24, 0.49), -sag), 0.06)
    s.pen.raised(box(0.39, TOP, 0.63, END), 0.07, s.tone("concrete", 1.1))
    strip(s, 0.405, 0.615, s.material["asphalt"])
    for x in (0.457, 0.563):
        s.pen.dashes((x, TOP), (x, END), 0.01, WHITE, 14)
    strip(s, 0.505, 0.515, COLOURS["yellow"])
    trees(s, [(0.3, 0.2), (0.72, 0.2), (0.3, 0.8), (0.72, 0.78)], 0.08)


GROUNDS = {kind: globals()[kind] for kind in SCENE_TYPES}


def surroundings(s: Stage) -> None:
    """The named surroundings, along the left of the frame."""
    what, edge = s.scene.surroundings, wavy(0.2, 0.018, s.chance)
    corners = [(-0.4, END), (-0.4, TOP)]
    if what == "road":
        strip(s, -0.4, 0.2, s.tone("grass", 0.95))
        road(s, [(0.1, TOP), (0.1, END)], 0.14)
    elif what == "buildings":
        strip(s, -0.4, 0.2, s.tone("concrete", 0.85))
        for k in range(7):
            y, roof = -0.12 + 0.19 * k, s.tone("roof", s.chance(0.8, 1.15))
            s.pen.raised(box(0.02 - 0.06 * s.chance(), y, 0.17, y + 0.14), 0.06, roof)
            s.pen.box(0.06, y + 0.04, 0.11, y + 0.09, shade(roof, 1.3))
    elif what == "trees":
        s.pen.shape(edge + corners, s.tone("forest", 0.8))
        xs = [0.05 + 0.085 * (k % 2) + s.chance(-0.02, 0.02) for k in range(24)]
        trees(s, [(x, -0.1 + 0.052 * k) for k, x in enumerate(xs)], 0.125)
    else:
        colour, marks = s.open_ground()
        s.pen.shape([(x + 0.015, y) for x, y in edge] + corners, shade(colour, 1.35))
        s.pen.shape(edge + corners, colour)
        for k in range(12):
            x, y = s.chance(-0.02, 0.14), -0.05 + 0.1 * k
            s.pen.line(x, y, x + 0.01, y + 0.06, 0.01, marks, 80)


def lay_out(scene: Scene, kind: Kind, chance: Chance) -> tuple[list[Point], float]:
    """The spots of a scene's things, and their width."""
    n, room = scene.count, 1.0
    if kind.name in ("denseresidential", "bridge"):
        spots = [(0.0, (k - (n - 1) / 2) * 0.92 / n) for k in range(n)]
    elif kind.name == "railwaystation":
        first = chance.one_of(*range(6 - n))
        spots = [((first + k - 2.2) * 0.088, chance(-0.06, 0.06)) for k in range(n)]
    else:
        spots, room = places(scene.arrangement, n, kind.above_width, 0.94, chance)
        if kind.name == "viaduct":
            spots = [(0.055 if x >= 0 else -0.055, y) for x, y in spots]
        if n == 1:
            spots = [(0.0, chance(-0.2, 0.2))]
    largest = kind.above_size * chance(0.88, 1.0)
    size = min(largest, room * kind.above_fill, kind.above_width * 1.35)
    return [(kind.above_middle + x, 0.5 + y) for x, y in spots], size


def draw(scene: Scene, pen: Pen, things: Pen, materials: dict[str, Colour], chance: Chance) -> None:
    """Draw ``scene`` from above: its ground with ``pen``, its things with ``things``."""
    kind, turn = KINDS[scene.kind], 90 * scene.side + chance(-9, 9)
    pen, things = (p.at(0.5, 0.5, 1, turn).at(-0.5, -0.5) for p in (pen, things))
    stage = Stage(pen, chance, materials, scene, *lay_out(scene, kind, chance))
    pen.box(-0.5, -0.5, 1.5, 1.5, materials[kind.floor])
    GROUNDS[kind.name](stage)
    surroundings(stage)
    companions = yard(stage, kind)
    pen.texture(chance, 16)
    same = chance(0, 360)
    for x, y in stage.spots:
        each, small, right = chance(0, 360), chance(-20, 20), 90.0 * chance.one_of(0, 1, 2, 3)
        turns = {"same": same, "each": each, "small": small, "right": right}
        turn = turns[kind.above_turn] if kind.above_turn in turns else float(kind.above_turn)
        if scene.arrangement == "scattered" and kind.name in ("airport", "port", "industrial"):
            turn += chance(-50, 50)
        colour = shade(COLOURS[scene.colour], chance(0.94, 1.04))
        ABOVE[kind.thing](things.at(x, y, stage.size, turn), colour, chance)
    for x, y, turn in companions:
        colour = COLOURS[scene.companion_colour]
        ABOVE[scene.companion](things.at(x, y, 0.15, turn), colour, chance)


def yard(s: Stage, kind: Kind) -> list[tuple[float, float, float]]:
    """Spot and turn of each companion along the right; draws their road or yard."""
    what, middle, n = s.scene.companion, s.chance(0.25, 0.75), s.scene.companions
    turns = {"boat": s.chance(-40, 40), "tent": s.chance(0, 90)}
    turn, step, x = turns.get(what, 90.0), 0.17, 0.9
    if what in ("car", "bus") and kind.cars_on == "road":
        road(s, [(0.9, TOP), (0.9, END)], 0.14)
        turn, step, x = s.chance.one_of(0.0, 180.0), 0.19, 0.9 + s.chance.one_of(-0.035, 0.035)
    elif what in ("car", "bus"):
        step, half = 0.11, 0.06 + 0.055 * n
        for rim, material in ((0.01, "concrete"), (0.0, "asphalt")):
            top, low = middle - half - rim, middle + half + rim
            s.pen.box(0.825 - rim, top, 0.985, low, s.material[material])
        for k in range(n + 1):
            y = middle + step * (k - n / 2)
            s.pen.line(0.83, y, 0.97, y, 0.008, WHITE)
    return [(x, middle + step * (k - (n - 1) / 2), turn) for k in range(n)]
