"""Scenes seen from the ground: a sky, a horizon, and things one behind the other.

Kinds that need more than a floor have a function of their name.
"""

from __future__ import annotations

import math
from functools import partial

from rsstudy.scenes.drawing import (
    COLOURS,
    DARK,
    WHITE,
    Chance,
    Colour,
    Pen,
    Point,
    Sprite,
    Stage,
    bend,
    blob,
    box,
    lozenge,
    mix,
    places,
    shade,
)
from rsstudy.scenes.things import BESIDE, WALL, palm_beside, tree_beside, windows
from rsstudy.scenes.world import KINDS, SCENE_TYPES, Kind, Scene

# For each sky: its colour above and at the horizon, the number and the colour of its clouds.
SKY: dict[str, tuple[Colour, Colour, int, Colour]] = {
    "under a blue sky": ((84, 146, 214), (200, 226, 240), 2, (250, 250, 250)),
    "under a cloudy sky": ((132, 142, 154), (204, 208, 212), 7, (178, 184, 192)),
    "at sunset": ((104, 92, 150), (252, 178, 104), 1, (214, 132, 130)),
}
HORIZON = 0.42


def band(s: Stage, top: float, bottom: float, colour: Colour) -> None:
    """A strip of ground from the left edge to the right."""
    s.pen.box(-0.1, top, 1.1, bottom, colour)


def lane(s: Stage, near: Point, far: Point, half: Point, colour: Colour) -> None:
    """A path from ``near`` to ``far``, with its half width at both."""
    (x0, y0), (x1, y1), (w0, w1) = near, far, half
    s.pen.shape([(x0 - w0, y0), (x0 + w0, y0), (x1 + w1, y1), (x1 - w1, y1)], colour)


def path(s: Stage, near: float, far: float, half: float, colour: Colour) -> None:
    """A path from the lower edge at ``near`` to the horizon at ``far``."""
    lane(s, (near, 1.02), (far, HORIZON), (half, half * 0.12), colour)


def row(s: Stage, sprite: Sprite, spots: list[Point], size: float, colour: Colour) -> None:
    """Plants of similar sizes and colours, the farthest first."""
    for x, y in sorted(spots, key=lambda p: p[1]):
        tint = shade(colour, s.chance(0.85, 1.1))
        sprite(s.pen.at(x, y, size * s.chance(0.85, 1.15)), tint, s.chance)


def waves(s: Stage, top: float, bottom: float) -> None:
    for _ in range(14):
        x, y = s.chance(0, 1), s.chance(top + 0.01, bottom - 0.01)
        w = 0.02 + 0.08 * (y - HORIZON)
        s.pen.line(x - w, y, x + w, y, 0.006, WHITE, 90)


def skyline(s: Stage) -> None:
    for k in range(12):
        h, tone = s.chance(0.03, 0.15), mix(s.material["roof"], (176, 190, 204), 0.5)
        x, tint = k / 12 + s.chance(-0.02, 0.02), shade(tone, s.chance(0.8, 1.1))
        s.pen.box(x, HORIZON - h, x + 0.07, HORIZON + 0.01, tint)


def sky(s: Stage) -> None:
    top, low, clouds, tone = SKY[s.scene.sky]
    for k in range(14):
        band(s, HORIZON * k / 14, HORIZON, mix(top, low, k / 13))
    if s.scene.sky == "at sunset":
        x = s.chance(0.15, 0.85)
        for r, alpha in ((0.15, 50), (0.11, 90), (0.075, 255)):
            s.pen.disc(x, HORIZON - 0.05, r, (255, 236, 170), alpha)
    for k in range(clouds):
        x, y = (k + s.chance()) / clouds, s.chance(0.04, 0.22)
        for dx, dy, r in ((-0.07, 0.01, 0.035), (0, -0.015, 0.055), (0.07, 0.008, 0.04)):
            s.pen.disc(x + dx, y + dy, r, tone, 225)
        s.pen.box(x - 0.09, y + 0.01, x + 0.09, y + 0.045, tone)
    p, q = s.chance(0, 6), s.chance(0, 6)
    for lift, blend, phase in ((0.06, 0.62, p), (0.03, 0.4, q)):
        rises = (1.1 + math.sin(5 * k / 16 + phase) + 0.3 * math.sin(k + q) for k in range(17))
        hills = [(k / 16, HORIZON - lift * rise / 1.6) for k, rise in enumerate(rises)]
        s.pen.shape([*hills, (1, HORIZON), (0, HORIZON)], mix(s.material["forest"], low, blend))


def airport(s: Stage) -> None:
    band(s, 0.5, 0.95, s.material["concrete"])
    band(s, 0.52, 0.6, s.material["asphalt"])
    s.pen.dashes((0, 0.56), (1, 0.56), 0.01, WHITE, 9)
    s.pen.box(0.08, HORIZON - 0.05, 0.55, HORIZON + 0.04, s.material["roof"])
    windows(0.08, HORIZON - 0.04, 0.55, HORIZON + 0.03, 10, 1)(s.pen, WALL, s.chance)
    s.pen.box(0.66, HORIZON - 0.16, 0.69, HORIZON + 0.04, s.material["roof"])
    s.pen.box(0.635, HORIZON - 0.2, 0.715, HORIZON - 0.14, DARK)


def meadow(s: Stage) -> None:
    for k in range(10):
        patch, y = blob(s.chance(0.1, 0.22), 0.2, s.chance), HORIZON + 0.06 * k
        tone = s.tone(KINDS[s.scene.kind].floor, s.chance(0.88, 1.1))
        s.pen.at(s.chance(), y, 0.5 + y, 0, 0.25).shape(patch, tone, 150)


bareland = meadow


def desert(s: Stage) -> None:
    meadow(s)
    for y in (0.5, 0.66, 0.86):
        crest = bend((-0.1, y), (1.1, y), s.chance(-0.09, 0.09))
        s.pen.shape(crest + [(1.1, y + 0.1), (-0.1, y + 0.12)], s.tone("sand", 0.9), 170)


def beach(s: Stage) -> None:
    band(s, HORIZON, 0.58, s.material["water"])
    waves(s, HORIZON, 0.56)
    shore = bend((-0.1, 0.58), (1.1, 0.58), s.chance(-0.04, 0.04))
    s.pen.shape([*shore, (1.1, 0.5), (-0.1, 0.5)], s.material["water"])
    s.pen.path(shore, 0.02, WHITE)
    s.pen.path([(x, y + 0.02) for x, y in shore], 0.02, s.tone("sand", 0.85))


def bank(s: Stage, low: float, floor: str, factor: float = 1) -> None:
    """Water from the horizon to ``low``, and the bank before it."""
    band(s, HORIZON + 0.03, low, s.material["water"])
    waves(s, HORIZON + 0.03, low)
    band(s, low, 1.02, s.tone(floor, factor))
    band(s, low, low + 0.02, s.tone("soil", 0.8))


bridge = partial(bank, low=0.9, floor="grass", factor=0.95)
river = partial(bank, low=0.88, floor="grass", factor=0.95)
port = partial(bank, low=0.9, floor="concrete")


def farmland(s: Stage) -> None:
    for k in range(9):
        path(s, -0.6 + 0.275 * k, 0.1 + 0.1 * k, 0.06, s.tone("grass", 0.82))


def forest(s: Stage) -> None:
    for y, size in ((HORIZON + 0.06, 0.3), (HORIZON + 0.14, 0.36)):
        spots = [(k / 9 + s.chance(-0.03, 0.03), y) for k in range(10)]
        row(s, tree_beside, spots, size, s.material["forest"])


def parking(s: Stage) -> None:
    for k in range(13):
        near = -1.0 + 0.25 * k
        s.pen.line(near, 1.02, 0.5 + (near - 0.5) * 0.3, 0.5, 0.01, WHITE)


def square(s: Stage) -> None:
    for k in range(1, 13, 2):
        near = -1.0 + 0.25 * k
        path(s, near, 0.5 + (near - 0.5) * 0.12, 0.125, s.tone("paving", 0.88))


def mountain(s: Stage) -> None:
    for k in range(7):
        tone = mix(s.material["forest"], s.material["soil"], s.chance(0.2, 0.8))
        y, size = HORIZON + 0.03 + 0.02 * (k % 2), s.chance(0.22, 0.36)
        BESIDE["peak"](s.pen.at(k / 6, y, size), tone, s.chance)


def playground(s: Stage) -> None:
    track = s.pen.at(0.5, 0.6, 1, 90, 0.34)
    for radius, colour in ((0.21, (186, 84, 62)), (0.12, (94, 150, 72))):
        track.shape(lozenge(0, 0, 0.24, radius), colour)
    for r in (0.15, 0.18):
        ring = lozenge(0, 0, 0.24, r)
        track.path(ring + ring[:1], 0.01, WHITE)


def church(s: Stage) -> None:
    path(s, s.chance(0.2, 0.8), s.chance(0.3, 0.7), 0.1, s.material["paving"])


def park(s: Stage, plant: Sprite = tree_beside) -> None:
    church(s)
    spots = [(x + dx * s.size, y - 0.01) for x, y in s.spots for dx in (-0.62, 0.6)]
    row(s, plant, spots, max(0.1, s.size * 0.8), s.material["tree"])


mediumresidential = sparseresidential = park
resort = partial(park, plant=palm_beside)


def railwaystation(s: Stage) -> None:
    s.pen.box(0.2, HORIZON - 0.1, 0.8, HORIZON + 0.04, WALL)
    roof = [(0.16, HORIZON - 0.1), (0.5, HORIZON - 0.2), (0.84, HORIZON - 0.1)]
    s.pen.shape(roof, s.material["roof"])
    windows(0.22, HORIZON - 0.08, 0.78, HORIZON + 0.03, 9, 1)(s.pen, WALL, s.chance)
    for _, y in s.spots:
        band(s, y - 0.005, y + 0.02, (112, 100, 92))
        band(s, y - 0.004, y + 0.002, (206, 206, 206))


def viaduct(s: Stage) -> None:
    for y in sorted({y for _, y in s.spots}):
        for k in range(4):
            s.pen.box(0.1 + 0.27 * k, y, 0.15 + 0.27 * k, y + 0.2, s.tone("concrete", 0.75))
        band(s, y - 0.005, y + 0.05, s.material["concrete"])
        band(s, y - 0.025, y - 0.005, s.material["asphalt"])
        band(s, y + 0.04, y + 0.05, s.tone("concrete", 0.7))


def industrial(s: Stage) -> None:
    for y in (0.6, 0.63):
        band(s, y, y + 0.012, (206, 204, 200))


storagetanks = industrial
GROUNDS = {kind: globals()[kind] for kind in SCENE_TYPES if kind in globals()}


def surroundings(s: Stage) -> None:
    """The named surroundings: on the left or right, along the horizon, or in the foreground."""
    what, side = s.scene.surroundings, s.scene.side
    if side in (1, 3):
        top, low = (HORIZON - 0.005, HORIZON + 0.085) if side == 1 else (0.9, 1.02)
        spots = [(k / 8, low if side == 1 else 1.0) for k in range(9)]
        area = box(-0.1, top, 1.1, low)
    else:
        xs, ys = (0.2, 0.07, 0.17, 0.05, 0.18, 0.07), (0.5, 0.55, 0.65, 0.76, 0.85, 0.98)
        area = [(-0.1, HORIZON), (0.25, HORIZON), (0.27, 1.02), (-0.1, 1.02)]
        spots, ends = list(zip(xs, ys, strict=True)), [(0.09, 1.02), (0.13, HORIZON)]
        if side == 2:
            area, spots, ends = ([(1 - x, y) for x, y in part] for part in (area, spots, ends))
    (x0, y0), (x1, y1) = area[0], area[2]
    if what == "trees":
        row(s, tree_beside, spots, 0.2 if side != 3 else 0.16, s.material["tree"])
    elif what == "buildings":
        s.pen.shape(area, s.tone("concrete", 0.85))
        for x, y in spots:
            tone, h = s.tone("roof", s.chance(0.75, 1.1)), s.chance(0.7, 1.2) * 0.16
            s.pen.box(x - 0.06, y - h, x + 0.055, y, tone)
            windows(x - 0.05, y - h, x + 0.05, y, 3, 3, shade(tone, 0.55))(s.pen, WALL, s.chance)
    elif what == "road":
        s.pen.shape(area, s.tone("grass", 0.9))
        if side in (1, 3):
            top, low = y0 + 0.02, y1 - 0.015
            band(s, top, low, s.material["asphalt"])
            s.pen.dashes((0, (top + low) / 2), (1, (top + low) / 2), 0.01, WHITE, 8)
        else:
            near, far = ends
            lane(s, near, far, (0.13, 0.04), s.material["asphalt"])
            s.pen.dashes(near, far, 0.012, WHITE, 7)
    else:
        colour, marks = s.open_ground()
        s.pen.shape(area, colour)
        for _ in range(12):
            x, y = s.chance(min(x0, x1), max(x0, x1)), s.chance(y0 + 0.01, min(y1, 0.99))
            s.pen.line(x - 0.03, y, x + 0.03, y, 0.006, marks, 110)


def lay_out(scene: Scene, kind: Kind, chance: Chance) -> tuple[list[Point], float]:
    """The spots of a scene's things, and the width of one in the middle."""
    n, wide = scene.count, 0.68 if scene.side in (0, 2) else 0.92
    x, y = (0.63, 0.5, 0.37, 0.5)[scene.side], (0.77, 0.79, 0.77, 0.71)[scene.side]
    if kind.name in ("denseresidential", "bridge", "railwaystation"):
        return [(x, y - 0.03 + (k - (n - 1) / 2) * min(0.13, 0.34 / n)) for k in range(n)], wide
    flats, room = places(scene.arrangement, n, 0.62, wide, chance)
    size = min(kind.beside_size * chance(0.88, 1.0), room * 0.96)
    if kind.name == "viaduct":
        return [(x + a, y + (0.0 if b >= 0 else -0.16)) for b, a in flats], size
    if kind.name == "mountain":
        return [(x + a, HORIZON + 0.13 + 0.15 * b) for b, a in flats], size
    return [(x + a, y + 0.42 * b) for b, a in flats], size


def draw(scene: Scene, pen: Pen, things: Pen, materials: dict[str, Colour], chance: Chance) -> None:
    """Draw ``scene`` from the ground: its setting with ``pen``, its things with ``things``."""
    kind = KINDS[scene.kind]
    stage = Stage(pen, chance, materials, scene, *lay_out(scene, kind, chance))
    spots, size = sorted(stage.spots, key=lambda p: p[1]), stage.size
    sky(stage)
    if kind.name in ("airport", "commercial", "center", "square", "school", "stadium"):
        skyline(stage)
    for k in range(8):
        band(stage, HORIZON + 0.08 * k, 1.02, stage.tone(kind.floor, 1.1 - 0.025 * k))
    if kind.name in GROUNDS:
        GROUNDS[kind.name](stage)
    surroundings(stage)
    pen.texture(chance, 12, HORIZON + 0.01)
    mirror = chance() < 0.5
    middle = sum(y for _, y in stage.spots) / len(spots)
    for x, y in spots:
        scale = size if size > 0.6 else size * (1 + 0.7 * (y - middle))
        colour = shade(COLOURS[scene.colour], chance(0.94, 1.04))
        stand(things, kind.thing, (x, y), scale, mirror, colour, chance)
    x, y = ((0.83, 0.985), (0.5, 0.985), (0.17, 0.985), (0.5, 0.895))[scene.side]
    x += chance(-0.2, 0.2) if scene.side in (1, 3) else 0
    y = 0.52 if kind.name == "beach" else y
    for k in range(scene.companions):
        spot = (x + 0.12 * (k - (scene.companions - 1) / 2), y)
        stand(things, scene.companion, spot, 0.115, mirror, COLOURS[scene.companion_colour], chance)


def stand(
    pen: Pen, thing: str, spot: Point, size: float, mirror: bool, colour: Colour, chance: Chance
) -> None:
    if size < 0.6:
        pen.at(*spot, size, 0, 0.16).disc(0, 0, 0.5, (20, 26, 30), 80)
    BESIDE[thing](pen.at(*spot, size, 180, -1) if mirror else pen.at(*spot, size), colour, chance)
