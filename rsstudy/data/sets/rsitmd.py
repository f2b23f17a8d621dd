"""RSITMD (Yuan et al., TGRS 2022): 4,743 aerial pictures with finer captions."""

from pathlib import Path

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import read_folder, register


@register(
    "rsitmd",
    images=4_743,
    captions=23_715,
    source="RSITMD (Yuan et al., TGRS 2022): github.com/xiaoyuan1996/AMFMN",
    # of the captions and splits in github.com/ZhanYang-nwpu/PE-RSITR, data/rsitmd_precomp
    manifest="61ae43c1fc51442f77455543db582357c10178572e86c7d62417a84b4729513e",
)
def rsitmd(folder: Path) -> ImageTextSet:
    """Parquet shards, or a Karpathy JSON with its pictures."""
    return read_folder(folder, "rsitmd")
