"""Records are whole, readable by people, and come back as they were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rsstudy.errors import StudyError
from rsstudy.experiments.environment import environment
from rsstudy.experiments.names import sha256
from rsstudy.experiments.record import (
    COLUMNS,
    project_folder,
    read_record,
    read_records,
    records_in,
    runs_table,
    write_record,
    write_runs_table,
)
from rsstudy.files import whole_file
from rsstudy.retrieval import Ranks, recall_interval, scores

RESULTS = Path(__file__).parents[1] / "results"
PLAIN = {
    "id": "a",
    "label": "zero-shot",
    "config": {"x": 1, "deep": {"y": [1, 2]}},
    "status": "finished",
    "history": [{"epoch": 1, "loss": 0.5}],
    "none": None,
    "empty": {},
    "words": 'ä "quoted"',
}


def test_a_record_comes_back_as_it_was(tmp_path):
    assert read_record(write_record(tmp_path, PLAIN)) == PLAIN


def test_a_list_of_numbers_stays_on_one_line(tmp_path):
    text = write_record(tmp_path, {**PLAIN, "counts": list(range(500))}).read_text()
    assert json.dumps(list(range(500))) in text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', "nonsense"])
def test_what_is_no_record_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(StudyError, match="is not a record") as problem:
        read_record(tmp_path / "record.json")
    assert "\n" not in str(problem.value)


def test_a_failed_write_keeps_the_older_record(tmp_path):
    path = write_record(tmp_path, PLAIN)
    with pytest.raises(ValueError, match="(?i)nan|out of range"):
        write_record(tmp_path, {**PLAIN, "loss": float("nan")})
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:
        temporary.write_text("half of")
        raise KeyboardInterrupt
    assert read_record(path) == PLAIN and list(tmp_path.iterdir()) == [path]


def test_unfinished_runs_are_no_rows(tmp_path):
    write_record(tmp_path / "one", {**PLAIN, "status": "diverged"})
    assert read_records(tmp_path).empty


def test_a_run_that_lies_in_two_folders_is_one_row(tmp_path):
    record = next(r for r in records_in(RESULTS / "runs") if r["status"] == "finished")
    for folder in ("one", "other"):
        write_record(tmp_path / folder / record["id"], record)
    table = read_records(tmp_path / "one", tmp_path / "other")
    assert list(table["id"]) == [record["id"]]


def test_every_record_is_one_file_named_after_it_and_every_id_is_one_run():
    for folder in ("runs", "again"):
        files = sorted((RESULTS / folder).iterdir())
        records = records_in(RESULTS / folder)
        assert [file.name for file in files] == [f"{record['id']}.json" for record in records]
    done_again = {record["id"] for record in records}
    assert done_again <= {record["id"] for record in records_in(RESULTS / "runs")}


def test_the_table_of_runs_is_made_from_their_files(tmp_path):
    committed = (RESULTS / "runs.csv").read_bytes()
    shutil.copytree(RESULTS / "runs", tmp_path / "runs")
    assert write_runs_table(tmp_path).read_bytes() == committed
    table = runs_table(RESULTS / "runs")
    assert table["id"].is_unique and list(table) == list(COLUMNS)
    before = table[table["record"] == "before"]
    assert set(before["recipe"]) == {"short"} and not before["fold"].any()


def test_identity_depends_on_values_not_on_their_order():
    assert sha256({"a": 1, "b": 2}) == sha256({"b": 2, "a": 1}) != sha256({"a": 2, "b": 1})


def test_the_environment_names_versions_and_no_place():
    found = environment(torch.device("cpu"))
    assert found["versions"]["torch"] == torch.__version__
    assert "/" not in json.dumps({**found, "commit": ""})


def test_the_project_is_found_from_a_folder_within(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    assert project_folder() == tmp_path


def test_the_interval_covers_the_score_and_narrows_with_more_pictures():
    random = np.random.default_rng(0)
    widths = []
    for images in (50, 800):
        above = random.integers(0, 20, images), random.integers(0, 20, 5 * images)
        ones = np.ones(images, int), np.ones(5 * images, int)
        queries = {
            "image_to_text": {"above": above[0], "tie": ones[0], "own": ones[0]},
            "text_to_image": {"above": above[1], "tie": ones[1]},
            "captions_of_image": [5] * images,
        }
        low, high = recall_interval(queries)
        score = scores(Ranks(above[0], ones[0], ones[0]), Ranks(above[1], ones[1], ones[1]))
        assert low < score["mean_recall"] < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.35)
