"""The queue does each run once, wherever it is started, and what is cut off is gone on with."""

import json
import time
from dataclasses import replace

import pytest

from rsstudy.data.folds import Fold, as_fold
from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.experiments import sweep
from rsstudy.experiments.arms import Arm
from rsstudy.experiments.protocol import Sealed, read_choice
from rsstudy.experiments.queue import LARGEST_CHECKPOINT, UNDERWAY, Slot, expected_seconds, is_small
from rsstudy.experiments.record import records_in, runs_table
from rsstudy.experiments.run import Run, execute
from rsstudy.experiments.sweep import run_arms
from rsstudy.training.checkpoint import State
from rsstudy.training.recipe import Recipe
from study.suites import arms

DATA = "scenes?images=30"
RECIPE = Recipe(epochs=2, batch=4, precision="fp32")


def arm(*folds, method="mrs-adapter", rates=(2e-4, 2e-3)):
    """Searched in two folds for one epoch, tested in others."""
    run = Run(DATA, "tiny@random", method, recipe=RECIPE)
    searched = replace(run, recipe=replace(RECIPE, epochs=1))
    return Arm(run, rates, 1, folds=folds, searched=searched, searched_in=(10, 1))


@pytest.fixture
def work(own_cache, tmp_path):
    """``work(rows, seconds, name)``: a session in a new folder of runs; its records."""
    results = tmp_path / "results"
    results.mkdir()

    def do(rows, seconds=600.0, name="runs"):
        slot = Slot(time.monotonic() + seconds, results)
        runs = tmp_path / name
        slot.restore(runs)
        try:
            return run_arms(rows, runs, progress=False, say=lambda _: None, slot=slot)
        finally:
            slot.publish(runs)
            slot.keep(runs)

    do.results = results
    return do


def test_a_rate_is_chosen_by_its_mean_over_the_search_before_its_test_fold_is_opened(
    work, monkeypatch
):
    choices_then, sealed = [], Sealed.open

    def watched(test):
        choices_then.append(list((work.results / "choices").glob("*.json")))
        return sealed(test)

    monkeypatch.setattr(Sealed, "open", watched)
    [record] = work([arm(3)])
    assert [len(choices) for choices in choices_then] == [1]
    [path] = (work.results / "choices").iterdir()
    choice = read_choice(path)
    tried = [r for r in records_in(work.results / "runs") if r["status"] == "validated"]
    assert len(tried) == 4 and not any("scores" in r for r in tried)
    for candidate in choice["candidates"]:
        rate = candidate["learning_rate"]
        own = [r for r in tried if r["config"]["recipe"]["learning_rate"] == rate]
        assert {r["config"]["fold"]["number"] for r in own} == {10, 1}
        scores = [r["validation_scores"]["mean_recall"] for r in own]
        assert candidate["validation_mean_recall"] == pytest.approx(sum(scores) / 2)
    best = max(choice["candidates"], key=lambda c: c["validation_mean_recall"])
    assert choice["chosen"] == best["learning_rate"]
    assert record["config"]["recipe"]["learning_rate"] == choice["chosen"]
    assert (record["config"]["fold"]["number"], record["config"]["seed"]) == (3, 3)


def test_nothing_is_done_twice_in_a_shared_search_or_in_a_new_folder_of_runs(work, monkeypatch):
    asked, done = [], sweep.execute
    monkeypatch.setattr(
        sweep, "execute", lambda run, *a, **n: asked.append(run) or done(run, *a, **n)
    )
    first = work([arm(3), arm(4)])
    names = {r["id"] for r in records_in(work.results / "runs")}
    assert len(asked) == len(names) == 4 + 2  # both arms have one search, which is read once
    table = runs_table(work.results / "runs")
    assert set(table["id"]) == names
    assert sorted(table["fold"]) == ["f1", "f1", "f10", "f10", "f3", "f4"]
    monkeypatch.setattr(
        "rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("trained again")
    )
    assert work([arm(3), arm(4)], name="elsewhere") == first


def test_a_run_that_is_cut_off_is_gone_on_with_elsewhere_to_the_same_scores(
    work, tmp_path, monkeypatch
):
    monkeypatch.setattr("rsstudy.experiments.queue.OPENING_SECONDS", 0.0)
    monkeypatch.setattr("rsstudy.experiments.queue.PART", 50_000)
    run = replace(arm(3).repeats(arm(3).run)[0], recipe=replace(RECIPE, epochs=4))
    whole, _ = execute(run, runs=tmp_path / "whole", progress=False)
    rows = [Arm(run, (run.recipe.learning_rate,), 1)]
    rows = [replace(rows[0], folds=(3,))]
    train, slots = sweep.execute, []

    def cut_off(*args, **named):
        slots.append(named["deadline"])
        return train(*args, **{**named, "deadline": time.monotonic()})

    with monkeypatch.context() as short:
        short.setattr(sweep, "execute", cut_off)
        short.setattr(Slot, "over", property(lambda slot: bool(slots)))
        short.setattr(Slot, "fits", lambda slot, run, *more: not slots)
        assert work(rows, name="one") == []
    parts = {part.name: part.stat().st_size for part in (work.results / UNDERWAY).iterdir()}
    assert sorted(parts) == [f"{whole['id']}.pt.{number}" for number in range(len(parts))]
    assert len(parts) > 2 and max(parts.values()) == 50_000
    assert sum(parts.values()) <= LARGEST_CHECKPOINT
    assert not (work.results / "runs").exists() or not any((work.results / "runs").iterdir())
    stored, resumed = State.stored, []
    monkeypatch.setattr(State, "stored", lambda state: resumed.append(stored(state)) or resumed[-1])
    [record] = work(rows, name="two")
    assert any(resumed) and record["scores"] == whole["scores"]
    assert [row["loss"] for row in record["history"]] == [row["loss"] for row in whole["history"]]
    assert not any((work.results / UNDERWAY).iterdir())


def test_nothing_is_started_that_does_not_end_in_time(work, monkeypatch):
    monkeypatch.setattr("rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("started"))
    assert work([arm(3, method="full")], seconds=60) == []


def test_how_long_a_run_takes_is_told_by_records_of_its_kind():
    run = Run("ucm", "vits14-minilm")
    alone = expected_seconds(run, 1680, [])
    record = {
        "label": "mrs-adapter",
        "config": {"objective": "infonce"},
        "environment": {"device": "cpu"},
        "cost": {"images_per_second": 1000.0},
    }
    assert expected_seconds(run, 1680, [record]) < alone / 5
    for odd in (
        {"label": "full"},
        {"config": {"objective": "hmmc"}},
        {"environment": {"device": "cuda"}},
    ):
        assert expected_seconds(run, 1680, [{**record, **odd}]) == alone
    assert expected_seconds(run, 1680, [record], "cuda") < alone / 2
    captions = replace(run, recipe=replace(run.recipe, samples="captions"))
    assert expected_seconds(captions, 1680, []) > 4 * alone
    assert expected_seconds(Run("ucm", "vits14-minilm", "zero-shot"), 1680, []) < alone / 2
    assert is_small(run) and not is_small(Run("ucm", "vits14-minilm", "full"))
    assert not is_small(Run("ucm", "ViT-B-32"))  # 161,088 parameters, four times four bytes each


def test_a_run_whose_adapter_is_gone_before_its_test_is_trained_again(own_cache, tmp_path):
    run = Run(DATA, "tiny@random", recipe=RECIPE, fold=Fold(3))
    record, folder = execute(run, runs=tmp_path, progress=False, test=False)
    (folder / "adapter.safetensors").unlink()
    assert execute(run, runs=tmp_path, progress=False, test=False)[0] == record
    tested, _ = execute(run, runs=tmp_path, progress=False)
    assert tested["validation_scores"] == record["validation_scores"] and "scores" in tested


def test_the_plan_tests_no_picture_that_judged_a_rate():
    rows = [row for row in arms("decisive", "bench") if row.folds]
    searched = {fold for row in rows for fold in row.searched_in}
    tested = {fold for row in rows for fold in row.folds}
    assert tested == set(range(3, 11))
    whole = load("scenes?images=200")
    judged, shown = (
        {name for fold in folds for name in as_fold(whole, Fold(fold)).split(part).filenames}
        for folds, part in ((searched, "val"), (tested, "test"))
    )
    assert judged and shown and judged.isdisjoint(shown)
    assert [{row.factor for row in rows if fold in row.folds} for fold in (3, 6, 7)] == [
        {"a", "b", "c", "d", "e"},
        {"a", "b", "d"},
        {"f"},
    ]
    assert all(row.run.also for row in rows)
    trained = [row for row in rows if row.run.method != "zero-shot"]
    for row in trained:
        assert 2e-4 in row.learning_rates and len(row.learning_rates) == 3
        assert row.searched is not None and not row.searched.also
    untrained = [(row.run.data, *row.folds) for row in rows if row not in trained]
    assert sorted(untrained) == [(data, k) for data in ("rsicd", "ucm") for k in range(3, 11)]
    order = dict.fromkeys((row.factor, row.run.data) for row in rows)
    ucm, rsicd = "ucm", "rsicd"  # both looks on the smaller set, then the larger
    assert [*order][:3] == [("a", ucm), ("f", ucm), ("b", rsicd)]
    assert [*order][3:] == [("c", ucm), ("d", ucm), ("e", ucm), ("f", rsicd)]
    [longer] = [row for row in rows if row.run.recipe.epochs == 45]
    assert (longer.factor, longer.run.objective, longer.folds) == ("c", "hmmc", (3,))


def test_a_record_of_before_and_another_choice_are_not_written_over(work, tmp_path):
    """The search's two choices: what was tested after the first is not the second's."""
    work([arm(3)])
    [choice] = (work.results / "choices").iterdir()
    text = choice.read_text()
    other = json.loads(text)
    [other["chosen"]] = {2e-4, 2e-3} - {other["chosen"]}
    (tmp_path / "runs" / "choices" / choice.name).write_text(json.dumps(other))
    with pytest.raises(StudyError, match="holds another choice"):
        Slot(0.0, work.results).publish(tmp_path / "runs")
    assert choice.read_text() == text
    (tmp_path / "runs" / "choices" / choice.name).write_text(text)
    [path] = (work.results / "runs").glob("*-f3-*")
    before = json.dumps({**json.loads(path.read_text()), "record": "before"})
    path.write_text(before)
    with pytest.raises(StudyError, match="as one of before"):
        Slot(0.0, work.results).publish(tmp_path / "runs")
    assert path.read_text() == before


def test_a_folder_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StudyError, match="results"):
        Slot(0.0, tmp_path / "results").publish(tmp_path)
