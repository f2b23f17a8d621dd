"""MaPLe: text prompts, and image prompts that are functions of them (Khattak et al., CVPR 2023).

In each of the first J blocks: text tokens ``P_i``, image tokens ``F_i(P_i)`` with a linear ``F_i``.

At the start every ``P_i`` is normal with deviation 0.02. What differs from the released code
(muzairkhattak/multimodal-prompt-learning, trainers/maple.py): there ``P_1`` starts as the embedded
words "a photo", and ``F_2 ... F_J`` as copies of one draw. Here ``P_1`` starts as the others do,
since captions are no class names within "a photo of a", and each ``F_i`` has a draw of its own.
"""

from functools import partial

from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.placing import learned, own_tokens, place_tokens
from rsstudy.methods.registry import Natural, Positive, register


@register("maple")
class MaPLe:
    """Trains ``J (n d_text + (d_text + 1) d_image)`` parameters: 3,555,072 on ViT-B/32.

    J is at most the depth of the shallower tower.

    Attributes:
        tokens: n.
        depth: J; 0 is all blocks.
    """

    tokens: Positive = 2
    depth: Natural = 9

    def add_to(self, encoder: DualEncoder) -> None:
        image, text = encoder.blocks("image"), encoder.blocks("text")
        most = min(len(image), len(text))
        depth = min(self.depth or most, most)
        prompts, functions = nn.ParameterList(), nn.ModuleList()
        for layer in range(depth):
            prompts.append(learned(self.tokens, text[layer].width))
            functions.append(nn.Linear(text[layer].width, image[layer].width))
        encoder.method.prompts, encoder.method.functions = prompts, functions
        place_tokens(text, depth, self.tokens, partial(own_tokens, prompts))
        place_tokens(image, depth, self.tokens, partial(of_text, functions, prompts))


def of_text(functions: nn.ModuleList, prompts: nn.ParameterList, layer: int) -> Tensor:
    """F_i(P_i)."""
    return functions[layer](prompts[layer])
