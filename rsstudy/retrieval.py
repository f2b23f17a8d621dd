"""Retrieval scores: recall at k in both directions, as expected values over random tie orders.

A query's candidates are ranked by similarity. What its recall at k needs is three counts about the
best-scored of its own candidates: how many candidates rank *above* it, how many *tie* with it
(itself included), and how many of the tied are the query's *own*. If ties are put in random order,
the chance that an own candidate is among the first k is, in closed form,

    P = 1 - C(tie - own, k - above) / C(tie, k - above)        (0 where k <= above),

the first k - above of the tied being drawn without replacement. Two tied items at the top thus give
R@1 = 0.5. Identical captions are encoded once: rounding cannot break their tie by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import hypergeom
from torch import Tensor

KS = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """Counts about each query's best own candidate; arrays of one integer a query."""

    above: np.ndarray
    tie: np.ndarray
    own: np.ndarray

    def recall(self, k: int) -> np.ndarray:
        """The chance of each query to find an own candidate among its first k, in 0..1."""
        room = np.clip(k - self.above, 0, self.tie)
        return hypergeom.sf(0, self.tie, self.own, room)


def scores(image_to_text: Ranks, text_to_image: Ranks) -> dict[str, float]:
    """R@1/5/10 in both directions and their mean, the mean recall, in percent."""
    found = {
        f"{direction}_r{k}": 100 * float(ranks.recall(k).mean())
        for direction, ranks in (("i2t", image_to_text), ("t2i", text_to_image))
        for k in KS
    }
    return {**found, "mean_recall": sum(found.values()) / len(found)}


def chance(captions_of_image: Sequence[int]) -> dict[str, float]:
    """The scores of a scorer that knows nothing, so that all its candidates tie.

    Args:
        captions_of_image: how many captions each image has.
    """
    captions = np.asarray(captions_of_image)
    total, images = captions.sum(), len(captions)
    i2t = Ranks(np.zeros_like(captions), np.full(images, total), captions)
    t2i = Ranks(np.zeros(total, int), np.full(total, images), np.ones(total, int))
    return scores(i2t, t2i)


def recall_interval(
    queries: Mapping[str, Any], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """An interval of the mean recall over the choice of test pictures, in percent.

    A percentile bootstrap that draws pictures with their captions, since captions of one picture
    are not independent. It says nothing of the spread over training seeds.

    Args:
        queries: the per-query counts of a record (``test_queries``).
    """
    i2t = Ranks(*(np.array(queries["image_to_text"][name]) for name in ("above", "tie", "own")))
    above, tie = (np.array(queries["text_to_image"][name]) for name in ("above", "tie"))
    t2i = Ranks(above, tie, np.ones_like(tie))
    captions = np.array(queries["captions_of_image"])
    image_of = np.repeat(np.arange(len(captions)), captions)
    drawn = np.random.default_rng(seed).integers(len(captions), size=(resamples, len(captions)))
    recalls = np.zeros(resamples)
    for k in KS:
        of_image = i2t.recall(k)
        of_captions = np.bincount(image_of, t2i.recall(k), minlength=len(captions))
        recalls += of_image[drawn].mean(axis=1)
        recalls += of_captions[drawn].sum(axis=1) / captions[drawn].sum(axis=1)
    low, high = np.quantile(100 * recalls / (2 * len(KS)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def distinct(captions: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The distinct texts in order of appearance; for each caption its text and its image.

    Args:
        captions: the captions of each image.

    Returns:
        texts (D), text_of (M) and image_of (M): indices of the M captions, image by image.
    """
    texts: dict[str, int] = {}
    text_of, image_of = [], []
    for image, own in enumerate(captions):
        for caption in own:
            text_of.append(texts.setdefault(caption, len(texts)))
            image_of.append(image)
    return list(texts), np.array(text_of), np.array(image_of)


def rank(
    images: Tensor, texts: Tensor, text_of: np.ndarray, image_of: np.ndarray, chunk: int = 1024
) -> tuple[Ranks, Ranks]:
    """Rank every caption for every image, and every image for every caption.

    Similarities are computed ``chunk`` images at a time: memory stays within chunk x D.

    Args:
        images: unit vectors (N, d).
        texts: unit vectors of the distinct texts (D, d).
        text_of, image_of: for each of M captions, its text in 0..D and its image in 0..N.

    Returns:
        Counts for N image queries (candidates: M captions) and M caption queries (N images).
    """
    device = images.device
    text_index = torch.as_tensor(text_of, device=device)
    image_index = torch.as_tensor(image_of, device=device)
    copies = torch.bincount(text_index, minlength=len(texts))
    own_similarity = torch.empty(len(text_of), device=device)
    i2t = torch.zeros(3, len(images), dtype=torch.long, device=device)

    def similarities(start: int) -> Tensor:
        return images[start : start + chunk] @ texts.T

    for start in range(0, len(images), chunk):
        similarity = similarities(start)
        rows = torch.nonzero((image_index >= start) & (image_index < start + chunk)).flatten()
        of_row = image_index[rows] - start
        own_similarity[rows] = similarity[of_row, text_index[rows]]
        best = torch.full((len(similarity),), -torch.inf, device=device)
        best.scatter_reduce_(0, of_row, own_similarity[rows], "amax")
        i2t[0, start : start + chunk] = ((similarity > best[:, None]) * copies).sum(dim=1)
        i2t[1, start : start + chunk] = ((similarity == best[:, None]) * copies).sum(dim=1)
        tied = (own_similarity[rows] == best[of_row]).long()
        i2t[2, start : start + chunk] = torch.zeros(
            len(similarity), dtype=torch.long, device=device
        ).scatter_add_(0, of_row, tied)
    # A second pass, now that each caption's own similarity is known: the same products over the
    # same chunks give the same bits, so an image ties with itself exactly.
    t2i = torch.zeros(2, len(text_of), dtype=torch.long, device=device)
    for start in range(0, len(images), chunk):
        similarity = similarities(start)
        for first in range(0, len(text_of), chunk):
            of = slice(first, first + chunk)
            candidates = similarity[:, text_index[of]]
            t2i[0, of] += (candidates > own_similarity[of]).sum(dim=0)
            t2i[1, of] += (candidates == own_similarity[of]).sum(dim=0)
    above, tie, own = i2t.cpu().numpy()
    above_t, tie_t = t2i.cpu().numpy()
    return Ranks(above, tie, own), Ranks(above_t, tie_t, np.ones_like(tie_t))
