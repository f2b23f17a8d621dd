"""The register of methods, and what it means to attach one to an encoder.

A method is a frozen dataclass of its hyper-parameters with one function, ``add_to(encoder)``: it
puts new modules under ``encoder.method`` and may mark parameters of the base as trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError, unknown
from rsstudy.settings import settings_from


class Method(Protocol):
    """What every method offers; see the module's docstring."""

    def add_to(self, encoder: DualEncoder) -> None: ...


METHODS: dict[str, type] = {}


def register(name: str) -> Callable[[type], type]:
    """Class decorator: the dataclass below it is the method ``name``."""

    def add(method: type) -> type:
        METHODS[name] = method
        return method

    return add


def create_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name with its settings.

    Raises:
        StudyError: unknown name or setting, or a value that does not fit.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return settings_from(name, METHODS[name], settings or {})


def train(encoder: DualEncoder, names: Iterable[str]) -> None:
    """Mark parameters of the base as trained."""
    parameters = dict(encoder.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)


def attach(encoder: DualEncoder, method: Method, train_heads: bool = False, seed: int = 0) -> None:
    """Freeze the encoder, then add the method; new weights are drawn from ``seed``.

    Raises:
        StudyError: the encoder carries a method already, or the method does not fit it.
    """
    if any(True for _ in encoder.method.children()):
        raise StudyError("this encoder carries a method already: make a new one")
    encoder.requires_grad_(False)
    with torch.random.fork_rng(devices=[]), encoder.device:
        torch.manual_seed(seed)
        method.add_to(encoder)
    encoder.method.requires_grad_(True).eval()
    if train_heads:
        train(encoder, encoder.heads)


def trained(encoder: DualEncoder) -> dict[str, nn.Parameter]:
    """The trained parameters by name."""
    return {name: p for name, p in encoder.named_parameters() if p.requires_grad}


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
