"""RSICD (Lu et al., TGRS 2018): 10,921 aerial pictures of 31 classes."""

from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import read_folder, register


@register(
    "rsicd",
    images=10_921,
    captions=54_605,
    source=(
        "RSICD (Lu et al., TGRS 2018): github.com/201528014227051/RSICD_optimal, or in "
        "Parquet the hub data set arampacha/rsicd"
    ),
    manifest="52aea80a7f364e8c1c72d0445fd66d5ac5790bd3dcef997b1e5ae588f48cf73a",
    folds={
        "first": "3cedfeb3301f69c58f7a8d105faffe71dd5e69ea0ca7b2b9023726073c766aa4",
        "second": "4cf06977a94d73da24a867626304149a5ba19562cc7986a9d7809d1ef1fb96a7",
        "first-grouped": "677a6eec28a031d607c7203d3db32b54fb301379c9bfd5f8e5dd492d8b8917fc",
        "second-grouped": "77f77ada6a26c97a755902e205de32ea26d99fc7c3247a8ccabf1d5ea398427f",
    },
)
def rsicd(folder: Path) -> ImageTextSet:
    """Parquet shards, or a Karpathy JSON with its pictures."""
    return read_folder(folder, "rsicd")
