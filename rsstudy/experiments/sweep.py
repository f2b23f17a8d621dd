"""Running a suite: every arm of its grid, searched on validation, repeated over seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsstudy.data.folds import Fold
from rsstudy.data.sources import load
from rsstudy.devices import pick_device
from rsstudy.encoders import tiny_delta
from rsstudy.errors import Busy, StudyError, unknown
from rsstudy.experiments.live import Board, Progress
from rsstudy.experiments.pretrain import pretrain, usual
from rsstudy.experiments.protocol import choose
from rsstudy.experiments.queue import Slot
from rsstudy.experiments.record import CHOICES, fold_name
from rsstudy.experiments.run import Run, execute, label_of, objective_label
from rsstudy.files import is_held
from rsstudy.settings import settings_of
from rsstudy.training.checkpoint import Diverged, OutOfTime

# How far a search goes beyond its learning rates while the best lies at an end of them.
FURTHER = 2

# How often a process with nothing to do looks whether others are done.
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Arm:
    """One row of a comparison.

    Attributes:
        run: with the first seed and the scale's learning rate.
        learning_rates: to choose from on validation, with the first seed; the choice holds for all.
        seeds: how many.
        factor, level: what this arm changes about its suite's base, and to what.
        searched_with: the share of the training pictures that the search's runs see.
        test: go on to the test split; else it ends at validation, where designs are developed.
        folds: repeat over these folds in place of seeds; a fold's number is its seed.
        searched: what the search trains, where that is another run.
        searched_in: the folds of the search; a rate's score is the mean over them.
    """

    run: Run
    learning_rates: tuple[float, ...]
    seeds: int
    factor: str = ""
    level: str = ""
    searched_with: float = 1.0
    test: bool = True
    folds: tuple[int, ...] = ()
    searched: Run | None = None
    searched_in: tuple[int, ...] = ()

    def candidate(self, rate: float) -> list[Run]:
        """The search's runs at a learning rate."""
        run = _at(self.searched or self.run, rate)
        fraction = run.recipe.fraction * self.searched_with
        run = replace(run, recipe=replace(run.recipe, fraction=fraction))
        return [_in_fold(run, fold) for fold in self.searched_in] or [run]

    def at(self, rate: float) -> Run:
        """The first seed's run at a learning rate."""
        return _at(self.run, rate)

    def searches(self) -> list[Run]:
        """The runs of its search that are no repeats, if it stays within its learning rates."""
        if len(self.learning_rates) == 1:
            return []
        tried = [run for rate in self.learning_rates for run in self.candidate(rate)]
        own = self.repeats(self.at(self.learning_rates[0]))
        return tried[1:] if tried[0] in own else tried  # the chosen one is a repeat

    def count(self) -> int:
        """How many runs it takes, if its search stays within its learning rates."""
        return len(self.searches()) + len(self.repeats(self.run))

    def epochs(self) -> float:
        """How many epochs over all training pictures its runs take, further rates left out."""
        runs = [*self.searches(), *self.repeats(self.run)]
        return sum(run.recipe.epochs * run.recipe.fraction for run in runs)

    def repeats(self, chosen: Run) -> list[Run]:
        """The chosen run in every fold, or with every seed, itself first.

        A run before it has the same seed.
        """
        if self.folds:
            return [_in_fold(chosen, fold) for fold in self.folds]
        return [_with_seed(chosen, chosen.seed + more) for more in range(self.seeds)]


def _at(run: Run, rate: float) -> Run:
    return replace(run, recipe=replace(run.recipe, learning_rate=rate))


def _in_fold(run: Run, fold: int) -> Run:
    return replace(run, fold=Fold(fold), seed=fold)


def _with_seed(run: Run, seed: int) -> Run:
    after = _with_seed(run.after, seed) if isinstance(run.after, Run) else run.after
    return replace(run, seed=seed, after=after)


def only(
    rows: Sequence[Arm], data: Sequence[str], methods: Sequence[str], objectives: Sequence[str]
) -> list[Arm]:
    """The arms on these sets, with these methods (by label) and objectives; empty means any.

    Raises:
        StudyError: no arm has a name that was asked for.
    """
    for kind, asked, has in (
        ("data set of this suite", data, {arm.run.data for arm in rows}),
        ("method of this suite", methods, {label_of(arm.run) for arm in rows}),
        ("objective of this suite", objectives, {arm.run.objective for arm in rows}),
    ):
        for name in asked:
            if name not in has:
                raise unknown(kind, name, has)
    return [
        arm
        for arm in rows
        if (not data or arm.run.data in data)
        and (not methods or label_of(arm.run) in methods)
        and (not objectives or arm.run.objective in objectives)
    ]


def recorded(rows: Sequence[Arm], table: pd.DataFrame) -> pd.DataFrame:
    """The runs of some arms that a table of records holds, arm by arm.

    Args:
        table: from ``experiments.record.read_records``.

    Returns:
        its rows, with columns ``factor`` and ``level`` in front. All seeds of an arm have the
        learning rate that its search chose, with the first seed, and one image size.

    Raises:
        StudyError: the first seed was run at several, and no search says which was chosen.
    """
    parts = [table.iloc[:0].assign(factor="", level="")]  # the columns, if there is no arm
    for arm in rows:
        run, wanted = arm.run, _recipe_of(settings_of(arm.run.recipe))
        named = (table["data"] == run.data) & (table["encoder"] == run.encoder)
        named &= (table["label"] == label_of(run)) & (
            table["objective_label"] == objective_label(run)
        )
        named &= table["seed"].isin([repeat.seed for repeat in arm.repeats(run)])
        named &= table["fold"].isin([fold_name(repeat.fold) for repeat in arm.repeats(run)])
        found = table[named].sort_values("seed")
        same = [
            _recipe_of(record["config"]["recipe"]) == wanted and _same_chain(run, record["config"])
            for record in found["record"]
        ]
        found = found[np.array(same, dtype=bool)]
        found = found.assign(factor=arm.factor, level=arm.level)
        first = found[found["seed"] == arm.repeats(run)[0].seed]
        if len(first) > 1:
            raise StudyError(
                f"{' and '.join(first['id'])} differ in learning rate or image size alone: keep one"
            )
        for name in ("learning_rate", "image_size"):
            found = found[found[name].isin(first[name])]
        parts.append(found)
    whole = pd.concat(parts, ignore_index=True)
    return whole[["factor", "level", *whole.columns.drop(["factor", "level"])]]


def name_of(arm: Arm, several: bool = False) -> str:
    """An arm's name for a reader: method, what differs, objective, and the set among several."""
    names = [label_of(arm.run), objective_label(arm.run), arm.run.data * several]
    if isinstance(arm.run.after, Run):
        names.append(f"after {arm.run.after.data}")
    return " · ".join(name for name in names if name)


def is_run(run: Run, record: Mapping[str, Any]) -> bool:
    """Whether a record is of this run, its learning rate too; the image size may be another."""
    config = record["config"]
    return (
        (config["data"], config["encoder"], config["seed"]) == (run.data, run.encoder, run.seed)
        and fold_name(config.get("fold")) == fold_name(run.fold)
        and record.get("label") == label_of(run)
        and record.get("objective_label") == objective_label(run)
        and config["recipe"]["learning_rate"] == run.recipe.learning_rate
        and _recipe_of(config["recipe"]) == _recipe_of(settings_of(run.recipe))
        and _same_chain(run, config)
    )


def _same_chain(run: Run, config: Mapping[str, Any]) -> bool:
    """Whether a record's run started where this one does, and looked at the same further sets."""
    before = run.after.data if isinstance(run.after, Run) else None
    return before == config.get("after", {}).get("data") and set(run.also) == {
        *config.get("also", ())
    }


def _recipe_of(recipe: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in recipe.items() if k not in ("learning_rate", "image_size")}


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
                        record = execute(
                            task.run,
                            None,
                            runs,
                            data_root,
                            device,
                            False,
                            test=task.test,
                            until=task.until,
                            deadline=math.inf if slot is None else slot.deadline,
                        )[0]
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
                        say(
                            f"{run.method} {run.objective} seed {run.seed} on {run.data}: {problem}"
                        )
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
        found = {rate: [r for r in records if r is not None] for rate, records in tried.items()}
        found = {
            rate: records
            for rate, records in found.items()
            if len(records) == len(self.candidates[rate])
        }
        if not found:
            self.over = True
            return
        first = next(iter(found.values()))[0]
        self.until = (runs / CHOICES / f"{first['id']}.json",)
        self.repeats = self.arm.repeats(self.arm.at(choose(found, *self.until)))


def _make_ready(encoder: str, device: str, say: Callable[[str], None], progress: bool) -> None:
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
