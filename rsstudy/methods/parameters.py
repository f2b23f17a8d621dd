"""What is trained of an encoder: marking parameters, counting them, giving them saved values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError
from rsstudy.methods.placing import Towers, modalities


def train(encoder: DualEncoder, names: Iterable[str]) -> None:
    """Mark parameters of the base as trained."""
    parameters = dict(encoder.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)


def train_within(
    encoder: DualEncoder, towers: Towers, wanted: Callable[[str, nn.Module], bool]
) -> None:
    """Mark the towers' own parameters as trained, those that ``wanted(name, module)`` picks."""
    for module, name in own_parameters(encoder, towers):
        if wanted(name, module):
            module.get_parameter(name).requires_grad_(True)


def own_parameters(encoder: DualEncoder, towers: Towers) -> list[tuple[nn.Module, str]]:
    """The towers' own parameters: each one's module, and its name there.

    The text tower has all of the base that the image tower lacks, but for heads and temperature.
    """
    image = {id(p) for p in encoder.tower("image").parameters()}
    neither = {id(encoder.logit_scale), *(id(encoder.get_parameter(n)) for n in encoder.heads)}
    return [
        (module, name)
        for modality in modalities(towers)
        for module in encoder.model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if (id(parameter) in image) == (modality == "image") and id(parameter) not in neither
    ]


def trained(encoder: DualEncoder) -> dict[str, nn.Parameter]:
    """The trained parameters by name; those that a method adds have equal names in any model."""
    return {
        name.removeprefix("model.") if name.startswith("model.method.") else name: p
        for name, p in encoder.named_parameters()
        if p.requires_grad
    }


@dataclass(frozen=True)
class TrainedParameters:
    """How many parameters are trained: by the method, in the heads, in all."""

    method: int
    heads: int
    total: int


def count_trained(encoder: DualEncoder) -> TrainedParameters:
    """Counts of the trained parameters, without the temperature that an objective may learn."""
    counts = {name: p.numel() for name, p in trained(encoder).items()}
    heads = sum(n for name, n in counts.items() if name in encoder.heads)
    total = sum(counts.values())
    return TrainedParameters(method=total - heads, heads=heads, total=total)


def load_trained(encoder: DualEncoder, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy saved values into the trained parameters.

    Raises:
        StudyError: names or shapes differ; nothing has been changed then.
    """
    own = trained(encoder)
    if odd := sorted(set(own) ^ set(tensors)):
        raise StudyError(f"{source} does not fit this method: {odd[0]} is in one of them only")
    for name, parameter in own.items():
        if parameter.shape != tensors[name].shape:
            raise StudyError(
                f"{source} does not fit: {name} is {tuple(parameter.shape)} here and "
                f"{tuple(tensors[name].shape)} there"
            )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
