"""What training minimises, as a function of unit-length embeddings.

    L = w_0 L(V, T) + w_1 L(V, V~) + w_2 L(T, T~)

V and T embed a batch's pictures and captions. V~ and T~ embed them a second time, with other
dropout or as other pictures and captions of the same content.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

import torch
from pydantic import Field
from torch import Tensor

from rsstudy.errors import StudyError
from rsstudy.objectives.terms import Share, both_ways, hinge, info_nce
from rsstudy.registry import OBJECTIVES
from rsstudy.settings import checked, no_effect, settings_from, settings_of

Thing = TypeVar("Thing")
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass_transform(frozen_default=True)
def register(name: str, version: int = 1) -> Callable[[Thing], Thing]:
    """Decorator: the function or class below it is the objective ``name``.

    A function returns an ``Objective`` with other settings. A class derived from ``Objective``
    becomes a frozen dataclass, and has a ``loss`` and settings of its own.

    Args:
        version: of the objective's mathematics; it enters the identity of a run.
    """

    def add(thing: Thing) -> Thing:
        made: Any = thing
        if isinstance(thing, type):
            made = checked(dataclass(frozen=True)(thing))
        return cast(Thing, OBJECTIVES.register(name, version)(made))

    return add


@checked
@dataclass(frozen=True)
class Objective:
    """Settings of an objective.

    Attributes:
        form: of every term: two-way InfoNCE, or the two-way hinge of VSE++.
        cross_weight, image_weight, text_weight: w_0, w_1, w_2; an intra-modal weight above zero
            asks for two views of the batch.
        margin, negatives, reduction: of the hinge: on the hardest negative of each row and column,
            or on all; their sum over the batch, or its mean (with all negatives, over them, too).
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
    # The settings below that a derived class with a loss of its own uses. The others are refused.
    uses: ClassVar[tuple[str, ...]] = ()

    form: Literal["infonce", "hinge"] = "infonce"
    cross_weight: NotNegative = 1.0
    image_weight: NotNegative = 0.0
    text_weight: NotNegative = 0.0
    margin: NotNegative = 0.2
    negatives: Literal["hardest", "all"] = "hardest"
    reduction: Literal["sum", "mean"] = "sum"
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
        if type(self) is not Objective:
            for name in sorted(changed & {f.name for f in fields(Objective)} - {*self.uses}):
                raise no_effect("objective", name, f"{type(self).__name__}, which does not use it")
        second_view = "token_dropout token_dropout_of augment_images sibling_captions"
        for applies, why, idle in (
            (self.form == "infonce", "form infonce", "margin negatives reduction"),
            (self.form == "hinge", "a hinge", "temperature learn_temperature"),
            (self.temperature > 0, "a fixed temperature", "learn_temperature"),
            (self.views == 1, "one view", second_view),
            (self.token_dropout == 0, "token_dropout 0", "token_dropout_of"),
            (self.cross_weight == 0, "cross_weight 0", "both_views"),
        ):
            for name in idle.split():
                if applies and name in changed:
                    raise no_effect("objective", name, why)

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
            share: the rows that this process has embedded, if others embed the rest. A process
                without rows embeds one, which is cut off here.
        """
        if self.temperature:
            logit_scale = torch.full_like(logit_scale, -math.log(self.temperature))

        def term(a: Tensor, b: Tensor) -> Tensor:
            return self.term(a, b, logit_scale, not_negative, share)

        rows = len(images) // self.views if share is None else share.rows
        v, *v2 = (view[:rows] for view in images.chunk(self.views))
        t, *t2 = (view[:rows] for view in texts.chunk(self.views))
        cross = term(v, t)
        if self.both_views:
            cross = (cross + term(v2[0], t2[0])) / 2
        total = self.cross_weight * cross
        if self.image_weight:
            total = total + self.image_weight * term(v, v2[0])
        if self.text_weight:
            total = total + self.text_weight * term(t, t2[0])
        return total

    def term(
        self,
        a: Tensor,
        b: Tensor,
        logit_scale: Tensor,
        not_negative: Tensor | None,
        share: Share | None,
    ) -> Tensor:
        """L(A, B): row i of ``a`` (B, d) belongs to row i of ``b`` (B, d); both directions."""
        if self.form == "infonce":
            (ab, ba), own, whole = both_ways(logit_scale.exp() * a, b, share)
            skipped = None if not_negative is None else not_negative[own]
            return (info_nce(ab, own, skipped) + info_nce(ba, own, skipped)) / whole / 2
        (ab, ba), own, whole = both_ways(a, b, share)
        pairs = torch.eye(whole, dtype=torch.bool, device=a.device)
        if not_negative is not None:
            pairs = pairs | not_negative
        left, given = pairs[own], (self.margin, self.negatives)
        total = hinge(ab, own, left, *given) + hinge(ba, own, left, *given)
        if self.reduction == "sum":
            return total
        if self.negatives == "all" and not_negative is not None:
            return total / (~pairs).sum().clamp(min=1)
        return total / whole / (1 if self.negatives == "hardest" else max(whole - 1, 1))


def named_objective(name: str, **settings: Any) -> Objective:
    """The objective of that name, with some settings changed.

    Raises:
        StudyError: unknown name or setting, or a value that does not fit or has no effect.
    """
    default: Objective = OBJECTIVES[name]()
    return settings_from(name, type(default), {**settings_of(default), **settings})
