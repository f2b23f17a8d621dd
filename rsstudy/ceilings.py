"""The highest scores that a test split allows, from its captions alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rsstudy.retrieval import KS, Ranks, distinct, pairs_of, scores


def tied_oracle(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The scores of an oracle that knows which captions each picture has, and nothing more.

    Each text of a picture gets the one high score with it, every other text the one low score. For
    an image query all captions tie at the top whose text the picture has, copies on other pictures
    included; for a caption query all pictures that have its text.

    Args:
        captions: the captions of each image of the test split.
    """
    _, text_of, image_of = distinct(captions)
    image, text, owned, _ = pairs_of(text_of, image_of)
    alike = np.bincount(image, np.bincount(text_of)[text], len(captions)).astype(int)
    own = np.bincount(image, owned, len(captions)).astype(int)
    sharing = np.bincount(text)[text_of]
    return scores(
        Ranks(np.zeros_like(alike), alike, own),
        Ranks(np.zeros_like(sharing), sharing, np.ones_like(sharing)),
    )


def highest(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The highest score that any scorer of distinct texts can expect, each of the six by itself.

    A scorer gives one similarity to an image and a text, so identical captions tie.

    - Image to text: a text with m own of c copies in the set, put first, is found among the first k
      with P = 1 - C(c - m, k) / C(c, k), which is 1 where c <= k. The best is the own text with the
      largest P. Ties of several texts gain nothing: of a pooled tie the text with the largest m / c
      alone does at least as well for every k.
    - Text to image: all queries of one text see one order of the images. Their expected hits are
      most when the k images with the most copies of the text come first; one order serves all k.

    Each of the six figures is attained. Their mean, ``mean_recall``, is an upper bound: an image
    may prefer one text for R@1 and another for R@5, and the directions may contradict each other.
    On RSICD and UCM-Captions one table of scores attains it (tests/test_retrieval.py builds it).

    Args:
        captions: the captions of each image of the test split.
    """
    _, text_of, image_of = distinct(captions)
    image, text, owned, _ = pairs_of(text_of, image_of)
    first = Ranks(np.zeros_like(owned), np.bincount(text_of)[text], owned)
    found = {}
    for k in KS:
        best = np.zeros(len(captions))
        np.maximum.at(best, image, first.recall(k))
        found[f"i2t_r{k}"] = 100 * float(best.mean())
    most_first = pd.Series(owned).sort_values(ascending=False)
    of_text = most_first.groupby(text[most_first.index])
    found |= {f"t2i_r{k}": 100 * float(of_text.head(k).sum() / len(text_of)) for k in KS}
    return {**found, "mean_recall": sum(found.values()) / len(found)}
