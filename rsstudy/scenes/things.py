"""The things in a scene, from above and from the side.

A thing is a stack of layers in a frame of width 1, the lowest first. From above, its middle is the
origin and it faces up; from the side, its foot is the origin. Up is negative y. The paint of a
layer is a colour, or a factor by which the thing's own colour becomes darker or lighter.
"""

from __future__ import annotations

import math

from rsstudy.scenes.drawing import (
    DARK,
    MATERIALS,
    WHITE,
    Chance,
    Colour,
    Pen,
    Point,
    Points,
    Sprite,
    arc,
    bend,
    blob,
    box,
    mix,
    oval,
    shade,
)

Paint = float | Colour
Corners = tuple[float, float, float, float]
GREEN, RED, STONE, SHORE = (108, 160, 76), (196, 70, 56), (226, 220, 206), (206, 190, 148)
WALL, GLASS, WOOD, ROAD = (232, 222, 200), (120, 160, 184), (112, 76, 50), (104, 106, 112)


def paint(what: Paint, colour: Colour) -> Colour:
    return what if isinstance(what, tuple) else shade(colour, what)


def pairs(flat: tuple[float, ...]) -> Points:
    return list(zip(flat[::2], flat[1::2], strict=True))


def both(*half: float) -> tuple[float, ...]:
    """An outline and its mirror image across x = 0, given the right half from top to bottom."""
    points = pairs(half)
    return tuple(v for x, y in points + [(-x, y) for x, y in points[::-1]] for v in (x, y))


def dome(x: float, y: float, rx: float, ry: float) -> tuple[float, ...]:
    """The upper half of an oval, from right to left."""
    return tuple(v for p in arc(x, y, rx, -ry, (math.pi * k / 14 for k in range(15))) for v in p)


# ---- layers ----------------------------------------------------------------------------------


def stack(*layers: Sprite) -> Sprite:
    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        for layer in layers:
            layer(pen, colour, chance)

    return draw


def outlines(what: Paint, shapes: list[Points], raised: float = 0) -> Sprite:
    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        for points in shapes if raised else ():
            pen.shadow(points, raised)
        for points in shapes:
            pen.shape(points, paint(what, colour))

    return draw


def poly(what: Paint, *flat: float, raised: float = 0) -> Sprite:
    return outlines(what, [pairs(flat)], raised)


def boxes(what: Paint, *corners: Corners, raised: float = 0) -> Sprite:
    return outlines(what, [box(*four) for four in corners], raised)


def ovals(what: Paint, *middles: Corners, raised: float = 0) -> Sprite:
    """Each (x, y, half width, half height)."""
    return outlines(what, [oval(*four) for four in middles], raised)


def discs(what: Paint, *circles: tuple[float, float, float], alpha: int = 255) -> Sprite:
    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        for x, y, radius in circles:
            pen.disc(x, y, radius, paint(what, colour), alpha)

    return draw


def line(what: Paint, width: float, *flat: float) -> Sprite:
    points = pairs(flat)
    return lambda pen, colour, chance: pen.path(points, width, paint(what, colour))


def faces(
    what: Paint, points: Points, relief: float = 0.3, raised: float = 0, apex: Point = (0, 0)
) -> Sprite:
    """A pyramid over ``points``."""

    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        if raised:
            pen.shadow(points, raised)
        pen.facets(points, paint(what, colour), apex, relief)

    return draw


def roof(x0: float, y0: float, x1: float, y1: float) -> Sprite:
    """A hipped roof from above, its ridge along the longer side."""
    outline, x, y = box(x0, y0, x1, y1), (x0 + x1) / 2, (y0 + y1) / 2
    a, b, c, d = outline
    inset = 0.36 * min(x1 - x0, y1 - y0)
    if x1 - x0 > y1 - y0:
        p, q = (x0 + inset, y), (x1 - inset, y)
        slopes, hips = ([a, b, q, p], [c, d, p, q]), ([b, c, q], [d, a, p])
    else:
        p, q = (x, y0 + inset), (x, y1 - inset)
        slopes, hips = ([b, c, q, p], [d, a, p, q]), ([a, b, p], [c, d, q])

    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        pen.shadow(outline, 0.15)
        for face in (*slopes, *hips):
            pen.face(face, (x, y), colour)

    return draw


def windows(
    x0: float, y0: float, x1: float, y1: float, across: int, down: int, what: Paint = GLASS
) -> Sprite:
    w, h = (x1 - x0) / across, (y1 - y0) / down
    lower = [(x0 + w * (i + 0.22), y0 + h * (j + 0.22)) for i in range(across) for j in range(down)]
    return boxes(what, *((x, y, x + 0.56 * w, y + 0.56 * h) for x, y in lower))


def wheels(radius: float, *xs: float) -> Sprite:
    return stack(
        discs((36, 38, 42), *((x, -radius, radius) for x in xs)),
        discs((170, 172, 176), *((x, -radius, radius * 0.45) for x in xs)),
    )


def flat(sprite: Sprite, squash: float = 0.42) -> Sprite:
    """The side view of a flat thing: its view from above, flattened."""
    return lambda pen, colour, chance: sprite(
        pen.at(0, -0.5 * squash, 1, 0, squash), colour, chance
    )


def smoke(x: float, y: float, drift: float) -> Sprite:
    puffs = ((x + drift * k, y - 0.08 * k, 0.06 + 0.03 * k) for k in range(3))
    return stack(*(discs(WHITE, puff, alpha=140 - 32 * k) for k, puff in enumerate(puffs)))


def grown(rough: float, *rings: tuple[Paint, float, float]) -> Sprite:
    """A random rounded outline in rings of (paint, width, height)."""

    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        shore = blob(0.46, rough, chance)
        for what, wide, high in rings:
            pen.shape([(x * wide, y * high) for x, y in shore], paint(what, colour))

    return draw


def blossom(count: int, reach: float, radius: float) -> Sprite:
    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        for k in range(count):
            turn, out = 2.4 * k, reach * math.sqrt((k + 0.5) / count)
            tint = shade(colour, chance(0.85, 1.2))
            pen.disc(out * math.cos(turn), out * math.sin(turn), radius, tint)

    return draw


def row(sprite: Sprite, size: float, behind: Sprite | None = None) -> Sprite:
    """Six of a thing side by side, with a small one of ``behind`` at each."""

    def draw(pen: Pen, colour: Colour, chance: Chance) -> None:
        for k in range(6):
            x = (k - 2.5) / 5.8
            sprite(pen.at(x, 0, size), shade(colour, chance(0.88, 1.08)), chance)
            if behind:
                behind(pen.at(x + 0.08, -0.1, 0.07), MATERIALS["tree"][k % 2], chance)

    return draw


def rocky(pen: Pen, colour: Colour, chance: Chance) -> None:
    outline = blob(0.42, 0.16, chance, 5)
    pen.shadow(outline, 0.12)
    pen.facets(outline, colour, (-0.08, -0.1), 0.4)


def mountain(pen: Pen, colour: Colour, chance: Chance) -> None:
    star = [0.8 if k % 2 else 1.15 for k in range(12)]
    outline = [(x * f, y * f) for f, (x, y) in zip(star, blob(0.46, 0.12, chance, 6), strict=True)]
    ax, ay = chance(-0.1, 0.1), chance(-0.1, 0.1)
    pen.facets(outline, mix(colour, (120, 110, 90), 0.45), (ax, ay), 0.4)
    top = [(ax + (x - ax) * 0.66, ay + (y - ay) * 0.66) for x, y in outline]
    pen.facets(top, colour, (ax, ay), 0.42)


def tree(pen: Pen, colour: Colour, chance: Chance) -> None:
    pen.shadow(oval(0, 0, 0.45, 0.45, 8), 0.25)
    pen.disc(0, 0, 0.48, shade(colour, 0.78))
    pen.lit(0.12).disc(0, 0, 0.3, shade(colour, 1.06))


def palm(pen: Pen, colour: Colour, chance: Chance) -> None:
    for k, tip in enumerate(oval(0, 0, 0.55, 0.55, 6)):
        pen.shadow([(0, 0), tip, (tip[1] * 0.3, tip[0] * 0.3)], 0.2, 50)
        pen.path([(0, 0), tip], 0.2, shade(colour, 0.8 + 0.05 * k))


# ---- from above ------------------------------------------------------------------------------

_WINGS = ((-0.46, -0.4, 0.46, -0.14), (-0.46, -0.4, -0.22, 0.4), (0.22, -0.4, 0.46, 0.4))
_ROOFS = ((-0.43, -0.37, 0.43, -0.17), (-0.43, -0.37, -0.25, 0.37), (0.25, -0.37, 0.43, 0.37))
_HULL = both(0, -0.5, 0.13, -0.28, 0.2, 0, 0.17, 0.46)


def fan(what: Paint, radius: float) -> Sprite:
    outline = arc(0, 0.45, radius, radius, (math.radians(a) for a in range(-135, -44, 9)))
    return outlines(what, [[(0, 0.45), *outline]])


def vehicle(half: float) -> Sprite:
    side = (half * 0.7, -0.46, half, -0.36, half, 0.38, half * 0.85, 0.46)
    return poly(1, *both(*side), raised=0.08)


_house = stack(roof(-0.42, -0.3, 0.42, 0.3), boxes(0.55, (0.2, -0.2, 0.28, -0.1)))

ABOVE: dict[str, Sprite] = {
    "plane": stack(
        poly(0.86, *both(0.05, -0.16, 0.5, 0.12, 0.5, 0.2, 0.05, 0.1), raised=0.09),
        poly(0.86, *both(0, 0.3, 0.2, 0.42, 0.2, 0.48, 0, 0.45), raised=0.09),
        boxes(0.6, (-0.255, -0.09, -0.185, 0.04), (0.185, -0.09, 0.255, 0.04)),
        ovals(1, (0, 0, 0.075, 0.5), raised=0.05),
        boxes(DARK, (-0.04, -0.42, 0.04, -0.38)),
        boxes(0.6, (-0.015, 0.3, 0.015, 0.48)),
    ),
    "rock": rocky,
    "baseball field": stack(
        fan(0.85, 0.98),
        fan((112, 160, 76), 0.94),
        fan(1, 0.58),
        poly(GREEN, *both(0, -0.06, 0.2, 0.14, 0, 0.34)),
        discs(1, (0, 0.14, 0.05), (0, 0.42, 0.08)),
        discs(WHITE, (0.24, 0.14, 0.025), (-0.24, 0.14, 0.025), (0, -0.1, 0.025), (0, 0.4, 0.025)),
        line(WHITE, 0.016, -0.66, -0.23, 0, 0.43, 0.66, -0.23),
    ),
    "umbrella": stack(
        faces(1, oval(0, 0, 0.44, 0.44, 10), raised=0.25),
        outlines(1.3, [[(0, 0), *oval(0, 0, 0.44, 0.44, 10)[k : k + 2]] for k in range(0, 10, 2)]),
        discs(WHITE, (0, 0, 0.05)),
    ),
    "bridge": stack(
        line(MATERIALS["asphalt"][0], 0.12, -2.5, 0, 2.5, 0),
        boxes(1, (-0.62, -0.15, 0.62, 0.15), raised=0.13),
        boxes(ROAD, (-0.62, -0.06, 0.62, 0.06)),
        lambda pen, colour, chance: pen.dashes((-2, 0), (2, 0), 0.018, WHITE, 22),
        boxes(0.8, *((x, y, x + 0.07, y + 0.08) for x in (-0.33, 0.27) for y in (-0.18, 0.1))),
    ),
    "round building": stack(
        ovals(shade(STONE, 0.8), (0, 0, 0.48, 0.48), raised=0.22),
        faces(1, oval(0, 0, 0.43, 0.43)),
        faces(1.25, oval(0, 0, 0.2, 0.2, 12)),
        discs(WHITE, (0, 0, 0.05)),
    ),
    "church": stack(
        boxes(1, (-0.13, -0.5, 0.13, -0.24), raised=0.4),
        roof(-0.4, -0.15, 0.4, 0.13),
        roof(-0.17, -0.4, 0.17, 0.5),
        faces(1.15, box(-0.14, -0.5, 0.14, -0.22), 0.4, apex=(0, -0.36)),
        line(WHITE, 0.03, 0, -0.44, 0, -0.28),
        line(WHITE, 0.03, -0.05, -0.39, 0.05, -0.39),
    ),
    "house": _house,
    "row of houses": stack(
        line(MATERIALS["asphalt"][1], 0.05, -0.56, 0.13, 0.56, 0.13), row(_house, 0.19, tree)
    ),
    "tall building": stack(
        boxes(0.62, (-0.36, -0.3, 0.36, 0.46), raised=0.34),
        boxes(0.36, *((-0.32 + 0.135 * k, 0.13, -0.23 + 0.135 * k, 0.44) for k in range(5))),
        boxes(0.8, (-0.36, -0.5, 0.36, 0.12)),
        boxes(1, (-0.31, -0.45, 0.31, 0.07)),
        boxes(0.78, (-0.2, -0.34, 0.04, -0.1)),
        boxes(1.25, (-0.2, -0.34, 0.0, -0.14)),
        discs(0.65, (0.17, -0.08, 0.07)),
    ),
    "factory": stack(
        boxes(1.1, (-0.46, -0.32, 0.46, 0.32), raised=0.13),
        boxes(0.7, *((-0.38 + 0.153 * k, -0.32, -0.307 + 0.153 * k, 0.32) for k in range(6))),
        ovals(0.6, (0.3, -0.44, 0.07, 0.07), (0.3, 0.42, 0.07, 0.07), raised=0.35),
        discs(DARK, (0.3, -0.44, 0.035), (0.3, 0.42, 0.035)),
        smoke(0.3, -0.46, 0.11),
    ),
    "tent": stack(
        outlines(1, [[(-0.38, 0), (0, -0.38), (0.38, 0), (0, 0.38)]], raised=0.2),
        faces(1, box(-0.38, -0.38, 0.38, 0.38), 0.4),
        poly(DARK, -0.1, 0.38, 0.1, 0.38, 0, 0.2),
    ),
    "field": stack(
        boxes(0.62, (-0.5, -0.42, 0.5, 0.42)),
        boxes(1, (-0.47, -0.39, 0.47, 0.39)),
        boxes(0.84, *((k / 7.5 - 0.018, -0.38, k / 7.5 + 0.018, 0.38) for k in range(-3, 4))),
    ),
    "patch of flowers": stack(grown(0.12, ((92, 136, 66), 1, 1)), blossom(18, 0.42, 0.075)),
    "flower bed": stack(
        ovals(STONE, (0, 0, 0.46, 0.46), raised=0.05),
        discs((74, 122, 62), (0, 0, 0.4)),
        blossom(11, 0.33, 0.11),
    ),
    "peak": mountain,
    "pavilion": stack(
        faces(1, oval(0, 0, 0.46, 0.46, 6), 0.35, raised=0.18),
        faces(1.2, oval(0, 0, 0.18, 0.18, 6), 0.35),
    ),
    "car": stack(
        vehicle(0.23),
        poly(DARK, *both(0.2, -0.2, 0.15, -0.06)),
        boxes(DARK, (-0.16, 0.25, 0.16, 0.34)),
        boxes(1.15, (-0.15, -0.06, 0.15, 0.25)),
    ),
    "bus": stack(
        vehicle(0.17),
        boxes(DARK, (-0.14, -0.43, 0.14, -0.36)),
        boxes(1.3, *((-0.09, y - 0.06, 0.09, y + 0.06) for y in (-0.2, 0.05, 0.28))),
    ),
    "basketball court": stack(
        boxes(0.72, (-0.34, -0.5, 0.34, 0.5)),
        boxes(1, (-0.28, -0.44, 0.28, 0.44)),
        line(WHITE, 0.02, -0.28, 0, 0.28, 0),
        discs(WHITE, (0, 0, 0.1), (0, -0.28, 0.11), (0, 0.28, 0.11)),
        discs(1, (0, 0, 0.075)),
        discs(0.8, (0, -0.28, 0.085), (0, 0.28, 0.085)),
        line(WHITE, 0.02, -0.27, -0.43, 0.27, -0.43, 0.27, 0.43, -0.27, 0.43, -0.27, -0.43),
    ),
    "pond": stack(
        grown(0.16, (SHORE, 1, 1), (0.8, 0.9, 0.9), (0.94, 0.72, 0.72)),
        *(
            line(1.4, 0.02, 0.1 * k - 0.2, 0.13 * k - 0.15, 0.1 * k + 0.05, 0.13 * k - 0.15)
            for k in range(3)
        ),
    ),
    "boat": stack(
        poly(0.7, *_HULL, raised=0.06),
        poly(1, *(v * 0.82 for v in _HULL)),
        boxes(1.25, (-0.1, -0.12, 0.1, 0.2)),
        boxes(DARK, (-0.09, -0.16, 0.09, -0.08)),
    ),
    "train": stack(
        boxes(1, *((-0.045, y - 0.093, 0.045, y + 0.093) for y in (-0.2, 0, 0.2)), raised=0.03),
        poly(1, *both(0.025, -0.5, 0.045, -0.45, 0.045, -0.307), raised=0.03),
        poly(1, *both(0.045, 0.307, 0.045, 0.45, 0.025, 0.5), raised=0.03),
        boxes(1.3, *((-0.016, y - 0.08, 0.016, y + 0.08) for y in (-0.4, -0.2, 0, 0.2, 0.4))),
        boxes(0.65, *((-0.03, y - 0.05, 0.03, y - 0.03) for y in (-0.4, -0.2, 0, 0.2, 0.4))),
    ),
    "villa": stack(
        boxes(STONE, (-0.46, -0.1, -0.02, 0.44)),
        ovals((64, 178, 206), (-0.24, 0.22, 0.15, 0.2)),
        roof(-0.4, -0.46, 0.46, -0.06),
        roof(0.06, -0.46, 0.46, 0.4),
    ),
    "island": stack(
        grown(0.14, ((120, 172, 186), 0.8, 1.06), (SHORE, 0.74, 1), (1, 0.6, 0.86)),
        discs(0.8, (0.1, 0.08, 0.07), (-0.1, 0.14, 0.06), (0, -0.16, 0.08)),
    ),
    "stadium": stack(
        outlines(0.8, [oval(0, 0, 0.42, 0.5, 28)], raised=0.14),
        faces(1, oval(0, 0, 0.39, 0.47, 28), -0.2),
        *(line(WHITE, 0.012, x * 0.55, y * 0.6, x, y) for x, y in oval(0, 0, 0.4, 0.48, 14)),
        ovals((186, 96, 70), (0, 0, 0.24, 0.31)),
        ovals((86, 142, 66), (0, 0, 0.2, 0.27)),
        boxes(GREEN, *((-0.13, -0.2 + 0.1 * k, 0.13, -0.15 + 0.1 * k) for k in range(4))),
        line(WHITE, 0.012, -0.13, 0, 0.13, 0),
    ),
    "teaching building": stack(
        boxes(0.72, *_WINGS, raised=0.15),
        boxes(1, *_ROOFS),
        boxes(1.3, *((x - 0.05, -0.31, x + 0.05, -0.23) for x in (-0.3, 0, 0.3))),
    ),
    "storage tank": stack(
        ovals(0.62, (0, 0, 0.44, 0.44), raised=0.24),
        discs(1, (0, 0, 0.41)),
        faces(1, oval(0, 0, 0.36, 0.36, 16), 0.14),
        discs(0.6, (0, 0, 0.06)),
        line(0.6, 0.035, 0, 0, 0.3, -0.27),
    ),
}

# ---- from the side ---------------------------------------------------------------------------

tree_beside = stack(
    boxes(WOOD, (-0.07, -0.5, 0.07, 0)),
    discs(0.75, (0.2, -0.52, 0.26)),
    discs(0.85, (-0.2, -0.55, 0.27)),
    discs(0.95, (0.05, -0.8, 0.3)),
    discs(1.1, (-0.1, -0.85, 0.2)),
)


def palm_beside(pen: Pen, colour: Colour, chance: Chance) -> None:
    pen.path(bend((0, 0), (0.12, -0.95), 0.15, 6), 0.07, WOOD)
    for x, y in ((-0.38, -0.85), (-0.28, -1.15), (0.12, -1.25), (0.54, -1.13), (0.62, -0.83)):
        pen.path(bend((0.12, -0.95), (x, y), 0.25 if x < 0 else -0.25, 5), 0.1, colour)


def carriage(x: float) -> tuple[Sprite, ...]:
    return (
        boxes(1, (x + 0.004, -0.135, x + 0.246, -0.03)),
        boxes(1.35, (x + 0.004, -0.06, x + 0.246, -0.045)),
        windows(x + 0.01, -0.13, x + 0.24, -0.06, 5, 1, DARK),
        wheels(0.017, x + 0.05, x + 0.2),
    )


_house_beside = stack(
    boxes(WALL, (-0.38, -0.34, 0.38, 0)),
    boxes(WOOD, (0.2, -0.72, 0.28, -0.5), (-0.06, -0.24, 0.08, 0)),
    poly(1, *both(0.26, -0.66, 0.47, -0.32)),
    poly(0.86, 0.12, -0.32, 0.12, -0.66, 0.26, -0.66, 0.47, -0.32),
    boxes(GLASS, (-0.3, -0.26, -0.16, -0.12), (0.16, -0.26, 0.3, -0.12)),
)
_SHADED_SNOW = (0, -0.8, 0.34, -0.33, 0.18, -0.26, 0.06, -0.4)
_ARCHES = [dome(x, -0.17, 0.25, 0.15) for x in (-0.25, 0.25)]
_CANOPY, _CUPOLA = dome(0, -0.52, 0.48, 0.36), dome(0, -0.32, 0.42, 0.4)

BESIDE: dict[str, Sprite] = {
    **{name: flat(ABOVE[name]) for name in ("field", "pond", "patch of flowers", "flower bed")},
    "baseball field": flat(ABOVE["baseball field"], 0.5),
    "rock": flat(rocky, 0.75),
    "plane": stack(
        wheels(0.03, -0.28, 0.03, 0.1),
        poly(0.85, 0.26, -0.2, 0.42, -0.46, 0.5, -0.46, 0.45, -0.18),
        ovals(1, (-0.02, -0.16, 0.48, 0.085)),
        poly(1, 0.3, -0.24, 0.5, -0.25, 0.48, -0.19, 0.3, -0.16),
        line(0.5, 0.025, -0.32, -0.18, 0.3, -0.18),
        poly(DARK, -0.44, -0.2, -0.36, -0.21, -0.36, -0.17, -0.47, -0.17),
        poly(0.72, -0.1, -0.15, 0.06, -0.15, 0.26, -0.05, 0.16, -0.04),
        ovals(0.6, (-0.03, -0.085, 0.07, 0.035)),
    ),
    "umbrella": stack(
        boxes(STONE, (-0.02, -0.8, 0.02, 0)),
        poly(1, *_CANOPY),
        *(
            poly(tone, 0, -0.88, *_CANOPY[k : k + 6])
            for k, tone in ((2, 0.8), (12, 1.25), (22, 1.25))
        ),
        boxes(0.85, (0.1, -0.06, 0.44, -0.01)),
    ),
    "bridge": stack(
        boxes(0.72, *((x - 0.022, -0.17, x + 0.022, 0.02) for x in (-0.5, 0, 0.5))),
        *(line(1, 0.024, *arch) for arch in _ARCHES),
        *(line(1, 0.008, x, y, x, -0.17) for arch in _ARCHES for x, y in pairs(arch)[2:13:2]),
        boxes(1, (-1.5, -0.18, 1.5, -0.13)),
        boxes(0.6, (-1.5, -0.14, 1.5, -0.125)),
    ),
    "round building": stack(
        boxes(WALL, (-0.46, -0.3, 0.46, 0)),
        windows(-0.44, -0.28, 0.44, 0, 7, 1, shade(WALL, 0.6)),
        poly(1, *_CUPOLA),
        poly(0.8, *_CUPOLA[:12], 0.1, -0.32),
        boxes(shade(WALL, 0.92), (-0.48, -0.35, 0.48, -0.29)),
        boxes(0.7, (-0.015, -0.82, 0.015, -0.7)),
    ),
    "church": stack(
        boxes(WALL, (-0.2, -0.4, 0.46, 0)),
        poly(1, -0.24, -0.38, -0.14, -0.64, 0.38, -0.64, 0.5, -0.38),
        boxes(shade(WALL, 0.92), (-0.4, -0.72, -0.12, 0)),
        poly(0.9, -0.44, -0.7, -0.26, -1.16, -0.08, -0.7),
        line(WHITE, 0.03, -0.26, -1.28, -0.26, -1.12),
        line(WHITE, 0.03, -0.32, -1.22, -0.2, -1.22),
        ovals(GLASS, (-0.26, -0.52, 0.05, 0.08)),
        windows(-0.06, -0.34, 0.44, -0.06, 3, 1),
        poly(WOOD, -0.32, 0, -0.32, -0.2, -0.26, -0.28, -0.2, -0.2, -0.2, 0),
    ),
    "house": _house_beside,
    "row of houses": row(_house_beside, 0.165),
    "tall building": stack(
        boxes(1, (-0.34, -1.3, 0.34, 0)),
        boxes(0.8, (0.16, -1.3, 0.34, 0)),
        boxes(0.7, (-0.2, -1.38, 0.1, -1.3)),
        windows(-0.3, -1.26, 0.32, -0.12, 4, 8, (88, 112, 132)),
        boxes(DARK, (-0.08, -0.13, 0.08, 0)),
    ),
    "factory": stack(
        boxes((166, 150, 140), (0.2, -0.88, 0.28, 0), (0.34, -0.88, 0.42, 0)),
        boxes(RED, (0.2, -0.8, 0.28, -0.72), (0.34, -0.8, 0.42, -0.72)),
        smoke(0.24, -0.95, -0.08),
        smoke(0.38, -0.95, -0.08),
        *(poly(0.78, x, -0.34, x, -0.54, x + 0.24, -0.34) for x in (-0.48, -0.24, 0, 0.24)),
        boxes(1, (-0.48, -0.36, 0.48, 0)),
        windows(-0.46, -0.32, 0.46, -0.14, 6, 1),
        boxes(DARK, (-0.1, -0.13, 0.1, 0)),
    ),
    "tent": stack(
        poly(1, -0.46, 0, -0.08, -0.56, 0.46, 0),
        poly(0.76, 0.1, 0, -0.08, -0.56, 0.46, 0),
        poly(DARK, -0.24, 0, -0.08, -0.36, 0.02, 0),
    ),
    "peak": stack(
        poly(0.62, -0.62, 0, -0.25, -0.42, 0, -0.8, 0.3, -0.38, 0.62, 0),
        poly(0.46, 0, -0.8, 0.3, -0.38, 0.62, 0, 0.1, 0, 0.1, -0.3),
        poly(1, -0.3, -0.36, *_SHADED_SNOW, -0.06, -0.24, -0.16, -0.38),
        poly(0.8, *_SHADED_SNOW),
    ),
    "pavilion": stack(
        boxes(WALL, (-0.4, -0.06, 0.4, 0)),
        boxes(WALL, *((x, -0.4, x + 0.05, -0.05) for x in (-0.36, -0.14, 0.1, 0.32))),
        poly(1, *both(0, -0.78, 0.2, -0.52, 0.5, -0.36)),
        poly(0.8, 0.5, -0.36, 0.2, -0.52, 0, -0.78, 0.1, -0.36),
        discs((246, 204, 58), (0, -0.8, 0.04)),
    ),
    "car": stack(
        poly(0.9, *both(0.17, -0.4, 0.3, -0.22)),
        poly(DARK, -0.24, -0.22, -0.15, -0.36, -0.02, -0.36, -0.02, -0.22),
        poly(DARK, 0.02, -0.22, 0.02, -0.36, 0.14, -0.36, 0.24, -0.22),
        poly(1, -0.48, -0.06, -0.46, -0.2, -0.3, -0.24, 0.32, -0.24, 0.48, -0.18, 0.48, -0.06),
        wheels(0.09, -0.28, 0.28),
    ),
    "bus": stack(
        boxes(1, (-0.49, -0.46, 0.49, -0.06)),
        windows(-0.46, -0.46, 0.4, -0.2, 6, 1, DARK),
        boxes(1.3, (-0.49, -0.15, 0.49, -0.11)),
        boxes(DARK, (0.42, -0.4, 0.49, -0.08)),
        wheels(0.075, -0.3, 0.3),
    ),
    "basketball court": stack(
        poly(0.72, *both(0.36, -0.36, 0.5, 0)),
        poly(1, *both(0.32, -0.34, 0.45, -0.025)),
        line(WHITE, 0.014, 0, -0.34, 0, -0.02),
        ovals(WHITE, (0, -0.18, 0.1, 0.05)),
        ovals(1, (0, -0.18, 0.08, 0.035)),
        boxes(DARK, (-0.372, -0.52, -0.348, -0.16), (0.348, -0.52, 0.372, -0.16)),
        boxes(WHITE, (-0.43, -0.6, -0.29, -0.48), (0.29, -0.6, 0.43, -0.48)),
    ),
    "boat": stack(
        ovals((210, 226, 232), (0, 0.01, 0.5, 0.03)),
        poly(1, -0.5, -0.2, 0.5, -0.24, 0.36, 0, -0.38, 0),
        poly(0.7, -0.5, -0.2, 0.5, -0.24, 0.48, -0.19, -0.48, -0.15),
        boxes(WHITE, (-0.24, -0.42, 0.12, -0.2)),
        windows(-0.22, -0.4, 0.1, -0.26, 3, 1, DARK),
        boxes(0.9, (-0.26, -0.46, 0.14, -0.41)),
        boxes(DARK, (0.2, -0.62, 0.225, -0.22)),
    ),
    "train": stack(*(layer for x in (-0.5, -0.25, 0, 0.25) for layer in carriage(x))),
    "villa": stack(
        boxes(WALL, (-0.1, -0.6, 0.42, 0), (-0.44, -0.3, -0.1, 0)),
        poly(1, -0.16, -0.58, -0.02, -0.8, 0.34, -0.8, 0.48, -0.58),
        poly(0.86, -0.5, -0.28, -0.36, -0.46, -0.1, -0.46, -0.1, -0.28),
        windows(-0.08, -0.54, 0.42, -0.06, 3, 2),
        windows(-0.42, -0.26, -0.12, -0.08, 2, 1),
        ovals(STONE, (-0.12, 0.06, 0.34, 0.07)),
        ovals((64, 178, 206), (-0.12, 0.06, 0.29, 0.05)),
    ),
    "island": stack(
        ovals(SHORE, (0, -0.08, 0.5, 0.12)),
        poly(1, *dome(0, -0.1, 0.42, 0.3)),
        discs(0.82, (-0.2, -0.16, 0.09), (0.02, -0.24, 0.09), (0.22, -0.14, 0.09)),
    ),
    "teaching building": stack(
        boxes(1, (-0.48, -0.5, 0.48, 0)),
        boxes(1.15, (-0.12, -0.6, 0.12, 0)),
        windows(-0.47, -0.47, -0.13, -0.04, 4, 3),
        windows(0.13, -0.47, 0.47, -0.04, 4, 3),
        discs(WHITE, (0, -0.46, 0.06)),
        boxes(WOOD, (-0.06, -0.18, 0.06, 0)),
        boxes(DARK, (-0.01, -0.84, 0.01, -0.6)),
        boxes(RED, (0.01, -0.84, 0.14, -0.75)),
    ),
    "stadium": stack(
        boxes(DARK, (-0.472, -0.66, -0.448, -0.2), (0.448, -0.66, 0.472, -0.2)),
        boxes(WHITE, (-0.51, -0.72, -0.41, -0.63), (0.41, -0.72, 0.51, -0.63)),
        poly(1, *dome(0, -0.36, 0.5, -0.15), -0.42, 0, 0.42, 0),
        *(line(0.7, 0.014, 1.15 * x, -0.24, x, 0) for x in (-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3)),
        ovals(0.65, (0, -0.36, 0.5, 0.15)),
        ovals(GREEN, (0, -0.35, 0.36, 0.085)),
    ),
    "storage tank": stack(
        ovals(0.7, (0, -0.13, 0.46, 0.13)),
        *(
            boxes(tone, (x, -0.62, 0.46, -0.1))
            for x, tone in ((-0.46, 1), (-0.3, 1.2), (-0.14, 1.05), (0.08, 0.92), (0.28, 0.76))
        ),
        ovals(0.62, (0, -0.62, 0.46, 0.14)),
        ovals(1.35, (0, -0.64, 0.43, 0.115)),
        ovals(0.7, (0, -0.66, 0.1, 0.03)),
    ),
}
