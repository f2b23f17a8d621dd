"""Scores and contrasts are those that code without the package computes from the same records."""

import ast
import sys
from pathlib import Path

import independent
import pytest
from test_decisive import make_up

from study.decisive import LOOKED_AT, looks
from study.front_page import SHOWN, picture_table

RESULTS = Path(__file__).parents[1] / "results"
CLOSE = {"rel": 0, "abs": 1e-9}
ENDS = ("estimate", "low", "high", "low_corrected", "high_corrected")


def test_the_other_code_imports_nothing_of_the_package():
    tree = ast.parse(Path(independent.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imports for alias in node.names if isinstance(node, ast.Import)}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {
        "numpy",
        "scipy",
    }


def test_every_score_of_the_decisive_record_is_computed_anew():
    records = [r for r in independent.read(RESULTS / "runs") if r.get("record") != "before"]
    assert records
    for record in records:
        for of in (record, *record.get("elsewhere", {}).values()):
            if "test_queries" in of:
                anew = independent.mean_recall(of["test_queries"])
                assert anew == pytest.approx(of["scores"]["mean_recall"], **CLOSE), record["id"]


def _same(ours, row):
    for name in (*ENDS, "spread", "smallest_gap"):
        assert ours[name] == pytest.approx(getattr(row, name), **CLOSE)
    assert ours["comparable"] == row.comparable
    apart = row.low_corrected > 0 or row.high_corrected < 0
    assert ours["clear"] == apart


def test_contrasts_over_folds_are_computed_anew(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    for results in (whole, part):
        results.mkdir()
        make_up(results, LOOKED_AT[1])
    (part / "runs" / "rsicd-f5-full-infonce.json").unlink()
    for results, there in ((whole, 6), (part, 4), (RESULTS, None)):
        table = looks(results)
        assert there in (None, table["estimate"].count())
        for folds, rows in zip(LOOKED_AT, (table[:3], table[3:]), strict=True):
            found = independent.look(independent.read(results / "runs"), folds)
            for ours, row in zip(found, rows.itertuples(), strict=True):
                assert bool(ours) == bool(row.word)
                if ours:
                    _same(ours, row)


def test_the_looks_share_an_error_of_five_in_a_hundred():
    assert independent.error_of_both_looks() == pytest.approx(0.05, abs=1e-5)


def test_the_ten_contrasts_of_the_front_page_are_computed_anew():
    table = picture_table(RESULTS).dropna(subset="estimate")
    found = independent.front_page(RESULTS)
    assert len(table) == len(found) == 10
    for row in table.itertuples():
        label, _, objective = SHOWN[row.name].partition("+")
        ours = found[row.data, label, objective or "infonce"]
        for name in ENDS:
            assert ours[name] == pytest.approx(getattr(row, name), **CLOSE), (row.data, row.name)


def test_scores_with_ties_follow_the_definition():
    """Two that tie at the top: the one own is first in half of the orders."""
    tied = {"above": [0], "tie": [2], "own": [1]}
    assert list(independent.hits(tied)) == [2.5]
    queries = {"image_to_text": tied, "text_to_image": {"above": [1, 9], "tie": [1, 1]}}
    assert independent.mean_recall(queries) == pytest.approx(100 * (2.5 + (2 + 1) / 2) / 6)
