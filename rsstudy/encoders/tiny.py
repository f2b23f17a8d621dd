"""``tiny``: an open_clip CLIP of 1.6 million parameters, for runs of seconds on a CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import open_clip
import torch
from torch import Tensor

from rsstudy.encoders import register
from rsstudy.encoders.dual import DualEncoder, seeded
from rsstudy.encoders.openclip import wrap

VOCABULARY = 4096
CONTEXT = 48
JOINT_WIDTH = 128
VISION = {"layers": 4, "width": 128, "head_width": 32, "patch_size": 8, "image_size": 64}
TEXT = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 96, "heads": 4, "layers": 3}
# As open_clip writes a model down.
CONFIG: dict[str, Any] = {"embed_dim": JOINT_WIDTH, "vision_cfg": VISION, "text_cfg": TEXT}


@cache
def _bpe() -> Any:
    """CLIP's tokenizer; to read its merges takes longer than a step."""
    return open_clip.get_tokenizer("ViT-B-32", context_length=CONTEXT)


def tokenize(texts: list[str]) -> Tensor:
    """CLIP's byte-pair ids folded into a small vocabulary, (B, 48).

    Zero pads; the end-of-text id stays the highest, by which open_clip finds the text's feature.
    Of a few hundred words, two rarely share one of the 4093 ids.
    """
    start, end = VOCABULARY - 2, VOCABULARY - 1
    bpe = _bpe()
    ids = bpe(texts)
    folded = 1 + ids % (VOCABULARY - 3)
    folded = torch.where(ids == bpe.sot_token_id, start, folded)
    folded = torch.where(ids == bpe.eot_token_id, end, folded)
    return torch.where(ids == 0, 0, folded)


@register(
    "tiny",
    what="open_clip CLIP of 1.6 million parameters, pretrained on generated ground-level scenes",
    weights=("random",),
)
def tiny(weights: str = "", image_size: int | None = None, meta: bool = False) -> DualEncoder:
    """The tiny encoder with random weights drawn from seed 0."""
    vision = {**VISION, "image_size": image_size or VISION["image_size"]}
    with seeded(meta):
        model = open_clip.CLIP(
            JOINT_WIDTH, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**TEXT)
        )
    return wrap("tiny", model, tokenize, JOINT_WIDTH, {})
