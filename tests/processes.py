"""Other processes, and trainings that stop in the middle, for several test files."""

import contextlib
import io
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from unittest import mock

import click

from rsstudy.experiments.cli import cli as rsstudy
from rsstudy.experiments.cli import run_command
from study.cli import cli as study


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


# It imports once; the processes that it forks begin with everything imported.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["rsstudy.experiments.sweep", "study.suites", "study.cli"])


class Fork:
    """A process that calls ``work(*arguments)``, forked from one that has imported ``rsstudy``.

    For what only a process shows: signals, limits, several at once. Where imports matter, start
    Python itself.

    Args:
        work: a function of a module; ``command`` is the project's commands.
        environment: variables that are set in the process beside the caller's.
    """

    def __init__(self, work: Callable[..., object], *arguments: object, **environment: str):
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        for file in self._files:
            file.touch()
        variables = {**os.environ, **environment}
        given = (self._files, variables, Path.cwd(), work, arguments)
        self.process = SERVER.Process(target=_begin, args=given, daemon=True)
        self.process.start()

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._files[0].read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return self._files[1].read_text()

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait until it has ended."""
        self.process.join(280)
        assert self.process.exitcode is not None, "it does not end"
        return subprocess.CompletedProcess((), self.process.exitcode, self.out, self.err)


def _begin(files, variables, folder, work, arguments) -> None:
    for number, file in enumerate(files, 1):
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    multiprocessing.current_process().daemon = False  # a daemon may start no processes
    # A shell's background job ignores Ctrl-C and hands that on; this process listens.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work(*arguments)


def command(program: str, *words: object) -> None:
    """The work of a ``Fork``: the command ``rsstudy`` or ``study`` with these words."""
    sys.argv = [program, *map(str, words)]
    run_command({"rsstudy": rsstudy, "study": study}[program])


def with_small_files(size: int, work: Callable[..., object], *arguments: object) -> None:
    """The work of a ``Fork`` whose files cannot grow beyond ``size`` bytes: a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    work(*arguments)


def torchrun(count: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run several Python processes by torchrun, without a GPU."""
    return subprocess.run(
        [sys.executable, *f"-m torch.distributed.run --standalone --nproc-per-node={count}".split()]
        + [*map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=280,
    )


def as_torchrun(
    count: int, work: Callable[..., object], *arguments: object
) -> list[subprocess.CompletedProcess[str]]:
    """Forks with torchrun's variables, which it ends as torchrun does once one has failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    meeting |= {**sizes, "CUDA_VISIBLE_DEVICES": ""}
    started = [
        Fork(work, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
        for rank in range(count)
    ]
    running = [fork.process for fork in started]
    while running:
        ended = connection.wait([process.sentinel for process in running], timeout=280)
        failed = not ended or any(process.exitcode for process in running)
        running = [process for process in running if process.is_alive()]
        for process in running if failed else ():
            process.terminate()
    return [fork.end() for fork in started]


def here(
    command: click.Command, *words: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command within this process: the words and the exit that a process would have.

    For what only a process shows, use ``Fork``.
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
