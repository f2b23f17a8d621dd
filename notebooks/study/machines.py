"""The chapter on several machines and on crashes as tables, from its records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.errors import StudyError

Record = Mapping[str, Any]


def read_tally(path: Path) -> dict[str, Any]:
    """What ``tests/kill_at_random.py`` or ``tests/fuzz_readers.py`` counted.

    Raises:
        StudyError: it is absent or cannot be read.
    """
    try:
        return dict(json.loads(Path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise StudyError(f"{path} holds no tally ({problem})") from None


def side_by_side(record: Record) -> pd.DataFrame:
    """The losses of the benchmark ``two-processes``: a row an objective and epoch.

    Columns: objective, epoch, one process, two processes (losses, means over steps), apart (their
    difference over the first), validation equal (whether the mean recalls are, to the last bit).
    """
    runs = {(row["objective"], row["processes"]): row for row in record["rows"]}
    rows = []
    for objective in dict.fromkeys(row["objective"] for row in record["rows"]):
        one, two = runs[objective, 1], runs[objective, 2]
        for epoch, (first, second) in enumerate(zip(one["losses"], two["losses"], strict=True)):
            rows.append(
                {
                    "objective": objective,
                    "epoch": epoch + 1,
                    "one process": first,
                    "two processes": second,
                    "apart": abs(second - first) / abs(first),
                    "validation equal": one["validation"][epoch] == two["validation"][epoch],
                }
            )
    return pd.DataFrame(rows)


def on_two_machines(runs: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """Runs of one configuration and seed that were done on a processor and on a GPU.

    First weights and batches are drawn from the same seed, on the processor; rounding, the draws of
    dropout and PyTorch's version differ.

    Args:
        runs, again: from ``record.read_records``; what only one of them holds is left out.

    Returns:
        a row a run: name, seed, cpu, cuda (mean recall on test, percent), apart (cuda less cpu).
    """
    rows = []
    for one in again.itertuples():
        for other in runs[runs["id"] == one.id].itertuples():
            score = {run.record["environment"]["device"]: run.mean_recall for run in (one, other)}
            if set(score) == {"cpu", "cuda"}:
                rows.append(
                    {
                        "name": one.label,
                        "seed": one.seed,
                        **score,
                        "apart": score["cuda"] - score["cpu"],
                    }
                )
    columns = ["name", "seed", "cpu", "cuda", "apart"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["name", "seed"], ignore_index=True)


def held_by_each(counted: Mapping[str, pd.DataFrame], batch: int) -> pd.DataFrame:
    """What each process of a data-parallel run holds, in GB, and what sharding could take off it.

    Args:
        counted: by encoder, from ``cost_tables.read_counted``, with rows full and mrs-adapter.
        batch: pairs a process.

    Returns:
        a row an encoder and method: weights (fp32), gradients and Adam, activations (an upper
        bound; see ``costs.Analytic``), sent a step (the gradients, in MB).
    """
    rows = []
    for encoder, table in counted.items():
        for method in ("full", "mrs-adapter"):
            row = table.loc[method]
            rows.append(
                {
                    "encoder": encoder,
                    "method": method,
                    "weights": 4 * row["base"] / 1e9,
                    "gradients and Adam": (row["gradient_bytes"] + row["optimizer_bytes"]) / 1e9,
                    "activations": batch * row["activation_bytes"] / 1e9,
                    "sent a step, MB": row["gradient_bytes"] / 1e6,
                }
            )
    return pd.DataFrame(rows)
