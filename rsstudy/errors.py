"""The exceptions of the package that a user meets, and the hint that goes with an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class StudyError(Exception):
    """Something a user can mend. Its message is one line that says what to do."""


class Busy(StudyError):
    """Another process is at work in ``folder``."""

    folder: Path


def first_line(problem: BaseException) -> str:
    """Of an exception's message; its kind, where it says nothing."""
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)


def unknown(kind: str, name: str, known: Iterable[str]) -> StudyError:
    """The error for an unknown ``name`` of a ``kind`` ("method", "encoder").

    It names the near matches, whatever their case; else the first of ``known``, in its order.
    """
    known, asked = list(known), name.lower()
    near = [k for k in known if asked in k.lower()][:3]
    if not near:
        lower = {k.lower(): k for k in known}
        near = [lower[k] for k in get_close_matches(asked, lower, n=3, cutoff=0.5)]
    between = "; " if any("," in k for k in known) else ", "  # a name may hold a comma itself
    some = between.join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    hint = (
        f"did you mean {'; or '.join(near) if between == '; ' else ' or '.join(near)}?"
        if near
        else f"known: {some}"
    )
    return StudyError(f"unknown {kind} {name!r}; {hint}")
