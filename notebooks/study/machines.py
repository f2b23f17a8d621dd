"""The chapter on several machines and on crashes as tables, from its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def losses_of_both(record: Mapping[str, Any]) -> pd.DataFrame:
    """The losses of the benchmark ``two-processes``: a row an objective and epoch.

    Columns: objective, epoch, one process, two processes (losses, means over steps), apart (their
    difference over the first), validation equal (whether the mean recalls are, to the last bit).
    """
    rows = pd.DataFrame(record["rows"]).explode(["losses", "validation"])
    rows["epoch"] = rows.groupby(["objective", "processes"]).cumcount() + 1
    one, two = (rows[rows["processes"] == n].set_index(["objective", "epoch"]) for n in (1, 2))
    first, second = one["losses"].astype(float), two["losses"].astype(float)
    table = pd.DataFrame({"one process": first, "two processes": second})
    table["apart"] = (second - first).abs() / first.abs()
    table["validation equal"] = one["validation"] == two["validation"]
    return table.reset_index()


def on_two_machines(runs: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """Runs of one configuration and seed that were done on a processor and on a GPU.

    First weights and batches are drawn from the same seed, on the processor; rounding, the draws of
    dropout and PyTorch's version differ.

    Args:
        runs, again: from ``record.read_records``; a run that one of them lacks is left out.

    Returns:
        a row a run: name, seed, cpu, cuda (mean recall on test, percent), apart (cuda less cpu).
    """
    both = pd.concat([runs[runs["id"].isin(again["id"])], again])
    both["device"] = [record["environment"]["device"] for record in both["record"]]
    table = both.pivot_table("mean_recall", ["id", "label", "seed"], "device")
    table = table.reindex(columns=["cpu", "cuda"]).dropna().rename_axis(columns=None).reset_index()
    table["apart"] = table["cuda"] - table["cpu"]
    table = table.drop(columns="id").rename(columns={"label": "name"})
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
    rows = pd.concat(
        [of.loc[["full", "mrs-adapter"]].assign(encoder=name) for name, of in counted.items()]
    )
    return pd.DataFrame(
        {
            "encoder": rows["encoder"],
            "method": rows.index,
            "weights": 4 * rows["base"] / 1e9,
            "gradients and Adam": (rows["gradient_bytes"] + rows["optimizer_bytes"]) / 1e9,
            "activations": batch * rows["activation_bytes"] / 1e9,
            "sent a step, MB": rows["gradient_bytes"] / 1e6,
        }
    ).reset_index(drop=True)
