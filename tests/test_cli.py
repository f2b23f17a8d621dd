"""What the commands print is for reading: what comes first, what is left out, what is said."""

import json
import re
import subprocess
import sys

import open_clip
import pytest
import torch
from click.testing import CliRunner

from rsstudy.data.audit import audit
from rsstudy.data.parquet import read_parquet
from rsstudy.errors import StudyError, unknown
from rsstudy.experiments.cli import LIST_KINDS
from rsstudy.experiments.listing import FIRST_ENCODERS
from rsstudy.experiments.record import RECORD, read_record
from rsstudy.methods import METHODS
from rsstudy.objectives import Objective
from rsstudy.registry import encoder_names
from rsstudy.settings import explained, settings_of
from study.cli import cli as study
from study.cli import suite_names
from study.suites import SUITES


def names(table: str) -> list[str]:
    """The first word of each row of a table that has one at its left edge."""
    return [found[1] for line in table.splitlines()[1:] if (found := re.match(r" ?(\S+) ", line))]


def test_list_alone_says_what_can_be_listed(call):
    answer = call("list")
    assert answer.code == 0 and set(LIST_KINDS) <= set(names(answer.output))


def test_the_studys_encoders_come_first_and_all_others_on_demand(call):
    short, everything = call("list", "encoders").output, call("list", "encoders", "--all").output
    assert names(short.partition("\n\n")[0]) == list(FIRST_ENCODERS)
    listed = json.loads(call("list", "encoders", "--json").output)
    assert f"{len(listed) - len(FIRST_ENCODERS)} more" in short and "--all" in short
    assert names(everything) == [row["name"] for row in listed]


def test_a_pattern_picks_names_from_a_list(call):
    found = json.loads(call("list", "encoders", "ViT-B-*", "--json").output)
    assert {"ViT-B-32", "ViT-B-16"} <= {row["name"] for row in found}
    assert all(row["name"].startswith("ViT-B-") for row in found)
    answer = call("list", "methods", "xyz*")
    assert answer.code == 1 and "no name matches 'xyz*'" in answer.error


def test_every_setting_is_listed_with_its_default_and_its_meaning(call):
    methods, objectives = call("list", "methods").output, call("list", "objectives").output
    for settings, table in [*((m(), methods) for m in METHODS.values()), (Objective(), objectives)]:
        for setting in explained(type(settings)):
            assert setting["what"], (type(settings), setting["name"])
            assert setting["default"] == getattr(settings, setting["name"])
            assert re.search(rf"{setting['name']} +{re.escape(str(setting['default']))} ", table)
    listed = {row["name"]: row for row in json.loads(call("list", "methods", "--json").output)}
    assert (
        listed["mrs-adapter"]["settings"].items() >= settings_of(METHODS["mrs-adapter"]()).items()
    )
    assert "hardest or all" in objectives


def test_the_help_of_train_says_where_settings_are_named(call):
    words = " ".join(call("train", "--help").output.split())
    assert "rsstudy list methods" in words and "rsstudy list objectives" in words


def test_a_check_gives_the_verdict_first_and_digests_whole(
    changed, rows, write_parquet, own_cache, call
):
    folder = write_parquet(rows, "fine")
    found = audit(read_parquet(folder), progress=False)
    lines = call("data", "check", folder).output.splitlines()
    assert lines[0] == "fine: usable"
    words = [line.split() for line in lines]
    assert ["pixel", "digest", found.pixel_digest] in words
    assert ["manifest", "digest", found.manifest_digest] in words
    assert [of for of in words if of[:1] in (["train"], ["all"])] == [
        ["train", "6", "30"],
        ["all", "10", "50"],
    ]
    assert not re.search(r"[{}\[\]]|None", "\n".join(lines))
    damaged = changed(2, content=rows[2].content[:60])
    said = call("data", "check", write_parquet(damaged, "torn"))
    first, second = said.output.splitlines()[:2]
    assert said.code == 1 and first == "torn: broken" and "beach_2.png" in second


def test_without_test_a_run_stops_at_validation_and_the_same_command_goes_on(train, tmp_path):
    stopped = train("--no-test")
    assert stopped.code == 0 and "validated" in stopped.output and "test " not in stopped.output
    assert "scores" not in read_record(tmp_path / "run" / RECORD)
    went_on = json.loads(train("--json").output)
    assert went_on["status"] == "finished" and went_on["scores"]["mean_recall"] > 0
    shown = train().output
    assert re.search(r"validation +\d", shown) and re.search(r"test +\d", shown)


def test_a_set_without_a_test_split_can_be_trained_on_until_it_is_to_be_tested(
    call, rows, write_parquet, own_cache
):
    start = ["train", "--data", write_parquet([row for row in rows if row.split != "test"])]
    start += ["--encoder", "tiny@random", "--batch", "3", "--epochs", "1"]
    assert "validated" in call(*start, "--no-test").output
    refused = call(*start)
    assert refused.code == 1 and "has no test split (it has: train, val)" in refused.error


def test_an_option_of_one_value_is_given_once(call):
    twice = call("train", "--data", "scenes", "--data", "ucm", "--encoder", "tiny")
    assert twice.code == 2 and "--data is given twice" in twice.error


def test_a_split_has_the_names_that_readers_know(call, rows, write_parquet, own_cache):
    asked = ["evaluate", "--encoder", "tiny@random", "--data", write_parquet(rows), "--json"]
    one, other = (json.loads(call(*asked, "--split", s).output) for s in ("val", "validation"))
    assert one == other and one["split"] == "val"


def test_a_setting_is_given_once(call):
    start = ["train", "--data", "scenes", "--encoder", "tiny", "--batch", "8"]
    both = call(*start, "--set", "recipe.batch=4")
    assert both.error == (
        "error: --batch and --set recipe.batch are one setting: leave one of them out\n"
    )
    twice = call(*start, "--set", "method.dropout=0", "--set", "method.dropout=0.1")
    assert twice.error == "error: --set gives method.dropout twice: 0 and 0.1\n"


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate "),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError("Unable to allocate 3 GiB for an array"),
    ],
)
def test_memory_that_runs_out_is_one_line_that_says_what_to_lower(train, monkeypatch, problem):
    def full(*_, **__):
        raise problem

    monkeypatch.setattr("rsstudy.training.loop.add_gradients", full)
    answer = train()
    assert answer.code == 1 and answer.error.splitlines()[-1].startswith("error: not enough memory")
    for way in ("--batch", "--image-size", "recipe.accumulate=4", "recipe.checkpointing=true"):
        assert way in answer.error.splitlines()[-1]


def test_other_errors_of_torch_stay_errors_of_ours(train, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("rsstudy.training.loop.add_gradients", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train()


def test_json_is_printed_unless_a_file_is_named(call, rows, write_parquet, own_cache, tmp_path):
    asked = ["evaluate", "--encoder", "tiny@random", "--data", write_parquet(rows)]
    printed = json.loads(call(*asked, "--json").output)
    assert printed == json.loads(call(*asked[:3], "--json", *asked[3:]).output)
    assert "mean recall" in call(*asked, "--json", "scores.json").output
    assert json.loads((tmp_path / "scores.json").read_text())["scores"] == printed["scores"]


def test_ones_own_runs_are_no_record_of_the_study(tmp_path):
    (tmp_path / "runs").mkdir()
    for command in ("report", "checks", "runs", "front-page"):
        answer = CliRunner().invoke(study, [command, "--results", str(tmp_path / "runs")])
        assert isinstance(answer.exception, StudyError)
        assert f"`rsstudy runs {tmp_path / 'runs'}`" in str(answer.exception)


def test_a_runs_folder_may_be_named_by_a_file_in_it(train, call, tmp_path):
    scores = json.loads(train("--json").output)["scores"]
    again = call("evaluate", "--adapter", "run/record.json", "--data", "set", "--json", "-")
    assert json.loads(again.output)["scores"] == scores


def test_another_encoder_than_the_adapters_is_named_as_such(train, call):
    train()
    answer = call("evaluate", "--adapter", "run", "--encoder", "ViT-B-32", "--data", "set")
    assert answer.code == 1 and "was trained on tiny, not on ViT-B-32" in answer.error


def test_a_folder_in_an_encoders_name_is_answered_with_the_file_to_name(train, call):
    train()
    answer = call("evaluate", "--encoder", "tiny@random+run", "--data", "set")
    assert answer.code == 1 and "run is a folder: name the file in it" in answer.error


def test_a_long_list_of_known_names_is_cut_short():
    few, many = unknown("set", "zzz", "abc"), unknown("set", "zzz", [f"n{i:03}" for i in range(99)])
    assert str(few) == "unknown set 'zzz'; known: a, b, c"
    assert str(many).endswith("n010, n011 and 87 more") and len(str(many)) < 120


def test_suites_are_listed_with_their_runs():
    rows = json.loads(CliRunner().invoke(study, ["suite", "--json"]).output)
    assert [row["name"] for row in rows] == list(SUITES)
    assert all(row["runs_smoke"] > 0 for row in rows)


# What a command does, with the modules that it has imported in the end as its last line.
WATCHED = """
import atexit, runpy, sys
atexit.register(lambda: print("torch" in sys.modules))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("rsstudy train --data scenes --encoder tiny --method mrs-adaptr", "mrs-adapter"),
        ("rsstudy train --data scenes --encoder tiny --objective hmc", "hmmc"),
        ("rsstudy train --data scenes --encoder tinny@random", "tiny"),
        ("rsstudy evaluate --data rsicdd --encoder tiny", "rsicd"),
        ("study suite compar", "compare"),
    ],
)
def test_a_mistyped_name_is_answered_before_torch_is_imported(tmp_path, arguments, hint):
    command = [sys.executable, "-c", WATCHED, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert re.search(rf"did you mean .*\b{hint}\b", done.stderr)
    assert done.stdout == "False\n"


def test_names_that_are_read_from_files_are_those_that_are_imported():
    assert suite_names() == list(SUITES)
    assert set(open_clip.list_models()) < set(encoder_names())
