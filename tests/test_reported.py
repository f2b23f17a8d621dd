"""The paper's own tables, under arithmetic, and what others printed later."""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from rsstudy.errors import StudyError
from study.figures.later import later_scores
from study.published import (
    ITSELF,
    RECALLS,
    as_shown,
    beside_the_paper,
    granularity,
    leads,
    possible,
    read_later,
    read_reported,
    unsound_means,
)

RESULTS = Path(__file__).parents[1] / "results"
IMAGES = {"rsicd": 1093, "rsitmd": 452, "ucm": 210}


def test_a_share_of_whole_queries_is_possible_and_others_are_not():
    for queries in (3, 210, 452, 5465):
        for k in range(0, queries + 1, max(queries // 50, 1)):
            exact = 100 * k / queries
            assert possible(round(exact, 2), queries)
            assert possible(int(100 * exact) / 100, queries)  # cut off
    assert not possible(44.07, 452) and not possible(22.71, 210)
    assert possible(66.66, 3) and possible(66.67, 3) and not possible(66.68, 3)


def test_every_row_made_of_whole_counts_is_passed_and_one_moved_cell_is_named():
    row = {"dataset": "ucm", "method": "made", "group": "petl"}
    row |= {name: round(100 * 37 / (1050 if name[0] == "t" else 210), 2) for name in RECALLS}
    table = granularity(pd.DataFrame([row, row | {"i2t_r5": row["i2t_r5"] + 0.07}]), IMAGES)
    assert list(table["impossible"]) == [0, 1] and table["cells"].iloc[1] == "i2t_r5"


def test_the_audit_of_the_papers_tables_finds_what_others_found():
    reported = read_reported(RESULTS)
    assert len(reported) == 86
    assert (granularity(reported, IMAGES)["impossible"] > 0).sum() == 54
    found = unsound_means(reported)
    assert sorted(found["method"]) == ["AMFMN-soft", "AdaptFormer", "Cross-Modal Adapter"]


def test_leads_are_those_over_the_best_of_each_group():
    over = leads(read_reported(RESULTS)).set_index(["dataset", "over"])["points"]
    assert over["rsicd", "best traditional"] == pytest.approx(31.12 - 18.96)
    assert over["rsitmd", "full fine-tuning"] == pytest.approx(44.47 - 45.33)


def test_absent_tables_are_named(tmp_path):
    with pytest.raises(StudyError, match="reported.csv is absent"):
        read_reported(tmp_path)


LATER = read_later(RESULTS)
KEYS = re.findall(r"^@\w+\{(\w+),", (RESULTS.parent / "book" / "references.bib").read_text(), re.M)


def test_every_later_row_has_a_source_that_a_reader_can_follow():
    assert len(LATER) >= 30 and LATER["source"].notna().all()
    for source in LATER["source"]:
        assert source in KEYS or re.fullmatch(r"https://\S+\.\S+/\S+", source), source


def test_later_rows_of_a_set_share_the_size_of_the_papers_test_set():
    said = LATER.dropna(subset="test_images")
    sizes = said.groupby("dataset")["test_images"].unique()
    assert {name: list(found) for name, found in sizes.items()} == {
        k: [v] for k, v in IMAGES.items()
    }


def test_later_rows_say_numbers_or_nothing_and_words_of_a_fixed_list():
    with (RESULTS / "paper" / "later.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert None not in row and None not in row.values(), row  # as many cells as the header
            for name in ("trained_parameters", "test_images", "seeds"):
                assert re.fullmatch(r"\d*", row[name]), row
            for name in ("mean_recall", "spread"):
                assert re.fullmatch(r"(\d+\.\d\d)?", row[name]), row
    assert LATER["mean_recall"].between(1, 100).all()
    assert not LATER.duplicated(["method", "dataset", "re_evaluated_by"]).any()
    allowed = {
        "dataset": set(IMAGES),
        "chosen_on": {"validation", "test", "not said", "nothing chosen"},
        "verified": {"source", "elsewhere", "unverified"},
        "data": {"none", "its own set", "sets together", "more aerial data", "other aerial data"},
    }
    for column, words in allowed.items():
        assert set(LATER[column]) <= words
    assert (LATER["spread"].isna() | LATER["seeds"].fillna(1).gt(1)).all()


def test_the_zero_shot_row_stands_beside_both_evaluations_of_it_within_a_point():
    table = beside_the_paper(RESULTS).query("data == 'none'")
    assert set(table["evaluated_by"]) == {ITSELF, "Frizzera and Ricci", "Zhang et al. (RS5M)"}
    found = table.pivot(index="evaluated_by", columns="dataset", values="mean_recall")
    assert list(found.loc[ITSELF]) == [15.04, 23.89, 33.08]
    assert list(found.loc["Frizzera and Ricci"]) == [15.59, 24.28, 33.11]
    assert (found.max() - found.min()).max() < 1
    shown = as_shown(table)
    assert list(shown["RSICD"]) == ["15.04", "15.59", "15.74"]  # the paper's first


def test_others_found_two_to_three_points_less_for_the_same_weights():
    again = LATER.dropna(subset="re_evaluated_by").query("data != 'none'")
    printed = LATER[LATER["re_evaluated_by"].isna()]
    both = again.merge(printed, on=["method", "dataset"], suffixes=("", "_printed"))
    less = both["mean_recall_printed"] - both["mean_recall"]
    assert len(less) == 5 and less.between(1.85, 3.1).all()


def test_the_title_of_the_figure_of_later_scores_follows_from_the_table():
    table = beside_the_paper(RESULTS).query("evaluated_by == @ITSELF and dataset != 'ucm'")
    table = table.dropna(subset="trained_parameters")
    for _, rows in table.groupby("dataset"):
        of = rows.groupby("data")["mean_recall"]
        assert of.max()["its own set"] < of.max()["sets together"] < of.min()["more aerial data"]
        best = rows.loc[rows["mean_recall"].idxmax()]
        assert best["trained_parameters"] < 1e6  # the highest trains least
    figure = later_scores(beside_the_paper(RESULTS))
    hollow = [m for axis in figure.axes for m in axis.lines if m.get_markerfacecolor() == "white"]
    assert len(hollow) == 2 and "AVION 52.9 with 0.0983 M" in figure.get_label()
