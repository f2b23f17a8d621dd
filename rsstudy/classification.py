"""Zero-shot classification by the names of scenes, as CLIP does it (Radford et al. 2021).

Each name is put into several prompts. A class is the mean of its prompts' unit vectors, brought to
unit length; a picture belongs to the class of the highest cosine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError
from rsstudy.retrieval import Ranks

TEMPLATES = tuple(
    f"{taken} {what} of {article}{{}}."
    for article in ("", "a ", "the ")
    for what in ("imagery", "photo", "view")
    for taken in ("satellite", "aerial")
)
"""CLIP's 18 prompts for RESISC45: github.com/openai/CLIP, data/prompts.md."""


def in_words(name: str) -> str:
    """A class's name for a prompt: ``DenseResidential`` or ``dense_residential`` in two words."""
    return " ".join(re.sub("(?<=[a-z0-9])(?=[A-Z])|_", " ", name).lower().split())


def check(split: ImageTextSet, templates: Sequence[str]) -> None:
    """Make sure that a split can be classified.

    Raises:
        StudyError: a picture has no class, or a template has no ``{}``.
    """
    if count := split.classes.count(None):
        which = "no scene classes" if count == len(split) else f"{count} picture(s) without a class"
        raise StudyError(f"{split.name} has {which}: leave --classes out")
    for template in templates:
        if "{}" not in template:
            raise StudyError(f"the template {template!r} has no {{}} for the name of a class")


@torch.no_grad()
def classify(
    encoder: DualEncoder,
    images: Tensor,
    truth: Sequence[str | None],
    known: Iterable[str | None],
    templates: Sequence[str] = TEMPLATES,
) -> dict[str, Any]:
    """Accuracies in percent; of classes that tie, each comes first as often, as in retrieval.

    Args:
        images: unit vectors of pictures (N, d).
        truth: the class of each of the N pictures.
        known: the classes to choose from; a name may be there more than once.

    Returns:
        ``top1``, ``top5`` and ``mean_per_class``: the mean over the pictures' classes of their
        top-1 accuracies, which are ``by_class``.
    """
    encoder.eval()
    names = {in_words(name): None for name in known if name is not None}
    prompts = [[template.replace("{}", name) for template in templates] for name in names]
    means = [encoder.embed_texts(encoder.tokenizer(own)).mean(dim=0) for own in prompts]
    similarity = images @ functional.normalize(torch.stack(means), dim=-1).T
    right = [in_words(str(name)) for name in truth]
    place = torch.tensor([[[*names].index(name)] for name in right], device=images.device)
    own = similarity.gather(1, place)
    above, tie = (of.sum(dim=1).cpu().numpy() for of in (similarity > own, similarity == own))
    ranks = Ranks(above, tie, np.ones_like(tie))
    by_class = pd.Series(100 * ranks.recall(1)).groupby(right).mean()
    return {
        **{f"top{k}": 100 * float(ranks.recall(k).mean()) for k in (1, 5)},
        "mean_per_class": float(by_class.mean()),
        "by_class": by_class.to_dict(),
    }
