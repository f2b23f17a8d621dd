"""Settings: frozen dataclasses, made from names and values, and written down for a record."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rsstudy.errors import StudyError, unknown


def later(default: Any) -> Any:
    """A setting that came after the first records.

    It enters a configuration only where it is not at its default, so that a run from before it came
    keeps its identity.
    """
    return field(default=default, metadata={"later": True})


def settings_from(kind: str, cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of the settings dataclass ``cls`` from names and values (strings are read).

    Raises:
        StudyError: an unknown setting, or a value that does not fit.
    """
    known = [field.name for field in fields(cls)]
    for name in values:
        if name not in known:
            raise unknown(f"setting of {kind}", name, known)
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
    """What a record says of a settings dataclass: names and plain values; see ``later``."""
    return {
        f.name: getattr(settings, f.name)
        for f in fields(settings)
        if not (f.metadata.get("later") and getattr(settings, f.name) == f.default)
    }


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
    return [
        {
            "name": f.name,
            "default": None if f.default is MISSING else f.default,
            "choices": list(get_args(hints[f.name]))
            if get_origin(hints[f.name]) is Literal
            else [],
            "what": what.get(f.name, ""),
        }
        for f in fields(cls)
    ]
