"""Altered test pictures and captions: fixed alterations, each scored once, losses compared."""

import json
import re
from dataclasses import replace

import matplotlib

matplotlib.use("agg")

import numpy as np
import pandas as pd
import pytest

from rsstudy.adapters import ADAPTER, load_adapter
from rsstudy.data.folds import Fold, as_fold
from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.evaluation import evaluate, prepare
from rsstudy.experiments.arms import Arm
from rsstudy.experiments.record import RECORD
from rsstudy.experiments.run import Run
from rsstudy.experiments.sweep import run_arms
from rsstudy.retrieval import distinct
from rsstudy.training.recipe import Recipe
from study.figures.robust import finding, losses
from study.perturbed import (
    CLEAN,
    PERTURBATIONS,
    PICTURES,
    SYNONYMS,
    WORDS,
    perturbed,
    with_synonyms,
)
from study.robustness import ARMS, FULL, MEAN, UNTRAINED, robustness_table, score_runs

DATA = "scenes?images=40"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_altered_in_the_same_way_in_every_order_and_keeps_its_form(name, own_cache):
    split = load("scenes?images=6")
    altered, turned_round = perturbed(split, name), perturbed(split.take(range(6)[::-1]), name)
    for index in range(6):
        before, after = (of.images.decode(index) for of in (split, altered))
        assert after.dtype == np.uint8 and after.shape == before.shape
        assert 2 < np.abs(after.astype(float) - before).mean() < 100
        assert (after == turned_round.images.decode(5 - index)).all()
    assert altered.fingerprint() != split.fingerprint()  # by which decoded pictures are kept
    assert altered.captions == split.captions


def test_pictures_that_are_not_square_keep_their_form():
    picture = np.random.default_rng(0).integers(0, 256, (61, 96, 3), dtype=np.uint8)
    for name, alter in PICTURES.items():
        height, width, _ = alter(picture, np.random.default_rng(0)).shape
        assert (height, width) == ((96, 61) if name == "turned by 90°" else (61, 96))


def test_synonyms_are_a_table_of_one_to_one():
    assert len({*WORDS.values()}) == len(WORDS)
    assert not {*WORDS} & {*WORDS.values()}


def test_synonyms_keep_capitals_and_fit_articles():
    assert with_synonyms("An airport with a car .") == "An airfield with an automobile ."
    assert with_synonyms("Cars on a overpass") == "Automobiles on an flyover"  # was wrong, too
    assert with_synonyms("the seaside carpet") == "the seaside carpet"


@pytest.mark.parametrize("name", ["ucm", "rsicd"])
def test_captions_of_the_real_sets_stay_as_alike_and_as_different_as_they_were(name, real_data):
    split = as_fold(load(name, real_data), Fold(3)).split("test")
    before, after = distinct(split.captions), distinct(perturbed(split, SYNONYMS).captions)
    assert (before[1] == after[1]).all()
    changed = sum(one != other for one, other in zip(before[0], after[0], strict=True))
    assert changed > 0.85 * len(before[0])


@pytest.fixture
def rows(own_cache):
    """Two arms of one fold."""
    recipe = Recipe(epochs=1, batch=8, precision="fp32", learning_rate=1e-3)
    run = Run(DATA, "tiny@random", "mrs-adapter", recipe=recipe)
    made = [run, replace(run, method="full")]
    return [Arm(run, (recipe.learning_rate,), 1, folds=(3,)) for run in made]


def scored(rows, runs, out):
    said = []
    score_runs(rows, runs, out, device="cpu", say=said.append)
    return said


def facts_of(out, record):
    return json.loads((out / f"{record['id']}.json").read_text())


def test_weights_that_do_not_score_what_their_record_says_are_refused(rows, tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "robustness"
    record, _ = run_arms(rows, runs, progress=False, say=lambda _: None)
    record["scores"]["mean_recall"] += 1
    (runs / record["id"] / RECORD).write_text(json.dumps(record))
    with pytest.raises(StudyError, match="not its weights"):
        scored(rows, runs, out)
    assert not (out / f"{record['id']}.json").exists()


def test_finished_runs_are_scored_once_on_each_perturbation_and_compared(
    rows, tmp_path, last_epoch_best
):
    runs, out = tmp_path / "runs", tmp_path / "robustness"
    records = run_arms(rows, runs, progress=False, say=lambda _: None)
    assert len(scored(rows, runs, out)) == 3 * (1 + len(PERTURBATIONS))
    assert scored(rows, runs, out) == []
    for record in records:
        clean = facts_of(out, record)["perturbed"][CLEAN]
        assert clean["scores"] == record["scores"]
        for name, asked in record["test_queries"].items():
            assert name == "relaxed" or clean["test_queries"][name] == asked
    table = robustness_table(tmp_path, DATA).set_index(["arm", "perturbation"])
    assert {*table.index.get_level_values(0)} == {UNTRAINED, "adapter, InfoNCE", FULL}
    full = table.loc[FULL]
    for arm in (UNTRAINED, "adapter, InfoNCE"):
        own = table.loc[arm]
        assert list(own.index) == [*PERTURBATIONS, MEAN]
        clean = own["score"] - own["change"]
        assert np.allclose(clean, clean.iloc[0])
        assert own.loc[MEAN, "change"] == pytest.approx(own["change"][:-1].mean())
        assert np.allclose(own["estimate"].astype(float), own["change"] - full["change"])
        assert (own["change_low"] <= own["change"]).all()
    assert full["estimate"].isna().all()
    folder, perturbations = runs / records[0]["id"], facts_of(out, records[0])["perturbed"]
    encoder = load_adapter(folder, device="cpu")
    split = as_fold(load(DATA), Fold(3)).split("test")
    for name in PERTURBATIONS:
        score = evaluate(encoder, prepare(encoder, perturbed(split, name))).scores
        assert perturbations[name]["scores"] == score
        shown = table.loc[("adapter, InfoNCE", name), "score"]
        assert shown == pytest.approx(score["mean_recall"])


def test_what_is_not_finished_is_not_scored_and_other_weights_are_refused(rows, tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "robustness"
    sealed = [replace(arm, test=False) for arm in rows]
    run_arms(sealed, runs, progress=False, say=lambda _: None)
    with pytest.raises(StudyError, match="no run of these arms .* is finished"):
        scored(rows, runs, out)
    assert not out.exists()
    [record, _] = run_arms(rows, runs, progress=False, say=lambda _: None)
    scored(rows[:1], runs, out)
    weights = runs / record["id"] / ADAPTER
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(StudyError, match="is of other weights or data: delete it"):
        scored(rows[:1], runs, out)


def test_every_arm_of_the_front_page_has_a_name():
    from rsstudy.experiments.names import label_of
    from study.suites import front_page_arms

    asked = {(r.run.method, r.run.objective, r.run.train_heads) for r in front_page_arms()}
    assert asked == {*ARMS} - {("zero-shot", "infonce", False)}
    assert not any(re.search("rank|bottleneck", label_of(r.run)) for r in front_page_arms())


def test_the_figure_tells_which_training_loses_less_only_where_that_is_not_open():
    shown = ("estimate", "low", "high", "low_corrected", "high_corrected", "word")
    words = {"clear": (2.0, 1.0, 3.0, 0.5, 3.5), "likely": (-2.0, -3.0, -1.0, -4.5, 0.5)}
    words["open"] = (0.5, -1.0, 2.0, -2.0, 3.0)
    of_arm = {"adapter, HMMC": "clear", "linear probe, InfoNCE": "likely", FULL: None}
    of_arm |= {"adapter, InfoNCE": "open", UNTRAINED: "clear"}
    table = pd.DataFrame(
        {"arm": arm, "perturbation": name, "change": -7.0}
        | (dict(zip(shown, (*words[word], word), strict=True)) if word else {})
        for arm, word in of_arm.items()
        for name in (*PERTURBATIONS, MEAN)
    )
    figure = losses(table)
    [axis] = figure.axes
    assert " ".join(axis.get_title(loc="left").split()) == (
        "Adapter with HMMC clearly loses less; linear probe with InfoNCE likely loses more than "
        "full fine-tuning"
    )
    assert "points" in axis.get_xlabel() and "full fine-tuning -7.0" in axis.texts[0].get_text()
    thick = [tuple(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 4]
    assert len(thick) == 3 * (1 + len(PERTURBATIONS)) and {*thick} == {
        found[1:3] for found in words.values()
    }
    undecided = table[table["arm"].isin([FULL, UNTRAINED, "adapter, InfoNCE"])]
    assert finding(undecided) == "Whether a training loses less than full fine-tuning is open"
