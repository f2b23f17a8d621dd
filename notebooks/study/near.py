"""Near-duplicate pictures: the same picture encoded anew, rescaled, turned or mirrored.

Every pair is compared, under the eight turns and mirrorings of a square, in two steps. Pictures
whose 16 x 16 pixels correlate by ``PROPOSED`` or more are proposed: that finds such copies, and
many beaches and deserts that are only alike. The phase correlation at 64 x 64 then decides
(Kuglin and Hines 1975): the spectra are divided by their magnitudes, so that every detail counts
and smooth likeness does not. Its peak is 1 for one picture twice and near 0 for two pictures.

Overlapping cuts of one larger picture are found only where the shift is small: see ``sensitivity``.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import each_picture, fit

SIZE, COARSE = 64, 16
PROPOSED = 0.9
SAME = 0.35
"""Set in the gap of the peaks on RSICD and UCM-Captions. Pairs above it show one place to the eye;
below it are flat pictures (deserts, calm water) and repeated markings (runways)."""
BARS = 20
TURNS = tuple((mirror, turn) for mirror in (False, True) for turn in range(4))


@dataclass(frozen=True)
class NearPair:
    """Two pictures of one motif: their indices in the two sets, and the phase correlation's peak.

    ``second`` fits after it is mirrored (left to right), if so, and then turned by quarters.
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


def thumbnails(pictures: ImageTextSet, size: int = SIZE, progress: bool = True) -> np.ndarray:
    """uint8 (N, 3, size, size): every picture of a set."""
    small = each_picture(pictures, lambda i: fit(pictures.images.decode(i), size), progress)
    return np.stack(list(small))


def near_duplicates(
    first: np.ndarray, second: np.ndarray | None = None, rows: int = 1024
) -> Nearness:
    """Find the near-duplicates between two stacks of thumbnails, or within one.

    Args:
        first, second: from ``thumbnails``.
        rows: how many pictures are compared with all others at a time.
    """
    other = first if second is None else second
    mine = _coarse(first)
    proposed: list[NearPair] = []
    for mirrored, quarters in TURNS:
        turned = np.rot90(other[..., ::-1] if mirrored else other, quarters, axes=(2, 3))
        theirs = _coarse(turned)
        for start in range(0, len(first), rows):
            i, j = np.nonzero(mine[start : start + rows] @ theirs.T >= PROPOSED)
            i += start
            if second is None:
                i, j = i[i < j], j[i < j]
            chunks = len(i) // rows + 1
            for a, b in zip(np.array_split(i, chunks), np.array_split(j, chunks), strict=True):
                peaks = _peaks(first[a], turned[b])
                found = zip(a.tolist(), b.tolist(), peaks.tolist(), strict=True)
                proposed += [NearPair(*pair, mirrored, quarters) for pair in found]
    proposed.sort(key=lambda pair: -pair.peak)
    best: dict[tuple[int, int], NearPair] = {}
    for pair in proposed:  # the highest peak first: the turn that fits best
        best.setdefault((pair.first, pair.second), pair)
    bars, _ = np.histogram([pair.peak for pair in best.values()], BARS, (0, 1 + 1e-6))
    n, m = len(first), len(other)
    return Nearness(
        compared=n * (n - 1) // 2 if second is None else n * m,
        peaks=tuple(bars.tolist()),
        pairs=tuple(pair for pair in best.values() if pair.peak >= SAME),
    )


def by_splits(near: Nearness, first: ImageTextSet, second: ImageTextSet | None) -> dict[str, int]:
    """The number of pairs by their two splits, such as ``test/train``."""
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
        copies = [
            fit(np.asarray(alter(Image.fromarray(drawn.images.decode(i)))), SIZE)
            for i in range(len(drawn))
        ]
        near = near_duplicates(originals, np.stack(copies))
        found[name] = sum(pair.first == pair.second for pair in near.pairs) / len(drawn)
    return found


def _encoded(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=50)
    return Image.open(file)


def _cut(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 25, height // 25, width, height))


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG at quality 50": _encoded,
    "two thirds of the size": lambda p: p.resize((p.width * 2 // 3, p.height * 2 // 3)),
    "mirrored and turned": lambda p: p.transpose(Image.Transpose.TRANSPOSE),
    "4 % cut off two sides": _cut,
}


def _coarse(pictures: np.ndarray) -> np.ndarray:
    """Each picture's 16 x 16 pixels as a vector of mean 0 and length 1."""
    step = SIZE // COARSE
    shape = (len(pictures), 3, COARSE, step, COARSE, step)
    flat = pictures.astype(np.float32).reshape(shape).mean(axis=(3, 5)).reshape(len(pictures), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _peaks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The peak of the phase correlation of each picture with the one in its place: (N,)."""
    product = _phases(first) * _phases(second).conj()
    return np.fft.irfft2(product, s=(SIZE, SIZE)).max(axis=(1, 2))


def _phases(pictures: np.ndarray) -> np.ndarray:
    """The spectra of the grey pictures, every coefficient of magnitude 1."""
    ramp = np.hanning(SIZE + 2)[1:-1]
    window = np.outer(ramp, ramp).astype(np.float32)  # or the borders would be the strongest edges
    grey = pictures.astype(np.float32).mean(axis=1)
    mean = (grey * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    spectrum = np.fft.rfft2((grey - mean) * window)
    return spectrum / np.maximum(np.abs(spectrum), 1e-6)
