"""A run can start from what another trained; what that costs the other's set is measured."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rsstudy.adapters import ADAPTER
from rsstudy.errors import StudyError
from rsstudy.experiments.arms import name_of, recorded
from rsstudy.experiments.record import RECORD, as_table, before, choices_before, read_record
from rsstudy.experiments.run import Run, execute
from rsstudy.tensors import read_tensors
from rsstudy.training.checkpoint import Diverged
from rsstudy.training.recipe import Recipe
from study import suites
from study.figures.scores import before_and_after
from study.suites import SCALES, UPDATED, UPDATING, arms, run_suite
from study.updates import by_step, stages, updates

RECIPE = Recipe(epochs=1, batch=3, learning_rate=1e-2, precision="fp32")


@pytest.fixture
def old(rows, write_parquet):
    return str(write_parquet(rows))


@pytest.fixture
def new():
    return "scenes?images=30&seed=7"


def done(run, tmp_path):
    record, folder = execute(run, None, tmp_path / "runs", progress=False)
    return record, folder


@pytest.mark.parametrize("method", ["mrs-adapter", "linear-probe", "full", "lora"])
def test_a_run_starts_from_the_weights_of_the_one_before(
    method, old, new, tmp_path, last_epoch_best
):
    first = Run(old, "tiny@random", method, recipe=RECIPE, seed=3)
    record, folder = done(first, tmp_path)
    still = replace(first, data=new, recipe=replace(RECIPE, epochs=0), after=first, also=(old,))
    second, its_folder = done(still, tmp_path)
    before, after = read_tensors(folder / ADAPTER), read_tensors(its_folder / ADAPTER)
    assert all(torch.equal(before[name], after[name]) for name in before)
    [elsewhere] = second["elsewhere"].values()  # nothing was trained: nothing is forgotten
    assert elsewhere["scores"] == record["scores"]
    for name in ("image_to_text", "text_to_image", "text_of_caption", "classes"):
        assert elsewhere["test_queries"][name] == record["test_queries"][name]
    assert second["config"]["after"]["identity"] == record["identity"]
    trained, trained_folder = done(replace(still, recipe=RECIPE), tmp_path)
    assert trained["identity"] != second["identity"]
    now = read_tensors(trained_folder / ADAPTER)
    assert any(not torch.equal(before[name], now[name]) for name in before)


def test_the_run_before_is_done_first_and_once(old, new, tmp_path):
    first = Run(old, "tiny@random", recipe=RECIPE)
    second, _ = done(Run(new, "tiny@random", recipe=RECIPE, after=first), tmp_path)
    [folder] = [f for f in (tmp_path / "runs").iterdir() if f.name != second["id"]]
    stamp = (folder / RECORD).stat().st_mtime_ns
    by_folder = Run(new, "tiny@random", recipe=replace(RECIPE, epochs=2), after=folder)
    assert done(by_folder, tmp_path)[0]["config"]["after"] == second["config"]["after"]
    assert (folder / RECORD).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("method", ["mrs-adapter", "full"])
def test_without_the_method_the_base_is_what_it_was(method, old, new, tmp_path):
    run = Run(old, "tiny@random", method, recipe=RECIPE, also=(new,))
    record, _ = done(run, tmp_path)
    assert record["removed"]["base_equal"]
    assert (record["removed"]["reread"] > 0) == (method == "full")


def test_a_frozen_weight_that_moved_is_seen(old, new, tmp_path, monkeypatch):
    from rsstudy.experiments import run as room

    def careless(encoder, *args, **settings):
        with torch.no_grad():
            next(p for p in encoder.model.parameters() if not p.requires_grad).view(-1)[0] += 0.1
        return train(encoder, *args, **settings)

    train = room.train
    monkeypatch.setattr(room, "train", careless)
    run = Run(old, "tiny@random", "ia3", recipe=RECIPE, also=(new,))
    assert not done(run, tmp_path)[0]["removed"]["base_equal"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "lora"}, "method"),
        ({"method_settings": {"bottleneck": 8}}, "method settings"),
        ({"train_heads": True}, "train heads"),
        ({"recipe": replace(RECIPE, image_size=32)}, "image size"),
    ],
)
def test_a_run_does_not_start_from_another_kind_of_run(changed, said, old, new, tmp_path):
    first = Run(old, "tiny@random", recipe=RECIPE)
    with pytest.raises(StudyError, match=f"cannot start from .*: not the same {said}"):
        done(replace(replace(first, **changed), data=new, after=first), tmp_path)


def test_a_run_without_a_test_leaves_the_one_before_it_untested_too(old, new, tmp_path):
    first = Run(old, "tiny@random", recipe=RECIPE)
    second = Run(new, "tiny@random", recipe=RECIPE, after=first)
    record, _ = execute(second, None, tmp_path / "runs", progress=False, test=False)
    found = [read_record(path) for path in (tmp_path / "runs").glob(f"*/{RECORD}")]
    assert {r["status"] for r in found} == {"validated"} and len(found) == 2
    finished, _ = done(second, tmp_path)
    assert finished["identity"] == record["identity"] and finished["status"] == "finished"


def test_a_run_does_not_start_from_one_that_diverged(old, new, tmp_path):
    first = Run(old, "tiny@random", recipe=replace(RECIPE, learning_rate=1e30, clip_norm=0))
    with pytest.raises(Diverged):
        done(first, tmp_path)
    [folder] = (tmp_path / "runs").iterdir()
    with pytest.raises(StudyError, match="diverged: name another"):
        done(Run(new, "tiny@random", recipe=first.recipe, after=folder), tmp_path)


def test_a_finished_run_needs_the_weights_it_started_from_no_more(old, new, tmp_path):
    first = Run(old, "tiny@random", recipe=RECIPE)
    second = Run(new, "tiny@random", recipe=RECIPE, after=first)
    record, _ = done(second, tmp_path)
    [folder] = [f for f in (tmp_path / "runs").iterdir() if f.name != record["id"]]
    (folder / ADAPTER).unlink()
    assert done(second, tmp_path)[0] == record
    with pytest.raises(StudyError, match="no weights at"):
        done(replace(second, recipe=replace(RECIPE, epochs=2)), tmp_path)


def test_two_sets_of_one_name_are_refused(old, tmp_path):
    with pytest.raises(StudyError, match="set is the set that is trained on"):
        done(Run(old, "tiny@random", recipe=RECIPE, also=(old,)), tmp_path)
    with pytest.raises(StudyError, match="is named twice"):
        done(Run(old, "tiny@random", recipe=RECIPE, also=("scenes", "scenes")), tmp_path)


def test_what_another_call_trained_is_not_called_untouched(old, new, tmp_path):
    run = Run(old, "tiny@random", recipe=RECIPE, also=(new,))
    execute(run, None, tmp_path / "runs", progress=False, test=False)
    assert done(run, tmp_path)[0]["removed"] == {"base_equal": None, "reread": 0}


def test_the_suite_updates_each_method_from_its_own_first_step(own_cache, tmp_path, monkeypatch):
    setting = replace(SCALES["smoke"], encoder="tiny@random", recipe=RECIPE)
    monkeypatch.setitem(suites.SCALES, "smoke", setting)
    names = ("scenes?images=24", "scenes?images=24&seed=1", "scenes-ground?images=24")
    monkeypatch.setitem(suites.UPDATED, "smoke", names)
    records = run_suite("transfer", "smoke", tmp_path / "runs", progress=False)
    table, rows = as_table(records), arms("transfer", "smoke")
    for arm in rows:
        [record] = recorded([arm], table)["record"]
        if isinstance(arm.run.after, Run):
            assert "after scenes" in name_of(arm)
            [before] = [
                r for r in records if r["identity"] == record["config"]["after"]["identity"]
            ]
            assert before["config"]["method"] == record["config"]["method"]
            assert (before["config"]["data"], record["config"]["data"]) == names[:2]
        if arm.run.also:
            assert set(record["elsewhere"]) == set(names) - {arm.run.data}
    assert len(recorded(rows, table)) == len(records) == len(rows) == 2 + 3 * len(UPDATING)
    by_method = updates(table, "smoke").set_index("method")
    foreign = [
        {**r, "config": {**r["config"], "after": {**r["config"]["after"], "identity": "x"}}}
        if "after" in r["config"]
        else r
        for r in records
    ]
    assert updates(as_table(foreign), "smoke").empty  # begun from other runs than those on record
    assert len(by_method) == len(UPDATING)
    of = {(r["label"], r["config"]["data"], "after" in r["config"]): r for r in records}
    for method, row in by_method.iterrows():
        first, second = of[method, names[0], False], of[method, names[1], True]
        before = first["scores"]["mean_recall"]
        after = second["elsewhere"][names[0]]["scores"]["mean_recall"]
        alone = of[method, names[1], False]["scores"]["mean_recall"]
        assert row.forgotten == pytest.approx(before - after)
        assert row.gained == pytest.approx(second["scores"]["mean_recall"] - alone)
        spared = by_method.loc["full", "forgotten"] - row.forgotten
        assert row.spared == pytest.approx(spared) if method != "full" else np.isnan(row.spared)
        assert row.natural_second == second["elsewhere"][names[2]]["scores"]["mean_recall"]
        assert row.base_equal and (row.reread > 0) == (
            method in ("full", "linear-probe") or "trained heads" in method
        )
    for which in ("old", "new", "natural"):
        shown = by_step(table, which, "smoke")
        assert (
            (shown["before_low"] <= shown["before"]) & (shown["after"] >= shown["after_low"])
        ).all()
        assert "then" in before_and_after(shown, "before", "after", which).get_label()


def test_a_seed_that_has_gone_half_the_way_counts_on_neither_side():
    results = Path(__file__).parents[1] / "results"
    table = before(results, "transfer", "benchmark", "seeds")
    records = [r for r in table["record"] if r["config"]["seed"] == 0]
    first, other = (
        next(r for r in records if (r["config"]["data"], r["config"]["method"]) == ("rsicd", name))
        for name in ("full", "linear-probe")
    )
    begun = {
        **other,
        "config": {**first["config"], "seed": 1},
        "label": first["label"],
        "identity": "another",
    }
    second = next(r for r in records if "after" in r["config"] and r["config"]["method"] == "full")
    astray = {**second, "config": {**second["config"], "seed": 1}}  # begun from seed 0's
    found = [as_table(of) for of in (records, [*records, begun, astray])]
    pd.testing.assert_frame_equal(*map(updates, found))
    for which in ("old", "new", "natural"):
        pd.testing.assert_frame_equal(*(by_step(of, which) for of in found))


def test_the_detour_is_held_to_runs_alone_of_the_same_seeds():
    results = Path(__file__).parents[1] / "results"
    table = before(results, "transfer", "benchmark", "seeds")
    of = stages(table)["mrs-adapter"]
    assert len(of["second"]) > 1
    gone = next(r for r in of["alone"] if r["config"]["seed"] == 1)
    less = table[table["id"] != gone["id"]]
    row = updates(less).set_index("method").loc["mrs-adapter"]
    shown = by_step(less, "new").set_index("method").loc["mrs-adapter"]
    kept = [r for r in of["second"] if r["config"]["seed"] != 1]
    mean = np.mean([r["scores"]["mean_recall"] for r in kept])
    assert row.seeds == len(of["second"]) and row.new_second == pytest.approx(mean)
    assert row.gained == pytest.approx(mean - row.new_alone) and shown.after == pytest.approx(mean)
    alone = updates(less[less["method"] != "full"]).set_index("method").loc["mrs-adapter"]
    assert np.isnan(alone.spared) and alone.spared_verdict is None and alone.spared_seeds == 0


def test_the_suites_rates_are_those_that_the_benchmark_chose():
    choices = choices_before(Path(__file__).parents[1] / "results", "benchmark")
    chosen = choices[choices["chosen"]].set_index("arm")["learning_rate"]
    for method, train_heads, rate in UPDATING:
        heads = ", trained heads" * train_heads
        assert chosen[f"ucm: {method}{heads}, infonce"] == rate
    rates = {rate for *_, rate in UPDATING}
    at = {repr(a.at(rate)) for a in arms("benchmark", "short") for rate in rates}
    alone = [a.run for a in arms("transfer", "short") if a.factor == "second set alone"]
    assert {repr(run) for run in alone} <= at  # the benchmark's own runs
    assert UPDATED["short"][0] != UPDATED["short"][1]


def test_the_command_takes_a_run_to_start_from_and_sets_to_look_at(old, new, tmp_path):
    def train(*options):
        command = [
            sys.executable,
            "-m",
            "rsstudy",
            "train",
            "--encoder",
            "tiny@random",
            "--epochs",
            "1",
            "--batch",
            "3",
            "--json",
            *map(str, options),
        ]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    first = train("--data", old, "--out", tmp_path / "a")
    second = train("--data", new, "--after", tmp_path / "a", "--also", old, "--out", tmp_path / "b")
    record = read_record(tmp_path / "b" / RECORD)
    assert record["config"]["after"]["identity"] == read_record(tmp_path / "a" / RECORD)["identity"]
    assert second["elsewhere"]["set"]["scores"] == record["elsewhere"]["set"]["scores"]
    assert first["scores"] != second["scores"]
