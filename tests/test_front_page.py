"""The front page's picture is what the records give, and the page says it in words."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from rsstudy.errors import StudyError
from study.cli import cli
from study.front_page import ALL, SHOWN, picture_table

ROOT = Path(__file__).parents[1]
RESULTS, BOOK = ROOT / "results", ROOT / "book"


@pytest.fixture(scope="module")
def table():
    return picture_table(RESULTS)


def test_the_committed_picture_and_its_words_are_what_the_records_give(tmp_path):
    out = tmp_path / "answer.svg"
    done = CliRunner().invoke(cli, ["front-page", "--results", str(RESULTS), "--out", str(out)])
    assert done.exit_code == 0
    assert out.read_text() == (BOOK / "answer.svg").read_text(), (
        "book/answer.svg is out of date: run `python -m study front-page`"
    )
    page = (BOOK / "index.md").read_text()
    assert f"```{{image}} answer.svg\n:alt: {done.output.strip()}\n" in page


def test_the_picture_shows_every_run_behind_it(table):
    assert list(table["name"]) == list(SHOWN) * 2
    assert set(table["data"]) == {"ucm", "rsicd"}
    rows = table[table["name"] != ALL]
    assert table.loc[table["name"] == ALL, "estimate"].isna().all(), "all of it is the zero"
    whole = table[table["name"] == ALL].set_index("data")["mean_recall"]
    apart = rows["mean_recall"] - rows["data"].map(whole)
    assert rows["estimate"].to_numpy(float) == pytest.approx(apart.to_numpy())
    assert (rows["low_corrected"] < rows["low"]).all() and (rows["low"] < rows["high"]).all()
    assert [len(runs.split()) for runs in table["records"]] == list(table["seeds"])
    svg = (BOOK / "answer.svg").read_text()
    assert svg.count("<!-- nothing trained -->") == 2


@pytest.mark.parametrize("data", ["ucm", "rsicd"])
def test_a_picture_without_its_runs_is_refused(data, table, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    missing = table[(table["data"] == data) & (table["name"] == "adapter and heads, InfoNCE")]
    for run in missing["records"].iloc[0].split():
        for file in (tmp_path / "results").glob(f"*/{run}.json"):
            file.unlink()
    with pytest.raises(StudyError, match=f"0 runs of mrs-adapter, trained heads on {data}"):
        picture_table(tmp_path / "results")
