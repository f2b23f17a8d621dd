"""UCM-Captions (Qu et al., CITS 2016): 2,100 aerial pictures of 21 classes."""

from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import read_folder, register


@register(
    "ucm",
    images=2_100,
    captions=10_500,
    source=(
        "UCM-Captions (Qu et al., CITS 2016): among the data sets linked from "
        "github.com/201528014227051/RSICD_optimal"
    ),
    manifest="ee502b244d1afecbf602bb172a761ae637346343e38861b8bc621cbcb141f9d1",
    folds={
        "first": "fc9f34f57459c403022bfe3c6dfa8bbfad5fd1627ebdbee2244ad4fd4687f111",
        "second": "5e07dc9e08ae4f1b93e79f4880dbab0d6ec168fc1ab4e971c25ef944c19f0123",
    },
)
def ucm(folder: Path) -> ImageTextSet:
    """Parquet shards, or a Karpathy JSON with its pictures."""
    return read_folder(folder, "ucm")
