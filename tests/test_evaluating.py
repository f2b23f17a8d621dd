"""`rsstudy evaluate`: which recalls, of which encoders, on which sets, and what fails alone."""

import json

import pandas as pd
import pytest

from rsstudy.encoders import create
from rsstudy.evaluation import evaluate, prepare

STANDARD = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]


@pytest.fixture
def score(call, rows, write_parquet, own_cache):
    """``score("--json")``: the command for ``tiny@random`` on a small set in the folder ``set``."""
    write_parquet(rows)
    return lambda *more: call("evaluate", "--encoder", "tiny@random", "--data", "set", *more)


def test_recalls_at_further_ranks_leave_the_mean_recall_as_it_is(score):
    usual, more = (
        json.loads(score("--json", *asked).output)["scores"]
        for asked in ([], ["--recall-k", 3, "--recall-k", 20, "--recall-k", 5])
    )
    assert [*usual] == [*STANDARD, "mean_recall"]
    assert {name: more[name] for name in usual} == usual
    assert {*more} - {*usual} == {f"{way}_r{k}" for way in ("i2t", "t2i") for k in (3, 20)}
    assert more["i2t_r20"] == more["t2i_r3"] == 100  # of ten captions, of two pictures
    assert "R@1/3/5/10" in score("--recall-k", 3).output
    assert "Invalid value for '--recall-k'" in score("--recall-k", 0).error


def test_further_ranks_are_named_from_python_too(small):
    encoder = create("tiny@random", 32)
    pairs = prepare(encoder, small.split("train"))
    usual, more = evaluate(encoder, pairs), evaluate(encoder, pairs, ks=(2, 20))
    assert {*more.scores} - {*usual.scores} == {
        f"{w}_r{k}" for w in ("i2t", "t2i") for k in (2, 20)
    }
    assert {*more.scores_relaxed} == {*more.scores}
    assert usual.scores.items() <= more.scores.items()
    assert usual.scores["i2t_r1"] <= more.scores["i2t_r2"] <= more.scores["i2t_r5"]


@pytest.fixture
def score_several(call, rows, write_parquet, own_cache):
    """``score_several("--json")``: the command for two encoders on the sets ``set`` and ``few``."""
    write_parquet(rows), write_parquet(rows[2:], "few")
    two = ["--encoder", "tiny@random", "--encoder", "vits14-minilm@random"]
    sets = ["--data", "set", "--data", "few"]
    return lambda *more: call("evaluate", *two, *sets, "--image-size", "56", *more)


def test_several_encoders_on_several_sets_give_each_the_score_of_its_own(
    score_several, call, tmp_path
):
    both = ["--split", "val", "--split", "train", "--recall-k", 20]
    done = score_several(*both, "--csv", "all.csv", "--json", "all.json")
    assert done.code == 0, done.error
    rows = pd.read_csv(tmp_path / "all.csv").to_dict("records")
    facts = json.loads((tmp_path / "all.json").read_text())
    assert len(rows) == len(facts) == 8 and done.output.count("tiny@random") == 4
    recalls = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10, 20)]
    shown = ["encoder", "data", "split", "images", "captions", *recalls, "mean_recall"]
    for row, of in list(zip(rows, facts, strict=True))[::3]:
        assert [*row] == shown
        one = ["--encoder", row["encoder"], "--data", row["data"], "--split", row["split"]]
        alone = call("evaluate", *one, "--image-size", 56, "--recall-k", 20, "--json")
        assert json.loads(alone.output) == of
        assert row == {**{name: of[name] for name in shown[:5]}, **of["scores"]}


def test_what_fails_is_named_and_the_others_go_on(score_several, tmp_path):
    (tmp_path / "few" / "test-00000-of-00001.parquet").write_bytes(b"torn")
    done = score_several("--csv", "scores.csv", "--encoder", "tiny@random+no.safetensors")
    assert done.code == 1
    scored = pd.read_csv(tmp_path / "scores.csv")
    assert scored["data"].tolist() == ["set", "set"] and scored["encoder"].nunique() == 2
    assert "set" in done.output and "split" not in done.output  # what varies names a row
    errors = done.error.splitlines()
    assert [line.split(": ")[1] for line in errors] == [
        "few, test, by tiny@random",
        "few, test, by vits14-minilm@random",
        "tiny@random+no.safetensors",
    ]
    assert "test-00000-of-00001.parquet" in errors[0] and "no weights at" in errors[2]


def test_where_all_fails_there_is_no_table(call, tmp_path):
    done = call("evaluate", "--encoder", "tiny@random", "--data", "./no", "--data", "./nor")
    assert done.code == 1 and not done.output and done.error.count("does not exist") == 2
    alone = call("evaluate", "--encoder", "tiny@random", "--data", "./no", "--csv", "no.csv")
    assert alone.error.startswith("error: no does not exist") and not (tmp_path / "no.csv").exists()


def test_an_adapter_is_scored_on_several_sets(train, call, rows, write_parquet):
    train()
    write_parquet(rows[2:], "few")
    asked = ["evaluate", "--adapter", "run", "--data", "set", "--data", "few", "--json"]
    facts = json.loads(call(*asked).output)
    assert [of["data"] for of in facts] == ["set", "few"]
    assert len({of["adapter"]["adapter_sha256"] for of in facts}) == 1
    twice = call(*asked, "--encoder", "tiny@random", "--encoder", "tiny")
    assert twice.code == 1 and "an adapter has one base" in twice.error
