"""The plan's primary contrasts as one command, for whoever has CLIP's weights and a GPU."""

import json
import os
import subprocess
import sys

import pytest
from processes import here
from test_statistics import of_fold

from rsstudy.errors import StudyError
from rsstudy.experiments.record import readable, records_in
from rsstudy.training.recipe import recipe_name
from study.cli import cli
from study.primary import contrast_rows
from study.suites import FIRST_LOOK, SECOND_LOOK, rows_of

WAYS = [("mrs-adapter", "infonce"), ("mrs-adapter", "hmmc"), ("full", "infonce")]
SEALED = """
import socket, sys

def refuse(*_):
    raise OSError("this test lets nothing out")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from study.cli import cli
from rsstudy.experiments.cli import run_command
sys.argv = ["study", *sys.argv[1:]]
run_command(cli)
"""


def primary(options: str, *more: object, **where):
    return here(cli, "suite", "primary", *options.split(), *more, **where)


def test_the_dry_run_at_paper_scale_needs_neither_weights_nor_data_nor_a_network(tmp_path):
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy")}
    nowhere |= {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    nowhere |= {"RSSTUDY_CACHE": str(tmp_path / "cache"), "RSSTUDY_DATA": str(tmp_path / "data")}
    command = ["suite", "primary", "--scale", "paper", "--dry-run", "--teraflops", "20", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", SEALED, *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **nowhere},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["data"] for row in rows] == ["ucm"] * 3 + ["rsicd"] * 3
    assert [row["name"] for row in rows] == [" · ".join(way) for way in WAYS] * 2
    for row in rows:
        assert row["runs"] == 4 + 3 * 2  # the folds, and three rates judged in two folds
        assert row["repeats"].startswith("test folds 3, 4, 5, 6; rates ")
        assert row["repeats"].endswith(", judged in folds 10, 1")
        assert "the weights openai of ViT-B-32" in " ".join(row["missing"])
        assert row["seconds"] > 600 and 5e8 < row["memory"] < 1e10
    adapter, hmmc, full = rows[:3]
    assert full["memory"] > hmmc["memory"] > adapter["memory"]
    assert 1.5 < hmmc["seconds"] / adapter["seconds"] < 2.5  # two views
    assert full["memory"] > 151_277_313 * 16  # weights, gradients and both moments
    assert not list(tmp_path.iterdir())


def test_it_is_the_papers_recipe_on_clip_at_its_own_size_in_the_plans_folds():
    rows = rows_of("primary", "paper")
    for arm in rows:
        run = arm.run
        assert (run.encoder, recipe_name(run.recipe)) == ("ViT-B-32@openai", "paper-captions")
        assert (run.recipe.image_size, run.recipe.epochs, run.recipe.batch) == (0, 30, 16)
        assert (arm.folds, arm.searched_in, run.also) == (FIRST_LOOK, (10, 1), ())
        if run.method == "mrs-adapter":
            assert 2e-4 in arm.learning_rates  # the paper's own
    assert [(arm.run.method, arm.run.objective) for arm in rows] == WAYS * 2


def test_other_folds_and_sets_may_be_named_but_none_that_judged_a_rate():
    rows = rows_of("primary", "paper", ["ucm", "rsitmd"], folds=SECOND_LOOK)
    assert [arm.run.data for arm in rows] == ["ucm"] * 3 + ["rsitmd"] * 3
    assert {arm.folds for arm in rows} == {SECOND_LOOK}
    assert all(arm.searched.data == arm.run.data for arm in rows)
    for fold in (1, 2):
        with pytest.raises(StudyError, match=f"fold {fold} judges the learning rates"):
            rows_of("primary", "paper", folds=(3, fold))
    with pytest.raises(StudyError, match="--fold is for a suite that is repeated over folds"):
        rows_of("compare", "smoke", folds=(3,))


def test_the_same_suite_runs_from_search_to_contrasts_at_scale_smoke(tmp_path, own_cache):
    data = "scenes?images=40&size=32"
    named = "--scale smoke --encoder tiny@random --device cpu --runs runs --data"
    done = primary(named, data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = records_in(tmp_path / "runs")
    tested = [record for record in records if record["status"] == "finished"]
    made = {
        (r["config"]["method"], r["config"]["objective"], r["config"]["fold"]["number"])
        for r in tested
    }
    assert made == {(*way, fold) for way in WAYS for fold in (3, 4)} and len(tested) == 6
    searched = [record["config"]["fold"]["number"] for record in records if record not in tested]
    assert sorted(searched) == [1] * 9 + [10] * 9
    assert len(list((tmp_path / "runs" / "choices").glob("*.json"))) == 3
    words = " ".join(done.stdout.split())
    assert "adapter less full" in words and "HMMC less InfoNCE 2 none" in words
    again = primary(named, data, cwd=tmp_path)
    assert again.returncode == 0 and len(records_in(tmp_path / "runs")) == len(records)


def made_up(method: str, objective: str, fold: int, data: str = "ucm") -> dict:
    record = of_fold(fold, fold)
    ways = {"data": data, "method": method, "objective": objective, "train_heads": False}
    if objective == "hmmc":
        for way in ("image_to_text", "text_to_image"):
            counts = record["test_queries"][way]
            counts["above"] = [int(n) + 40 for n in counts["above"]]
    return {**record, "config": {**record["config"], **ways}, "label": method}


def test_contrasts_are_told_where_both_sides_have_the_same_folds():
    records = [made_up(*way, fold) for way in WAYS for fold in FIRST_LOOK]
    rows = contrast_rows([json.loads(readable(record)) for record in records])
    assert [row["contrast"] for row in rows] == [
        "adapter less full fine-tuning",
        "HMMC less InfoNCE",
    ]
    assert all(row["folds"] == 4 for row in rows)
    assert float(rows[0]["points"]) == 0 and float(rows[1]["points"]) < -20
    lacking = [
        r for r in records if (r["config"]["method"], r["config"]["fold"]["number"]) != ("full", 5)
    ]
    assert [row["contrast"] for row in contrast_rows(lacking)] == ["HMMC less InfoNCE"]
    assert contrast_rows([]) == []


def test_a_look_is_the_plans_where_all_contrasts_of_a_set_have_its_folds():
    def told(folds, sets=("ucm", "rsicd")):
        made = [made_up(*way, fold, data) for data in sets for way in WAYS for fold in folds]
        rows = contrast_rows([json.loads(readable(record)) for record in made])
        return {(row["set"], row["contrast"]): row["look"] for row in rows}

    full, hmmc = "adapter less full fine-tuning", "HMMC less InfoNCE"
    planned = [("rsicd", full), ("ucm", full), ("ucm", hmmc)]
    none = dict.fromkeys([*planned, ("rsicd", hmmc)], "none")
    assert told(FIRST_LOOK) == none | dict.fromkeys(planned, "folds 3 to 6")
    assert told(range(3, 11)) == none | dict.fromkeys(planned, "folds 3 to 10")
    for others in (range(7, 11), (3, 5, 7, 9), (3, 4)):
        assert told(others) == none
    assert set(told(FIRST_LOOK, ["ucm"]).values()) == {"folds 3 to 6"}


def test_the_contrasts_of_two_sets_at_a_look_are_corrected_together():
    def ends(sets):
        made = [made_up(*way, fold, data) for data in sets for way in WAYS for fold in FIRST_LOOK]
        rows = contrast_rows([json.loads(readable(record)) for record in made])
        return {(row["set"], row["contrast"]): row["corrected"] for row in rows}

    both, alone = ends(["ucm", "rsicd"]), ends(["ucm"])
    assert alone.keys() < both.keys()
    assert alone["ucm", "HMMC less InfoNCE"] == both["ucm", "HMMC less InfoNCE"]
