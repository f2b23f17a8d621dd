"""VL-Prompt: learned tokens in both towers, independent of each other.

The form of the independent vision-language prompting that MaPLe is compared with (Khattak et al.,
CVPR 2023). Length and depth are those of its released configuration (muzairkhattak/
multimodal-prompt-learning, configs/trainers/IVLP: 2 tokens in each tower, 12 blocks of each).

At the start every token is normal with deviation 0.02. There the first block's text tokens start as
the embedded words "a photo", which belong to a sentence around a class name; captions have none.
"""

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import place_prompts
from rsstudy.methods.registry import Natural, Positive, register

PRINTED = {"image_tokens": 50, "image_depth": 0, "text_tokens": 16, "text_depth": 1}


@register("vl-prompt", version=2, printed=PRINTED)
class VLPrompt:
    """Trains ``n d`` parameters for each block with tokens of its own: 30,720 on ViT-B/32.

    The preset is deep VPT and CoOp together, 468,992: the printed size has no other source.

    Attributes:
        image_tokens, text_tokens: n in each tower.
        image_depth, text_depth: how many blocks have tokens of their own; 0 is all.
    """

    image_tokens: Positive = 2
    text_tokens: Positive = 2
    image_depth: Natural = 12
    text_depth: Natural = 12

    def add_to(self, encoder: DualEncoder) -> None:
        method = encoder.method
        method.image = place_prompts(encoder, "image", self.image_tokens, self.image_depth)
        method.text = place_prompts(encoder, "text", self.text_tokens, self.text_depth)
