"""The register of methods. ``attaching`` puts one on an encoder.

A method is a class of its settings with one function, ``add_to(encoder)``. It puts new modules
under ``encoder.method`` and may mark parameters of the base as trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, dataclass_transform

from pydantic import Field

from rsstudy.encoders import DualEncoder
from rsstudy.errors import unknown
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


def name_of(method: Method) -> str:
    """The name that a method is registered by; that of its class where it has none."""
    return next((n for n, kind in METHODS.items() if type(method) is kind), type(method).__name__)
