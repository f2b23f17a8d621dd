"""Zero-shot: the pretrained encoder as it is (Radford et al., ICML 2021)."""

from rsstudy.encoders import DualEncoder
from rsstudy.methods.registry import register


@register("zero-shot")
class ZeroShot:
    """Nothing is trained: 0 parameters."""

    def add_to(self, encoder: DualEncoder) -> None:
        pass
