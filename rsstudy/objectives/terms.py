"""The two directions of a term: how far each pair of a batch exceeds the batch's other pairings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Share:
    """The rows of a batch that this process embeds, where several processes share one batch.

    The loss of a process is its rows' part of the batch's loss. The parts add up to it, and so do
    their gradients (open_clip's form ``local_loss`` with ``gather_with_grad``).

    Attributes:
        first, rows: they are the rows from ``first`` on, ``rows`` of them; there may be none.
        whole: pairs in the batch, B.
        gather: vectors of this process's rows (rows, d) -> those of the batch (B, d),
            differentiable.
    """

    first: int
    rows: int
    whole: int
    gather: Callable[[Tensor], Tensor]


def both_ways(a: Tensor, b: Tensor, share: Share | None) -> tuple[list[Tensor], Tensor, int]:
    """Products of this process's rows of ``a`` with all of ``b``, and of ``b`` with all of ``a``.

    Returns:
        the two, (rows, B) each; the column that belongs to each row (rows,); B.
    """
    if share is None:
        products = a @ b.T
        return [products, products.T], torch.arange(len(a), device=a.device), len(a)
    own = torch.arange(share.first, share.first + len(a), device=a.device)
    return [a @ share.gather(b).T, b @ share.gather(a).T], own, share.whole


def info_nce(logits: Tensor, own: Tensor, skipped: Tensor | None) -> Tensor:
    """-sum_i log softmax(logits_i)[own_i], one direction of InfoNCE.

    Args:
        logits: (rows, B), cosines over the temperature.
        own: (rows,), the column that belongs to each row.
        skipped: (rows, B), pairs that are no negatives.
    """
    if skipped is not None:
        positives = functional.one_hot(own, logits.shape[1]).bool()
        logits = logits.masked_fill(skipped & ~positives, -torch.inf)
    return functional.cross_entropy(logits, own, reduction="sum")


def hinge(
    similarity: Tensor,
    own: Tensor,
    skipped: Tensor,
    margin: float,
    negatives: Literal["hardest", "all"],
) -> Tensor:
    """sum_i max_{j != own_i} [margin + s_ij - s_i,own_i]_+, one direction of the hinge of VSE++.

    Args:
        similarity: s, cosines (rows, B).
        own: (rows,), the column that belongs to each row.
        skipped: (rows, B), pairs that are no negatives, among them each row's own.
        negatives: the hardest of each row (above), or the sum over all.
    """
    positive = similarity.gather(1, own[:, None])
    violation = (margin + similarity - positive).clamp(min=0).masked_fill(skipped, 0)
    by_query = violation.amax(dim=1) if negatives == "hardest" else violation.sum(dim=1)
    return by_query.sum()


def false_negatives(images: Tensor, *texts: Tensor) -> Tensor:
    """Pairs of a batch that are no negatives: they share their image or a caption's text.

    Args:
        images: (B,) an id of each image.
        texts: (B,) ids of the captions' texts, once for each view that has captions of its own.

    Returns:
        (B, B), symmetric, true on the diagonal.
    """
    same = images[:, None] == images[None, :]
    for one in texts:
        for other in texts:
            same = same | (one[:, None] == other[None, :])
    return same
