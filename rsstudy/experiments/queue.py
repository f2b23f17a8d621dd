"""The queue of the decisive record: take the next run, stop in time, leave records to commit.

A suite is worked on as by ``python -m study suite``, in a folder of runs that may be new each time:
what is on record below ``results`` is put there first, and what is done is copied back.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.experiments.names import label_of
from rsstudy.experiments.protocol import read_choice
from rsstudy.experiments.record import (
    CHOICES,
    RECORD,
    RUNS,
    choices_in,
    records_in,
    write_readable,
    write_record,
    write_runs_table,
)
from rsstudy.experiments.run import CHECKPOINT, Run
from rsstudy.files import hold, whole_file
from rsstudy.methods import Method, attach, count_trained

UNDERWAY = "underway"
# A checkpoint up to this size is kept below ``results`` when the time is over.
LARGEST_CHECKPOINT = 2 << 20
# It is kept in parts of so many bytes: larger files do not belong in a repository.
PART = 1_000_000
# Pictures a second of one process where no record of the method gives them: those of the slowest
# method of the plan. And what a run takes besides training: reading, validation, test.
PICTURES_A_SECOND = {"cpu": 12.0, "cuda": 200.0}
BESIDE_TRAINING, OPENING_SECONDS = 1.25, 120.0


@dataclass(frozen=True)
class Slot:
    """A time to work in.

    Attributes:
        deadline: on the clock of ``time.monotonic``.
        results: the folder of results, whose records are known and to which records go.
        then: called with the folders of runs and of results when records have been copied.
    """

    deadline: float
    results: Path
    then: Callable[[Path, Path], Any] | None = None

    @property
    def over(self) -> bool:
        return time.monotonic() > self.deadline

    def fits(
        self, run: Run, pictures: int, known: Sequence[Mapping[str, Any]], device: str = "cpu"
    ) -> bool:
        """Whether a run can be started: it ends in time, or its checkpoint is small.

        Args: see ``expected_seconds``.
        """
        left = self.deadline - time.monotonic()
        if left > 2 * OPENING_SECONDS and is_small(run):
            return True
        return left > expected_seconds(run, pictures, known, device)

    def known(self) -> list[dict[str, Any]]:
        """The records below ``results`` that are not of before."""
        return [record for record in records_in(self.results / RUNS) if not is_before(record)]

    def restore(self, runs: Path) -> None:
        """Put into a folder of runs what is on record, and the checkpoints of what is under way."""
        for record in self.known():
            folder = runs / record["id"]
            if not (folder / RECORD).exists():
                write_record(folder, record)
        for name, choice in choices_in(self.results / CHOICES).items():
            path = Path(CHOICES, f"{name}.json")
            if not is_before(choice) and not (runs / path).exists():
                _copy(self.results / path, runs / path)
        for first in sorted((self.results / UNDERWAY).glob("*.pt.0")):
            name = first.name.removesuffix(".pt.0")
            checkpoint = runs / name / CHECKPOINT
            if not checkpoint.exists() and not (runs / name / RECORD).exists():
                parts = [part.read_bytes() for part in self.parts(name)]
                with whole_file(checkpoint) as temporary:
                    temporary.write_bytes(b"".join(parts))

    def parts(self, name: str) -> list[Path]:
        """The files of the checkpoint that is kept of a run, in order."""
        found = (self.results / UNDERWAY).glob(f"{name}.pt.*")
        return sorted(found, key=lambda part: int(part.suffix[1:]))

    def publish(self, runs: Path) -> None:
        """Copy choices, then records, from a folder of runs to ``results``.

        Raises:
            StudyError: ``results`` has another choice of that name, or a record of before.
        """
        with hold(self.results, wait=True):
            for name, choice in choices_in(runs / CHOICES).items():
                path = self.results / CHOICES / f"{name}.json"
                if path.is_file() and read_choice(path)["chosen"] != choice["chosen"]:
                    raise StudyError(f"{path} holds another choice than {runs}: keep one of them")
                _copy(runs / CHOICES / path.name, path)
            known = {record["id"]: record for record in records_in(self.results / RUNS)}
            for record in records_in(runs):
                name, there = record["id"], known.get(record["id"], {})
                if is_before(there):
                    raise StudyError(f"{name} is on record already, as one of before")
                if there.get("status") != record["status"]:
                    write_readable(self.results / RUNS / f"{name}.json", record)
                self.forget(name)
            write_runs_table(self.results)
            if self.then is not None:
                self.then(runs, self.results)

    def keep(self, runs: Path) -> None:
        """Keep the small checkpoints of what is not done, for the next to go on with."""
        for path in sorted(runs.glob(f"*/{CHECKPOINT}")):
            with suppress(FileNotFoundError):  # its run has just ended
                size, name = path.stat().st_size, path.parent.name
                whole = path.read_bytes() if size <= LARGEST_CHECKPOINT else b""
                self.forget(name)
                # The first part is written last: where it lies, all do.
                for number, start in reversed([*enumerate(range(0, len(whole), PART))]):
                    kept = self.results / UNDERWAY / f"{name}.pt.{number}"
                    with whole_file(kept) as temporary:
                        temporary.write_bytes(whole[start : start + PART])

    def forget(self, name: str) -> None:
        """Remove the checkpoint that is kept of a run, if there is one; the first part first."""
        for part in self.parts(name):
            part.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as temporary:
        shutil.copy(source, temporary)


def is_before(record: Mapping[str, Any]) -> bool:
    """Whether a record, or a choice, is of the record of before."""
    return record.get("record") == "before"


@cache
def _trained(encoder: str, method: Method, train_heads: bool) -> int:
    built = create(encoder, meta=True)
    attach(built, method, train_heads)
    return count_trained(built).total


def is_small(run: Run) -> bool:
    """Whether a checkpoint stays within ``LARGEST_CHECKPOINT``.

    It holds the trained parameters, the best of them and their two moments, in fp32.
    """
    count = _trained(run.encoder, run.built_method, run.train_heads)
    return 4 * 4 * count < 0.95 * LARGEST_CHECKPOINT


def expected_seconds(
    run: Run, pictures: int, known: Sequence[Mapping[str, Any]], device: str = "cpu"
) -> float:
    """How long a run takes, by the records of its method and objective on such a device.

    One that trains nothing takes an epoch's time.

    Args:
        pictures: of the training split.
        known: records of any runs.
    """
    alike = (label_of(run), run.objective, device)
    rates = [
        record["cost"]["images_per_second"]
        for record in known
        if (record.get("cost") or {}).get("images_per_second")
        and (record.get("label"), record["config"]["objective"], record["environment"]["device"])
        == alike
    ]
    views = run.built_objective.views
    rate = median(rates) if rates else PICTURES_A_SECOND.get(device, 12.0) / views
    captions = 5 if run.recipe.samples == "captions" else 1
    trains = _trained(run.encoder, run.built_method, run.train_heads) > 0
    shown = pictures * captions * (run.recipe.epochs if trains else 1) * run.recipe.fraction
    return OPENING_SECONDS + BESIDE_TRAINING * shown / rate


def yield_to_others() -> None:
    """Run only where nothing else wants the processor: nice counts within one session alone."""
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
