"""Objectives: what training minimises, as functions of unit-length embeddings.

HMMC, the hybrid multi-modal contrastive objective (Yuan, Zhan, Xiong, TGRS 2023), is

    L = w_0 L(V, T) + w_1 L(V, V~) + w_2 L(T, T~)

where V~ and T~ embed the same pictures and captions a second time, with dropout on their embedded
tokens: on elements in the public code, on whole tokens in figure 1 of the paper. Each term is a
two-way hinge on negatives within the batch (the form of an early public version) or a two-way
InfoNCE (van den Oord et al., 2018).

Its control costs the same: both views are embedded, and the cross-modal term alone is taken on
each, (L(V, T) + L(V~, T~)) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsstudy.errors import StudyError, unknown
from rsstudy.settings import checked

Negatives = Literal["hardest", "all"]
Reduction = Literal["sum", "mean"]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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


# The settings of the second view.
SECOND_VIEW = ("token_dropout", "token_dropout_of", "augment_images", "sibling_captions")


@checked
@dataclass(frozen=True)
class Objective:
    """Settings of an objective.

    Attributes:
        form: of every term.
        cross_weight, image_weight, text_weight: w_0, w_1, w_2; an intra-modal weight above zero
            asks for two views of the batch.
        margin, negatives, reduction: of the hinge.
        learn_temperature: train the encoder's ``logit_scale`` (InfoNCE); else it stays as it is.
        token_dropout: probability of dropping a part of the second view's embedded tokens.
        token_dropout_of: what is dropped: elements of tokens (the public code), or whole tokens
            (figure 1 of the paper).
        temperature: a fixed one for InfoNCE; 0 for the encoder's own.
        both_views: the cross-modal term is the mean of its values on the two views.
        augment_images: the second view's pictures are cropped, flipped and turned at random.
        sibling_captions: the second view's captions are others of the same pictures.
        mask_false_negatives: pairs that share their image or a caption's text are no negatives.
    """

    kind: ClassVar[str] = "objective"

    form: Literal["infonce", "hinge"] = "infonce"
    cross_weight: NotNegative = 1.0
    image_weight: NotNegative = 0.0
    text_weight: NotNegative = 0.0
    margin: NotNegative = 0.2
    negatives: Negatives = "hardest"
    reduction: Reduction = "sum"
    learn_temperature: bool = True
    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    temperature: NotNegative = 0.0
    both_views: bool = False
    augment_images: bool = False
    sibling_captions: bool = False
    mask_false_negatives: bool = False
    token_dropout_of: Literal["elements", "tokens"] = "elements"

    @property
    def views(self) -> int:
        """How many times the loop embeds each batch: once, or twice for intra-modal terms."""
        return 2 if self.image_weight or self.text_weight or self.both_views else 1

    @property
    def trains_temperature(self) -> bool:
        return self.form == "infonce" and self.learn_temperature and not self.temperature

    def check(self) -> None:
        """Make sure that every setting that is not at its default has an effect.

        Raises:
            StudyError: naming the setting and why it has none.
        """
        if not (self.cross_weight or self.image_weight or self.text_weight):
            raise StudyError("objective: every weight is zero: raise one of them")
        changed = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
        for applies, why, idle in (
            (self.form == "infonce", "form infonce", ("margin", "negatives", "reduction")),
            (self.form == "hinge", "a hinge", ("temperature", "learn_temperature")),
            (self.temperature > 0, "a fixed temperature", ("learn_temperature",)),
            (self.views == 1, "one view", SECOND_VIEW),
            (self.token_dropout == 0, "token_dropout 0", ("token_dropout_of",)),
            (self.cross_weight == 0, "cross_weight 0", ("both_views",)),
        ):
            for name in idle:
                if applies and name in changed:
                    raise StudyError(f"objective: {name} has no effect with {why}: leave it out")

    def loss(
        self,
        images: Tensor,
        texts: Tensor,
        logit_scale: Tensor,
        not_negative: Tensor | None = None,
        share: Share | None = None,
    ) -> Tensor:
        """The loss of one batch of B pairs, or this process's part of it.

        Args:
            images, texts: unit vectors (views * B, d); the second view's rows follow the first's.
            logit_scale: log of the inverse temperature, for InfoNCE.
            not_negative: (B, B) pairs that are left out of all terms; see ``false_negatives``.
            share: the rows that this process has embedded, if others embed the rest; where it has
                none, a row that stands in is cut off here.
        """
        if self.temperature:
            logit_scale = torch.full_like(logit_scale, -math.log(self.temperature))

        def term(a: Tensor, b: Tensor) -> Tensor:
            if self.form == "infonce":
                return info_nce(a, b, logit_scale, not_negative, share)
            return hinge(a, b, self.margin, self.negatives, self.reduction, not_negative, share)

        rows = len(images) // self.views if share is None else share.rows
        first_images, *second_images = (view[:rows] for view in images.chunk(self.views))
        first_texts, *second_texts = (view[:rows] for view in texts.chunk(self.views))
        cross = term(first_images, first_texts)
        if self.both_views:
            cross = (cross + term(second_images[0], second_texts[0])) / 2
        total = self.cross_weight * cross
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
    "hinge-two-views": Objective(form="hinge", both_views=True),
    "infonce-two-views": Objective(both_views=True),
}
# The version of each objective's mathematics. It enters the identity of every run with it: raise it
# with every change of the loss, of the second view or of a default.
OBJECTIVE_VERSIONS: dict[str, int] = dict.fromkeys(OBJECTIVES, 1)


def named_objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        StudyError: unknown name.
    """
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
