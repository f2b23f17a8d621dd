"""The adapter beside full fine-tuning: each row is of its own setting, and tells what it hides."""

import json
import shutil
from pathlib import Path

import pytest

from rsstudy.errors import StudyError
from study.beside_full import SETTINGS, less_full, less_full_by_share
from study.decisive import LOOKED_AT
from study.published import leads, read_reported
from study.verdicts import Said

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def table():
    return less_full(RESULTS)


def test_each_row_is_the_difference_of_its_two_scores(table):
    assert len(table) == len(SETTINGS)
    apart = table["adapter"] - table["full"]
    assert table["estimate"].to_numpy() == pytest.approx(apart.to_numpy())
    assert (table["low_corrected"] < table["low"]).all() and (table["low"] < table["high"]).all()
    plain, headed = (table[table["heads"] == heads] for heads in (False, True))
    same = headed.merge(plain, on=["data", "epochs", "px"])
    assert len(same) == len(headed) and (same["full_x"] == same["full_y"]).all()
    assert (same["adapter_x"] > same["adapter_y"]).all()
    apart = table[table["word"] != "open"]
    assert len(apart) == 4 and (apart["estimate"] < 0).all(), "so the chapter says"


def test_a_row_without_its_runs_is_refused(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    for file in (tmp_path / "results").glob("*/*.json"):
        record = json.loads(file.read_text("utf-8"))
        of = record.get("config", {}) if isinstance(record, dict) else {}
        if of.get("method") == "full" and of.get("image_size") == 224:
            file.unlink()
    with pytest.raises(StudyError, match="0 runs of full on ucm in 6 epochs at 224 px"):
        less_full(tmp_path / "results")


def test_shares_are_compared_seed_by_seed_and_all_pictures_come_last():
    table = less_full_by_share(RESULTS)
    assert list(table["share"]) == [10, 25, 50, 100]
    apart = table["adapter"] - table["full"]
    assert table["estimate"].to_numpy() == pytest.approx(apart.to_numpy())
    assert table["full"].is_monotonic_increasing and table["adapter"].is_monotonic_increasing


def test_a_check_may_ask_what_is_tested_and_what_others_found(tmp_path):
    said, none = Said(RESULTS), Said(tmp_path)
    assert none.tested("mrs-adapter", "infonce", "ucm") == 0
    assert 1 <= said.tested("mrs-adapter", "infonce", "ucm") <= len(LOOKED_AT[-1])
    printed = leads(read_reported(RESULTS)).set_index(["dataset", "over"])["points"]
    found = said.evaluated("zero-shot CLIP", "ucm", "Frizzera and Ricci")
    assert found == pytest.approx(said.reported("Zero-shot CLIP", "ucm"), abs=0.5)
    assert found != said.evaluated("RemoteCLIP", "ucm", "Frizzera and Ricci")
    assert printed["ucm", "zero-shot CLIP"] == pytest.approx(
        said.reported("Ours", "ucm") - said.reported("Zero-shot CLIP", "ucm"), abs=0.01
    )
