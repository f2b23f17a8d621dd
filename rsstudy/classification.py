"""Zero-shot classification by the names of scenes, as CLIP does it (Radford et al. 2021).

Each name is put into several prompts. A class is the mean of its prompts' unit vectors, brought to
unit length; a picture belongs to the class of the highest cosine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from rsstudy.encoders import DualEncoder
from rsstudy.retrieval import Ranks

_WORDS = ("", "a ", "the "), ("imagery", "photo", "view"), ("satellite", "aerial")
TEMPLATES = tuple(f"{taken} {what} of {article}{{}}." for article, what, taken in product(*_WORDS))
"""CLIP's 18 prompts for RESISC45: github.com/openai/CLIP, data/prompts.md."""


def in_words(name: str) -> str:
    """A class's name for a prompt: ``DenseResidential`` or ``dense_residential`` in two words."""
    return " ".join(re.sub("(?<=[a-z0-9])(?=[A-Z])|_", " ", name).lower().split())


@torch.no_grad()
def classify(
    encoder: DualEncoder,
    images: Tensor,
    truth: Sequence[str],
    known: Iterable[str],
    templates: Sequence[str] = TEMPLATES,
) -> dict[str, Any]:
    """Accuracies in percent; of classes that tie, each comes first as often, as in retrieval.

    Args:
        images: unit vectors of pictures (N, d).
        truth: the class of each of the N pictures.
        known: the classes to choose from; a name may be there more than once.
        templates: prompts, with ``{}`` for the name.

    Returns:
        ``top1``, ``top5`` and ``mean_per_class``: the mean over the pictures' classes of their
        top-1 accuracies, which are ``by_class``.
    """
    encoder.eval()
    names, right = [*dict.fromkeys(map(in_words, known))], [*map(in_words, truth)]
    prompts = [[template.replace("{}", name) for template in templates] for name in names]
    means = [encoder.embed_texts(encoder.tokenizer(own)).mean(dim=0) for own in prompts]
    similarity = images @ functional.normalize(torch.stack(means), dim=-1).T
    place = torch.tensor([[names.index(name)] for name in right], device=images.device)
    own = similarity.gather(1, place)
    above, tie = (of.sum(dim=1).cpu().numpy() for of in (similarity > own, similarity == own))
    top1, top5 = (100 * Ranks(above, tie, np.ones_like(tie)).recall(k) for k in (1, 5))
    by_class = pd.Series(top1).groupby(right).mean()
    found = {"top1": top1.mean(), "top5": top5.mean(), "mean_per_class": by_class.mean()}
    return {name: float(of) for name, of in found.items()} | {"by_class": by_class.to_dict()}
