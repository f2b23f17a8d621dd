"""A suite is a grid of different runs, done once each, whatever happens to one of them."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import load
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.experiments import sweep
from rsstudy.experiments.arms import only, recorded
from rsstudy.experiments.protocol import Sealed
from rsstudy.experiments.record import (
    choices_before,
    choices_in,
    compared,
    read_record,
    read_records,
    records_before,
    records_in,
)
from rsstudy.experiments.sweep import beyond
from rsstudy.methods import attach, count_trained, create_method
from rsstudy.training.checkpoint import Diverged
from rsstudy.training.recipe import SHORT, recipe_for
from study import suites
from study.comparison import on_validation
from study.suites import (
    CHOSEN,
    CONTROLLED,
    DIAL_RATES,
    PILOT_SEED,
    SCALES,
    SEARCHED,
    SUITES,
    arms,
    changed,
    run_suite,
)

RESULTS = Path(__file__).parents[1] / "results"
QUIET = {"say": lambda _: None, "progress": False}
PROBE = {"methods": ["linear-probe"], "objectives": ["infonce"]}


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


def compare(runs, **part):
    return run_suite("compare", "smoke", runs, **QUIET, **part)


def probe():
    """The arm of the linear probe with InfoNCE."""
    [arm] = only(arms("compare", "smoke"), [], *PROBE.values())
    return arm


def choices_of(runs):
    return [json.loads(path.read_text()) for path in runs.glob("choices/*.json")]


def chosen_on_ucm():
    """The learning rates that the searches of the suite benchmark chose, by arm."""
    choices = choices_before(RESULTS, "benchmark")
    return choices[choices["chosen"]].set_index("arm")["learning_rate"].filter(like="ucm: ")


@pytest.fixture
def trains_nothing(monkeypatch):
    """``trains_nothing()``: from here on training fails the test."""

    def refuse():
        monkeypatch.setattr(
            "rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("trained")
        )

    return refuse


def test_changes_name_a_field_or_a_setting_within_one_as_the_command_line_does():
    run = SCALES["short"].run("ucm", {})
    changes = {"objective": "hmmc", "objective.margin": 0.4, "method.bottleneck": 8, "seed": 3}
    after = changed(run, {**changes, "recipe": recipe_for("bench", "full"), "recipe.epochs": 2})
    assert (after.data, after.seed, after.objective) == ("ucm", 3, "hmmc")
    assert (after.objective_settings, after.method_settings) == ({"margin": 0.4}, {"bottleneck": 8})
    assert after.recipe == replace(recipe_for("bench", "full"), epochs=2)
    with pytest.raises(StudyError, match="bottelneck"):
        changed(run, {"method.bottelneck": 8})


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
        _ = run.built_objective


def test_the_paper_scale_follows_the_papers_recipe():
    recipe = recipe_for("paper", "mrs-adapter")
    steps = recipe.optimizer, recipe.learning_rate, recipe.epochs, recipe.batch
    assert steps == ("adam", 2e-4, 30, 16)
    assert (recipe.schedule, recipe.step_epoch, recipe.step_factor) == ("step", 20, 0.7)
    assert recipe.weight_decay == recipe.clip_norm == 0 and recipe.validation == "random"


def test_the_dials_use_the_rates_that_their_pilot_chose_on_other_scenes():
    choices = choices_before(RESULTS, "dials")
    chosen = choices[choices["chosen"]]
    found = {}
    for name, rate in zip(chosen["id"], chosen["learning_rate"], strict=True):
        config = read_record(RESULTS / "runs" / f"{name}.json")["config"]
        assert config["seed"] == PILOT_SEED and f"seed={PILOT_SEED}&" in config["data"]
        found[config["objective"]] = rate
    assert found == DIAL_RATES
    for run in (arm.run for arm in arms("dials", "short")):
        assert run.recipe.learning_rate == DIAL_RATES[run.objective]
        assert f"seed={PILOT_SEED}&" not in run.data


def test_rates_without_a_search_are_those_that_the_benchmark_chose():
    chosen = chosen_on_ucm()
    searched = {method for method in CHOSEN if f"ucm: {method}, infonce" in chosen}
    assert searched >= {*suites.FOLLOWED, suites.MRS}
    for method in searched:
        assert chosen[f"ucm: {method}, infonce"] == CHOSEN[method]
    assert chosen[f"ucm: {suites.MRS}, hmmc"] == CHOSEN[suites.MRS]
    adapted = [arm.run for arm in arms("better", "short") if arm.run.method == suites.MRS]
    for run in [arm.run for arm in arms("data-efficiency", "short")] + adapted:
        assert run.recipe.learning_rate == CHOSEN[run.method]


def test_fewer_pictures_are_seen_as_often():
    rates = set(CHOSEN.values())
    whole = {repr(arm.at(rate)) for arm in arms("benchmark", "short") for rate in rates}
    for arm in arms("data-efficiency", "short"):
        recipe = arm.run.recipe
        assert recipe.epochs * recipe.fraction == suites.BENCHMARK_EPOCHS["short"]
        # with all pictures it is the benchmark's own run
        assert (repr(arm.run) in whole) == (recipe.fraction == 1.0)


def test_candidates_fit_the_adapters_budget_and_never_see_the_test_split(tmp_path, monkeypatch):
    for arm in arms("candidates", "paper"):
        encoder = create("ViT-B-32", meta=True)
        attach(encoder, create_method(arm.run.method, arm.run.method_settings))
        assert count_trained(encoder).total <= 161_088, arm.level
    monkeypatch.setattr(Sealed, "open", lambda sealed: pytest.fail("the test split was opened"))
    monkeypatch.setitem(suites.SCALES, "smoke", replace(SCALES["smoke"], encoder="tiny@random"))
    records = run_suite("candidates", "smoke", tmp_path, progress=False)
    assert len(records) == len(suites.CANDIDATES)
    assert all(r["status"] == "validated" and "scores" not in r for r in records)


def test_the_confirmed_candidate_is_the_new_one_that_validation_prefers():
    records = records_before(RESULTS, "candidates", "benchmark")
    tried = on_validation(arms("candidates", "short"), records)
    assert list(tried["name"]) == [what for what, *_ in suites.CANDIDATES]
    new = tried.iloc[1:]  # the first is the paper's own
    assert new.loc[new["mean_recall"].idxmax(), "name"] == suites.BETTER
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
    first = [arm for arm in arms("transfer", scale) if arm.factor == "first set"]
    data, rows = suites.UPDATED[scale][0], arms("better", scale)
    [arm] = [a for a in rows if (a.run.data, a.level) == (data, "MRS adapter, infonce")]
    updated, fresh = ({repr(r) for a in of for r in a.repeats(a.run)} for of in (first, [arm]))
    assert len(updated & fresh) == SCALES[scale].seeds - suites.FRESH_SEED


def test_a_second_call_trains_nothing(small, tmp_path, trains_nothing):
    first = compare(tmp_path)
    count = sum(arm.seeds for arm in arms("compare", "smoke"))
    assert len(first) == len(read_records(tmp_path)) == count
    trains_nothing()
    assert compare(tmp_path) == first


def test_a_diverged_run_does_not_stop_the_others(small, tmp_path, monkeypatch):
    execute = sweep.execute

    def sometimes(run, *more, **named):
        if run.method == "full":
            raise Diverged("the loss is nan at step 1 of epoch 1")
        return execute(run, *more, **named)

    monkeypatch.setattr(sweep, "execute", sometimes)
    done = {record["config"]["method"] for record in compare(tmp_path)}
    assert done == {"zero-shot", "linear-probe", "mrs-adapter"}


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
    records = compare(tmp_path, methods=["linear-probe"])
    assert opened == [1, 1, 2, 2]  # InfoNCE's two seeds, then those of HMMC
    assert len(records) == 4 and len(list(tmp_path.glob("*/record.json"))) == 2 * 3 + 2
    choices = choices_of(tmp_path)
    for record in records[::2]:
        rate, name = record["config"]["recipe"]["learning_rate"], record["id"]
        [choice] = [
            c for c in choices if name in [r["id"] for of in c["candidates"] for r in of["runs"]]
        ]
        scores = {of["learning_rate"]: of["validation_mean_recall"] for of in choice["candidates"]}
        assert choice["chosen"] == rate == max(scores, key=scores.get)
        assert scores[rate] == record["validation_scores"]["mean_recall"]
    table = compared(records_in(tmp_path), choices_in(tmp_path / "choices"))
    assert len(table) == 6 and table["chosen"].sum() == 2 and table["arm"].nunique() == 2
    everything = [read_record(path) for path in tmp_path.glob("*/record.json")]
    losers = [record for record in everything if record["status"] == "validated"]
    for of in (candidate for choice in choices for candidate in choice["candidates"]):
        assert not any(run["tested_before_the_choice"] for run in of["runs"])
    compare(tmp_path, methods=["linear-probe"])
    assert choices_of(tmp_path) == choices  # a choice on record stays
    assert len(losers) == 4 and not any("scores" in r or "test_queries" in r for r in losers)


def test_a_search_on_fewer_pictures_chooses_the_rate_of_the_whole_runs(searched, tmp_path):
    row = replace(probe(), searched_with=0.25)
    records = sweep.run_arms([row], tmp_path, **QUIET)
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
    records = compare(tmp_path, **PROBE, seeds=1)
    assert [record["config"]["seed"] for record in records] == [0]


def test_recorded_runs_are_found_by_their_arm_whatever_rate_was_chosen(searched, tmp_path):
    rows = only(arms("compare", "smoke"), [], ["linear-probe", "zero-shot"], [])
    records = sweep.run_arms(rows, tmp_path, **QUIET)
    renamed = [replace(arm, run=replace(arm.run, data="set")) for arm in rows]
    table = recorded([replace(arm, factor="objective") for arm in renamed], read_records(tmp_path))
    assert list(table["id"]) == [record["id"] for record in records]
    assert set(table["factor"]) == {"objective"}
    more = [replace(arm, run=changed(arm.run, {"recipe.batch": 5})) for arm in renamed]
    assert recorded(more, read_records(tmp_path)).empty
    assert recorded(rows, read_records(tmp_path / "nothing")).empty
    assert recorded([], read_records(tmp_path)).empty


@pytest.mark.parametrize("scale", SCALES)
def test_the_main_contrasts_compare_objectives_as_they_are_named(scale):
    data = arms("hmmc", scale)[0].run.data
    names = [name for of_form in CONTROLLED.values() for name in of_form]
    found = [only(arms("hmmc", scale), [data], ["mrs-adapter"], [name]) for name in names]
    plain = [next(arm for arm in of if not arm.run.objective_settings) for of in found]
    assert len({replace(arm.run.recipe, learning_rate=0.0) for arm in plain}) == 1
    assert [len(arm.learning_rates) for arm in plain] == [len(SEARCHED[scale])] * 4
    with pytest.raises(StudyError, match="did you mean"):
        only(arms("hmmc", scale), [data], ["mrs-adapter"], ["hmcc"])


def test_all_seeds_of_an_arm_have_the_chosen_learning_rate(searched, tmp_path):
    """And a run of another rate, which a search passed over or nobody chose, is in no table."""
    row = probe()
    records = sweep.run_arms([row], tmp_path, **QUIET)
    chosen = records[0]["config"]["recipe"]["learning_rate"]
    other = row.at(next(rate for rate in row.learning_rates if rate != chosen))
    late, _ = sweep.execute(other, None, tmp_path, progress=False)  # somebody tests it after all
    assert late["status"] == "finished"
    assert list(read_records(tmp_path)["id"]) == sorted(record["id"] for record in records)
    stray, _ = sweep.execute(replace(other, seed=1), None, tmp_path, progress=False)
    arm, table = replace(row, run=replace(row.run, data="set")), read_records(tmp_path)
    assert stray["id"] in set(table["id"])
    assert list(recorded([arm], table)["id"]) == [record["id"] for record in records]
    for path in tmp_path.glob("choices/*.json"):
        path.unlink()
    with pytest.raises(StudyError, match="differ in learning rate or image size alone"):
        recorded([arm], read_records(tmp_path))


def test_a_run_that_diverged_is_not_done_again(small, tmp_path, monkeypatch, trains_nothing):
    def diverge(*_, **__):
        raise Diverged("the loss is nan at step 1 of epoch 1")

    monkeypatch.setattr("rsstudy.experiments.run.train", diverge)
    with pytest.raises(Diverged):
        sweep.execute(probe().run, None, tmp_path, progress=False)
    trains_nothing()
    with pytest.raises(Diverged, match="step 1 of epoch 1 .on record; delete"):
        sweep.execute(probe().run, None, tmp_path, progress=False)


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
    compare(tmp_path, **PROBE)
    [choice] = choices_of(tmp_path)
    assert [c["learning_rate"] for c in choice["candidates"]][-1] == 0.5
    assert len(choice["candidates"]) == 4


def test_touching_the_test_split_before_the_choice_raises(small, tmp_path):
    run, choice = probe().run, tmp_path / "choices" / "none-yet.json"
    with pytest.raises(StudyError, match=r"sealed until .*none-yet\.json is written"):
        sweep.execute(run, None, tmp_path, progress=False, until=(choice,))
    record, folder = sweep.execute(run, None, tmp_path, progress=False, test=False)
    assert record["status"] == "validated" and "scores" not in record
    with pytest.raises(StudyError, match="sealed"):
        Sealed(load(run.data), (folder / "absent.json",)).open()


def test_a_validated_run_is_tested_later_as_if_at_once(small, tmp_path, trains_nothing):
    run = arms("compare", "smoke")[3].run
    at_once, _ = sweep.execute(run, None, tmp_path / "a", progress=False)
    sweep.execute(run, None, tmp_path / "b", progress=False, test=False)
    trains_nothing()
    later, folder = sweep.execute(run, None, tmp_path / "b", progress=False)
    assert later["test_queries"] == at_once["test_queries"] and later["status"] == "finished"
    assert later["pixel_digests"] == at_once["pixel_digests"]
    assert read_record(folder / "record.json") == later


def test_part_of_a_suite_can_be_named():
    methods = ["linear-probe", "mrs-adapter"]
    rows = only(arms("compare", "short"), ["ucm"], methods, ["infonce"])
    assert [(a.run.data, a.run.method) for a in rows] == [("ucm", method) for method in methods]
    assert not any(arm.run.method_settings for arm in rows)
    with pytest.raises(StudyError, match=r"unknown method of this suite 'mrs'; did you mean"):
        only(arms("compare", "short"), [], ["mrs"], [])


def test_ones_own_set_and_encoder_take_the_place_of_a_suites(rows, write_parquet):
    own, chosen = str(write_parquet(rows)), {"methods": ["mrs-adapter", "linear-probe"]}
    usual = suites.rows_of("benchmark", "bench", ["ucm"], **chosen)
    taken = suites.rows_of("benchmark", "bench", [own], **chosen, encoder="ViT-B-32")
    assert {(arm.run.data, arm.run.encoder) for arm in taken} == {(own, "ViT-B-32")}
    assert [a.run.recipe for a in taken] == [a.run.recipe for a in usual]
    assert {arm.run.encoder for arm in usual} == {SCALES["bench"].encoder}
    both = suites.rows_of("benchmark", "bench", ["rsicd", own], **chosen)
    assert {arm.run.data for arm in both} == {"rsicd", own}
    with pytest.raises(StudyError, match="data set of this suite 'ucmm'"):
        suites.rows_of("benchmark", "bench", ["ucmm"])
    with pytest.raises(StudyError, match="on several sets each"):
        suites.rows_of("transfer", "bench", [own])
