"""What has a name: methods, encoders, objectives and data sets, each in one file of its folder.

A decorator ``@register("name", ...)`` in such a file gives the thing below it its name. Names are
read from the files' text, so that a mistyped one is answered before torch is imported; a file is
imported when its thing is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from rsstudy.errors import StudyError, unknown

Thing = TypeVar("Thing")


class Registry(Mapping[str, Any]):
    """The things of one kind by name.

    Attributes:
        kind: in words, for messages.
        versions: of each thing's mathematics, by name. A version enters the identity of every run.
        about: whatever else the decorator says, by name.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self.versions: dict[str, int] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self._things: dict[str, Any] = {}

    @cached_property
    def files(self) -> dict[str, str]:
        """The module of each name; nothing is imported."""
        folder = Path(__file__).parent / self.package.replace(".", "/")
        return {
            name: f"rsstudy.{self.package}.{path.stem}"
            for path in sorted(folder.glob("*.py"))
            for name in re.findall(r'^@register\(\s*"([^"]+)"', path.read_text("utf-8"), re.M)
        }

    def register(self, name: str, version: int = 1, **about: Any) -> Callable[[Thing], Thing]:
        """Decorator: what stands below it has this name.

        Args:
            version: raise it with every change that makes equal settings mean another run.
        """

        def add(thing: Thing) -> Thing:
            self._things[name], self.versions[name], self.about[name] = thing, version, about
            return thing

        return add

    def load(self) -> None:
        """Import every file."""
        for module in dict.fromkeys(self.files.values()):
            import_module(module)

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise unknown(self.kind, name, self)
        if name not in self._things:
            import_module(self.files[name])
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self.files

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.files, *self._things]))

    def __len__(self) -> int:
        return len(list(iter(self)))


ELSEWHERE = ("local-dir:", "hf-hub:")
"""How open_clip begins the name of an encoder that a folder or the hub holds."""


def encoder_names() -> list[str]:
    """Our own encoders, tiny first; open_clip's models, ViT-B-32 first. Nothing is imported."""
    found = find_spec("open_clip")
    ships = Path(str(found and found.origin)).parent / "model_configs"
    names = [*sorted(ENCODERS), *sorted(path.stem for path in ships.glob("*.json"))]
    return sorted(names, key=lambda name: (name not in ENCODERS, name not in ("tiny", "ViT-B-32")))


def located(name: str) -> tuple[Path, str | None]:
    """The path of a set, and the column of its captions: of ``PATH?captions=COLUMN``, or None.

    A path may have a question mark itself: what exists as it is named has no column.

    Raises:
        StudyError: no path can have that name.
    """
    try:
        path = Path(name).expanduser()
        asked = None if path.exists() else re.fullmatch(r"(.+)\?captions=(.+)", name)
        return (Path(asked[1]).expanduser(), asked[2]) if asked else (path, None)
    except (OSError, RuntimeError, ValueError) as problem:  # too long, no such user, a null byte
        raise StudyError(f"cannot look at {name[:80]}: {problem}") from None


METHODS = Registry("method", "methods")
ENCODERS = Registry("encoder", "encoders")
OBJECTIVES = Registry("objective", "objectives")
SETS = Registry("data set", "data.sets")
