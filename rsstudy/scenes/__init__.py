"""Generated scenes: pictures drawn by code, and captions that name their content.

Two domains share thirty kinds of place and all words: ``aerial`` is seen from above, ``ground``
from the side. Two dials control the similarity of the pictures and of the captions. Neither
changes the content of a scene.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.errors import StudyError, unknown
from rsstudy.scenes import above, beside
from rsstudy.scenes.drawing import MATERIALS, Chance, Pen, mix
from rsstudy.scenes.grammar import caption
from rsstudy.scenes.world import SCENE_TYPES, Scene, scene

__all__ = ["DOMAINS", "DRAWING_VERSION", "SCENE_TYPES", "DrawnImages", "Scene", "scenes"]

DRAWING_VERSION = 1  # raise it whenever a change alters the pictures
DOMAINS = {"aerial": above.draw, "ground": beside.draw}
CAPTIONS = 5
SPLITS = ("train",) * 4 + ("val",) + ("train",) * 4 + ("test",)


@dataclass(frozen=True)
class DrawnImages:
    """Pictures of ``size`` x ``size`` pixels, drawn on demand."""

    scenes: tuple[Scene, ...] = field(repr=False)
    domain: str
    alike: float
    size: int

    def decode(self, index: int) -> np.ndarray:
        """Picture ``index`` as uint8 RGB of shape (size, size, 3)."""
        drawn = self.scenes[index]
        chance = Chance(drawn.look, self.alike)
        materials = {name: mix(*tints, chance()) for name, tints in MATERIALS.items()}
        sun = math.radians(chance(20, 80))
        tint = (chance(0.93, 1.07), chance(0.95, 1.05), chance(0.93, 1.07))
        # Drawn at three times the size, then averaged: smooth edges without a slower library.
        setting = Pen.on(3 * self.size, (math.cos(sun), math.sin(sun)), 0.6 * self.alike, tint)
        things = replace(setting, fade=0.3 * self.alike)
        DOMAINS[self.domain](drawn, setting, things, materials, chance)
        return np.array(setting.image.reduce(3))

    def content(self, index: int) -> bytes:
        """The sha256 of everything that determines picture ``index``."""
        drawn = sorted(asdict(self.scenes[index]).items())
        parts = (drawn, self.domain, float(self.alike), self.size, DRAWING_VERSION)
        return hashlib.sha256(repr(parts).encode()).digest()


def scenes(
    images: int = 800,
    seed: int = 0,
    domain: str = "aerial",
    alike_images: float = 0.3,
    alike_captions: float = 0.3,
    size: int = 96,
    distinct_captions: bool = False,
) -> ImageTextSet:
    """A set of generated scenes with five captions each, split 8:1:1.

    Scene i does not depend on the number of images or the dials. Its captions depend on the number
    of images only with ``distinct_captions``.

    Args:
        images: the number of images.
        seed: the seed of the scenes.
        domain: "aerial" (named "scenes") or "ground" (named "scenes-ground").
        alike_images: in [0, 1]; the higher, the more the pictures share palette and layout.
        alike_captions: in [0, 1]; the higher, the fewer attributes and wordings captions have.
        size: width and height of the pictures in pixels.
        distinct_captions: name further attributes until no two images share a caption.

    Raises:
        StudyError: a value is out of its range, or captions cannot distinguish all images.
    """
    if domain not in DOMAINS:
        raise unknown("domain of scenes", domain, DOMAINS)
    for name, value in (("alike_images", alike_images), ("alike_captions", alike_captions)):
        if not 0 <= value <= 1:
            raise StudyError(f"{name} is {value}; choose a number from 0 to 1")
    for name, value in (("images", images), ("size", size)):
        if value < 1:
            raise StudyError(f"{name} is {value}; choose 1 or more")
    drawn = tuple(scene(index, int(seed), domain) for index in range(images))
    return ImageTextSet(
        name="scenes" if domain == "aerial" else f"scenes-{domain}",
        filenames=tuple(f"{s.kind}_{i // len(SCENE_TYPES) + 1}.png" for i, s in enumerate(drawn)),
        captions=captions(drawn, domain, alike_captions, distinct_captions),
        splits=tuple(SPLITS[index % len(SPLITS)] for index in range(images)),
        classes=tuple(s.kind for s in drawn),
        images=DrawnImages(drawn, domain, alike_images, size),
    )


def captions(
    drawn: tuple[Scene, ...], domain: str, alike: float, distinct: bool
) -> tuple[tuple[str, ...], ...]:
    """Five captions of each scene; ``distinct`` ones name more until no other scene has them."""
    texts = [[caption(s, domain, alike, k) or "" for k in range(CAPTIONS)] for s in drawn]
    more: Counter[tuple[int, int]] = Counter()
    while distinct:
        owners = Counter(text for five in texts for text in set(five))
        places = ((i, k) for i in range(len(drawn)) for k in range(CAPTIONS))
        shared = [(i, k) for i, k in places if owners[texts[i][k]] > 1]
        if not shared:
            break
        for i, k in shared:
            more[i, k] += 1
            longer = caption(drawn[i], domain, alike, k, more[i, k])
            if longer is None:
                raise StudyError(
                    f"{len(drawn)} images are too many for distinct captions: some "
                    "show the same scene; ask for fewer images"
                )
            texts[i][k] = longer
    return tuple(map(tuple, texts))
