"""Scenes seen from the ground: a sky, a horizon, and things that stand one behind the other."""

from __future__ import annotations

import math

from rsstudy.scenes.drawing import (
    COLOURS,
    DARK,
    WHITE,
    Chance,
    Colour,
    Pen,
    Point,
    Sprite,
    bend,
    blob,
    box,
    lozenge,
    mix,
    open_ground,
    places,
    shade,
)
from rsstudy.scenes.things import BESIDE, WALL, palm_beside, tree_beside, windows
from rsstudy.scenes.world import KINDS, Scene

SKY = {
    "under a blue sky": ((84, 146, 214), (200, 226, 240)),
    "under a cloudy sky": ((132, 142, 154), (204, 208, 212)),
    "at sunset": ((104, 92, 150), (252, 178, 104)),
}
HORIZON = 0.42


class View:
    """What the ground of a picture is drawn with."""

    def __init__(self, pen: Pen, chance: Chance, material: dict[str, Colour], scene: Scene):
        self.pen, self.chance, self.material, self.scene = pen, chance, material, scene

    def band(self, top: float, bottom: float, colour: Colour) -> None:
        """A strip of ground from the left edge to the right."""
        self.pen.box(-0.1, top, 1.1, bottom, colour)

    def lane(self, near: float, far: float, width: float, colour: Colour) -> None:
        """A path from the lower edge at ``near`` to the horizon at ``far``."""
        self.pen.shape(
            [
                (near - width, 1.02),
                (near + width, 1.02),
                (far + width * 0.12, HORIZON),
                (far - width * 0.12, HORIZON),
            ],
            colour,
        )

    def standing(self, sprite: Sprite, spots: list[Point], size: float, colour: Colour) -> None:
        for x, y in sorted(spots, key=lambda p: p[1]):
            tint = shade(colour, self.chance(0.85, 1.1))
            sprite(self.pen.at(x, y, size * self.chance(0.85, 1.15)), tint, self.chance)

    def waves(self, top: float, bottom: float) -> None:
        for _ in range(14):
            x, y = self.chance(0, 1), self.chance(top + 0.01, bottom - 0.01)
            w = 0.02 + 0.08 * (y - HORIZON)
            self.pen.path([(x - w, y), (x + w, y)], 0.006, WHITE, 90)

    def skyline(self) -> None:
        for k in range(12):
            h = self.chance(0.03, 0.15)
            tone = mix(self.material["roof"], (176, 190, 204), 0.5)
            x, paint = k / 12 + self.chance(-0.02, 0.02), shade(tone, self.chance(0.8, 1.1))
            self.pen.box(x, HORIZON - h, x + 0.07, HORIZON + 0.01, paint)


def sky(v: View) -> None:
    top, low = SKY[v.scene.sky]
    for k in range(14):
        v.band(HORIZON * k / 14, HORIZON, mix(top, low, k / 13))
    if v.scene.sky == "at sunset":
        x = v.chance(0.15, 0.85)
        for r, alpha in ((0.15, 50), (0.11, 90), (0.075, 255)):
            v.pen.disc(x, HORIZON - 0.05, r, (255, 236, 170), alpha)
    puffs = {"under a blue sky": 2, "under a cloudy sky": 7, "at sunset": 1}[v.scene.sky]
    tone = {
        "under a blue sky": (250, 250, 250),
        "under a cloudy sky": (178, 184, 192),
        "at sunset": (214, 132, 130),
    }[v.scene.sky]
    for k in range(puffs):
        x, y = (k + v.chance()) / puffs, v.chance(0.04, 0.22)
        for dx, dy, r in ((-0.07, 0.01, 0.035), (0, -0.015, 0.055), (0.07, 0.008, 0.04)):
            v.pen.disc(x + dx, y + dy, r, tone, 225)
        v.pen.box(x - 0.09, y + 0.01, x + 0.09, y + 0.045, tone)
    p, q = v.chance(0, 6), v.chance(0, 6)
    for lift, blend in ((0.06, 0.62), (0.03, 0.4)):
        rises = (1.1 + math.sin(5 * k / 16 + p) + 0.3 * math.sin(k + q) for k in range(17))
        hills = [(k / 16, HORIZON - lift * rise / 1.6) for k, rise in enumerate(rises)]
        v.pen.shape([*hills, (1, HORIZON), (0, HORIZON)], mix(v.material["forest"], low, blend))
        p = q


def ground(v: View, spots: list[Point], size: float) -> None:
    """What makes each kind of place: drawn between the horizon and the things."""
    kind, pen, m = v.scene.kind, v.pen, v.material
    if kind in ("airport", "commercial", "center", "square", "school", "stadium"):
        v.skyline()
    floor = m[KINDS[kind].floor]
    for k in range(8):
        v.band(HORIZON + 0.08 * k, 1.02, shade(floor, 1.1 - 0.025 * k))
    if kind == "airport":
        v.band(0.5, 0.95, m["concrete"])
        v.band(0.52, 0.6, m["asphalt"])
        pen.dashes((0, 0.56), (1, 0.56), 0.01, WHITE, 9)
        pen.box(0.08, HORIZON - 0.05, 0.55, HORIZON + 0.04, m["roof"])
        windows(0.08, HORIZON - 0.04, 0.55, HORIZON + 0.03, 10, 1)(pen, WALL, v.chance)
        pen.box(0.66, HORIZON - 0.16, 0.69, HORIZON + 0.04, m["roof"])
        pen.box(0.635, HORIZON - 0.2, 0.715, HORIZON - 0.14, DARK)
    elif kind in ("bareland", "meadow", "desert"):
        for k in range(10):
            patch, y = blob(v.chance(0.1, 0.22), 0.2, v.chance), HORIZON + 0.06 * k
            tone = shade(floor, v.chance(0.88, 1.1))
            pen.at(v.chance(), y, 0.5 + y, 0, 0.25).shape(patch, tone, 150)
        if kind == "desert":
            for y in (0.5, 0.66, 0.86):
                crest = bend((-0.1, y), (1.1, y), v.chance(-0.09, 0.09))
                pen.shape(crest + [(1.1, y + 0.1), (-0.1, y + 0.12)], shade(floor, 0.9), 170)
    elif kind == "beach":
        v.band(HORIZON, 0.58, m["water"])
        v.waves(HORIZON, 0.56)
        shore = bend((-0.1, 0.58), (1.1, 0.58), v.chance(-0.04, 0.04))
        pen.shape([*shore, (1.1, 0.5), (-0.1, 0.5)], m["water"])
        pen.path(shore, 0.02, WHITE)
        pen.path([(x, y + 0.02) for x, y in shore], 0.02, shade(floor, 0.85))
    elif kind in ("bridge", "river", "port"):
        low = {"bridge": 0.9, "river": 0.88, "port": 0.9}[kind]
        v.band(HORIZON + 0.03, low, m["water"])
        v.waves(HORIZON + 0.03, low)
        v.band(low, 1.02, m["concrete"] if kind == "port" else shade(floor, 0.95))
        v.band(low, low + 0.02, shade(m["soil"], 0.8))
    elif kind == "farmland":
        for k in range(9):
            v.lane(-0.6 + 0.275 * k, 0.1 + 0.1 * k, 0.06, shade(m["grass"], 0.82))
    elif kind == "forest":
        for y, s in ((HORIZON + 0.06, 0.3), (HORIZON + 0.14, 0.36)):
            trees = [(k / 9 + v.chance(-0.03, 0.03), y) for k in range(10)]
            v.standing(tree_beside, trees, s, m["forest"])
    elif kind in ("parking", "square"):
        for k in range(13):
            near = -1.0 + 0.25 * k
            if kind == "parking":
                pen.path([(near, 1.02), (0.5 + (near - 0.5) * 0.3, 0.5)], 0.01, WHITE)
            elif k % 2:
                v.lane(near, 0.5 + (near - 0.5) * 0.12, 0.125, shade(floor, 0.88))
    elif kind == "mountain":
        for k in range(7):
            tone = mix(m["forest"], m["soil"], v.chance(0.2, 0.8))
            y, size = HORIZON + 0.03 + 0.02 * (k % 2), v.chance(0.22, 0.36)
            BESIDE["peak"](pen.at(k / 6, y, size), tone, v.chance)
    elif kind == "playground":
        track = pen.at(0.5, 0.6, 1, 90, 0.34)
        for radius, colour in ((0.21, (186, 84, 62)), (0.12, (94, 150, 72))):
            track.shape(lozenge(0, 0, 0.24, radius), colour)
        for r in (0.15, 0.18):
            ring = lozenge(0, 0, 0.24, r)
            track.path(ring + ring[:1], 0.01, WHITE)
    elif kind in ("park", "mediumresidential", "sparseresidential", "church", "resort"):
        v.lane(v.chance(0.2, 0.8), v.chance(0.3, 0.7), 0.1, m["paving"])
        if kind != "church":
            beside = [(x + dx * size, y - 0.01) for x, y in spots for dx in (-0.62, 0.6)]
            plant = palm_beside if kind == "resort" else tree_beside
            v.standing(plant, beside, max(0.1, size * 0.8), m["tree"])
    elif kind == "railwaystation":
        pen.box(0.2, HORIZON - 0.1, 0.8, HORIZON + 0.04, WALL)
        pen.shape([(0.16, HORIZON - 0.1), (0.5, HORIZON - 0.2), (0.84, HORIZON - 0.1)], m["roof"])
        windows(0.22, HORIZON - 0.08, 0.78, HORIZON + 0.03, 9, 1)(pen, WALL, v.chance)
        for _, y in spots:
            v.band(y - 0.005, y + 0.02, (112, 100, 92))
            v.band(y - 0.004, y + 0.002, (206, 206, 206))
    elif kind == "viaduct":
        for y in sorted({y for _, y in spots}):
            for k in range(4):
                pen.box(0.1 + 0.27 * k, y, 0.15 + 0.27 * k, y + 0.2, shade(m["concrete"], 0.75))
            v.band(y - 0.005, y + 0.05, m["concrete"])
            v.band(y - 0.025, y - 0.005, m["asphalt"])
            v.band(y + 0.04, y + 0.05, shade(m["concrete"], 0.7))
    elif kind in ("storagetanks", "industrial"):
        for y in (0.6, 0.63):
            v.band(y, y + 0.012, (206, 204, 200))


def surroundings(v: View) -> None:
    """The named surroundings: on the left or right, along the horizon, or in the foreground."""
    what, side, pen, m = v.scene.surroundings, v.scene.side, v.pen, v.material
    if side in (1, 3):
        top, low = (HORIZON - 0.005, HORIZON + 0.085) if side == 1 else (0.9, 1.02)
        spots = [(k / 8, low if side == 1 else 1.0) for k in range(9)]
        area = box(-0.1, top, 1.1, low)
    else:
        xs = (0.2, 0.07, 0.17, 0.05, 0.18, 0.07)
        ys = (0.5, 0.55, 0.65, 0.76, 0.85, 0.98)
        area = [(-0.1, HORIZON), (0.25, HORIZON), (0.27, 1.02), (-0.1, 1.02)]
        spots, lane = list(zip(xs, ys, strict=True)), [(0.09, 1.02), (0.13, HORIZON)]
        if side == 2:
            area, spots, lane = ([(1 - x, y) for x, y in part] for part in (area, spots, lane))
    if what == "trees":
        v.standing(tree_beside, spots, 0.2 if side != 3 else 0.16, m["tree"])
    elif what == "buildings":
        pen.shape(area, shade(m["concrete"], 0.85))
        for x, y in spots:
            tone, h = shade(m["roof"], v.chance(0.75, 1.1)), v.chance(0.7, 1.2) * 0.16
            pen.box(x - 0.06, y - h, x + 0.055, y, tone)
            windows(x - 0.05, y - h, x + 0.05, y, 3, 3, shade(tone, 0.55))(pen, WALL, v.chance)
    elif what == "road":
        pen.shape(area, shade(m["grass"], 0.9))
        if side in (1, 3):
            y0, y1 = area[0][1] + 0.02, area[2][1] - 0.015
            v.band(y0, y1, m["asphalt"])
            pen.dashes((0, (y0 + y1) / 2), (1, (y0 + y1) / 2), 0.01, WHITE, 8)
        else:
            (near, low), (far, top) = lane
            pen.shape(
                [(near - 0.13, low), (near + 0.13, low), (far + 0.04, top), (far - 0.04, top)],
                m["asphalt"],
            )
            pen.dashes(lane[0], lane[1], 0.012, WHITE, 7)
    else:
        colour = open_ground(what, m)
        pen.shape(area, colour)
        (x0, y0), (x1, y1) = area[0], area[2]
        for _ in range(12):
            x, y = v.chance(min(x0, x1), max(x0, x1)), v.chance(y0 + 0.01, min(y1, 0.99))
            pen.path(
                [(x - 0.03, y), (x + 0.03, y)],
                0.006,
                WHITE if what == "water" else shade(colour, 0.8),
                110,
            )


# The widest a thing of each kind may be, where not 0.3.
LARGEST = {
    "airport": 0.42,
    "bareland": 0.26,
    "baseballfield": 0.46,
    "center": 0.36,
    "commercial": 0.26,
    "farmland": 0.36,
    "mountain": 0.6,
    "playground": 0.36,
    "pond": 0.4,
    "river": 0.34,
    "beach": 0.26,
    "stadium": 0.5,
    "storagetanks": 0.28,
    "square": 0.24,
    "school": 0.4,
    "industrial": 0.36,
}


def lay_out(scene: Scene, chance: Chance) -> tuple[list[Point], float]:
    """Where the things of a scene stand, and how large one in the middle is."""
    n, wide = scene.count, 0.68 if scene.side in (0, 2) else 0.92
    x, y = (0.63, 0.5, 0.37, 0.5)[scene.side], (0.77, 0.79, 0.77, 0.71)[scene.side]
    if scene.kind in ("denseresidential", "bridge", "railwaystation"):
        return [(x, y - 0.03 + (k - (n - 1) / 2) * min(0.13, 0.34 / n)) for k in range(n)], wide
    flats, room = places(scene.arrangement, n, 0.62, wide, chance)
    size = min(LARGEST.get(scene.kind, 0.3) * chance(0.88, 1.0), room * 0.96)
    if scene.kind == "viaduct":
        return [(x + a, y + (0.0 if b >= 0 else -0.16)) for b, a in flats], size
    if scene.kind == "mountain":
        return [(x + a, HORIZON + 0.13 + 0.15 * b) for b, a in flats], size
    return [(x + a, y + 0.42 * b) for b, a in flats], size


def draw(scene: Scene, pen: Pen, things: Pen, materials: dict[str, Colour], chance: Chance) -> None:
    """Draw ``scene`` from the ground: its setting with one pen, its things with the other."""
    kind, view = KINDS[scene.kind], View(pen, chance, materials, scene)
    spots, size = lay_out(scene, chance)
    sky(view)
    ground(view, spots, size)
    surroundings(view)
    pen.texture(chance, 12, HORIZON + 0.01)
    mirror = chance() < 0.5
    middle = sum(y for _, y in spots) / len(spots)
    for x, y in sorted(spots, key=lambda p: p[1]):
        scale = size if size > 0.6 else size * (1 + 0.7 * (y - middle))
        colour = shade(COLOURS[scene.colour], chance(0.94, 1.04))
        stand(things, kind.thing, (x, y), scale, mirror, colour, chance)
    x, y = ((0.83, 0.985), (0.5, 0.985), (0.17, 0.985), (0.5, 0.895))[scene.side]
    x += chance(-0.2, 0.2) if scene.side in (1, 3) else 0
    y = 0.52 if scene.kind == "beach" else y
    for k in range(scene.companions):
        spot = (x + 0.12 * (k - (scene.companions - 1) / 2), y)
        stand(things, scene.companion, spot, 0.115, mirror, COLOURS[scene.companion_colour], chance)


def stand(
    pen: Pen, thing: str, spot: Point, size: float, mirror: bool, colour: Colour, chance: Chance
) -> None:
    if size < 0.6:
        pen.at(*spot, size, 0, 0.16).disc(0, 0, 0.5, (20, 26, 30), 80)
    BESIDE[thing](pen.at(*spot, size, 180, -1) if mirror else pen.at(*spot, size), colour, chance)
