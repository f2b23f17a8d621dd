"""Other processes, and trainings that stop in the middle, for several test files."""

import os
import subprocess
import sys
import time
from collections.abc import Callable


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


def torchrun(count: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run several Python processes by torchrun, without a GPU."""
    start = f"-m torch.distributed.run --standalone --nproc-per-node={count}".split()
    return python(*start, *words, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
