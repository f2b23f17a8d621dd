"""Altered copies of a test split: its pictures, or words of its captions.

A perturbation acts after training and on the test alone. Its strength was fixed before any score
was seen. Pictures are altered at their own size, before they are scaled to the encoder's. What is
drawn at random follows from the picture's name, so all arms see the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import each_picture, picture_digest

CLEAN, SYNONYMS = "unaltered", "synonyms"


def _blurred(picture: np.ndarray, random: Generator) -> np.ndarray:
    """Gaussian blur; its standard deviation is 1/64 of the shorter side, 4 px of 256."""
    radius = min(picture.shape[:2]) / 64
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def _noisy(picture: np.ndarray, random: Generator) -> np.ndarray:
    """Gaussian noise of 50 grey levels on each pixel and colour.

    Scaling 256 px to 112 averages it to about a third.
    """
    return _rounded(picture + random.normal(0, 50, picture.shape))


def _clouded(picture: np.ndarray, random: Generator) -> np.ndarray:
    """White clouds of four sizes over half of the picture, a tenth of it at their densest, 0.9."""
    height, width = picture.shape[:2]
    field = np.zeros((height, width), np.float32)
    for cells in (3, 6, 12, 24):
        grid = Image.fromarray(random.standard_normal((cells, cells)).astype(np.float32))
        field += 3 / cells * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
    low, high = np.quantile(field, (0.5, 0.9))
    cover = 0.9 * np.clip((field - low) / (high - low), 0, 1)[:, :, None]
    return _rounded(picture * (1 - cover) + 245 * cover)


def _turned(picture: np.ndarray, random: Generator) -> np.ndarray:
    """A quarter turn."""
    return np.ascontiguousarray(np.rot90(picture))


def _turned_freely(picture: np.ndarray, random: Generator) -> np.ndarray:
    """Turned about its centre by 20 to 70 degrees; the corners are filled by reflection."""
    height, width = picture.shape[:2]
    rim = [(height // 2, height // 2), (width // 2, width // 2), (0, 0)]
    wide = Image.fromarray(np.pad(picture, rim, mode="reflect"))
    turned = wide.rotate(random.uniform(20, 70), Image.Resampling.BICUBIC)
    return np.asarray(turned)[height // 2 :, width // 2 :][:height, :width].copy()


def _coarser(picture: np.ndarray, random: Generator) -> np.ndarray:
    """Scaled to a sixth of its size, 43 px of 256, and back."""
    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize(
        (round(width / 6), round(height / 6)), Image.Resampling.BICUBIC
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


Alter = Callable[[np.ndarray, Generator], np.ndarray]
PICTURES: Mapping[str, Alter] = {
    "blurred": _blurred,
    "noisy": _noisy,
    "clouded": _clouded,
    "turned by 90°": _turned,
    "turned freely": _turned_freely,
    "lower resolution": _coarser,
}
"""Uint8 pictures (height, width, 3) to the same, with a generator that the picture's name seeds."""
PERTURBATIONS = (*PICTURES, SYNONYMS)

# Nouns of scenes and of what is in them. No new word is an old one, and none stands for two.
WORDS: Mapping[str, str] = dict(
    re.findall(
        r"(\w+): ([\w ]+)",
        """
        airplane: aeroplane, airplanes: aeroplanes, airport: airfield, bank: shore, banks: shores,
        beach: seaside, boats: vessels, boat: vessel, bridge: span, building: edifice,
        buildings: edifices, bunkers: sandtraps, bushes: shrubbery, car: automobile,
        cars: automobiles, chaparral: scrubland, church: chapel, court: playing field,
        courts: playing fields, cropland: arable land, diamond: ballpark, diamonds: ballparks,
        farmland: tillage, foam: froth, foams: froths, forest: woodland, freeway: motorway,
        freeways: motorways, grass: herbage, harbor: marina, highway: expressway, home: residence,
        homes: residences, house: dwelling, houses: dwellings, intersection: crossroads,
        lawn: greensward, lawns: greenswards, luggage: baggage, meadow: pasture, mountain: peak,
        mountains: peaks, overpass: flyover, pedestrians: walkers, plane: airliner,
        planes: airliners, plants: shrubs, playground: sports ground, pool: basin, pools: basins,
        railway: railroad, river: waterway, road: street, roads: streets, roadside: wayside,
        roof: rooftop, roofs: rooftops, runway: airstrip, runways: airstrips, school: academy,
        sea: ocean, square: plaza, stadium: arena, tank: silo, tanks: silos, trail: footpath,
        trails: footpaths, trees: timber, turf: sod, turfs: sods, villa: mansion, waves: breakers
        """,
    )
)
_KNOWN = re.compile(rf"\b(?:(an?) )?({'|'.join(WORDS)})\b", re.IGNORECASE)


def with_synonyms(caption: str) -> str:
    """A caption with its words replaced from ``WORDS``, and "a" or "an" to fit.

    Captions that differ stay different: an article that did not fit before does not fit after.
    """

    def other(found: re.Match[str]) -> str:
        article, old = found.group(1), found.group(2)
        new = WORDS[old.lower()]
        new = new.capitalize() if old[0].isupper() else new
        if article is None:
            return new
        fits = (len(article) == 2) == (old[0].lower() in "aeiou")
        long = (new[0].lower() in "aeiou") == fits
        return f"{article[0]}{'n' * long} {new}"

    return _KNOWN.sub(other, caption)


@dataclass(frozen=True)
class Held:
    """Pictures in memory, as ``rsstudy.data.imagetext.Images``."""

    pictures: tuple[np.ndarray, ...]

    def decode(self, index: int) -> np.ndarray:
        return self.pictures[index]

    def content(self, index: int) -> bytes:
        return picture_digest(self.pictures[index])


def perturbed(split: ImageTextSet, name: str) -> ImageTextSet:
    """A test split with all its pictures or all its captions altered.

    Args:
        name: one of ``PERTURBATIONS``, or ``CLEAN``, which alters nothing.
    """
    if name == CLEAN:
        return split
    if name == SYNONYMS:
        captions = tuple(tuple(map(with_synonyms, own)) for own in split.captions)
        return replace(split, captions=captions)

    def altered(index: int) -> np.ndarray:
        seed = hashlib.sha256(f"{name} {split.filenames[index]}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(seed, "big"))
        return PICTURES[name](split.images.decode(index), random)

    return replace(split, images=Held(tuple(each_picture(split, altered, progress=False))))
