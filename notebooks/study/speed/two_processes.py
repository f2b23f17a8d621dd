"""One run in one process and in two, on a real set: the losses of both, side by side.

    python two_processes.py --data ucm

Dropout is off, since each process draws its own; HMMC's second views differ by their captions.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import arguments, write

OBJECTIVES = {
    "infonce": [],
    "hmmc": ["--set", "objective.token_dropout=0", "--set", "objective.sibling_captions=true"],
}


def run(processes: int, objective: str, data: str, fraction: float, folder: Path) -> dict:
    """One run's record."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [
        sys.executable,
        *(start if processes > 1 else []),
        "-m",
        "rsstudy",
        "train",
        "--data",
        data,
        "--encoder",
        "vits14-minilm",
        "--objective",
        objective,
        "--epochs",
        "2",
        "--set",
        "method.dropout=0",
        "--set",
        "recipe.precision=fp32",
        "--set",
        f"recipe.fraction={fraction}",
        *OBJECTIVES[objective],
        "--no-test",
        "--out",
        str(folder),
    ]
    threads = str(max((os.cpu_count() or 1) // processes, 1))
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": threads})
    return json.loads((folder / "record.json").read_text())


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    options.add_argument("--data", default="ucm")
    options.add_argument("--fraction", type=float, default=0.2, help="of the training pictures")
    given = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for objective in OBJECTIVES:
            for count in (1, 2):
                folder = Path(scratch) / f"{objective}-{count}"
                record = run(count, objective, given.data, given.fraction, folder)
                rows.append(
                    {
                        "objective": objective,
                        "processes": count,
                        "identity": record["identity"],
                        "images": record["history"][1]["images"],
                        "losses": [epoch["loss"] for epoch in record["history"][1:]],
                        "validation": [epoch["mean_recall"] for epoch in record["history"][1:]],
                    }
                )
    settings = {
        "data": given.data,
        "fraction": given.fraction,
        "method": "mrs-adapter",
        "encoder": "vits14-minilm",
        "precision": "fp32",
    }
    print(write("two-processes", given.device, given.out, settings, rows))


if __name__ == "__main__":
    main()
