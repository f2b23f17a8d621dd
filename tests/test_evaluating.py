"""`rsstudy evaluate`: which recalls, of which encoders, on which sets, and what fails alone."""

import json

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
