"""The records behind the chapter on machines hold what it says, and its tables read them right."""

from pathlib import Path

import pandas as pd
import pytest

from study.cost_tables import read_benchmarks, read_counted, read_measured
from study.machines import held_by_each, losses_of_both, on_two_machines

RESULTS = Path(__file__).parents[1] / "results"


def test_two_processes_have_the_losses_of_one_on_a_real_set():
    losses = losses_of_both(read_benchmarks(RESULTS / "benchmarks", "cpu")["two-processes"])
    assert set(losses["objective"]) == {"infonce", "hmmc"} and len(losses) == 4
    assert (losses["apart"] < 1e-5).all() and losses["validation equal"].all()


def test_losses_that_differ_are_shown_to():
    rows = [
        {"objective": "infonce", "processes": n, "losses": [2.0 * n], "validation": [n]}
        for n in (1, 2)
    ]
    (row,) = losses_of_both({"rows": rows}).to_dict("records")
    assert row["apart"] == 1.0 and not row["validation equal"]


def test_a_run_is_set_beside_the_same_on_the_other_kind_of_machine():
    def table(**runs):
        rows = [("lora", 0, run, *of) for run, of in runs.items()]
        found = pd.DataFrame(rows, columns=["label", "seed", "id", "device", "mean_recall"])
        return found.assign(record=[{"environment": {"device": d}} for d in found.pop("device")])

    first = table(a=("cpu", 46.5), b=("cuda", 50.0), c=("cpu", 40.0))
    again = table(a=("cuda", 50.5), b=("cpu", 49.0), c=("cpu", 41.0), d=("cuda", 1.0))
    found = on_two_machines(first, again)
    rows = found[["name", "cpu", "cuda", "apart"]].to_numpy().tolist()
    assert rows == [["lora", 46.5, 50.5, 4.0], ["lora", 49.0, 50.0, 1.0]]
    assert on_two_machines(first, table(e=("cpu", 1.0))).empty


def test_the_tallies_are_as_large_as_was_promised():
    kills, fuzz = (
        read_measured(RESULTS / "robustness" / f"{name}.json", entry, "tally")
        for name, entry in (("kills", "kills"), ("fuzz", "rows"))
    )
    assert kills["kills"] >= 50 and sum(kills["where the kills fell"].values()) >= 50
    assert kills["trainings resumed from a checkpoint"] > 0
    assert fuzz["examples"] >= 10_000
    assert fuzz["examples"] == sum(row["examples"] for row in fuzz["rows"])
    for row in fuzz["rows"]:
        assert row["examples"] == row.get("read", 0) + row.get("refused", 0)


def test_what_a_process_holds_follows_from_the_counts():
    counted = {"ViT-B-32": read_counted(RESULTS / "costs" / "ViT-B-32.json")}
    table = held_by_each(counted, batch=2).set_index("method")
    full = counted["ViT-B-32"].loc["full"]
    assert table.loc["full", "weights"] == pytest.approx(4 * full["base"] / 1e9)
    assert table.loc["full", "gradients and Adam"] == pytest.approx(12 * full["total"] / 1e9)
    assert table.loc["mrs-adapter", "sent a step, MB"] == pytest.approx(4 * 161_088 / 1e6, rel=0.01)
