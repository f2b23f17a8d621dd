"""Retrieval scores: recall at k in both directions, as expected values over random tie orders.

A query's candidates are ranked by similarity. What its recall at k needs is three counts about the
best-scored of its own candidates: how many candidates rank *above* it, how many *tie* with it
(itself included), and how many of the tied are the query's *own*. If ties are put in random order,
the chance that an own candidate is among the first k is, in closed form,

    P = 1 - C(tie - own, k - above) / C(tie, k - above)        (0 where k <= above),

the first k - above of the tied being drawn without replacement. Two tied items at the top thus give
R@1 = 0.5. Identical captions are encoded once, and identical pictures share one embedding: rounding
cannot break their ties by accident.

From one ranking come two protocols, which differ in what counts as right:

- *standard*: a query's own pair alone;
- *relaxed*: every caption with the same text as an own one, and every image that has the caption.

What a score can be at most, from the captions alone, computes ``rsstudy.ceilings``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import comb
from torch import Tensor

from rsstudy.errors import StudyError
from rsstudy.tiles import Tiles

KS = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """Counts about each query's best own candidate; arrays of one integer a query.

    Under the relaxed protocol a query's own candidates are all that count as right.
    """

    above: np.ndarray
    tie: np.ndarray
    own: np.ndarray

    def recall(self, k: int) -> np.ndarray:
        """The chance of each query to find an own candidate among its first k, in 0..1.

        It is nan for counts that no ranking gives: nothing equals a similarity that is nan.
        """
        room = np.clip(k - self.above, 0, self.tie)
        found = 1.0 - comb(self.tie - self.own, room) / comb(self.tie, room)
        return np.where((self.tie > 0) & (self.own <= self.tie), found, np.nan)


def scores(image_to_text: Ranks, text_to_image: Ranks, ks: Iterable[int] = ()) -> dict[str, float]:
    """R@1/5/10 in both directions and their mean, the mean recall, in percent.

    Args:
        ks: further ranks whose recalls are given. The mean recall is that of 1, 5 and 10 (Yuan et
            al. 2023), whatever these are.
    """
    found = {
        f"{direction}_r{k}": 100 * float(ranks.recall(k).mean())
        for direction, ranks in (("i2t", image_to_text), ("t2i", text_to_image))
        for k in sorted({*KS, *ks})
    }
    usual = [found[f"{direction}_r{k}"] for direction in ("i2t", "t2i") for k in KS]
    return {**found, "mean_recall": sum(usual) / len(usual)}


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


def counts_of(queries: Mapping[str, Any], protocol: str = "standard") -> tuple[Ranks, Ranks]:
    """The counts of the image queries and of the caption queries of a record.

    Args:
        queries: the per-query counts of a record (``test_queries``).
        protocol: standard or relaxed.

    Raises:
        StudyError: another protocol, or counts without the relaxed ones.
    """
    if protocol not in ("standard", "relaxed"):
        raise StudyError(f"no protocol {protocol!r}: give standard or relaxed")
    if protocol == "relaxed":
        if "relaxed" not in queries:
            raise StudyError("a record without relaxed counts: do its run again")
        queries = queries["relaxed"]
    i2t, t2i = queries["image_to_text"], queries["text_to_image"]
    tie = np.array(t2i["tie"])
    return (
        Ranks(*(np.array(i2t[name]) for name in ("above", "tie", "own"))),
        Ranks(np.array(t2i["above"]), tie, np.array(t2i.get("own", np.ones_like(tie)))),
    )


@lru_cache(2)  # all records of a set draw alike
def _drawn(count: int, resamples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(count, size=(resamples, count))


def recall_interval(
    queries: Mapping[str, Any], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """An interval of the mean recall over the choice of test pictures, in percent.

    A percentile bootstrap that draws pictures with their captions, since captions of one picture
    are not independent. It says nothing of the spread over training seeds.

    Args:
        queries: the per-query counts of a record (``test_queries``).
    """
    i2t, t2i = counts_of(queries)
    captions = np.array(queries["captions_of_image"])
    image_of = np.repeat(np.arange(len(captions)), captions)
    drawn = _drawn(len(captions), resamples, seed)
    of_image, found = (np.sum([way.recall(k) for k in KS], axis=0) for way in (i2t, t2i))
    of_captions = np.bincount(image_of, found, minlength=len(captions))
    recalls = of_image[drawn].mean(axis=1)
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
    every = np.array([caption for own in captions for caption in own], dtype=object)
    text_of, texts = pd.factorize(every)
    return texts.tolist(), text_of, np.repeat(np.arange(len(captions)), [*map(len, captions)])


def distinct_rows(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of row, told apart by their bits, in order of appearance.

    Args:
        rows: any tensor (N, ...).

    Returns:
        first (D): indices of the distinct rows; row_of (N): for each row its place in ``first``.
    """
    raw = rows.detach().reshape(len(rows), -1).contiguous().view(torch.uint8).cpu().numpy()
    if raw.shape[1] >= 8 and len(np.unique(raw[:, :8].copy().view(np.int64))) == len(raw):
        return np.arange(len(raw)), np.arange(len(raw))  # told apart by a few bytes, cheaply
    row_of, _ = pd.factorize(np.array([row.tobytes() for row in raw], dtype=object))
    return np.unique(row_of, return_index=True)[1], row_of


def pairs_of(text_of: np.ndarray, image_of: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each pair of an image and a text that it has, image by image.

    Returns:
        image, text and owned (P): of each pair, and how many captions of the image have the text;
        pair_of (M): the pair of each caption.
    """
    texts = int(text_of.max()) + 1
    of_caption = image_of * texts + text_of
    found, pair_of, owned = np.unique(of_caption, return_inverse=True, return_counts=True)
    return *np.divmod(found, texts), owned, pair_of


@torch.no_grad()
def rank(
    images: Tensor, texts: Tensor, text_of: np.ndarray, image_of: np.ndarray
) -> tuple[tuple[Ranks, Ranks], tuple[Ranks, Ranks]]:
    """Rank every caption for every image, and every image for every caption.

    Nothing is sorted: what is above the own similarity is counted, and so is what equals it. Memory
    stays within three times ``tiles.HELD`` similarities, whatever the number of images and texts.

    Images with the same bits tie, and so do texts: each distinct vector is multiplied once. Rows
    of a product could differ in their last bits, by place or by tile.

    Args:
        images: unit vectors (N, d).
        texts: unit vectors of the distinct texts (D, d).
        text_of, image_of: for each of M captions, its text in 0..D and its image in 0..N.

    Returns:
        By the standard and by the relaxed protocol, each: counts for N image queries (candidates:
        M captions) and for M caption queries (N images).
    """
    image, text, owned, pair_of = pairs_of(text_of, image_of)
    copies = np.bincount(text_of, minlength=len(texts))  # captions of each text
    (rows, row_of), (columns, column_of) = distinct_rows(images), distinct_rows(texts)
    images = images[rows] if len(rows) < len(images) else images
    tiles = Tiles(images, texts[columns] if len(columns) < len(texts) else texts)
    similarity = tiles.at(row_of[image], column_of[text])
    best = torch.full((len(row_of),), -torch.inf, device=images.device)
    best.scatter_reduce_(0, tiles.here(image), similarity, "amax")
    tied = (similarity == best[image]).cpu().numpy()
    # For a text the queries are its pairs, one by one.
    (above, tie), (above_t, tie_t) = tiles.counts(
        (row_of, best, np.bincount(row_of)),
        (column_of[text], similarity, np.bincount(column_of, copies)),
    )
    # Relaxed, the best of the right captions is the same, only its equals are more: all copies.
    own, alike = (
        np.bincount(image, tied * of, len(row_of)).astype(int) for of in (owned, copies[text])
    )
    by_pair = Ranks(above_t[pair_of], tie_t[pair_of], np.ones_like(pair_of))
    # Relaxed, a text's best image is that of its highest pair, and all such pairs are right.
    least = np.full(len(copies), len(row_of))
    np.minimum.at(least, text, above_t)
    highest_of = np.flatnonzero(above_t == least[text])
    tie_best, right = np.zeros_like(least), np.bincount(text[highest_of], minlength=len(least))
    tie_best[text[highest_of]] = tie_t[highest_of]
    by_text_alone = Ranks(least[text_of], tie_best[text_of], right[text_of])
    return (Ranks(above, tie, own), by_pair), (Ranks(above, tie, alike), by_text_alone)
