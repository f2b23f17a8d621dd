"""Near-duplicate pictures: the same picture encoded anew, rescaled, turned or mirrored.

Every pair is compared, under the eight turns and mirrorings of a square, in two steps. Pictures
whose 16 x 16 pixels correlate by ``PROPOSED`` or more are proposed: that finds such copies, and
many beaches and deserts that are only alike. Of those, the phase correlation at 64 x 64 decides
(Kuglin and Hines 1975): the spectra are divided by their magnitudes, so that every detail counts
and smooth likeness does not. Its peak is 1 for one picture twice and near 0 for two pictures.

Overlapping cuts of one larger picture are found only where the shift is small: see ``sensitivity``.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import each_picture, fit

SIZE, COARSE = 64, 16
PROPOSED = 0.9
SAME = 0.35
"""Set in the gap of the peaks on RSICD and UCM-Captions: the pairs above it show one place to the
eye; below it come flat pictures (deserts, calm water) and repeated markings (runways)."""
BARS = 20
TURNS = tuple((mirror, turn) for mirror in (False, True) for turn in range(4))


@dataclass(frozen=True)
class NearPair:
    """Two pictures of one motif: their indices in the two sets, and the phase correlation's peak.

    ``second`` is alike when mirrored (left to right) first, if so, then turned by quarters.
    """

    first: int
    second: int
    peak: float
    mirrored: bool
    quarters: int


@dataclass(frozen=True)
class Nearness:
    """Which pictures of two sets (or of one) are near-duplicates.

    Attributes:
        compared: pairs of pictures.
        peaks: of the proposed pairs' highest peaks, 20 bars from 0 to 1.
        pairs: those at or above ``SAME``, the nearest first.
    """

    compared: int
    peaks: tuple[int, ...]
    pairs: tuple[NearPair, ...]


def thumbnails(pictures: ImageTextSet, progress: bool = True) -> np.ndarray:
    """uint8 (N, 3, 64, 64): what is compared."""

    def thumbnail(index: int) -> np.ndarray:
        return fit(pictures.images.decode(index), SIZE)

    return np.stack(list(each_picture(pictures, thumbnail, progress)))


def near_duplicates(
    first: np.ndarray, second: np.ndarray | None = None, rows: int = 1024
) -> Nearness:
    """Find the near-duplicates between two stacks of thumbnails, or within one.

    Args:
        first, second: from ``thumbnails``.
        rows: how many pictures are compared with all others at a time.
    """
    alone = second is None
    other = first if second is None else second
    best: dict[tuple[int, int], NearPair] = {}
    mine = _coarse(first)
    for mirrored, quarters in TURNS:
        turned = np.rot90(other[..., ::-1] if mirrored else other, quarters, axes=(2, 3))
        theirs = _coarse(turned)
        for start in range(0, len(first), rows):
            i, j = np.nonzero(mine[start : start + rows] @ theirs.T >= PROPOSED)
            i += start
            if alone:
                i, j = i[i < j], j[i < j]
            for a, b, peak in zip(i, j, _peaks(first, turned, i, j, rows), strict=True):
                pair = NearPair(int(a), int(b), float(peak), mirrored, quarters)
                known = best.get((pair.first, pair.second))
                if known is None or pair.peak > known.peak:
                    best[pair.first, pair.second] = pair
    found = sorted(best.values(), key=lambda pair: -pair.peak)
    bars, _ = np.histogram([pair.peak for pair in found], BARS, (0, 1 + 1e-6))
    n, m = len(first), len(other)
    return Nearness(
        compared=n * (n - 1) // 2 if alone else n * m,
        peaks=tuple(bars.tolist()),
        pairs=tuple(pair for pair in found if pair.peak >= SAME),
    )


def by_splits(near: Nearness, first: ImageTextSet, second: ImageTextSet | None) -> dict[str, int]:
    """How many of the pairs lie in which two splits, such as ``test/train``."""
    other = second or first
    keys = []
    for pair in near.pairs:
        two = [first.splits[pair.first], other.splits[pair.second]]
        keys.append("/".join(two if second else sorted(two)))
    return dict(sorted(Counter(keys).items()))


def sensitivity(pictures: ImageTextSet, sample: int = 200, seed: int = 0) -> dict[str, float]:
    """The share of altered copies that is found, by how they were altered: a control.

    Args:
        sample: how many pictures are drawn and altered.
    """
    random = np.random.default_rng(seed)
    drawn = pictures.take(random.permutation(len(pictures))[:sample].tolist())
    originals = thumbnails(drawn, progress=False)
    found = {}
    for name, alter in ALTERED.items():
        copies = [fit(alter(drawn.images.decode(i)), SIZE) for i in range(len(drawn))]
        near = near_duplicates(originals, np.stack(copies))
        found[name] = sum(pair.first == pair.second for pair in near.pairs) / len(drawn)
    return found


def _encoded(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def _rescaled(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize((width * 2 // 3, height * 2 // 3))
    return np.asarray(small)


def _cut(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture[height // 25 :, width // 25 :]


ALTERED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG at quality 50": _encoded,
    "two thirds of the size": _rescaled,
    "mirrored and turned": lambda picture: np.rot90(picture[:, ::-1]),
    "4 % cut off two sides": _cut,
}


def _coarse(pictures: np.ndarray) -> np.ndarray:
    """Each picture's 16 x 16 pixels as a vector of mean 0 and length 1."""
    step = SIZE // COARSE
    shape = (len(pictures), 3, COARSE, step, COARSE, step)
    flat = pictures.astype(np.float32).reshape(shape).mean(axis=(3, 5)).reshape(len(pictures), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _peaks(
    first: np.ndarray, second: np.ndarray, i: np.ndarray, j: np.ndarray, rows: int
) -> Iterator[float]:
    """The peak of the phase correlation of each pair ``first[i], second[j]``."""
    for start in range(0, len(i), rows):
        part = slice(start, start + rows)
        product = _phases(first[i[part]]) * _phases(second[j[part]]).conj()
        yield from np.fft.irfft2(product, s=(SIZE, SIZE)).max(axis=(1, 2))


def _phases(pictures: np.ndarray) -> np.ndarray:
    """The spectra of the grey pictures, every coefficient of magnitude 1."""
    ramp = np.hanning(SIZE + 2)[1:-1]
    window = np.outer(ramp, ramp).astype(np.float32)  # or the borders would be the strongest edges
    grey = pictures.astype(np.float32).mean(axis=1)
    mean = (grey * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    spectrum = np.fft.rfft2((grey - mean) * window)
    return spectrum / np.maximum(np.abs(spectrum), 1e-6)
