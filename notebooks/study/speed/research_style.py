"""The training loop written the way released research code writes it, as the thing to compare with.

Captions are the samples; each is tokenised to the full context and its picture decoded, resized and
normalised in ``__getitem__``, in every epoch. The two views of HMMC are two forward passes. Adam is
given all parameters, of which the frozen ones never get a gradient. Everything is fp32, and the
encoder's modules are the library's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import fit
from rsstudy.encoders import DualEncoder
from rsstudy.encoders.attention import SelfAttention
from rsstudy.encoders.openclip import CLIP
from rsstudy.objectives import Objective


class Captions(Dataset[tuple[Tensor, Tensor]]):
    """One item a caption: the normalised picture (3, S, S) and its padded token ids (L,)."""

    def __init__(self, encoder: DualEncoder, split: ImageTextSet, pairs: Sequence[tuple[int, str]]):
        self.split, self.pairs, self.tokenizer = split, list(pairs), encoder.tokenizer
        self.size, self.mean, self.std = encoder.image_size, encoder.mean.cpu(), encoder.std.cpu()
        self.context = context(encoder)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, caption = self.pairs[index]
        picture = torch.from_numpy(fit(self.split.images.decode(image), self.size).copy())
        tokens = self.tokenizer([caption])[0]
        return normalised(picture, self.mean, self.std), padded(tokens, self.context)


def context(encoder: DualEncoder) -> int:
    """The most tokens that the encoder reads."""
    return encoder.tokenizer(["word " * 200]).shape[1]


def padded(tokens: Tensor, context: int) -> Tensor:
    return nn.functional.pad(tokens, (0, context - tokens.shape[-1]))


def normalised(pictures: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (pictures.float() / 255 - mean[:, None, None]) / std[:, None, None]


def as_the_library_has_it(encoder: DualEncoder) -> DualEncoder:
    """The encoder itself, without what this package does to open_clip's modules."""
    for module in encoder.model.modules():
        if type(module) is SelfAttention:
            module.__class__ = nn.MultiheadAttention
        elif type(module) is CLIP:
            module.__class__ = CLIP.__base__
    return encoder


def train(
    encoder: DualEncoder,
    objective: Objective,
    data: Captions,
    order: Sequence[int],
    batch: int,
    rate: float,
) -> list[float]:
    """One epoch over some captions in order; the loss of each step."""
    loader = DataLoader(data, batch, sampler=list(order), num_workers=2)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=rate)
    encoder.eval()
    encoder.method.train()
    losses = []
    for loaded in loader:
        images, tokens = (part.to(encoder.device) for part in loaded)
        losses.append(step(optimizer, loss_of(encoder, objective, images, tokens)).item())
    return losses


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def loss_of(encoder: DualEncoder, objective: Objective, images: Tensor, tokens: Tensor) -> Tensor:
    """The loss of a batch; the second view is a second forward pass."""
    views = [embed(encoder, images, tokens)]
    if objective.views == 2:
        with encoder.token_dropout(objective.token_dropout, rows=0):
            views.append(embed(encoder, images, tokens))
    seen, read = (torch.cat(of) for of in zip(*views, strict=True))
    return objective.loss(seen, read, encoder.logit_scale)


def embed(encoder: DualEncoder, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    seen, read = encoder.model.encode_image(images), encoder.model.encode_text(tokens)
    return nn.functional.normalize(seen, dim=-1), nn.functional.normalize(read, dim=-1)
