"""The curve of a run, written as it goes: JSON lines, and TensorBoard's file where it is installed.

Neither enters the record or the identity of a run.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rsstudy.errors import StudyError
from rsstudy.files import whole_file

HISTORY = "history.jsonl"


class Curve:
    """Writes ``history.jsonl`` into a folder; without a folder, nothing.

    A line each time losses are read: steps and epochs done (a fraction), the mean loss of the steps
    since the line before in that epoch, the learning rate. A line more an epoch, with its number,
    ``mean_recall`` on validation (percent) and the epoch's mean loss.

    Args:
        steps: of an epoch.
    """

    def __init__(self, folder: Path | None, steps: int) -> None:
        self.path, self.steps = folder and folder / HISTORY, steps
        self.board: Any = None

    def resume(self, epoch: int, step: int, judged: int) -> None:
        """Drop the lines that come behind a checkpoint; without one, all.

        Args:
            epoch, step: epochs done, and steps done of the next one.
            judged: how many epochs have been validated, epoch 0 with them.
        """
        if self.path is None:
            return
        done = epoch * self.steps + step
        kept = [
            row
            for row in read_history(self.path)
            if (row["epoch"] < judged if "mean_recall" in row else row["step"] <= done)
        ]
        with whole_file(self.path) as temporary:
            temporary.write_text("".join(map(_line, kept)), "utf-8")
        if find_spec("tensorboard"):  # it is no dependency; torch is not needed to read a curve
            write = import_module("torch.utils.tensorboard").SummaryWriter
            self.board = write(str(self.path.parent), purge_step=done + 1)

    def add(self, epoch: int, step: int, **values: float | None) -> None:
        """Add a line; ``step`` counts within the epoch, whose number starts at 1.

        Raises:
            StudyError: the file system refused.
        """
        if self.path is None:
            return
        at = max(epoch - 1, 0) * self.steps + step
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                done = epoch if "mean_recall" in values else round(at / self.steps, 4)
                file.write(_line({"step": at, "epoch": done, **values}))
        except OSError as problem:
            raise StudyError(f"could not write {self.path}: {problem.strerror}") from None
        if self.board is not None:
            for name, value in values.items():
                if value is not None:
                    self.board.add_scalar(name, value, at)
            self.board.flush()

    def close(self) -> None:
        """End TensorBoard's file."""
        if self.board is not None:
            self.board.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``history.jsonl``; none if it is absent. One that a kill cut off is left out.

    Raises:
        StudyError: a line is no part of a curve.
    """
    rows = []
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    for line in lines:
        try:
            rows.append({"step": 0, **json.loads(line)})
            rows[-1]["epoch"] + rows[-1]["step"]
        except (ValueError, TypeError, KeyError):
            if line.endswith("\n"):
                raise StudyError(f"{path} is no curve of a run: delete it") from None
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
