"""A pretrained difference: what alignment changed in an encoder, in one small file.

Each key of the file is a parameter of the encoder's model, with the tensor that replaces it, or
that name with ``.low_rank_up`` (out, r) and ``.low_rank_down`` (r, in), whose product is added.
"""

from __future__ import annotations

import torch
from torch import nn

from rsstudy.errors import StudyError

UP, DOWN = ".low_rank_up", ".low_rank_down"


@torch.no_grad()
def apply_delta(model: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Add a delta to ``model`` in place.

    Raises:
        StudyError: a name or a shape does not fit; nothing has been changed then.
    """
    parameters = dict(model.named_parameters())
    changes = {}
    for key, tensor in tensors.items():
        if key.endswith(DOWN):
            continue
        name = key.removesuffix(UP)
        if name not in parameters:
            raise StudyError(f"{source} does not fit this encoder: it has no parameter {name}")
        value = tensor.float()
        if key.endswith(UP):
            if name + DOWN not in tensors:
                raise StudyError(f"{source} is no whole delta: {name + DOWN} is absent")
            value = value @ tensors[name + DOWN].float()
        if value.shape != parameters[name].shape:
            raise StudyError(
                f"{source} does not fit this encoder: {name} is {tuple(parameters[name].shape)} "
                f"here and {tuple(value.shape)} there"
            )
        changes[name] = (parameters[name] + value) if key.endswith(UP) else value
    for name, value in changes.items():
        parameters[name].copy_(value)
