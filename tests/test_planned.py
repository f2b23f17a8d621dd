"""The plan beside what was done, convergence, transfer and classes: at any stage of the record."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_decisive import make_up

from rsstudy.experiments.queue import is_before
from rsstudy.experiments.record import RUNS, readable, records_in
from rsstudy.experiments.sweep import run_arms
from study.decisive import LOOKED_AT
from study.descriptive import (
    by_class,
    class_correlations,
    class_table,
    rank_correlation,
    scores_by_fold,
    transfer,
)
from study.planned import (
    ITEMS,
    convergence,
    late_gain,
    planned_runs,
    progress,
    progress_in_words,
    rates_tried,
)
from study.suites import SCALES, arms

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


def test_the_items_and_their_hours_are_those_of_the_plan():
    page = (ROOT / "book" / "plan.md").read_text().partition("## The queue")[2]
    rows = re.findall(r"^\| (\([a-z]\))? *\|.*\| ([^|]*) \|$", page, re.MULTILINE)[1:]
    hours: dict[str, float] = {}
    letter = ""
    for item, cost in rows:  # a row without a letter belongs to the one above
        letter = item.strip("()") or letter
        found = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", cost)]
        hours[letter] = hours.get(letter, 0) + (sum(found) if found else np.nan)
    assert {item: hours for item, (_, hours) in ITEMS.items()} == pytest.approx(hours, nan_ok=True)


def test_every_run_of_the_plan_counts_once_and_every_new_record_for_one():
    found, table = planned_runs(RESULTS), progress(RESULTS)
    rows = arms("decisive", "bench")
    assert {arm.factor for arm in rows} <= set(ITEMS)
    assert len(found) == len({repr(r) for a in rows for r in (*a.searches(), *a.repeats(a.run))})
    assert table["searches"].sum() + table["runs"].sum() == len(found)
    records = [r for r in records_in(RESULTS / RUNS) if not is_before(r)]
    ended = [r for r in records if r["status"] in ("validated", "finished")]
    assert 0 < found["done"].sum() <= len(ended)
    hours = sum(max(r["cost"]["wall_seconds"], r["cost"]["train_seconds"]) for r in ended) / 3600
    assert table[["spent", "gpu_hours"]].sum(axis=None) <= hours + 1e-9
    assert (found["left"] > 0).equals(~found["done"])
    for row, said in zip(table.itertuples(), progress_in_words(table).itertuples(), strict=True):
        assert said[4] == (f"{row.done} of {row.runs}" if row.runs else "-")


def test_every_rate_that_was_tried_is_told_and_the_best_is_chosen():
    records = {r["id"]: r for r in records_in(RESULTS / RUNS)}
    table = rates_tried(RESULTS)
    assert not any(is_before(records[run]) for run in table["id"])
    for _, own in table.groupby("search"):
        assert len(own) == 3 and own["chosen"].sum() == 1
        assert own.loc[own["chosen"], "mean_recall"].item() == own["mean_recall"].max()
    for row in table.itertuples():  # the mean of its two folds, recomputed
        first = records[row.id]
        scores = [
            r["validation_scores"]["mean_recall"]
            for r in records.values()
            if not is_before(r)
            and all(r[name] == first[name] for name in ("label", "objective_label", "recipe"))
            and r["config"]["data"] == first["config"]["data"]
            and r["config"]["recipe"]["learning_rate"] == row.learning_rate
        ]
        assert row.mean_recall == pytest.approx(sum(scores) / 2) and len(scores) == 2


@pytest.fixture
def generated(own_cache, tmp_path, monkeypatch):
    """Results with the first three arms of the suite at its smallest: one is not trained."""
    monkeypatch.setitem(SCALES, "smoke", replace(SCALES["smoke"], encoder="tiny@random"))
    rows = arms("decisive", "smoke")[:3]
    rows = [replace(arm, learning_rates=arm.learning_rates[:1]) for arm in rows]
    run_arms(rows, tmp_path / RUNS, progress=False)
    return tmp_path


def test_a_small_record_is_told_as_it_is(generated):
    records = {
        r["config"]["method"] + r["config"]["objective"]: r for r in records_in(generated / RUNS)
    }
    table = progress(generated, "smoke").set_index("item")
    assert (table["done"].sum(), table["done"]["a"], table["runs"]["a"]) == (3, 3, 4)
    assert table["spent"].sum() > 0 and table["spent"].drop("a").sum() == 0
    moved = transfer(generated)
    assert list(moved["folds"]) == [1, 1] and set(moved["untouched_on"]) == {"the same folds"}
    [other] = records["zero-shotinfonce"]["elsewhere"].values()
    assert list(moved["untouched"]) == [other["scores"]["mean_recall"]] * 2
    [adapted] = records["mrs-adapterhmmc"]["elsewhere"].values()
    hmmc = moved[moved["arm"] == "MRS adapter, HMMC"]
    assert list(hmmc["score"]) == [adapted["scores"]["mean_recall"]]
    assert list(hmmc["gain"]) == pytest.approx([hmmc["score"].item() - moved["untouched"][0]])
    assert set(convergence(generated)["runs"]) == {1}  # of one epoch: no gain, and no arm untrained
    assert convergence(generated)["gain"].isna().all()


def line(epochs, score, every=1):
    return [{"epoch": e, "mean_recall": score(e)} for e in range(0, epochs + 1, every)]


@pytest.mark.parametrize(("epochs", "every"), [(30, 1), (30, 3), (10, 1), (45, 2)])
def test_a_steady_gain_is_told_as_five_epochs_of_it_however_often_one_validates(epochs, every):
    assert late_gain(line(epochs, lambda e: 10 + 0.3 * e, every)) == pytest.approx(1.5)


def test_an_early_rise_is_no_late_gain():
    assert late_gain(line(10, lambda e: 50 if e > 3 else 10 * e)) == 0
    assert np.isnan(late_gain(line(2, lambda e: e)))


def test_an_arm_that_still_gains_is_marked_by_the_mean_of_its_runs(tmp_path):
    make_up(tmp_path, LOOKED_AT[0])
    for path in (tmp_path / RUNS).glob("*.json"):
        [record] = [r for r in records_in(tmp_path / RUNS) if r["id"] == path.stem]
        rises = "hmmc" in path.stem and "f3" not in path.stem
        made = line(30, lambda e, by=0.2 if rises else 0.0: 40 + by * e)
        recipe = {"epochs": 30, "learning_rate": 2e-4}
        config = {**record["config"], "recipe": recipe}
        extra = {"history": made, "trained_parameters": {"total": 9}}
        extra["objective_label"] = config["objective"]
        path.write_text(readable({**record, **extra, "config": config}))
    found = convergence(tmp_path).set_index(["set", "arm"])
    assert set(found["runs"]) == {4} and len(found) == 6
    hmmc = found.loc[("RSICD", "MRS adapter, HMMC")]
    assert hmmc["gain"] == pytest.approx(0.75) and hmmc["deviation"] == pytest.approx(0.5)
    assert found["still_gains"].sum() == 2 and hmmc["still_gains"]


def test_each_score_stands_at_its_fold_and_set(tmp_path):
    make_up(tmp_path, LOOKED_AT[0])
    (tmp_path / RUNS / "rsicd-f4-full-infonce.json").unlink()
    table = scores_by_fold(tmp_path).set_index(["set", "fold"])
    assert list(table.index) == [(s, k) for s in ("UCM-Captions", "RSICD") for k in LOOKED_AT[0]]
    names = {"MRS adapter, InfoNCE": "mrs-adapter-infonce", "MRS adapter, HMMC": "mrs-adapter-hmmc"}
    names |= {"full fine-tuning, InfoNCE": "full-infonce"}
    records = {
        record["id"]: record["scores"]["mean_recall"] for record in records_in(tmp_path / RUNS)
    }
    sets = {"UCM-Captions": "ucm", "RSICD": "rsicd"}
    for (data, fold), row in table.iterrows():
        for shown, name in names.items():
            score = records.get(f"{sets[data]}-f{fold}-{name}")
            assert np.isnan(row[shown]) if score is None else row[shown] == score
    assert np.isnan(table.loc[("RSICD", 4), "full fine-tuning, InfoNCE"])


def test_classes_are_told_once_a_look_has_all_their_runs(tmp_path):
    make_up(tmp_path, LOOKED_AT[0])
    found = class_table(tmp_path)
    assert list(found["set"]) == ["RSICD"] * 4 + ["UCM-Captions"] * 4
    assert set(class_correlations(tmp_path)["of"]) == {"gain", "kept"}
    (tmp_path / RUNS / "ucm-f4-mrs-adapter-hmmc.json").unlink()
    assert set(class_table(tmp_path)["set"]) == {"RSICD"}
    (tmp_path / RUNS / "rsicd-f4-mrs-adapter-infonce.json").unlink()
    assert class_table(tmp_path).empty and class_correlations(tmp_path).empty


def class_record(name, above, text_of, classes):
    """One picture with two captions each; all its queries have so many candidates above."""
    pictures = {"above": above, "tie": [1] * len(above), "own": [1] * len(above)}
    captions = {"above": list(np.repeat(above, 2)), "tie": [1] * 2 * len(above)}
    queries = {"image_to_text": pictures, "text_to_image": captions, "classes": classes}
    queries |= {"captions_of_image": [2] * len(above), "text_of_caption": text_of}
    return {"id": name, "test_queries": queries}


def test_a_class_repeats_what_another_picture_says_and_not_what_its_own_says_twice():
    text_of, classes = [0, 0, 1, 2, 2, 3, 4, 4], ["a", "b", "b", "c"]
    table = by_class(
        [class_record("h", [0, 6, 0, 3], text_of, classes)],
        [class_record("i", [0, 0, 0, 0], text_of, classes)],
    )
    assert dict(table["repeated"]) == {"a": 0, "b": 50, "c": 0}
    assert dict(table["infonce"]) == dict.fromkeys("abc", 100)
    assert dict(table["gain"]) == pytest.approx({"a": 0, "b": -100 / 3, "c": -100 / 3})
    assert dict(table["kept"]) == pytest.approx({"a": 100, "b": 200 / 3, "c": 200 / 3})


def test_the_rank_correlation_is_spearmans_and_its_interval_holds_it():
    random, classes = np.random.default_rng(0), [f"c{n}" for n in range(30)]
    repeated = random.permutation(30.0 * np.arange(30))
    noise = random.normal(size=30)
    table = pd.DataFrame({"repeated": repeated, "gain": repeated / 300 + noise}, index=classes)
    found = rank_correlation(table)
    assert found.value == pytest.approx(table.corr("spearman").loc["repeated", "gain"])
    assert 0 < found.low < found.value < found.high < 1 and found.classes == 30
    assert rank_correlation(table.assign(gain=-repeated)).value == pytest.approx(-1)
