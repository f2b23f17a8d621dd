"""The paper's own tables, under arithmetic."""

from pathlib import Path

import pandas as pd
import pytest

from rsstudy.errors import StudyError
from study.published import RECALLS, granularity, leads, possible, read_reported, unsound_means

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
