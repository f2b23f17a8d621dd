"""Flickr8k (Hodosh et al., JAIR 2013): 8,091 everyday photographs."""

from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import read_folder, register


@register(
    "flickr8k",
    images=8_091,
    captions=40_455,
    source=(
        "Flickr8k (Hodosh et al., JAIR 2013): pictures from its authors at the University of "
        "Illinois, splits and captions from cs.stanford.edu/people/karpathy/deepimagesent"
    ),
    manifest="4db5ba2f62f0ca060f04a43b74796e350b5887c6b9bbd8f2063287f58768277d",
)
def flickr8k(folder: Path) -> ImageTextSet:
    """Parquet shards, or a Karpathy JSON with its pictures."""
    return read_folder(folder, "flickr8k")
