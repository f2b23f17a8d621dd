"""Many runs: every arm searched on validation, then repeated over seeds or folds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsstudy.data.sources import load
from rsstudy.devices import pick_device
from rsstudy.encoders import tiny_delta
from rsstudy.errors import Busy, StudyError
from rsstudy.experiments.arms import Arm, name_of
from rsstudy.experiments.live import Board, Progress
from rsstudy.experiments.pretrain import pretrain, usual
from rsstudy.experiments.protocol import choose
from rsstudy.experiments.queue import Slot
from rsstudy.experiments.record import CHOICES
from rsstudy.experiments.run import Run, execute
from rsstudy.files import is_held
from rsstudy.training.checkpoint import Diverged, OutOfTime

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
    """Do every run of some arms whose record does not exist yet.

    Where an arm has several learning rates, all are trained and validated with the first seed.
    While the best lies at an end of them, the next beyond it is tried, too, ``FURTHER`` times at
    most; not where an arm names the folds to search in. The choice is written to ``runs/choices``;
    only then is a test split opened. A diverged run does not stop the rest.

    Several processes may work on one folder of runs, on one machine or many: each takes the first
    run that no other works on, and one that a dead process has left. All return when all is done.

    Within a ``slot`` of time each starts only what ends in it, or leaves a small checkpoint; and
    copies what it has done to the slot's folder of results.

    Returns:
        the records of the finished runs, arm by arm.

    Raises:
        StudyError: a set or the encoder's weights are absent; a set changed meanwhile.
    """
    several = len({arm.run.data for arm in rows}) > 1
    bars = [Progress(name_of(arm, several), arm.count(), arm.epochs()) for arm in rows]
    with Board(label, bars, progress) as board:
        validated: dict[str, dict[str, Any] | None] = {}  # arms may share a search
        works = [Work(arm, validated) for arm in rows]
        sweep = Sweep(works, Path(runs), data_root, device, say, progress, slot, board)
        while any(not work.over for work in works):
            did, waits = sweep.turn()
            if slot is not None and not did and (slot.over or not waits):
                break  # what is left does not fit
            if not did:
                time.sleep(POLL_SECONDS)  # what is left is under way elsewhere
    return [r for work in works for r in work.records() if r is not None]


@dataclass
class Sweep:
    """One process's part of ``run_arms``, whose arguments these are.

    Attributes:
        pictures: of the published training split of each set.
        seen: the digests of each set, as its first run recorded them.
        busy: the folder of each run that another process works on.
    """

    works: list[Work]
    runs: Path
    data_root: Path | None
    device: str
    say: Callable[[str], None]
    progress: bool
    slot: Slot | None
    board: Board
    pictures: dict[str, int] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    busy: dict[str, Path] = field(default_factory=dict)

    def turn(self) -> tuple[bool, bool]:
        """Do what can be done now of every arm.

        Returns:
            whether anything was done, and whether something is under way elsewhere.
        """
        did = waits = False
        known = [] if self.slot is None else self.slot.known()
        for index, work in enumerate(self.works):
            for task in work.tasks(self.runs):
                if repr(task) in self.busy and is_held(self.busy[repr(task)]):
                    waits = True
                elif self._fits(task, known):
                    done = self._do(index, work, task)
                    did, waits = did or done == "done", waits or done == "busy"
            if work.over and self.board.arms[index].state not in ("done", "failed"):
                first = next((r for r in work.records() if r is not None), None)
                score = None if first is None else shown_scores(first, work.arm.test)["mean_recall"]
                self.board.end(index, score)
        return did, waits

    def _do(self, index: int, work: Work, task: Task) -> str:
        """Do one run: ``done``, or ``busy`` elsewhere, or ``stopped`` by the slot's end."""
        run, deadline = task.run, math.inf
        if self.slot is not None:
            deadline = self.slot.deadline
            if task.until:  # the choice is on record before what it seals is opened
                self.slot.publish(self.runs)
        self._make_ready(run.encoder)
        self.board.begin(index)
        record = None
        try:
            record = execute(
                run,
                runs=self.runs,
                data_root=self.data_root,
                device=self.device,
                progress=False,
                test=task.test,
                until=task.until,
                deadline=deadline,
            )[0]
        except Busy as problem:
            self.busy[repr(task)] = problem.folder
            self.board.elsewhere(index)
            return "busy"
        except OutOfTime as problem:
            self.say(str(problem))
            return "stopped"
        except Diverged as problem:
            self.say(f"{run.method} {run.objective} seed {run.seed} on {run.data}: {problem}")
        if self.slot is not None:
            self.slot.publish(self.runs)
        if record is not None:
            self._same_set(record, run.data_name)
        if not work.has(run):
            self.board.did(index, run.recipe.epochs * run.recipe.fraction, record)
        work.add(task, record)
        return "done"

    def _fits(self, task: Task, known: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a run can be started within the slot."""
        if self.slot is None:
            return True
        data = task.run.data_name
        if data not in self.pictures:  # of the published training split
            splits = load(data, self.data_root).splits
            self.pictures[data] = sum(split == "train" for split in splits)
        device = pick_device(self.device).type
        return self.slot.fits(task.run, self.pictures[data], known, device)

    def _make_ready(self, encoder: str) -> None:
        """Pretrain ``tiny`` where that has not been done."""
        if encoder == "tiny" and encoder not in self.ready:
            if not tiny_delta().exists():
                self.say("pretraining the tiny encoder on generated ground-level scenes, once ...")
            pretrain(usual("tiny"), device=self.device, progress=self.progress)
        self.ready.add(encoder)

    def _same_set(self, record: Mapping[str, Any], data: str) -> None:
        """Compare a set's digests with those of the suite's earlier runs on it.

        Raises:
            StudyError: they differ.
        """
        digests = record["config"]["manifest_digest"], record["config"]["pictures_digest"]
        if self.seen.setdefault(data, digests) != digests:
            raise StudyError(
                f"the set {data} changed while the suite was running: its runs cannot be compared; "
                "restore it, or start the suite anew with --runs in an empty folder"
            )


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
        tried = {
            rate: [self.validated[repr(run)] for run in of_rate]
            for rate, of_rate in self.candidates.items()
        }
        grows = self.further < FURTHER and not self.arm.searched_in
        further = beyond(tried) if grows else None
        if further is not None:
            self.further += 1
            self.candidates[further] = self.arm.candidate(further)
            return
        # A rate counts where none of its runs diverged.
        found = {
            rate: [r for r in records if r is not None]
            for rate, records in tried.items()
            if None not in records
        }
        if not found:
            self.over = True
            return
        first = next(iter(found.values()))[0]
        self.until = (runs / CHOICES / f"{first['id']}.json",)
        self.repeats = self.arm.repeats(self.arm.at(choose(found, *self.until)))


def shown_scores(record: Mapping[str, Any], test: bool) -> Mapping[str, float]:
    """A run's scores on test, or on validation where its arm ends there."""
    found: Mapping[str, float] = record["scores" if test else "validation_scores"]
    return found


def beyond(tried: Mapping[float, Sequence[dict[str, Any] | None]]) -> float | None:
    """The learning rate to try next, if the best so far lies at an end of those tried.

    Rates stand on a ladder of two steps a decade (1, 3, 10), so that the next is ten times the last
    but one. None where the best lies between others, or a run at the end diverged.
    """
    scores = {
        rate: sum(
            -math.inf if record is None else record["validation_scores"]["mean_recall"]
            for record in records
        )
        / len(records)
        for rate, records in tried.items()
    }
    rates = sorted(scores)
    best = max(rates, key=scores.__getitem__)
    if scores[best] == -math.inf or len(rates) < 2:
        return None
    if best == rates[-1]:
        return float(f"{rates[-2] * 10:.1g}")
    return float(f"{rates[1] / 10:.1g}") if best == rates[0] else None
