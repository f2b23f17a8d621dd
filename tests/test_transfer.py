"""A run can start from what another trained; what that costs the other's set is measured."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from processes import here

from rsstudy.adapters import ADAPTER
from rsstudy.errors import StudyError
from rsstudy.experiments.arms import name_of, recorded
from rsstudy.experiments.cli import cli
from rsstudy.experiments.record import RECORD, as_table, before, choices_before, read_record
from rsstudy.experiments.run import Run, execute
from rsstudy.tensors import read_tensors
from rsstudy.training.checkpoint import Diverged
from rsstudy.training.recipe import Recipe
from study import suites
from study.figures.scores import before_and_after
from study.suites import SCALES, UPDATED, UPDATING, arms, run_suite
from study.updates import by_step, stages, told, updates

RECIPE = Recipe(epochs=1, batch=3, learning_rate=1e-2, precision="fp32")


NEW = "scenes?images=30&seed=7"
RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture
def first(rows, write_parquet) -> Run:
    """A run on ten pictures."""
    return Run(str(write_parquet(rows)), "tiny@random", recipe=RECIPE)


@pytest.fixture
def second(first) -> Run:
    """A run on another set that starts from the first."""
    return replace(first, data=NEW, after=first)


@pytest.fixture
def done(tmp_path):
    """``done(run)``: its record and its folder, one of those in ``runs``."""

    def do(run: Run, test: bool = True):
        return execute(run, None, tmp_path / "runs", progress=False, test=test)

    return do


@pytest.mark.parametrize("method", ["mrs-adapter", "linear-probe", "full", "lora"])
def test_a_run_starts_from_the_weights_of_the_one_before(method, first, done, last_epoch_best):
    first = replace(first, method=method, seed=3)
    record, folder = done(first)
    untrained = replace(RECIPE, epochs=0)
    still = replace(first, data=NEW, recipe=untrained, after=first, also=(first.data,))
    second, its_folder = done(still)
    before, after = read_tensors(folder / ADAPTER), read_tensors(its_folder / ADAPTER)
    assert all(torch.equal(before[name], after[name]) for name in before)
    [elsewhere] = second["elsewhere"].values()  # nothing was trained: nothing is forgotten
    assert elsewhere["scores"] == record["scores"]
    for name in ("image_to_text", "text_to_image", "text_of_caption", "classes"):
        assert elsewhere["test_queries"][name] == record["test_queries"][name]
    assert second["config"]["after"]["identity"] == record["identity"]
    trained, trained_folder = done(replace(still, recipe=RECIPE))
    assert trained["identity"] != second["identity"]
    now = read_tensors(trained_folder / ADAPTER)
    assert any(not torch.equal(before[name], now[name]) for name in before)


def test_the_run_before_is_done_first_and_once(second, done):
    record, folder = done(second)
    [before] = set(folder.parent.iterdir()) - {folder}
    stamp = (before / RECORD).stat().st_mtime_ns
    by_folder = replace(second, recipe=replace(RECIPE, epochs=2), after=before)
    assert done(by_folder)[0]["config"]["after"] == record["config"]["after"]
    assert (before / RECORD).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("method", ["mrs-adapter", "full"])
def test_without_the_method_the_base_is_what_it_was(method, first, done):
    removed = done(replace(first, method=method, also=(NEW,)))[0]["removed"]
    assert removed["base_equal"] and (removed["reread"] > 0) == (method == "full")


def test_a_frozen_weight_that_moved_is_seen(first, done, monkeypatch):
    from rsstudy.experiments import run as room

    def careless(encoder, *args, **settings):
        with torch.no_grad():
            next(p for p in encoder.model.parameters() if not p.requires_grad).view(-1)[0] += 0.1
        return train(encoder, *args, **settings)

    train = room.train
    monkeypatch.setattr(room, "train", careless)
    assert not done(replace(first, method="ia3", also=(NEW,)))[0]["removed"]["base_equal"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "lora"}, "method"),
        ({"method_settings": {"bottleneck": 8}}, "method settings"),
        ({"train_heads": True}, "train heads"),
        ({"recipe": replace(RECIPE, image_size=32)}, "image size"),
    ],
)
def test_a_run_does_not_start_from_another_kind_of_run(changed, said, second, done):
    with pytest.raises(StudyError, match=f"cannot start from .*: not the same {said}"):
        done(replace(second, **changed))


def test_a_run_without_a_test_leaves_the_one_before_it_untested_too(second, done):
    record, folder = done(second, test=False)
    found = [read_record(path) for path in folder.parent.glob(f"*/{RECORD}")]
    assert {r["status"] for r in found} == {"validated"} and len(found) == 2
    finished, _ = done(second)
    assert finished["identity"] == record["identity"] and finished["status"] == "finished"


def test_a_run_does_not_start_from_one_that_diverged(first, second, done, tmp_path):
    recipe = replace(RECIPE, learning_rate=1e30, clip_norm=0)
    with pytest.raises(Diverged):
        done(replace(first, recipe=recipe))
    [folder] = (tmp_path / "runs").iterdir()
    with pytest.raises(StudyError, match="diverged: name another"):
        done(replace(second, recipe=recipe, after=folder))


def test_a_finished_run_needs_the_weights_it_started_from_no_more(second, done):
    record, folder = done(second)
    [before] = set(folder.parent.iterdir()) - {folder}
    (before / ADAPTER).unlink()
    assert done(second)[0] == record
    with pytest.raises(StudyError, match="no weights at"):
        done(replace(second, recipe=replace(RECIPE, epochs=2)))


def test_two_sets_of_one_name_are_refused(first, done):
    with pytest.raises(StudyError, match="set is the set that is trained on"):
        done(replace(first, also=(first.data,)))
    with pytest.raises(StudyError, match="is named twice"):
        done(replace(first, also=("scenes", "scenes")))


def test_what_another_call_trained_is_not_called_untouched(first, done):
    run = replace(first, also=(NEW,))
    done(run, test=False)
    assert done(run)[0]["removed"] == {"base_equal": None, "reread": 0}


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
            after = record["config"]["after"]["identity"]
            [before] = [r for r in records if r["identity"] == after]
            assert before["config"]["method"] == record["config"]["method"]
            assert (before["config"]["data"], record["config"]["data"]) == names[:2]
        if arm.run.also:
            assert set(record["elsewhere"]) == set(names) - {arm.run.data}
    assert len(recorded(rows, table)) == len(records) == len(rows) == 2 + 3 * len(UPDATING)
    by_method = updates(table, "smoke").set_index("method")
    foreign = copy.deepcopy(records)  # begun from other runs than those on record
    for r in foreign:
        r["config"].get("after", {})["identity"] = "x"
    assert updates(as_table(foreign), "smoke").empty
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
    for which in ("old", "natural"):
        shown = by_step(table, which, "smoke")
        for column in ("before", "after"):
            assert (shown[f"{column}_low"] <= shown[column]).all()
        figure = before_and_after({which: shown, "twice": shown}, "Before")
        assert f"{which}, MRS adapter " in figure.get_label() and "then" in figure.get_label()
        marks = [line for line in figure.axes[1].lines if line.get_marker() not in ("", "None")]
        row = shown.iloc[0]
        assert [line.get_xdata()[0] for line in marks[:2]] == [row.before, row.after]
        assert marks[0].get_markerfacecolor() == "white" != marks[1].get_markerfacecolor()
        assert figure.axes[0].get_xlim()[0] == 0
    row = told(by_method.reset_index()).set_index("Method").loc["MRS adapter"]
    ours = by_method.loc["mrs-adapter"]
    assert row["Forgotten"].startswith(f"{ours.forgotten:.1f} (")
    assert row["Update, MB"] == ours.shipped_bytes / 1e6
    assert row["Everyday pictures"] == ours.natural_second


def test_a_seed_that_has_gone_half_the_way_counts_on_neither_side():
    table = before(RESULTS, "transfer", "benchmark", "seeds")
    records = [r for r in table["record"] if r["config"]["seed"] == 0]
    first, other = (
        next(r for r in records if (r["config"]["data"], r["config"]["method"]) == ("rsicd", name))
        for name in ("full", "linear-probe")
    )
    config = {**first["config"], "seed": 1}
    begun = {**other, "config": config, "label": first["label"], "identity": "another"}
    second = next(r for r in records if "after" in r["config"] and r["config"]["method"] == "full")
    astray = {**second, "config": {**second["config"], "seed": 1}}  # begun from seed 0's
    found = [as_table(of) for of in (records, [*records, begun, astray])]
    pd.testing.assert_frame_equal(*map(updates, found))
    for which in ("old", "natural"):
        pd.testing.assert_frame_equal(*(by_step(of, which) for of in found))


def test_the_detour_is_held_to_runs_alone_of_the_same_seeds():
    table = before(RESULTS, "transfer", "benchmark", "seeds")
    of = stages(table)["mrs-adapter"]
    assert len(of["second"]) > 1
    gone = next(r for r in of["alone"] if r["config"]["seed"] == 1)
    less = table[table["id"] != gone["id"]]
    row = updates(less).set_index("method").loc["mrs-adapter"]
    kept = [r for r in of["second"] if r["config"]["seed"] != 1]
    mean = np.mean([r["scores"]["mean_recall"] for r in kept])
    assert row.seeds == len(of["second"]) and row.new_second == pytest.approx(mean)
    assert row.gained == pytest.approx(mean - row.new_alone)
    alone = updates(less[less["method"] != "full"]).set_index("method").loc["mrs-adapter"]
    assert np.isnan(alone.spared) and alone.spared_verdict is None and alone.spared_seeds == 0


def test_the_suites_rates_are_those_that_the_benchmark_chose():
    choices = choices_before(RESULTS, "benchmark")
    chosen = choices[choices["chosen"]].set_index("arm")["learning_rate"]
    for method, train_heads, rate in UPDATING:
        heads = ", trained heads" * train_heads
        assert chosen[f"ucm: {method}{heads}, infonce"] == rate
    rates = {rate for *_, rate in UPDATING}
    at = {repr(a.at(rate)) for a in arms("benchmark", "short") for rate in rates}
    alone = [a.run for a in arms("transfer", "short") if a.factor == "second set alone"]
    assert {repr(run) for run in alone} <= at  # the benchmark's own runs
    assert UPDATED["short"][0] != UPDATED["short"][1]


def test_the_command_takes_a_run_to_start_from_and_sets_to_look_at(first, tmp_path):
    def train(*options):
        words = ["--encoder", "tiny@random", "--epochs", "1", "--batch", "3", "--json"]
        done = here(cli, "train", *words, *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    a, b = tmp_path / "a", tmp_path / "b"
    before = train("--data", first.data, "--out", a)
    shown = train("--data", NEW, "--after", a, "--also", first.data, "--out", b)
    record = read_record(b / RECORD)
    assert record["config"]["after"]["identity"] == read_record(a / RECORD)["identity"]
    assert shown["elsewhere"]["set"]["scores"] == record["elsewhere"]["set"]["scores"]
    assert before["scores"] != shown["scores"]
