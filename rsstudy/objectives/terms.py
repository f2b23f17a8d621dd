"""The terms of objectives: how far a batch's pairs stand out from its other pairings.

A term is a two-way hinge on negatives within the batch, or a two-way InfoNCE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Negatives = Literal["hardest", "all"]
Reduction = Literal["sum", "mean"]


@dataclass(frozen=True)
class Share:
    """The rows of a batch that this process embeds, where several share one batch.

    What each process gets as its loss is its rows' part of the whole batch's: the parts add up to
    it, and so do their gradients (open_clip's form ``local_loss`` with ``gather_with_grad``).

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


def _both_ways(a: Tensor, b: Tensor, share: Share | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Products of this process's rows of a with all of b, and of b with all of a, (rows, B) each;
    the column that belongs to each row (rows,), and B."""
    if share is None:
        products = a @ b.T
        return products, products.T, torch.arange(len(a), device=a.device), len(a)
    own = torch.arange(share.first, share.first + len(a), device=a.device)
    return a @ share.gather(b).T, b @ share.gather(a).T, own, share.whole


def info_nce(
    a: Tensor,
    b: Tensor,
    logit_scale: Tensor,
    not_negative: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """Two-way InfoNCE: row i of ``a`` (B, d) belongs to row i of ``b`` (B, d), all else does not.

    ``logit_scale`` is the log of the inverse temperature; ``not_negative`` (B, B) marks pairs off
    the diagonal that are left out. With a ``share``, a and b are its rows alone.
    """
    *ways, own, whole = _both_ways(logit_scale.exp() * a, b, share)
    if not_negative is not None:
        skipped = _off_diagonal(not_negative)[own]
        ways = [logits.masked_fill(skipped, -torch.inf) for logits in ways]
    losses = [functional.cross_entropy(logits, own, reduction="sum") for logits in ways]
    return (losses[0] + losses[1]) / whole / 2


def hinge(
    a: Tensor,
    b: Tensor,
    margin: float = 0.2,
    negatives: Negatives = "hardest",
    reduction: Reduction = "sum",
    not_negative: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """Two-way hinge on the negatives of the batch, cosine similarity (VSE++; Faghri et al., 2018).

    sum_i max_{j!=i} [margin + a_i b_j - a_i b_i]_+
      + sum_j max_{i!=j} [margin + a_i b_j - a_j b_j]_+

    Args:
        a, b: unit vectors (B, d), row i of one belonging to row i of the other; with a ``share``,
            its rows alone.
        negatives: the hardest of each row and column (above), or all of them added up.
        reduction: the sum over the batch, or its mean; with all negatives, over them, too.
        not_negative: (B, B), symmetric; marks pairs off the diagonal that are left out.
    """
    *ways, own, whole = _both_ways(a, b, share)
    pairs = torch.eye(whole, dtype=torch.bool, device=a.device)
    if not_negative is not None:
        pairs = pairs | not_negative
    skipped = pairs[own]
    total = a.new_zeros(())
    for similarity in ways:
        positive = similarity.gather(1, own[:, None])
        violation = (margin + similarity - positive).clamp(min=0).masked_fill(skipped, 0)
        by_query = violation.amax(dim=1) if negatives == "hardest" else violation.sum(dim=1)
        total = total + by_query.sum()
    if reduction == "sum":
        return total
    if negatives == "all" and not_negative is not None:
        return total / (~pairs).sum().clamp(min=1)
    return total / whole / (1 if negatives == "hardest" else max(whole - 1, 1))


def _off_diagonal(pairs: Tensor) -> Tensor:
    return pairs & ~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)


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
