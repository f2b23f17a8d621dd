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

from collections.abc import Sequence
from dataclasses import dataclass

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
