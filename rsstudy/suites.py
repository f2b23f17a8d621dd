"""Running a suite: every arm of its grid, searched on validation, repeated over seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsstudy.data.sources import load
from rsstudy.encoders import tiny_delta
from rsstudy.errors import Busy, StudyError
from rsstudy.files import is_held
from rsstudy.grids import Arm, Scale, arms, name_of, only
from rsstudy.live import Board, Progress
from rsstudy.pretraining import pretrain, usual
from rsstudy.protocol import choose
from rsstudy.queue import Slot
from rsstudy.records import CHOICES
from rsstudy.run import Run, execute
from rsstudy.training import Diverged, OutOfTime, pick_device

# How far a search goes beyond its learning rates while the best lies at an end of them.
FURTHER = 2

# How often a process with nothing to do looks whether others are done.
POLL_SECONDS = 2.0


def run_arms(
    rows: Sequence[Arm],
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = True,
    label: str = "suite",
    slot: Slot | None = None,
) -> list[dict[str, Any]]:
    """Do every run of some arms whose record is not there yet.

    Where an arm has several learning rates, all are trained and validated with the first seed.
    While the best lies at an end of them, the next beyond it is tried, too, ``FURTHER`` times at
    most; not where an arm names the folds to search in. The choice is written to ``runs/choices``;
    only then is a test split opened. A diverged run does not stop the rest.

    Several processes may work on one folder of runs, on one machine or many: each takes the first
    run that nobody is at, and one that a dead process has left. All return when all is done.

    Within a ``slot`` of time each starts only what ends in it, or leaves a small checkpoint; and
    copies what it has done to the slot's folder of results.

    Returns:
        the records of the finished runs, arm by arm.

    Raises:
        StudyError: a set or the encoder's weights are absent; a set changed meanwhile.
    """
    several = len({arm.run.data for arm in rows}) > 1
    validated: dict[str, dict[str, Any] | None] = {}  # arms may share a search
    works = [Work(arm, validated) for arm in rows]
    pictures: dict[str, int] = {}
    ready: set[str] = set()
    progresses = [Progress(name_of(arm, several), arm.count(), arm.epochs()) for arm in rows]
    seen: dict[str, tuple[str, str]] = {}
    busy: dict[str, Path] = {}
    with Board(label, progresses, progress) as board:
        while any(not work.over for work in works):
            did = waits = False
            known = [] if slot is None else slot.known()
            for index, work in enumerate(works):
                for task in work.tasks(Path(runs)):
                    if repr(task) in busy and is_held(busy[repr(task)]):
                        waits = True
                        continue
                    if slot is not None:
                        trained_on = _pictures(task.run, data_root, pictures)
                        if not slot.fits(task.run, trained_on, known, pick_device(device).type):
                            continue
                        if task.until:  # the choice is on record before what it seals is opened
                            slot.publish(Path(runs))
                    if task.run.encoder not in ready:
                        _make_ready(task.run.encoder, device, say, progress)
                        ready.add(task.run.encoder)
                    board.begin(index)
                    record = None
                    try:
                        record = execute(task.run, None, runs, data_root, device, False,
                                         test=task.test, until=task.until,
                                         deadline=math.inf if slot is None else slot.deadline)[0]
                    except Busy as problem:
                        busy[repr(task)] = problem.folder
                        board.elsewhere(index)
                        waits = True
                        continue
                    except OutOfTime as problem:
                        say(str(problem))
                        continue
                    except Diverged as problem:
                        run = task.run
                        say(f"{run.method} {run.objective} seed {run.seed} on {run.data}: "
                            f"{problem}")  # fmt: skip
                    did = True
                    if slot is not None:
                        slot.publish(Path(runs))
                    if record is not None:
                        _same_set(record, task.run.data, seen)
                    if not work.has(task.run):
                        board.did(index, task.run.recipe.epochs * task.run.recipe.fraction, record)
                    work.add(task, record)
                if work.over and board.arms[index].state not in ("done", "failed"):
                    first = next((r for r in work.records() if r is not None), None)
                    board.end(index, None if first is None else _score(first, works[index].arm))
            if slot is not None and not did and (slot.over or not waits):
                break  # what is left does not fit
            if not did:
                time.sleep(POLL_SECONDS)  # what is left is under way elsewhere
    return [record for work in works for record in work.records() if record is not None]


@dataclass(frozen=True)
class Task:
    """A run that can be done now, whether it goes on to test, and what that waits for."""

    run: Run
    test: bool
    until: tuple[Path, ...] = ()


class Work:
    """What is done of one arm, and what can be done next: its search, then its repeats."""

    def __init__(self, arm: Arm, validated: dict[str, dict[str, Any] | None]) -> None:
        self.arm, self.validated = arm, validated
        self.searches = len(arm.learning_rates) > 1
        self.candidates = (
            {rate: arm.candidate(rate) for rate in arm.learning_rates} if self.searches else {}
        )
        self.repeats = [] if self.searches else arm.repeats(arm.run)
        self.until: tuple[Path, ...] = ()
        self.further = 0
        self.over = False
        self.repeated: dict[str, dict[str, Any] | None] = {}

    def tasks(self, runs: Path) -> Iterator[Task]:
        """The runs that wait for nothing, in order; what is added meanwhile counts."""
        while self.candidates and not self.repeats and not self.over:
            tried = [run for of_rate in self.candidates.values() for run in of_rate]
            for run in tried:
                if repr(run) not in self.validated:
                    yield Task(run, test=False)
            if any(repr(run) not in self.validated for run in tried):
                return  # the rest is under way elsewhere
            self._choose(runs)
        for run in self.repeats:
            if repr(run) not in self.repeated:
                yield Task(run, self.arm.test, self.until)
        self.over = self.over or all(repr(run) in self.repeated for run in self.repeats)

    def has(self, run: Run) -> bool:
        """Whether a run has been counted."""
        return repr(run) in self.validated or repr(run) in self.repeated

    def add(self, task: Task, record: dict[str, Any] | None) -> None:
        """A task is done; no record where it diverged."""
        (self.repeated if self.repeats else self.validated)[repr(task.run)] = record

    def records(self) -> list[dict[str, Any] | None]:
        """Of the runs with every seed, in order."""
        return [self.repeated.get(repr(run)) for run in self.repeats]

    def _choose(self, runs: Path) -> None:
        """All candidates are validated: try a rate beyond them, or choose."""
        tried = {rate: [self.validated[repr(run)] for run in of_rate]
                 for rate, of_rate in self.candidates.items()}  # fmt: skip
        grows = self.further < FURTHER and not self.arm.searched_in
        further = beyond(tried) if grows else None
        if further is not None:
            self.further += 1
            self.candidates[further] = self.arm.candidate(further)
            return
        # A rate counts where none of its runs diverged.
        found = {rate: [r for r in records if r is not None] for rate, records in tried.items()}
        found = {rate: records for rate, records in found.items()
                 if len(records) == len(self.candidates[rate])}  # fmt: skip
        if not found:
            self.over = True
            return
        first = next(iter(found.values()))[0]
        self.until = (runs / CHOICES / f"{first['id']}.json",)
        self.repeats = self.arm.repeats(self.arm.at(choose(found, *self.until)))


def _make_ready(
    encoder: str, device: str, say: Callable[[str], None], progress: bool
) -> None:  # fmt: skip
    """Pretrain ``tiny`` where that has not been done."""
    if encoder == "tiny":
        if not tiny_delta().exists():
            say("pretraining the tiny encoder on generated ground-level scenes, once ...")
        pretrain(usual("tiny"), device=device, progress=progress)


def _pictures(run: Run, data_root: Path | None, seen: dict[str, int]) -> int:
    """How many pictures the published training split of a run's set has."""
    if run.data not in seen:
        seen[run.data] = sum(split == "train" for split in load(run.data, data_root).splits)
    return seen[run.data]


def _same_set(record: Mapping[str, Any], data: str, seen: dict[str, tuple[str, str]]) -> None:
    """Hold a set's digests against those of the suite's earlier runs on it.

    Raises:
        StudyError: they differ.
    """
    digests = record["config"]["manifest_digest"], record["config"]["pictures_digest"]
    if seen.setdefault(data, digests) != digests:
        raise StudyError(
            f"the set {data} changed while the suite was running: its runs cannot be compared; "
            "restore it, or start the suite anew with --runs in an empty folder"
        )


def shown_scores(record: Mapping[str, Any], test: bool) -> Mapping[str, float]:
    """A run's scores on test, or on validation where its arm ends there."""
    found: Mapping[str, float] = record["scores" if test else "validation_scores"]
    return found


def _score(record: Mapping[str, Any], arm: Arm) -> float:
    return shown_scores(record, arm.test)["mean_recall"]


def beyond(tried: Mapping[float, Sequence[dict[str, Any] | None]]) -> float | None:
    """The learning rate to try next, if the best so far lies at an end of those tried.

    Rates stand on a ladder of two steps a decade (1, 3, 10), so that the next is ten times the last
    but one. None where the best lies between others, or a run at the end diverged.
    """
    scores = {
        rate: sum(-math.inf if record is None else record["validation_scores"]["mean_recall"]
                  for record in records) / len(records)
        for rate, records in tried.items()
    }  # fmt: skip
    rates = sorted(scores)
    best = max(rates, key=scores.__getitem__)
    if scores[best] == -math.inf or len(rates) < 2:
        return None
    if best == rates[-1]:
        return float(f"{rates[-2] * 10:.1g}")
    return float(f"{rates[1] / 10:.1g}") if best == rates[0] else None


def run_suite(
    name: str,
    scale: Scale,
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = True,
    data: Sequence[str] = (),
    methods: Sequence[str] = (),
    objectives: Sequence[str] = (),
    seeds: int | None = None,
    slot: Slot | None = None,
) -> list[dict[str, Any]]:
    """Do a suite, or the arms of it that ``only`` picks; see ``run_arms``.

    Args:
        seeds: how many of each arm's at most, from the first.

    Raises:
        StudyError: a set or the encoder's weights are absent; no run finished.
    """
    rows = rows_of(name, scale, data, methods, objectives, seeds)
    what = f"suite {name}, scale {scale}"
    records = run_arms(rows, runs, data_root, device, say, progress, what, slot)
    if not records and slot is None:
        raise StudyError(f"no run of suite {name} finished")
    return records


def rows_of(
    name: str, scale: Scale, data: Sequence[str] = (), methods: Sequence[str] = (),
    objectives: Sequence[str] = (), seeds: int | None = None,
) -> list[Arm]:  # fmt: skip
    """The arms of a suite that are asked for; see ``run_suite``."""
    rows = only(arms(name, scale), data, methods, objectives)
    if seeds is not None:
        rows = [replace(arm, seeds=min(arm.seeds, seeds)) for arm in rows]
    return rows
