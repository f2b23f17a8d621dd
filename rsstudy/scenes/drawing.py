"""A pen that draws in unit coordinates, the palette, and the choices that no caption names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import cast

import numpy as np
from PIL import Image, ImageDraw

from rsstudy.scenes.world import Scene

Colour = tuple[int, int, int]
Point = tuple[float, float]
Points = list[Point]
Row = tuple[float, float, float]

COLOURS: dict[str, Colour] = {
    "white": (245, 244, 238),
    "red": (204, 52, 42),
    "blue": (46, 96, 196),
    "yellow": (246, 204, 58),
    "green": (58, 146, 76),
    "gray": (142, 148, 156),
    "brown": (136, 88, 54),
    "orange": (240, 134, 40),
    "black": (44, 46, 54),
    "purple": (140, 78, 170),
}
# Each material has two tints; a picture mixes them.
MATERIALS: dict[str, tuple[Colour, Colour]] = {
    "grass": ((92, 132, 62), (146, 158, 88)),
    "soil": ((178, 132, 88), (154, 122, 96)),
    "sand": ((236, 206, 150), (222, 186, 136)),
    "water": ((48, 108, 152), (62, 138, 150)),
    "asphalt": ((92, 96, 104), (116, 116, 118)),
    "concrete": ((188, 184, 174), (168, 170, 168)),
    "forest": ((46, 86, 48), (66, 100, 52)),
    "tree": ((54, 106, 50), (84, 128, 58)),
    "roof": ((150, 140, 134), (174, 170, 164)),
    "paving": ((214, 202, 180), (196, 192, 186)),
}
WHITE, DARK, SHADE = (238, 238, 234), (52, 58, 68), (18, 24, 30)
COMMON = (138, 142, 118)  # all colours approach this one as pictures grow alike


class Chance:
    """The choices of one picture that no caption names: numbers between two bounds.

    A choice is the common one of all pictures with probability ``alike``.
    """

    def __init__(self, look: int, alike: float):
        self.own, self.shared, self.alike = Random(look).random, Random(1).random, alike

    def __call__(self, low: float = 0.0, high: float = 1.0) -> float:
        share, own, shared = self.own(), self.own(), self.shared()
        return low + (high - low) * (shared if share < self.alike else own)

    def one_of(self, *options):
        return options[int(self() * len(options))]


def shade(colour: Colour, factor: float) -> Colour:
    """``colour`` made darker (factor < 1) or lighter (factor > 1)."""
    if factor <= 1:
        return cast(Colour, tuple(int(v * factor) for v in colour))
    return mix(colour, (255, 255, 255), factor - 1)


def mix(one: Colour, other: Colour, part: float) -> Colour:
    return cast(Colour, tuple(int(a + (b - a) * part) for a, b in zip(one, other, strict=True)))


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def arc(x: float, y: float, rx: float, ry: float, turns: Iterable[float]) -> Points:
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]


def oval(x: float, y: float, rx: float, ry: float, corners: int = 20) -> Points:
    return arc(x, y, rx, ry, (2 * math.pi * k / corners for k in range(corners)))


def lozenge(x: float, y: float, half: float, radius: float, corners: int = 8) -> Points:
    """The outline of a running track along y: two half circles and two straights."""
    turns = (math.pi * k / corners for k in range(corners + 1))
    top = arc(x, y - half, -radius, -radius, turns)
    return top + [(2 * x - a, 2 * y - b) for a, b in top]


def bend(start: Point, end: Point, sag: float, steps: int = 12) -> Points:
    """A smooth curve from ``start`` to ``end`` that bows sideways by ``sag``."""
    (x0, y0), (x1, y1) = start, end
    cx, cy = (x0 + x1) / 2 + sag * (y0 - y1), (y0 + y1) / 2 + sag * (x1 - x0)

    def between(a: float, b: float, c: float, t: float) -> float:
        return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c

    return [
        (between(x0, cx, x1, k / steps), between(y0, cy, y1, k / steps)) for k in range(steps + 1)
    ]


def wavy(x: float, swing: float, chance: Chance, steps: int = 16) -> Points:
    """A wavy line along y, from -0.3 to 1.3, near ``x``."""
    p, q, f = chance(0, 6.3), chance(0, 6.3), chance(3, 7)
    ys = [-0.3 + 1.6 * k / steps for k in range(steps + 1)]
    return [(x + swing * (math.sin(f * y + p) + 0.4 * math.sin(13 * y + q)), y) for y in ys]


def blob(radius: float, rough: float, chance: Chance, corners: int = 9) -> Points:
    """A smooth closed outline about the origin."""
    a, b, p, q = rough * chance(0.6, 1), rough * chance(0.3, 1), chance(0, 6.3), chance(0, 6.3)
    turns = [2 * math.pi * k / (2 * corners) for k in range(2 * corners)]
    radii = [radius * (1 + a * math.sin(2 * t + p) + b * math.sin(3 * t + q)) for t in turns]
    return [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]


@lru_cache(maxsize=16)
def _grain(pixels: int, strength: int) -> Image.Image:
    """Soft patches and fine grain as a mask, twice as wide as the picture."""
    rng = np.random.default_rng(strength)
    total = np.zeros((2 * pixels, 2 * pixels), np.float32)
    for cells, weight in ((8, 1.0), (24, 0.7), (96, 0.6), (192, 0.6)):
        layer = Image.fromarray(rng.random((cells, cells), np.float32))
        total += weight * np.asarray(layer.resize(total.shape, Image.Resampling.BICUBIC))
    total = (total - total.mean()) / total.std()
    return Image.fromarray((np.clip(total, 0, 2.5) * strength).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws on ``image`` in a frame of its own; ``at`` gives a pen in a smaller frame.

    Attributes:
        frame: the rows (a, b, c) and (d, e, f) of an affine map: the point (x, y) is drawn at
            pixel (ax + by + c, dx + ey + f). y points down.
        sun: the direction of shadows.
        fade: the part of each colour that COMMON replaces.
        tint: a factor for each channel.
    """

    image: Image.Image
    draw: ImageDraw.ImageDraw
    frame: tuple[Row, Row]
    sun: Point
    fade: float
    tint: tuple[float, float, float]

    @classmethod
    def on(cls, pixels: int, sun: Point, fade: float, tint: tuple[float, float, float]) -> Pen:
        image = Image.new("RGB", (pixels, pixels), COMMON)
        frame = ((pixels, 0.0, 0.0), (0.0, pixels, 0.0))
        return cls(image, ImageDraw.Draw(image, "RGBA"), frame, sun, fade, tint)

    def at(self, x: float, y: float, size: float = 1, turn: float = 0, squash: float = 1) -> Pen:
        """A pen of unit ``size`` about (x, y), turned by ``turn`` degrees, then flattened."""
        cos, sin = size * math.cos(math.radians(turn)), size * math.sin(math.radians(turn))
        sines, cosines = sin * squash, cos * squash
        across, down = (
            (p * cos + q * sines, q * cosines - p * sin, p * x + q * y + r)
            for p, q, r in self.frame
        )
        return replace(self, frame=(across, down))

    def ink(self, colour: Colour, alpha: int = 255) -> tuple[int, int, int, int]:
        channels = zip(COMMON, colour, self.tint, strict=True)
        r, g, b = (min(255, int(self.fade * c + (1 - self.fade) * v * t)) for c, v, t in channels)
        return r, g, b, alpha

    def pixels(self, points: Sequence[Point]) -> Points:
        (a, b, c), (d, e, f) = self.frame
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def unit(self) -> float:
        """The mean length of the frame's unit in pixels."""
        (a, b, _), (d, e, _) = self.frame
        return math.sqrt(abs(a * e - b * d))

    def shape(self, points: Sequence[Point], colour: Colour, alpha: int = 255) -> None:
        self.draw.polygon(self.pixels(points), self.ink(colour, alpha))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.shape(box(x0, y0, x1, y1), colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, alpha: int = 255) -> None:
        (u, v), (across, down) = self.pixels([(x, y)])[0], self.frame
        rx, ry = radius * math.hypot(*across[:2]), radius * math.hypot(*down[:2])
        self.draw.ellipse((u - rx, v - ry, u + rx, v + ry), self.ink(colour, alpha))

    def path(self, points: Points, width: float, colour: Colour, alpha: int = 255) -> None:
        """A ribbon of constant width along ``points``."""
        left, right = [], []
        for k, (x, y) in enumerate(points):
            (x0, y0), (x1, y1) = points[max(k - 1, 0)], points[min(k + 1, len(points) - 1)]
            norm = width / 2 / (math.hypot(x1 - x0, y1 - y0) or 1)
            nx, ny = (y0 - y1) * norm, (x1 - x0) * norm
            left.append((x + nx, y + ny))
            right.append((x - nx, y - ny))
        self.shape(left + right[::-1], colour, alpha)

    def line(
        self, x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour, alpha=255
    ) -> None:
        self.path([(x0, y0), (x1, y1)], width, colour, alpha)

    def dashes(self, start: Point, end: Point, width: float, colour: Colour, count: int) -> None:
        (x0, y0), (x1, y1) = start, end
        for k in range(count):
            s, t = (k + 0.2) / count, (k + 0.7) / count
            self.path([(x0 + (x1 - x0) * v, y0 + (y1 - y0) * v) for v in (s, t)], width, colour)

    def shadow(self, points: Sequence[Point], height: float, alpha: int = 95) -> None:
        """The shadow of a shape ``height`` above the ground."""
        reach = height * self.unit()
        dx, dy = self.sun[0] * reach, self.sun[1] * reach
        moved = [(x + dx, y + dy) for x, y in self.pixels(points)]
        self.draw.polygon(moved, (*SHADE, alpha))

    def raised(self, points: Sequence[Point], height: float, colour: Colour) -> None:
        """A shape ``height`` above the ground, with its shadow."""
        self.shadow(points, height)
        self.shape(points, colour)

    def face(self, points: Points, apex: Point, colour: Colour, relief: float = 0.25) -> None:
        """A slope of a roof or a hill about ``apex``, lighter where it faces the sun.

        The first two points are the lower edge.
        """
        (x0, y0), (x1, y1), *rest = self.pixels(points)
        (ax, ay), (nx, ny) = self.pixels([apex])[0], (y1 - y0, x0 - x1)
        outward = 1 if nx * ((x0 + x1) / 2 - ax) + ny * ((y0 + y1) / 2 - ay) >= 0 else -1
        light = -outward * (nx * self.sun[0] + ny * self.sun[1]) / (math.hypot(nx, ny) or 1)
        ink = self.ink(shade(colour, 0.95 + relief * light))
        self.draw.polygon([(x0, y0), (x1, y1), *rest], ink)

    def facets(self, points: Points, colour: Colour, apex: Point = (0, 0), relief: float = 0.25):
        """A pyramid over ``points``."""
        for one, other in zip(points, points[1:] + points[:1], strict=True):
            self.face([one, other, apex], apex, colour, relief)

    def lit(self, reach: float) -> Pen:
        """This pen, moved ``reach`` towards the sun."""
        ((a, b, c), (d, e, f)), unit = self.frame, reach * self.unit()
        return replace(self, frame=((a, b, c - unit * self.sun[0]), (d, e, f - unit * self.sun[1])))

    def texture(self, chance: Chance, strength: int, top: float = 0.0) -> None:
        """Dark and light grain over everything below ``top``."""
        size, start = self.image.width, int(top * self.image.width)
        for ink, part in ((SHADE, 1.0), ((255, 250, 235), 0.6)):
            x, y = int(chance(0, size)), int(chance(0, size))
            mask = _grain(size, int(strength * part))
            self.image.paste(ink, (0, start), mask.crop((x, y, x + size, y + size - start)))


Sprite = Callable[[Pen, Colour, Chance], None]


@dataclass(frozen=True)
class Stage:
    """What a scene's setting is drawn with; its things will be ``size`` wide at ``spots``."""

    pen: Pen
    chance: Chance
    material: dict[str, Colour]
    scene: Scene
    spots: list[Point]
    size: float

    def tone(self, material: str, factor: float) -> Colour:
        return shade(self.material[material], factor)

    def open_ground(self) -> tuple[Colour, Colour]:
        """The colours of surroundings that are water, a lawn or bare land, and of their marks."""
        if self.scene.surroundings == "water":
            return self.material["water"], WHITE
        mixed = {"lawn": ("grass", (96, 168, 66), 0.6), "bare land": ("soil", (190, 130, 80), 0.5)}
        material, other, part = mixed[self.scene.surroundings]
        colour = mix(self.material[material], other, part)
        return colour, shade(colour, 0.8)


def places(
    arrangement: str, count: int, width: float, height: float, chance: Chance
) -> tuple[list[Point], float]:
    """Spots of ``count`` things about the origin, and the distance of the nearest two."""
    if arrangement == "two rows":
        per_row = (count + 1) // 2
        step, x = min(height / per_row, width * 0.62), width * 0.27
        ys = [step * (k // 2 - (per_row - 1) / 2) for k in range(count)]
        return [(x if k % 2 else -x, y) for k, y in enumerate(ys)], min(step, width * 0.54)
    if arrangement == "circle":
        radius, start = min(width, height) * 0.4, chance(0, 6.3)
        turns = [start + 2 * math.pi * k / count for k in range(count)]
        return arc(0, 0, radius, radius, turns), 2 * radius * math.sin(math.pi / count)
    if arrangement == "scattered":
        spots: Points = []
        for _ in range(count):  # of 24 random candidates, the farthest from all others
            tries = [
                ((chance() - 0.5) * width * 0.86, (chance() - 0.5) * height * 0.82)
                for _ in range(24)
            ]
            spots.append(max(tries, key=lambda p: min((math.dist(p, s) for s in spots), default=0)))
        return spots, 0.94 * min(math.dist(p, q) for k, p in enumerate(spots) for q in spots[:k])
    step = min(height / count, width)
    return [(0.0, step * (k - (count - 1) / 2)) for k in range(count)], step
