"""One run in one process and in two, on a real set: the losses of both, side by side.

Dropout is off, since each process draws its own; HMMC's second views differ by their captions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from study.speed.common import Given, benchmark

FIXED = {"method": "mrs-adapter", "encoder": "vits14-minilm", "precision": "fp32"}
OBJECTIVES = {
    "infonce": "",
    "hmmc": "--set objective.token_dropout=0 --set objective.sibling_captions=true",
}


@benchmark("two-processes", data="ucm", fraction=0.2)
def two_processes(given: Given) -> Any:
    rows = []
    for objective in OBJECTIVES:
        for count in (1, 2):
            record = run(count, objective, given)
            epochs = record["history"][1:]
            rows.append(
                {
                    "objective": objective,
                    "processes": count,
                    "identity": record["identity"],
                    "images": epochs[0]["images"],
                    "losses": [epoch["loss"] for epoch in epochs],
                    "validation": [epoch["mean_recall"] for epoch in epochs],
                }
            )
    return rows, FIXED


def run(processes: int, objective: str, given: Given) -> dict[str, Any]:
    """One run's record."""
    start = f"-m torch.distributed.run --standalone --nproc-per-node={processes} "
    options = (
        f"{start if processes > 1 else ''}-m rsstudy train --encoder {FIXED['encoder']} "
        f"--objective {objective} {OBJECTIVES[objective]} --epochs 2 --no-test "
        f"--set method.dropout=0 --set recipe.precision=fp32 --set recipe.fraction={given.fraction}"
    )
    threads = str(max((os.cpu_count() or 1) // processes, 1))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *options.split(), "--data", given.data, "--out", folder]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": threads})
        return json.loads(Path(folder, "record.json").read_text())
