"""The gradients of a batch, also where its activations do not fit into memory at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states

from rsstudy.encoders import DualEncoder
from rsstudy.objectives import Objective
from rsstudy.training import batch
from rsstudy.training.batch import LossOf, batch_loss, loss_of_views
from rsstudy.training.recipe import Recipe


def add_gradients(
    encoder: DualEncoder,
    objective: Objective,
    recipe: Recipe,
    shown: Mapping[str, Any],
    loss_of: LossOf = loss_of_views,
) -> Tensor:
    """Add the gradients of a batch's loss to those of the parameters; returns the loss.

    With ``recipe.accumulate`` the batch is embedded in so many parts: first without a graph, then
    the loss of the whole batch gives the gradient of each vector, and each part is embedded again
    to go on from there (GradCache, Gao et al. 2021, arXiv:2101.06983; open_clip's
    ``--accum-freq``). What a part draws the second time is what it drew the first.

    Args:
        shown: the batch, by the names of ``batch_loss``; see ``batch.inputs``.
        loss_of: see ``batch_loss``.
    """
    if recipe.accumulate == 1:
        loss = batch_loss(encoder, objective, recipe, **shown, loss_of=loss_of)
        loss.backward()
        return loss.detach().clone()  # a graph writes the next step's loss to the same place

    images, tokens, second = shown["images"], shown["tokens"], shown.get("second_tokens")

    def embed(rows: slice) -> tuple[Tensor, Tensor]:
        others = second if second is None else second[rows]
        of_views = batch.views(objective, images[rows], tokens[rows], others)
        with batch.as_in_training(encoder, objective, recipe, rows.stop - rows.start):
            return batch.by_towers(encoder, recipe, *of_views)

    pairs = len(images)
    count = min(recipe.accumulate, pairs)
    cuts = pairwise(pairs * part // count for part in range(count + 1))
    parts, states, vectors = [slice(*cut) for cut in cuts], [], []
    with torch.no_grad():
        for rows in parts:
            states.append((torch.get_rng_state(), get_device_states(encoder.logit_scale)))
            vectors.append([of.requires_grad_() for of in embed(rows)])
    seen, read = (_joined(of, objective.views) for of in zip(*vectors, strict=True))
    others = shown.get("not_negative"), shown.get("share")
    loss = objective.loss(seen, read, encoder.logit_scale, *others)
    loss.backward()
    for rows, (state, on_device), of in zip(parts, states, vectors, strict=True):
        torch.set_rng_state(state)
        set_device_states(*on_device, device_type=encoder.device.type)
        both = [pair for pair in zip(embed(rows), of, strict=True) if pair[0].requires_grad]
        torch.autograd.backward([again for again, _ in both], [first.grad for _, first in both])
    return loss.detach()


def _joined(parts: Iterable[Tensor], views: int) -> Tensor:
    """Vectors (views * b, d) of each part -> (views * B, d), view by view."""
    by_view = zip(*(part.chunk(views) for part in parts), strict=True)
    return torch.cat([vectors for view in by_view for vectors in view])
