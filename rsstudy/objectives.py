"""Objectives: what training minimises, as functions of unit-length embeddings.

HMMC, the hybrid multi-modal contrastive objective (Yuan, Zhan, Xiong, TGRS 2023), is

    L = w_0 L(V, T) + w_1 L(V, V~) + w_2 L(T, T~)

where V~ and T~ embed the same pictures and captions a second time, with dropout on their embedded
tokens. Each term is a two-way hinge on negatives within the batch (the form of an early public
version) or a two-way InfoNCE (van den Oord et al., 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsstudy.errors import unknown

Negatives = Literal["hardest", "all"]
Reduction = Literal["sum", "mean"]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def info_nce(a: Tensor, b: Tensor, logit_scale: Tensor) -> Tensor:
    """Two-way InfoNCE: row i of ``a`` (B, d) belongs to row i of ``b`` (B, d), all else does not.

    ``logit_scale`` is the log of the inverse temperature.
    """
    logits = logit_scale.exp() * a @ b.T
    own = torch.arange(len(a), device=a.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def hinge(
    a: Tensor, b: Tensor, margin: float = 0.2, negatives: Negatives = "hardest",
    reduction: Reduction = "sum",
) -> Tensor:  # fmt: skip
    """Two-way hinge on the negatives of the batch, cosine similarity (VSE++; Faghri et al., 2018).

    sum_i max_{j!=i} [margin + a_i b_j - a_i b_i]_+
      + sum_j max_{i!=j} [margin + a_i b_j - a_j b_j]_+

    Args:
        a, b: unit vectors (B, d), row i of one belonging to row i of the other.
        negatives: the hardest of each row and column (above), or all of them added up.
        reduction: the sum over the batch, or its mean; with all negatives, over them, too.
    """
    similarity = a @ b.T
    own = similarity.diag()
    itself = torch.eye(len(a), dtype=torch.bool, device=a.device)
    by_row = (margin + similarity - own[:, None]).clamp(min=0).masked_fill(itself, 0)
    by_column = (margin + similarity - own[None, :]).clamp(min=0).masked_fill(itself, 0)
    if negatives == "hardest":
        terms = by_row.amax(dim=1), by_column.amax(dim=0)
    else:
        terms = by_row.sum(dim=1), by_column.sum(dim=0)
    total = terms[0].sum() + terms[1].sum()
    if reduction == "sum":
        return total
    return total / len(a) / (1 if negatives == "hardest" else max(len(a) - 1, 1))


@dataclass(frozen=True)
class Objective:
    """Settings of an objective.

    Attributes:
        form: of every term.
        cross_weight, image_weight, text_weight: w_0, w_1, w_2; an intra-modal weight above zero
            asks for two views of the batch.
        margin, negatives, reduction: of the hinge.
        learn_temperature: train the encoder's ``logit_scale`` (InfoNCE); else it stays as it is.
        token_dropout: probability of dropping an element of the second view's embedded tokens.
    """

    form: Literal["infonce", "hinge"] = "infonce"
    cross_weight: NotNegative = 1.0
    image_weight: NotNegative = 0.0
    text_weight: NotNegative = 0.0
    margin: NotNegative = 0.2
    negatives: Negatives = "hardest"
    reduction: Reduction = "sum"
    learn_temperature: bool = True
    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @property
    def views(self) -> int:
        """How many times the loop embeds each batch: once, or twice for the intra-modal terms."""
        return 2 if self.image_weight or self.text_weight else 1

    @property
    def trains_temperature(self) -> bool:
        return self.form == "infonce" and self.learn_temperature

    def loss(self, images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
        """The loss of one batch of B pairs.

        Args:
            images, texts: unit vectors (views * B, d); the second view's rows follow the first's.
            logit_scale: log of the inverse temperature, for InfoNCE.
        """

        def term(a: Tensor, b: Tensor) -> Tensor:
            if self.form == "infonce":
                return info_nce(a, b, logit_scale)
            return hinge(a, b, self.margin, self.negatives, self.reduction)

        first_images, *second_images = images.chunk(self.views)
        first_texts, *second_texts = texts.chunk(self.views)
        total = self.cross_weight * term(first_images, first_texts)
        if self.image_weight:
            total = total + self.image_weight * term(first_images, second_images[0])
        if self.text_weight:
            total = total + self.text_weight * term(first_texts, second_texts[0])
        return total


OBJECTIVES: dict[str, Objective] = {
    "infonce": Objective(),
    "hinge": Objective(form="hinge"),
    "hmmc": Objective(form="hinge", image_weight=1.0, text_weight=1.0),
    "hmmc-infonce": Objective(image_weight=1.0, text_weight=1.0),
}


def named_objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        StudyError: unknown name.
    """
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
