"""The table that a suite shows while it works: what is done, running, left, and the time it takes.

In a terminal the table stays in place and its clock goes on within a run. Elsewhere (a log) each
arm is one line as it finishes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

# How many arms are shown before and after the running one.
AROUND = 6


@dataclass
class Progress:
    """One arm's progress.

    Attributes:
        name: as the table shows it.
        runs, epochs: how many runs it takes, and how many epochs over all training pictures.
        runs_done, epochs_done: how many of them are on record.
        state: waiting, running, elsewhere (in another process), done or failed.
        score: the mean recall of its first seed.
    """

    name: str
    runs: int
    epochs: float
    runs_done: int = 0
    epochs_done: float = 0.0
    state: str = "waiting"
    score: float | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed")

    @property
    def result(self) -> str:
        if self.state == "failed":
            return "diverged"
        return "" if self.score is None else f"{self.score:.2f}"


class Board:
    """A live table over some arms; a context manager.

    The expected time is the seconds an epoch of the runs on record, times the epochs left; a run
    that an earlier call has done counts with the time that its record gives.
    """

    def __init__(self, title: str, arms: Sequence[Progress], shown: bool = True) -> None:
        self.title, self.arms, self.shown = title, list(arms), shown
        self.console = Console(stderr=True, highlight=False)
        self.started, self.run_started = time.monotonic(), 0.0
        self.seconds = self.timed_epochs = 0.0
        self._live = Live(
            get_renderable=self.table, console=self.console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Board:
        if self.shown and self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()
            self.console.print(self.summary())

    def begin(self, index: int) -> None:
        """The arm at ``index`` runs from now on."""
        self.arms[index].state, self.run_started = "running", time.monotonic()

    def elsewhere(self, index: int) -> None:
        """A run of that arm is under way in another process."""
        self.arms[index].state = "elsewhere"

    def did(self, index: int, epochs: float, record: Mapping[str, Any] | None) -> None:
        """A run of that arm is over: its epochs, and its record unless it diverged."""
        arm = self.arms[index]
        arm.runs_done, arm.epochs_done = arm.runs_done + 1, arm.epochs_done + epochs
        if record is not None and epochs:
            self.seconds += record["cost"]["wall_seconds"]
            self.timed_epochs += epochs
        self.run_started = time.monotonic()

    def end(self, index: int, score: float | None) -> None:
        """The arm is over, with the score of its first seed, or None where every run diverged."""
        arm = self.arms[index]
        arm.state, arm.score = ("failed" if score is None else "done"), score
        arm.runs, arm.epochs = arm.runs_done, arm.epochs_done
        if self.shown and not self.console.is_terminal:
            self.console.print(f"{self.summary()}: {arm.name} {arm.result}", soft_wrap=True)

    def left(self) -> float | None:
        """Seconds that the rest is expected to take; None before a run is on record."""
        if not self.timed_epochs:
            return None
        epochs = sum(max(arm.epochs - arm.epochs_done, 0.0) for arm in self.arms)
        under_way = time.monotonic() - self.run_started if self.run_started else 0.0
        return max(self.seconds / self.timed_epochs * epochs - under_way, 0.0)

    def summary(self) -> str:
        """One line: arms done, running and left, time so far and time expected."""
        done = sum(arm.over for arm in self.arms)
        running = sum(arm.state in ("running", "elsewhere") for arm in self.arms)
        left = self.left()
        expected = "expected time not known yet" if left is None else f"{clock(left)} expected"
        counts = f"{done} done, {running} running, {len(self.arms) - done - running} left"
        so_far = clock(time.monotonic() - self.started)
        return f"{self.title}: {counts}; {so_far} so far, {expected}"

    def table(self) -> Table:
        """The arms around the running one, under ``summary``."""
        now = next((i for i, arm in enumerate(self.arms) if not arm.over), len(self.arms))
        first, last = max(now - AROUND, 0), min(now + AROUND + 1, len(self.arms))
        beyond = {"above": first, "below": len(self.arms) - last}
        more = ", ".join(f"{count} {where}" for where, count in beyond.items() if count)
        caption = f"{more} not shown" if more else None
        table = Table(title=self.summary(), caption=caption, title_justify="left", box=None)
        for name in ("arm", "state", "runs", "mean recall"):
            table.add_column(name, justify="left" if name in ("arm", "state") else "right")
        for arm in self.arms[first:last]:
            since = f" {clock(time.monotonic() - self.run_started)}" * (arm.state == "running")
            runs = f"{arm.runs_done}/{max(arm.runs, arm.runs_done)}"
            table.add_row(arm.name, arm.state + since, runs, arm.result)
        return table


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    >>> clock(3723.4), clock(59.9)
    ('1:02:03', '0:59')
    """
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
