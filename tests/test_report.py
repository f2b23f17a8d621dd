"""Every table comes from the committed records alone, and says which."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from processes import Fork, command

from rsstudy.errors import StudyError
from study.report import (
    TABLES,
    benchmark_runs,
    by_table,
    larger_runs,
    objectives_runs,
    opened_below,
    report,
    with_links,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
NAMES = [name for _, name, *_ in TABLES]
# They have rows once the runs of a look are on record.
LATER = {"decisive-transfer", "decisive-classes", "decisive-correlations"}


def without_data(program, *words):
    """The command where no real sets are at hand."""
    os.environ.pop("RSSTUDY_DATA", None)
    command(program, *words)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The report of the committed records, made by the command far from the project."""
    folder = tmp_path_factory.mktemp("report")
    places = {"RSSTUDY_CACHE": str(folder / "cache"), "HOME": str(folder)}
    with contextlib.chdir(folder):
        words = ("report", "--results", RESULTS, "--out", "out")
        done = Fork(without_data, "study", *words, **places).end()
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["out"]  # no data, no cache, no runs
    return folder / "out"


def test_every_table_is_made_and_names_its_records(made):
    sources = pd.read_csv(made / "provenance.csv")
    assert set(NAMES) - LATER <= set(sources["table"]) <= set(NAMES)
    for name in NAMES:
        assert len(pd.read_csv(made / f"{name}.csv")) > 0 or name in LATER, name
    assert all((RESULTS / file).is_file() for file in sources["file"])
    runs = sources[sources["identity"].notna()]
    assert runs[["commit", "machine", "seconds"]].notna().all(axis=None)


def test_the_comparison_counts_every_seed_on_record(made):
    arm = "mrs-adapter, one a layer"
    runs = pd.concat(pd.read_csv(made / f"comparison-{of}.csv") for of in ("runs", "seeds"))
    runs = runs[(runs["label"] == arm) & (runs["objective_label"] == "infonce")]
    [row] = pd.read_csv(made / "comparison.csv").query("name == @arm").itertuples()
    assert row.seeds == len(runs) > 1
    assert row.mean_recall == pytest.approx(runs["mean_recall"].mean())


def test_no_table_mixes_image_sizes():
    def sizes(*tables):
        return {
            record["config"]["image_size"]
            for table in tables
            for record in table["record"]
            if record["config"]["encoder"] == "vits14-minilm"
        }

    large = larger_runs(RESULTS)
    assert sizes(large) == {224} and len(set(large["label"])) > 3
    small = [
        benchmark_runs(RESULTS, data, heads) for data in ("ucm", "rsicd") for heads in (False, True)
    ]
    assert sizes(*small, objectives_runs(RESULTS)) == {112}


def test_every_chapter_is_there():
    chapters = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    # About the tables, about the package, and of what others printed.
    chapters -= {"11_numbers", "14_python", "A5_later"}
    assert {chapter for chapter, *_ in TABLES} == {*chapters, "06_claims", "index"}


def test_a_table_follows_its_records(made, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results)
    sources = pd.read_csv(made / "provenance.csv")
    searched = sources[sources["table"] == "searched-runs"]["file"]
    file = next(file for file in searched if "mrs-adapter-infonce-s1" in file)
    record = json.loads((results / file).read_text())
    record["scores"]["mean_recall"] = 99.5
    (results / file).write_text(json.dumps(record))
    again = tmp_path / "out"
    report(results, again)
    assert 99.5 in set(pd.read_csv(again / "searched-runs.csv")["mean_recall"])
    assert 99.5 not in set(pd.read_csv(made / "searched-runs.csv")["mean_recall"])
    changed = {
        name
        for name in NAMES
        if (again / f"{name}.csv").read_bytes() != (made / f"{name}.csv").read_bytes()
    }
    used = set(sources[sources["file"] == file]["table"])
    assert "searched-runs" in changed <= used  # nothing changed that does not name it
    (results / file).write_text("{")
    with pytest.raises(StudyError, match="is not a record"):
        report(results, again)


def test_what_is_read_is_noticed_and_nothing_else(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("in/a.json", "in/b.json", "c.json"):
        (tmp_path / name).write_text("{}")
    with opened_below(tmp_path / "in") as files:
        (tmp_path / "in" / "a.json").read_text()
        (tmp_path / "c.json").read_text()
    (tmp_path / "in" / "b.json").read_text()
    assert files == {tmp_path / "in" / "a.json"}


def test_a_row_a_table_adds_up_its_files():
    file = {"table": "counts", "chapter": "07_alike", "seconds": 1800.0}
    known = {"commit": "1234567890", "dirty": False, "machine": "m", "identity": "x"}
    rows = pd.DataFrame([file | known, file | dict.fromkeys(known)])
    (row,) = by_table(rows).to_dict("records")
    assert (row["files"], row["runs"], row["hours"], row["commits"]) == (2, 1, 1.0, "1234567")


def test_an_absent_folder_is_said(tmp_path):
    with pytest.raises(StudyError, match="is no folder of results"):
        report(tmp_path / "nothing", tmp_path)


def test_in_the_book_a_table_links_the_rows_of_its_runs_and_names_its_chapter(made):
    sources = pd.read_csv(made / "provenance.csv")
    shown = with_links(sources, ROOT).set_index("table")
    runs = sources[(sources["table"] == "answer") & sources["identity"].notna()]["file"]
    link = shown.loc["answer", "runs"]
    assert link.startswith('<a href="#runs=') and link.endswith(f">{len(runs)}</a>")
    digits = link.split('"')[1].removeprefix("#runs=").split("|")
    assert sorted(digits) == sorted(Path(file).stem[-8:] for file in runs)
    title = (ROOT / "book" / "index.md").read_text().splitlines()[0]
    assert f"# {shown.loc['answer', 'chapter']}" == title
    every = {Path(file).stem for file in sources.dropna(subset="identity")["file"]}
    assert len({run[-8:] for run in every}) == len(every), "digits that are one run's own"
