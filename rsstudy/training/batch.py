"""The batch of a step: its pairs, what the towers read of them, and its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsstudy.encoders import DualEncoder
from rsstudy.encoders.attention import fast_attention
from rsstudy.evaluation import Pairs, take
from rsstudy.objectives import Objective, Share, false_negatives
from rsstudy.training.parallel import together
from rsstudy.training.recipe import Recipe
from rsstudy.training.recompute import recomputed
from rsstudy.training.second_view import augmented, siblings

LossOf = Callable[..., Tensor]


def batches(
    pairs: Pairs, recipe: Recipe, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch as (image rows, text rows); a single pair at the end is left out.

    They depend on seed and epoch alone, so a resumed run sees the same ones.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(pairs.text_of))
    if recipe.samples == "images":  # of each image, the caption that the shuffle brings first
        _, first = np.unique(pairs.image_of[order], return_index=True)
        order = order[np.sort(first)]
    for start in range(0, len(order), recipe.batch):
        captions = order[start : start + recipe.batch]
        if len(captions) > 1:
            yield pairs.image_of[captions], pairs.text_of[captions]


def count_batches(pairs: Pairs, recipe: Recipe) -> int:
    """How many batches ``batches`` yields."""
    items = pairs.image_of if recipe.samples == "captions" else np.unique(pairs.image_of)
    full, rest = divmod(len(items), recipe.batch)
    return full + (rest > 1)


def inputs(
    encoder: DualEncoder,
    pairs: Pairs,
    objective: Objective,
    images: np.ndarray,
    texts: np.ndarray,
    seed: list[int],
) -> dict[str, Any]:
    """The arguments of ``batch_loss``, on the encoder's device: this process's rows of a batch.

    Args:
        images, texts: rows of the batch's images and texts.
        seed: draws the second view's captions.
    """
    others = siblings(pairs, images, texts, seed) if objective.sibling_captions else texts
    share, mine = together().share(len(images)), slice(None)
    if share is not None:  # a process without rows embeds one, which the objective cuts off
        first = share.first if share.rows else 0
        mine = slice(first, first + max(share.rows, 1))
    # On a GPU captions have few lengths, so that a compiled step needs few graphs.
    multiple = 8 if encoder.device.type == "cuda" else 1
    tokens, second = pairs.words(texts[mine], others[mine], multiple=multiple)
    masked = None
    if objective.mask_false_negatives:
        ids = (torch.as_tensor(i, device=encoder.device) for i in (images, texts, others))
        masked = false_negatives(*ids)
    return {
        "images": take(pairs.images, images[mine]).to(encoder.device, non_blocking=True),
        "tokens": tokens,
        "second_tokens": second if objective.sibling_captions else None,
        "not_negative": masked,
        "share": share,
    }


def loss_of_views(
    encoder: DualEncoder,
    objective: Objective,
    recipe: Recipe,
    images: Tensor,
    tokens: Tensor,
    not_negative: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """The loss (a scalar) of what ``views`` gives: of ``batch_loss``, the tensor operations alone.

    Args:
        not_negative, share: see ``Objective.loss``.
    """
    seen, read = by_towers(encoder, recipe, images, tokens)
    return objective.loss(seen, read, encoder.logit_scale, not_negative, share)


def by_towers(
    encoder: DualEncoder, recipe: Recipe, images: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Unit vectors of images and of captions, in the recipe's precision."""
    bf16 = recipe.precision == "bf16"
    with torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=bf16):
        return encoder.embed_images(images), encoder.embed_texts(tokens)


def batch_loss(
    encoder: DualEncoder,
    objective: Objective,
    recipe: Recipe,
    images: Tensor,
    tokens: Tensor,
    second_tokens: Tensor | None = None,
    not_negative: Tensor | None = None,
    share: Share | None = None,
    loss_of: LossOf = loss_of_views,
) -> Tensor:
    """The loss of one batch: images (B, 3, S, S) uint8 and their captions' tokens (B, L).

    Args:
        second_tokens: the second view's captions, if they are others.
        not_negative, share: see ``Objective.loss``.
        loss_of: computes what ``loss_of_views`` computes; see ``compiled``.
    """
    shown = views(objective, images, tokens, second_tokens)
    with as_in_training(encoder, objective, recipe, len(images)):
        return loss_of(encoder, objective, recipe, *shown, not_negative, share)


def views(
    objective: Objective, images: Tensor, tokens: Tensor, second_tokens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Images and tokens (views * B, ...): two views go through the towers in one pass."""
    if objective.views == 1:
        return images, tokens
    again = augmented(images) if objective.augment_images else images
    second = tokens if second_tokens is None else second_tokens
    return torch.cat([images, again]), torch.cat([tokens, second])


@contextmanager
def as_in_training(
    encoder: DualEncoder, objective: Objective, recipe: Recipe, rows: int
) -> Iterator[None]:
    """Within the block, drop tokens of the second view, behind ``rows`` rows, and save memory."""
    of_tokens = objective.token_dropout_of == "tokens"

    @contextmanager
    def around() -> Iterator[None]:
        two = objective.views == 2
        dropping = encoder.token_dropout(objective.token_dropout, rows, of_tokens)
        with dropping if two else nullcontext(), fast_attention(encoder.device):
            yield

    with around(), recomputed(encoder, around) if recipe.checkpointing else nullcontext():
        yield
