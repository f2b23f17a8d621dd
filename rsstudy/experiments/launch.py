"""More processes for a suite, on this machine or as a SLURM array job, through submitit.

Every worker does the same work on one folder of runs (see ``sweep.run_arms``): it does what
nobody is at, and leaves when all is done. There is no other queue, and nothing to keep in step.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rsstudy.devices import pick_device
from rsstudy.errors import StudyError, first_line

JOBS = ".jobs"
"""Where under the folder of runs submitit keeps its files and every worker's log."""

A_WHILE = 30.0  # seconds
A_WEEK = 7 * 24 * 60  # minutes: a worker on this machine has no limit of its own

Work = Callable[[], Sequence[Any]]
"""What a worker does, on a folder of runs that all share; it returns the records."""


class Worker:
    """One worker's share of the work; where SLURM stops it, it is queued again as it is."""

    def __init__(self, threads: int | None, work: Work) -> None:
        self.threads, self.work = threads, work

    def __call__(self, number: int) -> int:
        """Work until all is done; the number of finished runs on record then."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return len(self.work())

    def checkpoint(self, number: int) -> Any:
        """What submitit calls before the time is up: the runs resume from their own checkpoints."""
        return _submitit().helpers.DelayedSubmission(self, number)


@contextmanager
def beside(
    work: Work,
    jobs: int,
    runs: Path,
    device: str,
    say: Callable[[str], None],
    share_gpus: bool = False,
) -> Iterator[None]:
    """Within the block, ``jobs`` - 1 workers do the same work beside this process.

    Where there are GPUs, each takes one, this process the first; else they share the processor's
    threads. With ``share_gpus`` several take one GPU, and each one thread. When the block ends, so
    do they.

    Raises:
        StudyError: submitit is not installed, or there are fewer GPUs than jobs.
    """
    submitit, folder = _submitit(), Path(runs) / JOBS
    if ":" in device:
        raise StudyError(f"--jobs gives each process a GPU: leave out --device {device}")
    gpus = visible_gpus() if pick_device(device).type == "cuda" else []
    if gpus and jobs > len(gpus) and not share_gpus:
        raise StudyError(f"{jobs} jobs want a GPU each and there are {len(gpus)}: lower --jobs")
    before, started = torch.get_num_threads(), []
    threads = 1 if share_gpus else None if gpus else max(before // jobs, 1)
    try:
        for number in range(1, jobs):
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(timeout_min=A_WEEK)
            if gpus:
                executor.update_parameters(gpus_per_node=1, visible_gpus=[gpus[number % len(gpus)]])
            with _stderr_to(folder / "controllers.log"):
                started.append(executor.submit(Worker(threads, work), number))
        torch.set_num_threads(threads or before)
        say(f"{len(started)} more at work; their logs are in {folder}")
        yield
        until = time.monotonic() + A_WHILE * (10 if share_gpus else 1)  # all is done: they leave
        while not all(job.done() for job in started) and time.monotonic() < until:
            time.sleep(0.1)
        for job in started:
            if job.done() and not _worked(job):
                how = f"see {job.paths.stderr}" if job.paths.result_pickle.exists() else "killed"
                say(f"a worker ended early ({how}); its runs were taken up")
    finally:
        torch.set_num_threads(before)
        for job in started:
            if not job.done():
                job.cancel()


def submit_array(
    work: Work,
    name: str,
    jobs: int,
    runs: Path,
    device: str,
    options: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Give SLURM an array job of some workers, a GPU each, and return.

    Args:
        work: what each does; picklable.
        name: of the job.
        options: submitit's parameters (timeout_min, slurm_partition, gpus_per_node, ...).

    Raises:
        StudyError: submitit is not installed, no SLURM is here, or it refused.
    """
    submitit, folder = _submitit(), Path(runs).resolve() / JOBS
    if shutil.which("srun") is None:
        raise StudyError("there is no SLURM here (no srun): use --jobs without --launcher")
    gpus = 0 if device == "cpu" else 1
    parameters: dict[str, Any] = {"name": f"rsstudy-{name}", "timeout_min": 24 * 60}
    parameters |= {"gpus_per_node": gpus, "slurm_array_parallelism": jobs}
    parameters |= {n: int(v) if v.lstrip("-").isdigit() else v for n, v in options.items()}
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm")
        executor.update_parameters(**parameters)
        queued = executor.map_array(Worker(None, work), range(jobs))
    except (OSError, RuntimeError, NameError, ValueError, TypeError, AssertionError) as problem:
        raise StudyError(f"SLURM did not take the job: {first_line(problem)}") from None
    say(
        f"SLURM job {queued[0].job_id.partition('_')[0]}: {jobs} workers, logs in {folder}. The "
        "same command without --launcher shows the scores when they are done."
    )


def visible_gpus() -> list[int]:
    """The numbers of this process's GPUs, as CUDA_VISIBLE_DEVICES counts them.

    Raises:
        StudyError: they are named otherwise than by number.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not named:
        return list(range(torch.cuda.device_count()))
    if not all(number.isdigit() for number in named.split(",")):
        raise StudyError(f"CUDA_VISIBLE_DEVICES is {named}: name the GPUs by number for --jobs")
    return [int(number) for number in named.split(",")]


def _worked(job: Any) -> bool:
    """Whether a worker that is gone came to the end of its work."""
    try:
        return job.exception() is None
    except Exception:  # submitit's own, where a killed one left nothing
        return False


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Within the block, the standard error of this process and of those it starts is a file.

    submitit's controllers live on until Ctrl-C, and each would say so on our terminal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(path, "a") as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise StudyError(
            "submitit is not installed, and workers need it: pip install 'rsstudy[cluster]'"
        ) from None
    return submitit
