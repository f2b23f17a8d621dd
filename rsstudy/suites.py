"""Running a suite: every arm of its grid, searched on validation, repeated over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsstudy.encoders import tiny_delta
from rsstudy.errors import StudyError
from rsstudy.grids import Arm, Scale, arms, only
from rsstudy.live import Board, Progress
from rsstudy.pretraining import pretrain, usual
from rsstudy.protocol import choose
from rsstudy.run import Run, execute, label_of, objective_label
from rsstudy.training import Diverged

# How far a search goes beyond its learning rates while the best lies at an end of them.
FURTHER = 2


def run_arms(
    rows: Sequence[Arm],
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = True,
    label: str = "suite",
) -> list[dict[str, Any]]:
    """Do every run of some arms whose record is not there yet.

    Where an arm has several learning rates, all are trained and validated with the first seed.
    While the best lies at an end of them, the next beyond it is tried, too, ``FURTHER`` times at
    most. The choice is written to ``runs/choices``; only then is a test split opened. A diverged
    run does not stop the rest.

    Returns:
        the records of the finished runs, arm by arm.

    Raises:
        StudyError: a set or the encoder's weights are absent.
    """
    if any(arm.run.encoder == "tiny" for arm in rows):
        if not tiny_delta().exists():
            say("pretraining the tiny encoder on generated ground-level scenes, once ...")
        pretrain(usual("tiny"), device=device, progress=progress)
    several = len({arm.run.data for arm in rows}) > 1
    progresses = [Progress(name_of(arm, several), arm.count(), arm.epochs()) for arm in rows]
    records = []
    with Board(label, progresses, progress) as board:
        for index, arm in enumerate(rows):
            board.begin(index)

            def attempt(run: Run, again: bool = False, at: int = index, **more: Any) -> Any:
                record = None
                try:
                    record = execute(run, None, runs, data_root, device, False, **more)[0]
                except Diverged as problem:
                    say(f"{run.method} {run.objective} seed {run.seed} on {run.data}: {problem}")
                if not again:
                    board.did(at, run.recipe.epochs * run.recipe.fraction, record)
                return record

            chosen, until = arm.run, tuple[Path, ...]()
            if len(arm.learning_rates) > 1:
                tried = {run.recipe.learning_rate: (run, attempt(run, test=False))
                         for run in arm.candidates()}  # fmt: skip
                for _ in range(FURTHER):
                    further = beyond(tried)
                    if further is None:
                        break
                    run = arm.candidate(further)
                    tried[further] = run, attempt(run, test=False)
                validated = [(run, record) for run, record in tried.values() if record is not None]
                if not validated:
                    board.end(index, None)
                    continue
                choice = Path(runs) / "choices" / f"{validated[0][1]['id']}.json"
                best = choose([record for _, record in validated], choice)
                chosen, until = arm.at(validated[best][0].recipe.learning_rate), (choice,)
            # the search's best comes again, for its test scores, where it saw every picture
            seen = [run for run, _ in tried.values()] if len(arm.learning_rates) > 1 else []
            found = [attempt(run, run in seen, until=until) for run in arm.repeats(chosen)]
            finished = [record for record in found if record is not None]
            board.end(index, finished[0]["scores"]["mean_recall"] if finished else None)
            records += finished
    return records


def name_of(arm: Arm, several: bool = False) -> str:
    """An arm's name for a reader: method, what differs, objective, and the set among several."""
    names = [label_of(arm.run), objective_label(arm.run), arm.run.data * several]
    return " · ".join(name for name in names if name)


def beyond(tried: Mapping[float, tuple[Run, dict[str, Any] | None]]) -> float | None:
    """The learning rate to try next, if the best so far lies at an end of those tried.

    Rates stand on a ladder of two steps a decade (1, 3, 10), so that the next is ten times the last
    but one. None where the best lies between others, or a run at the end diverged.
    """
    scores = {rate: -math.inf if record is None else record["validation_scores"]["mean_recall"]
              for rate, (_, record) in tried.items()}  # fmt: skip
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
) -> list[dict[str, Any]]:
    """Do a suite, or the arms of it that ``only`` picks; see ``run_arms``.

    Args:
        seeds: how many of each arm's at most, from the first.

    Raises:
        StudyError: a set or the encoder's weights are absent; no run finished.
    """
    rows = only(arms(name, scale), data, methods, objectives)
    if seeds is not None:
        rows = [replace(arm, seeds=min(arm.seeds, seeds)) for arm in rows]
    records = run_arms(rows, runs, data_root, device, say, progress, f"suite {name}, scale {scale}")
    if not records:
        raise StudyError(f"no run of suite {name} finished")
    return records
