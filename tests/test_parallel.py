"""Several processes on one batch take the step that one alone would take."""

import json
import re

import one_of_several
import pytest
import torch
from processes import as_torchrun, command, here, torchrun

from rsstudy.adapters import read_adapter
from rsstudy.experiments.cli import cli as rsstudy
from rsstudy.experiments.record import read_record
from study.cli import cli as study


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_have_the_losses_gradients_and_weights_of_one(
    rows, write_parquet, own_cache, tmp_path, count
):
    """Every objective; batches that do not divide, and batches smaller than there are processes."""
    (tmp_path / "scratch").mkdir()
    folder, scratch = write_parquet(rows), tmp_path / "scratch"
    for done in as_torchrun(count, one_of_several.main, folder, scratch):
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "scratch").glob(f"done-*-of-{count}"))) == count


def arguments(data, out, *more):
    return (
        *f"train --data {data} --out {out} --encoder tiny@random --batch 5".split(),
        *["--epochs", "2", "--set", "method.dropout=0", "--set", "recipe.precision=fp32"],
        *more,
    )


def test_torchrun_makes_one_record_which_is_that_of_one_process(
    rows, write_parquet, own_cache, tmp_path
):
    data = write_parquet(rows)
    together = torchrun(2, "-m", "rsstudy", *arguments(data, tmp_path / "two", "--json"))
    assert together.returncode == 0, together.stderr[-3000:]
    assert json.loads(together.stdout)["status"] == "finished"  # said by one of them
    alone = here(rsstudy, *arguments(data, tmp_path / "one"))
    assert alone.returncode == 0, alone.stderr
    one, two = (read_record(tmp_path / name / "record.json") for name in ("one", "two"))
    assert two["identity"] == one["identity"]
    assert two["environment"]["processes"] == 2 and "processes" not in one["environment"]
    losses = [[row["loss"] for row in record["history"][1:]] for record in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert two["test_queries"] == one["test_queries"]
    first, second = (read_adapter(tmp_path / name) for name in ("one", "two"))
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)
    left = {path.name for path in (tmp_path / "two").iterdir()}
    assert left == {".lock", "record.json", "adapter.safetensors", "adapter.json", "history.jsonl"}
    again = as_torchrun(2, command, "rsstudy", *arguments(data, tmp_path / "two"))
    assert [of.returncode for of in again] == [0, 0] and "finished" in again[0].stdout


def test_the_first_process_has_its_word_before_torchrun_ends_it(tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(
        "import os, time\n"
        "from rsstudy.experiments import cli\n"
        "from rsstudy.errors import StudyError\n"
        "def stop(**_):\n"
        "    time.sleep(3 if os.environ['RANK'] == '0' else 0)\n"
        "    raise StudyError('stopped')\n"
        "cli.cli.main = stop\n"
        "cli.main()\n"
    )
    done = torchrun(2, script)
    assert done.returncode != 0
    assert re.findall("^error: .*", done.stderr, re.MULTILINE) == ["error: stopped"]


def test_a_process_that_is_killed_is_named_in_one_line(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, torch\n"
        "import torch.distributed as dist\n"
        "from rsstudy.experiments import cli\n"
        "from rsstudy.training.parallel import joined\n"
        "def work(**_):\n"
        "    with joined('cpu') as processes:\n"
        "        if processes.rank == 1:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        dist.all_reduce(torch.zeros(1))\n"
        "cli.cli.main = work\n"
        "cli.main()\n"
    )
    done = torchrun(3, script)
    # torchrun tells its own part before or after ours.
    (said,) = re.findall("^error: .*", done.stderr, re.MULTILINE)
    assert said.startswith("error: process 1 of this run was killed")
    assert "gloo" not in done.stderr


def test_what_stops_one_process_stops_all_and_is_said(rows, write_parquet, own_cache, tmp_path):
    data = write_parquet(rows)
    wild = ("--set", "recipe.learning_rate=1e38", "--set", "recipe.clip_norm=0")
    both = as_torchrun(2, command, "rsstudy", *arguments(data, tmp_path / "run", *wild))
    assert all(done.returncode != 0 for done in both)
    assert re.search(r"^error: the (loss|score) .* is (nan|inf)", both[0].stderr, re.MULTILINE)
    assert read_record(tmp_path / "run" / "record.json")["status"] == "diverged"


def test_what_torchrun_cannot_start_is_refused_in_one_line(tmp_path):
    """Within one process, which has the variables that torchrun gives its first."""
    first = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    one_gpu = arguments("scenes?images=30", tmp_path / "gpu", "--device", "cuda:0")
    for program, words, message in (
        (rsstudy, one_gpu, "leave out --device cuda:0"),
        (study, ("suite", "compare"), "give a suite --jobs instead"),
    ):
        refused = here(program, *words, **first)
        assert refused.returncode == 1 and message in refused.stderr
        assert refused.stderr.count("\n") == 1
