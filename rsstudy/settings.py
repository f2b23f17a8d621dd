"""Settings: frozen dataclasses, checked when they are made, and written down for a record."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache, wraps
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rsstudy.errors import StudyError, unknown

Class = TypeVar("Class", bound=type)


def checked(cls: Class) -> Class:
    """Class decorator: a settings dataclass checks its values however it is made.

    A value of another type is read where it can be (1 as 1.0). A class may have a method ``check``
    that refuses settings which have no effect together.

    Raises:
        StudyError: when an instance is made, a value that does not fit, or has no effect.
    """
    make = vars(cls)["__init__"]

    @wraps(make)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        make(self, *args, **values)
        name = getattr(cls, "kind", cls.__name__)
        for of, value in vars(_validated(name, cls, vars(self))).items():
            object.__setattr__(self, of, value)
        if hasattr(self, "check"):
            self.check()

    setattr(cls, "__init__", __init__)  # noqa: B010 (mypy refuses the plain assignment)
    return cls


def settings_from(kind: str, cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of the settings dataclass ``cls`` from names and values (strings are read).

    Raises:
        StudyError: an unknown setting, or a value that does not fit.
    """
    known = [field.name for field in fields(cls)]
    for name in values:
        if name not in known:
            raise unknown(f"setting of {kind}", name, known)
    return cls(**vars(_validated(kind, cls, values)))


def _validated(kind: str, cls: type, values: Mapping[str, Any]) -> Any:
    try:
        return _adapter(cls).validate_python(dict(values))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(f"{kind}: {where} is {first['input']!r}: {first['msg']}") from None


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)  # slow to make


def settings_of(settings: Any) -> dict[str, Any]:
    """What a record says of a settings dataclass: every name and its value."""
    return {f.name: getattr(settings, f.name) for f in fields(settings)}


def no_effect(kind: str, name: str, why: str) -> StudyError:
    """The error for a setting that is given and not used."""
    return StudyError(f"{kind}: {name} has no effect with {why}: leave it out")


def explained(cls: type) -> list[dict[str, Any]]:
    """Each setting of the dataclass ``cls``: ``name``, ``default``, ``choices``, ``what``.

    ``choices`` is empty where a setting is not one of a few words; ``what`` is what the docstring
    of ``cls`` says under ``Attributes``, where one line may stand for several names.
    """
    section = re.search(r"^Attributes:\n((?: +.*\n?)*)", inspect.getdoc(cls) or "", re.MULTILINE)
    what = {
        name: " ".join(text.replace("``", "").split())
        for names, text in re.findall(
            r"^    (\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE
        )
        for name in names.split(", ")
    }
    hints = get_type_hints(cls)
    rows = []
    for f in fields(cls):
        default, hint = None if f.default is MISSING else f.default, hints[f.name]
        choices = list(get_args(hint)) if get_origin(hint) is Literal else []
        row = {"name": f.name, "default": default, "choices": choices, "what": what.get(f.name, "")}
        rows.append(row)
    return rows
