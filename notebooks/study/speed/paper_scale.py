"""What the suites take at paper scale, in FLOPs counted: results/plans/paper.json.

    python paper_scale.py [--out FOLDER]

A device's time is this over the rate that it sustains; `python -m study suite ... --dry-run` times
yours.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rsstudy.devices import pick_device
from rsstudy.experiments.environment import environment
from rsstudy.experiments.plan import plan
from rsstudy.experiments.record import readable
from rsstudy.files import whole_file
from study.suites import rows_of

SUITES = ("compare", "benchmark")
ROOT = Path(__file__).parents[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "plans")
    out = parser.parse_args().out
    rows = []
    for suite in SUITES:
        planned = plan(rows_of(suite, "paper"), Path("nowhere"), progress=True, rate=1e12)
        for arm in planned:
            rows.append(
                {
                    "suite": suite,
                    "data": arm.data,
                    "arm": arm.name,
                    "runs": arm.runs,
                    "encoder": arm.encoder,
                    "teraflops": arm.seconds,
                }
            )
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / "paper.json") as temporary:
        record = {"environment": environment(pick_device("cpu")), "rows": rows}
        temporary.write_text(readable(record), encoding="utf-8")


if __name__ == "__main__":
    main()
