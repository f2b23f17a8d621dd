"""What the suites take at paper scale, in FLOPs counted: results/plans/paper.json.

A device's time is this over the rate that it sustains; `python -m study suite ... --dry-run` times
yours.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from rsstudy.experiments.environment import environment
from rsstudy.experiments.plan import plan
from rsstudy.experiments.show import write_facts
from study.speed.common import RESULTS
from study.suites import rows_of


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "plans")
def paper_scale(out: Path) -> None:
    rows = [
        {
            "suite": suite,
            "data": arm.data,
            "arm": arm.name,
            "runs": arm.runs,
            "encoder": arm.encoder,
            "teraflops": arm.seconds,
        }
        for suite in ("compare", "benchmark")
        for arm in plan(rows_of(suite, "paper"), Path("nowhere"), progress=True, rate=1e12)
    ]
    write_facts({"environment": environment(torch.device("cpu")), "rows": rows}, out / "paper.json")
    print(out / "paper.json")
