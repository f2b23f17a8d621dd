"""How alike the pictures of a set are, and how alike its captions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import fit
from rsstudy.scenes import scenes


def picture_distance(pictures: ImageTextSet, size: int = 32) -> float:
    """The mean distance of two different pictures, in grey levels of 255.

    The distance is the root mean square over the pixels and channels at ``size`` pixels a side.
    """
    rows = np.stack([fit(pictures.images.decode(i), size) for i in range(len(pictures))])
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    return float(pdist(flat).mean() / np.sqrt(flat.shape[1]))


def distinct_captions(pictures: ImageTextSet) -> float:
    """The distinct captions of a set, in percent of all its captions."""
    captions = [caption for own in pictures.captions for caption in own]
    return 100 * len(set(captions)) / len(captions)


def along_the_dials(positions: list[float], pictures: int = 120) -> pd.DataFrame:
    """Both measures on 800 generated aerial scenes, with both dials at each position.

    Args:
        pictures: how many of the scenes are drawn, for the distance of pictures.
    """
    rows = []
    for position in positions:
        made = scenes(alike_images=position, alike_captions=position)
        distance = picture_distance(made.take(range(pictures)))
        rows.append((position, distance, distinct_captions(made)))
    return pd.DataFrame(rows, columns=["dial", "picture_distance", "distinct_captions"])
