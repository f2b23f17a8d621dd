"""Retrieval scores: recall at k in both directions, as expected values over random tie orders.

A query's candidates are ranked by similarity. What its recall at k needs is three counts about the
best-scored of its own candidates: how many candidates rank *above* it, how many *tie* with it
(itself included), and how many of the tied are the query's *own*. If ties are put in random order,
the chance that an own candidate is among the first k is, in closed form,

    P = 1 - C(tie - own, k - above) / C(tie, k - above)        (0 where k <= above),

the first k - above of the tied being drawn without replacement. Two tied items at the top thus give
R@1 = 0.5. Identical captions are encoded once, and identical pictures share one embedding: rounding
cannot break their ties by accident.

From one ranking come three protocols, which differ in what counts as right:

- *standard*: a query's own pair alone;
- *relaxed*: every caption with the same text as an own one, and every image that has the caption;
- *share*: the standard scores over the highest that the set's captions allow (``highest``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import comb
from torch import Tensor

from rsstudy.errors import StudyError

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


def tied_oracle(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The scores of an oracle that knows which captions each picture has, and nothing more.

    Every text that a picture has gets the one high score with it, every other the one low score.
    So for an image query all captions tie at the top whose text the picture has, copies on other
    pictures included; for a caption query all pictures that have its text. Ties are in random
    order, recalls are their expected values.

    Args:
        captions: the captions of each image of the test split.
    """
    texts, text_of, image_of = distinct(captions)
    image_of_pair, text_of_pair = _pairs(text_of, image_of, len(texts))
    copies = np.bincount(text_of)
    alike = np.bincount(image_of_pair, copies[text_of_pair], len(captions)).astype(int)
    own = np.bincount(image_of, minlength=len(captions))
    sharing = np.bincount(text_of_pair)[text_of]
    return scores(
        Ranks(np.zeros_like(alike), alike, own),
        Ranks(np.zeros_like(sharing), sharing, np.ones_like(sharing)),
    )


def highest(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The highest score that any scorer of distinct texts can expect, each of the six by itself.

    A scorer gives one similarity to an image and a text, so identical captions tie. It may know
    everything else, how many copies of a text an image has included.

    - Image to text: an own candidate is met first in some own text, and what is ranked above that
      text only costs places. With m own of c copies in the set it is found among the first k with
      P = 1 - C(c - m, k) / C(c, k), which is 1 where c <= k. The best is the own text with the
      largest P, put first; tying texts with each other gains nothing (of a pooled tie the text with
      the largest m / c alone does at least as well for every k).
    - Text to image: all queries of one text see one order of the images. Their expected hits are
      most when the k images with the most copies of the text come first; one order serves all k.

    Each of the six figures is attained. Their mean, ``mean_recall``, is an upper bound of what one
    scorer reaches in all six at once: an image may prefer one text for R@1 and another for R@5, and
    the orders that the directions ask for may contradict each other. On RSICD and UCM-Captions they
    do not: there one table of scores attains the bound (tests/test_retrieval.py builds it).

    Args:
        captions: the captions of each image of the test split.
    """
    texts, text_of, image_of = distinct(captions)
    image_of_pair, text_of_pair = _pairs(text_of, image_of, len(texts))
    # m of each pair of an image and a text it has
    _, owned = np.unique(_pair_index(text_of, image_of, len(texts)), return_counts=True)
    of_pair = Ranks(np.zeros_like(owned), np.bincount(text_of)[text_of_pair], owned)
    by_text = np.lexsort((-owned, text_of_pair))
    place = np.arange(len(by_text)) - np.searchsorted(
        text_of_pair[by_text], text_of_pair[by_text]
    )  # of an image among those of its text, the one with the most copies first
    found = {}
    for k in KS:
        best = np.zeros(len(captions))
        np.maximum.at(best, image_of_pair, of_pair.recall(k))
        found[f"i2t_r{k}"] = 100 * float(best.mean())
    for k in KS:
        found[f"t2i_r{k}"] = 100 * float(owned[by_text][place < k].sum() / len(text_of))
    return {**found, "mean_recall": sum(found.values()) / len(found)}


def share(scored: Mapping[str, float], of: Mapping[str, float]) -> dict[str, float]:
    """Each score in percent of the highest possible one, as from ``highest``.

    The share of the mean recall is the ratio of the mean recalls, not the mean of six ratios.
    """
    return {name: 100 * value / of[name] for name, value in scored.items()}


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


def distinct_rows(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of row, told apart by their bits, in order of appearance.

    Args:
        rows: any tensor (N, ...).

    Returns:
        first (D): indices of the distinct rows; row_of (N): for each row its place in ``first``.
    """
    raw = rows.detach().reshape(len(rows), -1).contiguous().view(torch.uint8).cpu().numpy()
    if len({row.tobytes() for row in raw[:, :16]}) == len(raw):  # so the rest need not be read
        return np.arange(len(raw)), np.arange(len(raw))
    found: dict[bytes, int] = {}
    row_of = [found.setdefault(row.tobytes(), len(found)) for row in raw]
    return np.unique(row_of, return_index=True)[1], np.array(row_of)


def _pair_index(text_of: np.ndarray, image_of: np.ndarray, texts: int) -> np.ndarray:
    """One number for each caption, the same for the copies of one text on one image."""
    return image_of * texts + text_of


def _pairs(text_of: np.ndarray, image_of: np.ndarray, texts: int) -> tuple[np.ndarray, np.ndarray]:
    """The image and the text of each pair of an image and a text that it has, image by image."""
    image_of_pair, text_of_pair = np.divmod(np.unique(_pair_index(text_of, image_of, texts)), texts)
    return image_of_pair, text_of_pair


# Similarities that are in memory at a time: a quarter of a gigabyte, and as much to compare them.
HELD = 1 << 26


def rank(
    images: Tensor, texts: Tensor, text_of: np.ndarray, image_of: np.ndarray, chunk: int = 0
) -> tuple[tuple[Ranks, Ranks], tuple[Ranks, Ranks]]:
    """Rank every caption for every image, and every image for every caption.

    Nothing is sorted: what is above the own similarity is counted, and so is what equals it. Memory
    stays within three blocks of similarities, whatever the number of images and texts.

    Images with the same bits tie whatever ``chunk`` is: each distinct vector has one row in one
    block. Two rows of a product could differ in their last bits, by place or by block.

    Args:
        images: unit vectors (N, d).
        texts: unit vectors of the distinct texts (D, d).
        text_of, image_of: for each of M captions, its text in 0..D and its image in 0..N.
        chunk: distinct images a block; 0 for as many as fit into ``HELD``.

    Returns:
        By the standard and by the relaxed protocol, each: counts for N image queries (candidates:
        M captions) and for M caption queries (N images).
    """
    device = images.device
    rows, row_of = distinct_rows(images)
    if len(rows) < len(images):
        images = images[torch.as_tensor(rows, device=device)]
    by_row = np.argsort(row_of, kind="stable")  # copies follow each other from here on
    place_of = np.argsort(by_row)
    row_of = row_of[by_row]
    blocks = _Blocks(images, texts, chunk)
    index = _pair_index(text_of, place_of[image_of], len(texts))
    found, pair_of = np.unique(index, return_inverse=True)
    pairs = _Pairs(*np.divmod(found, len(texts)), np.bincount(pair_of), device)
    copies = torch.as_tensor(np.bincount(text_of, minlength=len(texts)), device=device)
    i2t, similarity = _rank_captions(blocks, pairs, row_of, copies)
    times = torch.as_tensor(np.bincount(row_of), device=device)
    t2i, of_text = _rank_images(blocks, pairs, similarity, times)
    above, tie, own, alike = i2t.cpu().numpy()[:, place_of]
    above_t, tie_t = t2i.cpu().numpy()[:, pair_of]
    standard = (Ranks(above, tie, own), Ranks(above_t, tie_t, np.ones_like(tie_t)))
    relaxed = (Ranks(above, tie, alike), Ranks(*of_text.cpu().numpy()[:, text_of]))
    return standard, relaxed


class _Blocks:
    """Similarities of distinct images with all texts, some images at a time."""

    def __init__(self, images: Tensor, texts: Tensor, chunk: int) -> None:
        self.images, self.texts = images, texts
        fits = not chunk and len(images) * len(texts) <= HELD
        self.whole = images @ texts.T if fits else None  # then one product serves both passes
        self.chunk = chunk or max(HELD // len(texts), 1)
        self.spare = torch.empty(0, device=images.device)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """The first image of each block, and the block (images, D)."""
        for start in range(0, len(self.images), self.chunk):
            if self.whole is not None:
                yield start, self.whole[start : start + self.chunk]
            else:
                yield start, self.images[start : start + self.chunk] @ self.texts.T

    def count(self, compare: Callable, block: Tensor, bound: Tensor, weights: Tensor) -> Tensor:
        """How much of a block is above, or equals, a bound for each row (n, 1) or column (n).

        A product with the weights counts: whole numbers, exact in fp32 below 2^24, and faster than
        a sum of truths.
        """
        if self.spare.shape != block.shape:  # memory anew would take longer than comparing
            self.spare = torch.empty_like(block)
        found, weights = compare(block, bound, out=self.spare), weights.float()
        return (found @ weights if bound.ndim == 2 else weights @ found).long()


class _Pairs:
    """Each pair of an image and a text that it has, image by image; ``owned`` counts its copies."""

    def __init__(
        self, image: np.ndarray, text: np.ndarray, owned: np.ndarray, device: torch.device
    ) -> None:
        self.image_of, self.text_of = image, text
        self.image, self.text, self.owned = (
            torch.as_tensor(of, device=device) for of in (image, text, owned)
        )


def _rank_captions(
    blocks: _Blocks, pairs: _Pairs, row_of: np.ndarray, copies: Tensor
) -> tuple[Tensor, Tensor]:
    """Counts about each image's best own text, and the similarity of each pair.

    Args:
        row_of: for each image its row among the distinct ones, ascending.
        copies: captions of each text.

    Returns:
        (4, N): above, tie, own, and the tied captions with an own text; (pairs,).
    """
    device = copies.device
    row_of_image = torch.as_tensor(row_of, device=device)
    similarity = torch.empty(len(pairs.image), device=device)
    best = torch.full((len(row_of),), -torch.inf, device=device)
    counts = torch.zeros(4, len(row_of), dtype=torch.long, device=device)
    for start, block in blocks:
        first, last = np.searchsorted(row_of, [start, start + len(block)])
        here = slice(int(first), int(last))
        of = slice(*(int(at) for at in np.searchsorted(pairs.image_of, [first, last])))
        image, text = pairs.image[of], pairs.text[of]
        similarity[of] = block[row_of_image[image] - start, text]
        best.scatter_reduce_(0, image, similarity[of], "amax")
        for turn in _turns(row_of[here], device):  # an image of each row, then second images, ...
            seen = block if len(turn) == len(block) else block[row_of_image[here][turn] - start]
            bound = best[here][turn, None]
            counts[0, here][turn] = blocks.count(torch.gt, seen, bound, copies)
            counts[1, here][turn] = blocks.count(torch.eq, seen, bound, copies)
    tied = similarity == best[pairs.image]
    counts[2].scatter_add_(0, pairs.image, tied * pairs.owned)
    # Relaxed, the best of the right captions is the same, only its equals are more: all copies.
    counts[3].scatter_add_(0, pairs.image, tied * copies[pairs.text])
    return counts, similarity


def _rank_images(
    blocks: _Blocks, pairs: _Pairs, similarity: Tensor, times: Tensor
) -> tuple[Tensor, Tensor]:
    """Counts about each pair's image for its text, and about each text's best image.

    The same products over the same blocks give the same bits as in the pass before, so an image
    ties with itself exactly.

    Args:
        times: images of each distinct vector.

    Returns:
        (2, pairs): above, tie; (3, D): above, tie, and how many of the tied are right.
    """
    texts, device = len(blocks.texts), times.device
    counts = torch.zeros(2, len(similarity), dtype=torch.long, device=device)
    turns = _turns(pairs.text_of, device)  # a turn has a pair of each text
    for start, block in blocks:
        here = times[start : start + len(block)]
        for turn in turns:
            text = pairs.text[turn]
            columns = block if len(text) == texts else block[:, text]
            counts[0, turn] += blocks.count(torch.gt, columns, similarity[turn], here)
            counts[1, turn] += blocks.count(torch.eq, columns, similarity[turn], here)
    # Relaxed, a text's best image is that of its highest pair, and all such pairs are right.
    best = torch.full((texts,), -torch.inf, device=device)
    best.scatter_reduce_(0, pairs.text, similarity, "amax")
    is_best = similarity == best[pairs.text]
    of_text = torch.zeros(3, texts, dtype=torch.long, device=device)
    of_text[:2, pairs.text[is_best]] = counts[:, is_best]
    of_text[2].scatter_add_(0, pairs.text, is_best.long())
    return counts, of_text


def _turns(group_of: np.ndarray, device: torch.device) -> list[Tensor]:
    """Items in turns: the first of every group, in the order of the groups, the second, ..."""
    by_group = np.argsort(group_of, kind="stable")
    ordered = group_of[by_group]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return [
        torch.as_tensor(by_group[place == turn], device=device) for turn in range(place.max() + 1)
    ]
