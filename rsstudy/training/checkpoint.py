"""The state of a training: it is counted by steps, judged by epochs, and saved to be resumed."""

from __future__ import annotations

import math
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsstudy.errors import StudyError
from rsstudy.files import whole_file
from rsstudy.training.curve import Curve
from rsstudy.training.parallel import together

CHECKPOINT_SECONDS = 120.0
READ_EVERY = 20  # steps; reading a loss waits for the device


class Diverged(StudyError):
    """The loss stopped being a finite number."""


class OutOfTime(StudyError):
    """The given time is over; the checkpoint keeps what has been done."""


# What a checkpoint keeps beside weights, optimizer and random states.
KEPT = ["identity", "epoch", "step", "losses", "epoch_seconds", "images", "history"]
KEPT += ["best_epoch", "best_score", "best"]


class State:
    """Where training is.

    Attributes:
        epoch, step: epochs done, and steps done of the next one.
        losses, epoch_seconds, images: summed over these steps; seconds are of training alone.
        history: see ``loop.Training``.
        best_epoch, best_score, best: the epoch that validation prefers, and its weights.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        path: Path | None = None,
        identity: str = "",
        deadline: float = math.inf,
        curve: Curve | None = None,
    ) -> None:
        self.device = next(iter(parameters.values())).device
        self.parameters, self.optimizer = parameters, optimizer
        self.path, self.identity, self.deadline = path, identity, deadline
        self.curve = curve or Curve(None, 0)
        self.epoch = self.step = self.images = self.best_epoch = 0
        self.losses = self.epoch_seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_score = -math.inf
        self.unread: list[Tensor] = []  # losses of the last steps, still on the device
        self.began = self.saved = time.monotonic()

    def start_clock(self) -> None:
        """Count seconds of training from now on."""
        self.began = time.monotonic()

    def took(self, loss: Tensor, pairs: int) -> bool:
        """Count a step. Every ``READ_EVERY`` steps read the losses, and save if it is time.

        Returns:
            whether the losses were read.

        Raises:
            Diverged: a loss is no finite number.
            OutOfTime: the deadline has passed.
        """
        self.unread.append(loss.detach())
        self.images += pairs
        self.step += 1
        processes = together()
        # Clocks differ: several processes agree on a save only where they exchange losses.
        if len(self.unread) < READ_EVERY and not (processes.size == 1 and self.due):
            return False
        self.read_losses()
        if processes.first(lambda: self.due):
            self.save()
            if self.path and time.monotonic() > self.deadline:
                raise OutOfTime(f"{self.path.parent.name}: out of time in epoch {self.epoch + 1}")
        return True

    @property
    def due(self) -> bool:
        """Whether a checkpoint should be written."""
        due_at = min(self.saved + CHECKPOINT_SECONDS, self.deadline)
        return self.path is not None and time.monotonic() > due_at

    def read_losses(self) -> None:
        """Add the losses of the last steps, and the seconds that these took.

        Raises:
            Diverged: one is no finite number.
        """
        first = self.step - len(self.unread)
        losses = together().add(torch.stack(self.unread)).tolist() if self.unread else []
        for at, loss in enumerate(losses, start=first + 1):
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} at step {at} of epoch {self.epoch + 1}: try a lower "
                    "learning rate or fp32 precision"
                )
            self.losses += loss
        if losses:
            rate = self.optimizer.param_groups[0]["lr"]
            mean = sum(losses) / len(losses)
            self.curve.add(self.epoch + 1, self.step, loss=mean, learning_rate=rate)
        now = time.monotonic()
        self.epoch_seconds += now - self.began
        self.unread, self.began = [], now

    def end_epoch(self, score: float, loss: float | None, rate: float | None) -> None:
        """Add an epoch to the history, and keep its weights if its score is the best so far.

        Raises:
            Diverged: the score is no finite number.
        """
        if not math.isfinite(score):
            raise Diverged(f"the score on validation is {score} after epoch {self.epoch}")
        row = {"epoch": self.epoch, "loss": loss, "learning_rate": rate, "mean_recall": score}
        self.curve.add(self.epoch, self.step, loss=loss, learning_rate=rate, mean_recall=score)
        self.history.append({**row, "seconds": self.epoch_seconds, "images": self.images})
        if score > self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
            self.best = {n: p.detach().cpu().clone() for n, p in self.parameters.items()}
        self.step = self.images = 0
        self.losses = self.epoch_seconds = 0.0

    def take(self, weights: dict[str, Tensor]) -> None:
        """Give the trained parameters these values."""
        with torch.no_grad():
            for name, value in weights.items():
                self.parameters[name].copy_(value)

    def save(self) -> None:
        """Write the checkpoint, from the first process, with every process's random state."""
        if self.path is None:
            return
        path, processes, gpu = self.path, together(), self.device.type == "cuda"
        everything = {
            **{name: getattr(self, name) for name in KEPT},
            "trained": {name: p.detach().cpu() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "random": processes.all(torch.get_rng_state()),
            "device_random": processes.all(torch.cuda.get_rng_state(self.device)) if gpu else [],
        }

        def write() -> None:
            with whole_file(path) as temporary:
                try:
                    torch.save(everything, temporary)
                except RuntimeError as problem:
                    # torch's writer fails on a full disk, and when Ctrl-C interrupts it
                    if isinstance(problem.__context__, KeyboardInterrupt):
                        raise KeyboardInterrupt from None
                    raise OSError(str(problem).splitlines()[0]) from problem

        processes.first(write)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one.

        A process without a random state on file keeps its own.

        Raises:
            StudyError: it is damaged or belongs to another run; nothing has been changed then.
        """
        stored, rank = together().first(self.stored), together().rank
        if stored is not None:
            for name in KEPT:
                setattr(self, name, stored[name])
            self.take(stored["trained"])
            self.optimizer.load_state_dict(stored["optimizer"])
            for state in stored["random"][rank : rank + 1]:
                torch.set_rng_state(state)
            if self.device.type == "cuda":
                for state in stored["device_random"][rank : rank + 1]:
                    torch.cuda.set_rng_state(state, self.device)
        self.curve.resume(self.epoch, self.step, len(self.history))

    def stored(self) -> dict[str, Any] | None:
        """What the checkpoint keeps, if there is one.

        Raises:
            StudyError: it is damaged or belongs to another run.
        """
        if self.path is None:
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch writes checksums, reads none
                if archive.testzip() is not None:
                    raise ValueError("a checksum differs")
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            mine = found["identity"] == self.identity
            if mine and not self._fits(found):
                raise ValueError("it does not fit this training")
        except FileNotFoundError:
            return None
        except Exception as problem:  # zip, pickle and torch each report damage in their own ways
            why = str(problem) if type(problem) is ValueError else type(problem).__name__
            raise StudyError(
                f"the checkpoint {self.path} is damaged ({why}): delete it to start anew"
            ) from None
        if not mine:
            raise StudyError(
                f"{self.path} belongs to another run: choose another folder or delete it"
            )
        return found

    def _fits(self, found: dict[str, Any]) -> bool:
        """Whether a checkpoint is complete, with these parameters and such an optimizer."""
        shapes = {name: value.shape for name, value in found["trained"].items()}
        groups = found["optimizer"]["param_groups"]
        return bool(
            {*KEPT, "random", "device_random"} <= set(found)
            and found["random"]
            and all(isinstance(state, torch.Tensor) for state in found["device_random"])
            and shapes == {name: p.shape for name, p in self.parameters.items()}
            and len(groups) == len(self.optimizer.param_groups)
        )
