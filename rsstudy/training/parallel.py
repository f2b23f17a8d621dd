"""Several processes, one batch: torchrun starts them, each embeds its rows of every batch.

    torchrun --nproc-per-node 8 -m rsstudy train ...

Each process compares its rows with all rows of the batch (``objectives.Share``). The gradients of
the parts add up to the gradient that a single process would compute. Only embeddings and gradients
of trained parameters are exchanged. The first process alone validates, tests and writes records.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional

from rsstudy.errors import StudyError, first_line
from rsstudy.objectives import Share


class Lost(StudyError):
    """Another process of the run ended; the message is said by one of those that are left."""


Result = TypeVar("Result")

# How long the others wait while the first process validates; torchrun ends them all if one dies.
PATIENCE = timedelta(hours=6)

# Seconds in which a machine's first process may print its error before torchrun kills the group.
GRACE = 10.0

# Seconds in which a process ends after its connections have.
ENDING = 2.0

BUCKET = 2**24  # gradients that are summed at once: 64 MB in fp32


@dataclass(frozen=True)
class Together:
    """The processes that train one encoder: this one's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0

    def share(self, pairs: int) -> Share | None:
        """This process's rows of a batch of some pairs; None where it is alone."""
        if self.size == 1:
            return None
        bounds = [pairs * rank // self.size for rank in range(self.size + 1)]
        counts = [after - before for before, after in pairwise(bounds)]

        def gather(part: Tensor) -> Tensor:
            # All processes send one shape: it is padded to the most rows, and cut again.
            parts = all_gather(functional.pad(part, (0, 0, 0, max(counts) - len(part))))
            return torch.cat([rows[:count] for rows, count in zip(parts, counts, strict=True)])

        return Share(bounds[self.rank], counts[self.rank], pairs, gather)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all processes' gradients."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        while self.size > 1 and gradients:
            bucket = [gradients.pop()]  # many small ones are sent as one, without a copy of all
            while gradients and sum(g.numel() for g in bucket) + gradients[-1].numel() <= BUCKET:
                bucket.append(gradients.pop())
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def add(self, values: Tensor) -> Tensor:
        """The sum of all processes' values."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def first(self, do: Callable[[], Result]) -> Result:
        """Do something in the first process alone, and give all its answer.

        Raises:
            StudyError: if the first process raised it; then all do.
        """
        if self.size == 1:
            return do()
        answer: list[Any] = [None, None]
        if self.leads:
            try:
                answer[0] = do()
            except StudyError as problem:
                answer[1] = problem
        dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def all(self, value: Tensor) -> list[Tensor]:
        """Every process's value (on the CPU, of one shape), in the order of their numbers."""
        if self.size == 1:
            return [value]
        values = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(values, value)
        return values


def together() -> Together:
    """The processes that this one has joined; itself alone if none."""
    if dist.is_available() and dist.is_initialized():
        return Together(dist.get_rank(), dist.get_world_size())
    return Together()


def started_by_torchrun() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and "RANK" in os.environ


def let_the_first_speak() -> None:
    """Wait until a machine's first process may have written its files and printed its error.

    When one process ends in an error, torchrun kills the others at once.
    """
    if started_by_torchrun() and os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(GRACE)


@contextmanager
def joined(device: str = "auto") -> Iterator[Together]:
    """Within the block, be one of the processes that torchrun started; alone without torchrun.

    Each process of a machine takes the GPU of its local number, unless the device is the CPU.

    Raises:
        StudyError: the device is one GPU; there are more processes on this machine than GPUs; they
            could not meet.
        Lost: another process was killed, or ended in an error.
    """
    if not started_by_torchrun() or together().size > 1:
        yield together()
        return
    if ":" in device:
        raise StudyError(f"torchrun gives each process a GPU: leave out --device {device}")
    if torch.cuda.is_available() and device != "cpu":
        here, count = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
        if here > count:
            raise StudyError(
                f"{here} processes want a GPU each and there are {count}: give torchrun "
                f"--nproc-per-node {count}"
            )
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    try:
        dist.init_process_group(timeout=PATIENCE)
    except (dist.DistError, ValueError, RuntimeError) as problem:
        raise StudyError(f"the processes could not meet: {first_line(problem)}") from None
    everyone: list[Any] = [None] * together().size
    dist.all_gather_object(everyone, (socket.gethostname(), os.getpid()))
    before = signal.signal(signal.SIGTERM, _ended)  # torchrun's, when another process is gone
    try:
        yield together()
    except RuntimeError as problem:
        if re.search("gloo|nccl|connection", str(problem), re.IGNORECASE) is None:
            raise
        raise _lost(everyone) from None
    finally:
        if signal.getsignal(signal.SIGTERM) is _ended:
            signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()


def _ended(*_: Any) -> None:
    raise RuntimeError("connection lost")


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _lost(everyone: Sequence[tuple[str, int]]) -> Lost:
    """The error for a lost connection, with the numbers of this machine's processes that ended."""
    # Until it is known who ended, torchrun's own signal is only noted.
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    me, until = together().rank, time.monotonic() + ENDING
    host, there = everyone[me][0], Path("/proc/self").exists()
    mine = {n: pid for n, (of, pid) in enumerate(everyone) if there and of == host}
    gone: list[int] = []
    while not gone and time.monotonic() < until:  # a process ends later than its connections
        time.sleep(0.005)
        gone = [n for n, pid in mine.items() if _has_ended(pid)]
    if any(number < me for number in mine.keys() - {*gone}):  # one of a machine speaks
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if told:
            time.sleep(ENDING)  # ended at once, it would be named, too
            signal.raise_signal(signal.SIGTERM)
        time.sleep(GRACE)
    who = f"process {' and '.join(map(str, gone))}" if gone else "another process"
    return Lost(
        f"{who} of this run was killed or ended in an error (did memory run out?); the same "
        "command goes on from the last checkpoint"
    )
