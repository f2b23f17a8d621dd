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
        self.context = encoder.tokenizer(["word " * 200]).shape[1]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, caption = self.pairs[index]
        picture = fit(self.split.images.decode(image), self.size)
        pixels = torch.from_numpy(picture.copy()).float() / 255
        pixels = (pixels - self.mean[:, None, None]) / self.std[:, None, None]
        tokens = self.tokenizer([caption])[0]
        return pixels, nn.functional.pad(tokens, (0, self.context - len(tokens)))


def as_the_library_has_it(encoder: DualEncoder) -> None:
    """Undo what this package does to open_clip's modules."""
    for module in encoder.model.modules():
        if type(module) is SelfAttention:
            module.__class__ = nn.MultiheadAttention
        elif type(module) is CLIP:
            module.__class__ = CLIP.__base__


def train(
    encoder: DualEncoder,
    data: Captions,
    order: Sequence[int],
    objective: Objective,
    batch: int,
    learning_rate: float,
    workers: int = 2,
) -> list[float]:
    """One epoch over some captions in order; the loss of each step."""
    loader = DataLoader(data, batch, sampler=list(order), num_workers=workers)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=learning_rate)
    encoder.eval()
    encoder.method.train()
    losses = []
    for loaded in loader:
        images, tokens = (part.to(encoder.device) for part in loaded)
        views = [embed(encoder, images, tokens)]
        if objective.views == 2:
            with encoder.token_dropout(objective.token_dropout, rows=0):
                views.append(embed(encoder, images, tokens))
        seen, read = (torch.cat(of) for of in zip(*views, strict=True))
        loss = objective.loss(seen, read, encoder.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def embed(encoder: DualEncoder, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    seen, read = encoder.model.encode_image(images), encoder.model.encode_text(tokens)
    return nn.functional.normalize(seen, dim=-1), nn.functional.normalize(read, dim=-1)
