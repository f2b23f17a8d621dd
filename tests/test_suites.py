"""A suite is a grid of different runs, done once each, whatever happens to one of them."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.experiments import sweep
from rsstudy.experiments.arms import only, recorded
from rsstudy.experiments.protocol import Sealed
from rsstudy.experiments.record import (
    choices_before,
    choices_in,
    read_choices,
    read_record,
    read_records,
    records_before,
)
from rsstudy.experiments.sweep import beyond
from rsstudy.methods import create_method
from rsstudy.training.checkpoint import Diverged
from rsstudy.training.recipe import SHORT, recipe_for
from study import suites
from study.comparison import on_validation
from study.suites import (
    BENCHMARK_EPOCHS,
    CONTROLLED,
    DIAL_RATES,
    FOLLOWED,
    FOLLOWED_RATES,
    PILOT_SEED,
    SCALES,
    SEARCHED,
    SUITES,
    arm_of,
    arms,
    run_suite,
)


@pytest.fixture
def small(rows, write_parquet, own_cache, monkeypatch):
    """The smoke scale on ten pictures, with an encoder that needs no pretraining."""
    setting = replace(
        SCALES["smoke"],
        data=(str(write_parquet(rows)),),
        encoder="tiny@random",
        seeds=1,
        recipe=replace(SHORT, epochs=1, batch=3, precision="fp32"),
    )
    monkeypatch.setitem(suites.SCALES, "smoke", setting)


def once(tmp_path):
    return run_suite("compare", "smoke", tmp_path, say=lambda _: None, progress=False)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SUITES)
def test_every_run_of_a_grid_is_another_one_and_can_be_made(name, scale):
    runs = [
        run
        for arm in arms(name, scale)
        for rate in arm.learning_rates
        for run in arm.candidate(rate)
    ]
    if name != "decisive":  # whose arms share their searches
        assert len({repr(run) for run in runs}) == len(runs)
    repeats = [run for arm in arms(name, scale) for run in arm.repeats(arm.run)]
    assert len({repr(run) for run in repeats}) == len(repeats)
    for run in runs:
        create_method(run.method, run.method_settings)
        run.resolved_objective()


def test_the_paper_scale_follows_the_papers_recipe():
    recipe = recipe_for("paper", "mrs-adapter")
    assert (recipe.optimizer, recipe.learning_rate, recipe.epochs, recipe.batch) == (
        "adam",
        2e-4,
        30,
        16,
    )
    assert (recipe.schedule, recipe.step_epoch, recipe.step_factor) == ("step", 20, 0.7)
    assert recipe.weight_decay == recipe.clip_norm == 0 and recipe.validation == "random"


def test_the_dials_use_the_rates_that_their_pilot_chose_on_other_scenes():
    results = Path(__file__).parents[1] / "results"
    choices = choices_before(results, "dials")
    chosen = choices[choices["chosen"]]
    found = {}
    for name, rate in zip(chosen["id"], chosen["learning_rate"], strict=True):
        config = read_record(results / "runs" / f"{name}.json")["config"]
        assert config["seed"] == PILOT_SEED and f"seed={PILOT_SEED}&" in config["data"]
        found[config["objective"]] = rate
    assert found == DIAL_RATES
    experiment = [arm.run for arm in arms("dials", "short")]
    assert {run.objective: run.recipe.learning_rate for run in experiment} == DIAL_RATES
    assert all(run.recipe.learning_rate == DIAL_RATES[run.objective] for run in experiment)
    assert not any(f"seed={PILOT_SEED}&" in run.data for run in experiment)


def test_fewer_pictures_are_seen_as_often_at_the_rates_that_the_benchmark_chose():
    choices = choices_before(Path(__file__).parents[1] / "results", "benchmark")
    chosen = choices[choices["chosen"]].set_index("arm")["learning_rate"]
    for method in FOLLOWED:
        assert chosen[f"ucm: {method}, infonce"] == FOLLOWED_RATES[method, "short"]
    rates = set(FOLLOWED_RATES.values())
    whole = {repr(arm.at(rate)) for arm in arms("benchmark", "short") for rate in rates}
    for arm in arms("data-efficiency", "short"):
        recipe = arm.run.recipe
        assert recipe.epochs * recipe.fraction == BENCHMARK_EPOCHS["short"]
        assert recipe.learning_rate == FOLLOWED_RATES[arm.run.method, "short"]
        # with all pictures it is the benchmark's own run
        assert (repr(arm.run) in whole) == (recipe.fraction == 1.0)


def test_candidates_fit_the_adapters_budget_and_never_see_the_test_split(tmp_path, monkeypatch):
    from rsstudy.encoders import create
    from rsstudy.methods import attach, count_trained

    for what, method, settings, *_ in suites.CANDIDATES:
        encoder = create("ViT-B-32", meta=True)
        attach(encoder, create_method(method, settings))
        assert count_trained(encoder).total <= 161_088, what
    monkeypatch.setattr(Sealed, "open", lambda sealed: pytest.fail("the test split was opened"))
    monkeypatch.setitem(suites.SCALES, "smoke", replace(SCALES["smoke"], encoder="tiny@random"))
    records = run_suite("candidates", "smoke", tmp_path, progress=False)
    assert len(records) == len(suites.CANDIDATES)
    assert all(r["status"] == "validated" and "scores" not in r for r in records)


def test_the_confirmed_candidate_is_the_new_one_that_validation_prefers():
    results = Path(__file__).parents[1] / "results"
    records = records_before(results, "candidates", "benchmark")
    tried = on_validation(arms("candidates", "short"), records)
    assert list(tried["name"]) == [what for what, *_ in suites.CANDIDATES]
    new = tried.iloc[1:]  # the first is the paper's own
    assert new.loc[new["mean_recall"].idxmax(), "name"] == suites.BETTER
    choices = choices_before(results, "benchmark")
    chosen = choices[choices["chosen"]].set_index("arm")["learning_rate"]
    rates = {name: chosen[f"ucm: mrs-adapter, {name}"] for name in suites.FRAMEWORK_RATES}
    assert rates == suites.FRAMEWORK_RATES
    developed = {arm.run.seed for arm in arms("candidates", "short")}
    for arm in arms("better", "short"):
        assert developed.isdisjoint(run.seed for run in arm.repeats(arm.run))


@pytest.mark.parametrize("scale", SCALES)
def test_what_the_suite_objectives_shares_with_the_benchmark_is_trained_once(scale):
    def trained_as(arm):
        return repr(arm.run), arm.learning_rates, arm.seeds, arm.searched_with

    shown = {trained_as(arm) for arm in arms("benchmark", scale)}
    rows = arms("objectives", scale)
    shared = [arm for arm in rows if trained_as(arm) in shown]
    sets = len({arm.run.data for arm in shared})
    levels = Counter((arm.run.data, arm.factor) for arm in rows)
    assert set(levels.values()) == {2} and {arm.level for arm in rows} == {"hmmc", "infonce"}
    assert all(arm.level == arm.run.objective for arm in rows)
    assert len(shared) == 5 * sets  # all with InfoNCE, and the paper's adapter with HMMC
    assert {a.run.method for a in shared if a.run.objective == "hmmc"} == {suites.MRS}


@pytest.mark.parametrize("scale", ["short", "bench", "paper"])
def test_the_paper_s_adapter_on_the_first_set_is_trained_once_for_two_suites(scale):
    updated = {
        repr(run)
        for arm in arms("transfer", scale)
        for run in arm.repeats(arm.run)
        if arm.factor == "first set"
    }
    first = suites.UPDATED[scale][0]
    [arm] = [
        arm
        for arm in arms("better", scale)
        if (arm.run.data, arm.run.method, arm.run.objective) == (first, suites.MRS, "infonce")
    ]
    shared = updated & {repr(run) for run in arm.repeats(arm.run)}
    assert len(shared) == SCALES[scale].seeds - suites.FRESH_SEED


def test_a_second_call_trains_nothing(small, tmp_path, monkeypatch):
    first = once(tmp_path)
    assert (
        len(first)
        == sum(arm.seeds for arm in arms("compare", "smoke"))
        == len(read_records(tmp_path))
    )
    monkeypatch.setattr(
        "rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("trained again")
    )
    assert once(tmp_path) == first


def test_a_diverged_run_does_not_stop_the_others(small, tmp_path, monkeypatch):
    execute = sweep.execute

    def sometimes(run, *more, **named):
        if run.method == "full":
            raise Diverged("the loss is nan at step 1 of epoch 1")
        return execute(run, *more, **named)

    monkeypatch.setattr(sweep, "execute", sometimes)
    assert {r["config"]["method"] for r in once(tmp_path)} == {
        "zero-shot",
        "linear-probe",
        "mrs-adapter",
    }


@pytest.fixture
def searched(small, monkeypatch):
    """Three learning rates for each arm, none beyond them, two seeds."""
    monkeypatch.setattr(sweep, "FURTHER", 0)
    monkeypatch.setitem(suites.SEARCHED, "smoke", (0.5, 1.0, 2.0))
    monkeypatch.setitem(suites.SCALES, "smoke", replace(SCALES["smoke"], seeds=2))


def test_a_search_opens_no_test_split_before_its_choice_is_on_record(
    searched, tmp_path, monkeypatch
):
    """Every look at a test split is held against the choices that exist at that moment."""
    opened = []
    split = ImageTextSet.split

    def watched(whole, name):
        if name == "test":
            opened.append(len(list(tmp_path.glob("choices/*.json"))))
        return split(whole, name)

    monkeypatch.setattr(ImageTextSet, "split", watched)
    records = run_suite(
        "compare", "smoke", tmp_path, say=lambda _: None, progress=False, methods=["linear-probe"]
    )
    assert opened == [1, 1, 2, 2]  # InfoNCE's two seeds, then those of HMMC
    assert len(records) == 4 and len(list(tmp_path.glob("*/record.json"))) == 2 * 3 + 2
    for record in records[::2]:
        choices = [json.loads(path.read_text()) for path in tmp_path.glob("choices/*.json")]
        rate = record["config"]["recipe"]["learning_rate"]
        choice = next(
            c
            for c in choices
            if (rate, record["id"])
            in [(c["chosen"], run["id"]) for of in c["candidates"] for run in of["runs"]]
        )
        scores = [c["validation_mean_recall"] for c in choice["candidates"]]
        assert record["validation_scores"]["mean_recall"] == max(scores)
    table = read_choices(tmp_path)
    assert len(table) == 6 and table["chosen"].sum() == 2 and table["arm"].nunique() == 2
    losers = [
        r for r in map(read_record, tmp_path.glob("*/record.json")) if r["status"] == "validated"
    ]
    for choice in choices:  # none of the candidates had been tested then
        runs = [run for candidate in choice["candidates"] for run in candidate["runs"]]
        assert not any(run["tested_before_the_choice"] for run in runs)
    run_suite(
        "compare", "smoke", tmp_path, say=lambda _: None, progress=False, methods=["linear-probe"]
    )
    again = [json.loads(path.read_text()) for path in tmp_path.glob("choices/*.json")]
    assert again == choices  # a choice on record stays
    assert len(losers) == 4 and not any("scores" in r or "test_queries" in r for r in losers)


def test_a_search_on_fewer_pictures_chooses_the_rate_of_the_whole_runs(searched, tmp_path):
    row = only(arms("compare", "smoke"), [], ["linear-probe"], ["infonce"])[0]
    row = replace(row, searched_with=0.25)
    records = sweep.run_arms([row], tmp_path, say=lambda _: None, progress=False)
    everything = [read_record(path) for path in tmp_path.glob("*/record.json")]
    assert len(everything) == row.count() == 3 + 2
    tried = [r for r in everything if r["config"]["recipe"]["fraction"] == 0.25]
    assert [r["status"] for r in tried] == ["validated"] * 3
    [choice] = choices_in(tmp_path / "choices").values()
    [best] = [r for r in tried if r["config"]["recipe"]["learning_rate"] == choice["chosen"]]
    for record in records:
        assert record["config"]["recipe"]["fraction"] == 1
        assert (record["history"][1]["images"], best["history"][1]["images"]) == (6, 2)
        for recipe in (record["config"]["recipe"], best["config"]["recipe"]):
            assert recipe["learning_rate"] == best["config"]["recipe"]["learning_rate"]
    assert list(read_records(tmp_path)["id"]) == sorted(record["id"] for record in records)


def test_fewer_seeds_are_the_first_ones(searched, tmp_path):
    records = run_suite(
        "compare",
        "smoke",
        tmp_path,
        say=lambda _: None,
        progress=False,
        methods=["linear-probe"],
        objectives=["infonce"],
        seeds=1,
    )
    assert [record["config"]["seed"] for record in records] == [0]


def test_a_run_that_a_search_passed_over_is_in_no_table(searched, tmp_path):
    rows = only(arms("compare", "smoke"), [], ["linear-probe"], ["infonce"])
    records = sweep.run_arms(rows, tmp_path, say=lambda _: None, progress=False)
    chosen = records[0]["config"]["recipe"]["learning_rate"]
    other = next(rate for rate in rows[0].learning_rates if rate != chosen)
    run = replace(rows[0].run, recipe=replace(rows[0].run.recipe, learning_rate=other))
    late, _ = sweep.execute(run, None, tmp_path, progress=False)  # somebody tests it after all
    assert late["status"] == "finished"
    assert list(read_records(tmp_path)["id"]) == sorted(record["id"] for record in records)


def test_recorded_runs_are_found_by_their_arm_whatever_rate_was_chosen(searched, tmp_path):
    rows = only(arms("compare", "smoke"), [], ["linear-probe", "zero-shot"], [])
    records = sweep.run_arms(rows, tmp_path, say=lambda _: None, progress=False)
    renamed = [replace(arm, run=replace(arm.run, data="set")) for arm in rows]
    table = recorded([replace(arm, factor="objective") for arm in renamed], read_records(tmp_path))
    assert list(table["id"]) == [record["id"] for record in records]
    assert set(table["factor"]) == {"objective"}
    more = [
        replace(arm, run=replace(arm.run, recipe=replace(arm.run.recipe, batch=5)))
        for arm in renamed
    ]
    assert recorded(more, read_records(tmp_path)).empty
    assert recorded(rows, read_records(tmp_path / "nothing")).empty
    assert recorded([], read_records(tmp_path)).empty


@pytest.mark.parametrize("scale", ["smoke", "short", "bench", "paper"])
def test_the_main_contrasts_compare_objectives_as_they_are_named(scale):
    data = arms("hmmc", scale)[0].run.data
    plain = [
        arm_of("hmmc", scale, data, "mrs-adapter", name)
        for of_form in CONTROLLED.values()
        for name in of_form
    ]
    assert [arm.run.objective_settings for arm in plain] == [{}] * 4
    assert len({replace(arm.run.recipe, learning_rate=0.0) for arm in plain}) == 1
    assert [len(arm.learning_rates) for arm in plain] == [len(SEARCHED[scale])] * 4
    with pytest.raises(StudyError, match="did you mean"):
        arm_of("hmmc", scale, data, "mrs-adapter", "hmcc")


def test_all_seeds_of_an_arm_have_the_chosen_learning_rate(searched, tmp_path):
    rows = only(arms("compare", "smoke"), [], ["linear-probe"], ["infonce"])
    records = sweep.run_arms(rows, tmp_path, say=lambda _: None, progress=False)
    chosen = records[0]["config"]["recipe"]["learning_rate"]
    other = next(rate for rate in rows[0].learning_rates if rate != chosen)
    stray, _ = sweep.execute(replace(rows[0].at(other), seed=1), None, tmp_path, progress=False)
    arm = replace(rows[0], run=replace(rows[0].run, data="set"))
    table = read_records(tmp_path)
    assert stray["id"] in set(table["id"])
    assert list(recorded([arm], table)["id"]) == [record["id"] for record in records]
    for path in tmp_path.glob("choices/*.json"):
        path.unlink()
    sweep.execute(rows[0].at(other), None, tmp_path, progress=False)
    with pytest.raises(StudyError, match="differ in learning rate or image size alone"):
        recorded([arm], read_records(tmp_path))


def test_a_run_that_diverged_is_not_done_again(small, tmp_path, monkeypatch):
    run = replace(arms("compare", "smoke")[1].run)

    def diverge(*_, **__):
        raise Diverged("the loss is nan at step 1 of epoch 1")

    monkeypatch.setattr("rsstudy.experiments.run.train", diverge)
    with pytest.raises(Diverged):
        sweep.execute(run, None, tmp_path, progress=False)
    monkeypatch.setattr(
        "rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("trained again")
    )
    with pytest.raises(Diverged, match="step 1 of epoch 1 .on record; delete"):
        sweep.execute(run, None, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("scores", "further"),
    [
        ({0.001: 5, 0.003: 7, 0.01: 6}, None),
        ({0.001: 5, 0.003: 6, 0.01: 7}, 0.03),
        ({0.001: 5, 0.003: 6, 0.01: 7, 0.03: 8}, 0.1),
        ({0.001: 7, 0.003: 6, 0.01: 5}, 0.0003),
        ({0.001: 5, 0.003: 6, 0.01: None}, None),  # the end diverged
        ({0.001: None, 0.003: None}, None),
    ],
)
def test_a_search_goes_on_while_the_best_rate_lies_at_an_end(scores, further):
    tried = {
        rate: [None if score is None else {"validation_scores": {"mean_recall": score}}]
        for rate, score in scores.items()
    }
    assert beyond(tried) == further


def test_what_a_search_tries_beyond_its_rates_is_among_its_candidates(
    searched, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep, "FURTHER", 2)
    further = iter([0.5, None])
    monkeypatch.setattr(sweep, "beyond", lambda tried: next(further))
    run_suite(
        "compare",
        "smoke",
        tmp_path,
        say=lambda _: None,
        progress=False,
        methods=["linear-probe"],
        objectives=["infonce"],
    )
    (choice,) = (json.loads(path.read_text()) for path in tmp_path.glob("choices/*.json"))
    assert [c["learning_rate"] for c in choice["candidates"]][-1] == 0.5
    assert len(choice["candidates"]) == 4


def test_touching_the_test_split_before_the_choice_raises(small, tmp_path):
    run = arms("compare", "smoke")[1].run
    choice = tmp_path / "choices" / "none-yet.json"
    with pytest.raises(StudyError, match=r"sealed until .*none-yet\.json is written"):
        sweep.execute(run, None, tmp_path, progress=False, until=(choice,))
    record, folder = sweep.execute(run, None, tmp_path, progress=False, test=False)
    assert record["status"] == "validated" and "scores" not in record
    with pytest.raises(StudyError, match="sealed"):
        Sealed(load(run.data), (folder / "absent.json",)).open()


def test_a_validated_run_is_tested_later_as_if_at_once(small, tmp_path, monkeypatch):
    run = arms("compare", "smoke")[3].run
    at_once, _ = sweep.execute(run, None, tmp_path / "a", progress=False)
    sweep.execute(run, None, tmp_path / "b", progress=False, test=False)
    monkeypatch.setattr(
        "rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("trained again")
    )
    later, folder = sweep.execute(run, None, tmp_path / "b", progress=False)
    assert later["test_queries"] == at_once["test_queries"] and later["status"] == "finished"
    assert later["pixel_digests"] == at_once["pixel_digests"]
    assert read_record(folder / "record.json") == later


def test_part_of_a_suite_can_be_named():
    rows = only(arms("compare", "short"), ["ucm"], ["linear-probe", "mrs-adapter"], ["infonce"])
    assert [(a.run.data, a.run.method, a.run.method_settings) for a in rows] == [
        ("ucm", "linear-probe", {}),
        ("ucm", "mrs-adapter", {}),
    ]
    with pytest.raises(StudyError, match=r"unknown method of this suite 'mrs'; did you mean"):
        only(arms("compare", "short"), [], ["mrs"], [])
