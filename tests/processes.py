"""Other processes, and trainings that stop in the middle, for several test files."""

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import click

from rsstudy.experiments.cli import run_command


class Stopped(Exception):
    """In the place of a crash."""


def stop_at(last: int) -> Callable[[int], None]:
    """What a training calls after each step: it raises ``Stopped`` after the step ``last``."""

    def stop(step: int) -> None:
        if step == last:
            raise Stopped

    return stop


def wait_until(done: Callable[[], object], seconds: float = 200.0) -> None:
    """Return once ``done()`` is true, or when the time is over."""
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        time.sleep(0.05)


def python(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, and with some variables of the environment changed."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=280,
    )


def here(
    command: click.Command, *words: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """As ``python`` runs a program, within this process: no import again, the same words and exit.

    For what only a process shows (signals, limits, what is imported), use ``python``.
    """
    given, out, err, code = [*map(str, words)], io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["program", *given]),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run_command(command)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return subprocess.CompletedProcess(given, code, out.getvalue(), err.getvalue())


def torchrun(count: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run several Python processes by torchrun, without a GPU."""
    start = f"-m torch.distributed.run --standalone --nproc-per-node={count}".split()
    return python(*start, *words, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
