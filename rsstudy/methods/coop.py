"""CoOp: learned context vectors before the words of a caption (Zhou et al., IJCV 2022).

The text tower reads ``[V_1 ... V_n, w_1 ... w_L]``. The vectors enter behind the positions, which
the words therefore keep. At the start every vector is normal with deviation 0.02, as the authors'
are where no words are given (KaiyangZhou/CoOp, trainers/coop.py).
"""

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import place_prompts
from rsstudy.methods.registry import Natural, Positive, register


@register("coop", printed={"depth": 0})
class CoOp:
    """Trains ``n d`` parameters for each block with vectors of its own: 8,192 on ViT-B/32.

    In the preset, which has the printed size and no other source, every block has its own: 98,304.

    Attributes:
        context: n.
        depth: how many blocks have vectors of their own: 1 (the authors) up; 0 is all.
    """

    context: Positive = 16
    depth: Natural = 1

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.text = place_prompts(encoder, "text", self.context, self.depth)
