"""Running a suite: every arm of its grid, searched on validation, repeated over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rsstudy.encoders import tiny_delta
from rsstudy.errors import StudyError
from rsstudy.grids import Arm, Scale, arms, only
from rsstudy.pretraining import pretrain, usual
from rsstudy.protocol import choose
from rsstudy.run import Run, execute
from rsstudy.training import Diverged


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

    Where an arm has several learning rates, all are trained and validated with the first seed; the
    choice is written to ``runs/choices``; only then is a test split opened. A diverged run does not
    stop the rest.

    Returns:
        the records of the finished runs, arm by arm.

    Raises:
        StudyError: a set or the encoder's weights are absent.
    """
    if any(arm.run.encoder == "tiny" for arm in rows):
        if not tiny_delta().exists():
            say("pretraining the tiny encoder on generated ground-level scenes, once ...")
        pretrain(usual("tiny"), device=device, progress=progress)
    total = sum(arm.seeds + len(arm.learning_rates) - 1 for arm in rows)
    records = []
    with tqdm(total=total, desc=label, unit="run", disable=not progress) as bar:

        def attempt(run: Run, **more: Any) -> dict[str, Any] | None:
            try:
                return execute(run, None, runs, data_root, device, progress, **more)[0]
            except Diverged as problem:
                say(f"{run.method} {run.objective} seed {run.seed} on {run.data}: {problem}")
                return None
            finally:
                bar.update()

        for arm in rows:
            chosen, until = arm.run, tuple[Path, ...]()
            if len(arm.learning_rates) > 1:
                tried = [(run, record) for run in arm.candidates()
                         if (record := attempt(run, test=False)) is not None]  # fmt: skip
                bar.update(-1)  # the chosen one comes again, for its test scores
                if not tried:
                    continue
                first = tried[0][1]
                choice = Path(runs) / "choices" / f"{first['id']}.json"
                chosen, until = tried[choose([r for _, r in tried], choice)][0], (choice,)
            found = [attempt(run, until=until) for run in arm.repeats(chosen)]
            records += [record for record in found if record is not None]
    return records


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
) -> list[dict[str, Any]]:
    """Do a suite, or the arms of it that ``only`` picks; see ``run_arms``.

    Raises:
        StudyError: a set or the encoder's weights are absent; no run finished.
    """
    rows = only(arms(name, scale), data, methods, objectives)
    records = run_arms(rows, runs, data_root, device, say, progress, f"suite {name}, scale {scale}")
    if not records:
        raise StudyError(f"no run of suite {name} finished")
    return records
