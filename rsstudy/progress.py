"""Progress of long work: a bar in a terminal, elsewhere a plain line every half minute."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from typing import Any

from tqdm import tqdm

PLAIN_SECONDS = 30.0


class Progress(tqdm):
    """``tqdm`` with facts beside the count; it takes the same arguments."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.plain, self.facts = not _is_terminal(), dict[str, str]()
        if self.plain:  # one step in so many is looked at by default: all are, by the clock
            named |= {"mininterval": PLAIN_SECONDS, "delay": PLAIN_SECONDS, "miniters": 1}
        super().__init__(*given, **named)

    def note(self, **facts: str) -> None:
        """Show these facts from now on, beside those noted before."""
        self.facts |= facts
        self.set_postfix(self.facts, refresh=not self.plain)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the state; ``tqdm`` calls this when it is time."""
        if self.plain:
            with suppress(OSError, ValueError):  # whoever read the lines is gone
                print(self.line(), file=sys.stderr, flush=True)
        else:
            super().display(msg, pos)

    def close(self) -> None:
        """End; no plain line is left to overwrite."""
        if self.plain:
            self.delay = math.inf
        super().close()

    def line(self) -> str:
        """Such as ``decoding ucm: images 900/2100, 2 min left``."""
        of = self.format_dict
        count = f"{str(self.unit).strip()} {self.n}/{self.total}"
        seconds = of["elapsed"] / max(self.n - self.initial, 1) * (self.total - self.n)
        left = f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
        return f"{self.desc}: " + ", ".join(
            [*(f"{name} {value}" for name, value in self.facts.items()), count, left]
        )


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # it was closed before the program began, or since
        return False
