"""The register of methods, and what an encoder has trained; see ``attaching`` for attaching one.

A method is a class of its settings with one function, ``add_to(encoder)``. It puts new modules
under ``encoder.method`` and may mark parameters of the base as trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, dataclass_transform

import torch
from pydantic import Field
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError, unknown
from rsstudy.methods.placing import Towers, modalities
from rsstudy.registry import METHODS
from rsstudy.settings import checked, settings_from

# Settings of methods.
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class Method(Protocol):
    """What every method offers; see the module's docstring.

    A method that trains the heads itself also has a true ``trains_heads``.
    """

    def add_to(self, encoder: DualEncoder) -> None: ...

    def __hash__(self) -> int: ...


# What a preset of a method changes about its defaults: ``adapter:printed`` is the preset "printed".
PRESETS: dict[str, dict[str, Any]] = {}


@dataclass_transform(frozen_default=True)
def register(name: str, version: int = 1, **presets: Mapping[str, Any]) -> Callable[[type], type]:
    """Class decorator: the class below it becomes a frozen dataclass and the method ``name``.

    Its defaults are those of the method's own authors, or its file says what differs. The preset
    ``printed`` has on ViT-B/32 the size that Yuan, Zhan and Xiong (2023) print for that method.

    Args:
        version: of the method's mathematics. Raise it with every change of the start, the forward
            pass or a default.
        presets: name of a preset -> the settings that it changes.
    """

    def add(method: type) -> type:
        method.kind = name  # type: ignore[attr-defined]
        PRESETS.update({f"{name}:{preset}": dict(of) for preset, of in presets.items()})
        return METHODS.register(name, version)(checked(dataclass(frozen=True)(method)))

    return add


def base_name(name: str) -> str:
    """The method's name of ``NAME`` or of a preset ``NAME:PRESET``."""
    return name.partition(":")[0]


def create_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name, or of one of its presets, with its settings.

    Raises:
        StudyError: unknown name or setting, or a value that does not fit.
    """
    if name not in METHODS and name not in PRESETS:
        raise unknown("method", name, [*METHODS, *PRESETS])
    of_preset = PRESETS.get(name, {})
    return settings_from(name, METHODS[base_name(name)], {**of_preset, **(settings or {})})


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


def name_of(method: Method) -> str:
    """The name that a method is registered by; that of its class where it has none."""
    return next((n for n, kind in METHODS.items() if type(method) is kind), type(method).__name__)


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
