"""Visual prompt tuning, deep: learned tokens before every image block (Jia et al., ECCV 2022).

Block i maps ``[P_i, x_{i-1}]`` to ``[_, x_i]``: what becomes of P_i behind the block is dropped.

What differs from the authors' code (KMnP/vpt): they choose between 1 and 200 tokens for each set,
and here there are 50 on all. Their tokens start uniform within sqrt(6 / (3 p p + d)), p the patch's
side: on ViT-B/32 that is a deviation of 0.023, and here it is 0.02, normal.
"""

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import place_prompts
from rsstudy.methods.registry import Natural, Positive, register


@register("vpt", printed={})
class VPT:
    """Trains ``n d`` parameters a block: 460,800 on ViT-B/32.

    Attributes:
        tokens: n.
        depth: how many blocks have tokens of their own; 0 is all (deep), 1 is VPT-shallow.
    """

    tokens: Positive = 50
    depth: Natural = 0

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.image = place_prompts(encoder, "image", self.tokens, self.depth)
