"""What goes wrong around a run is survived, or refused in one line; nothing is half-written."""

import ctypes
import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import kill_at_random
import pytest
import torch
from processes import Fork, Stopped, command, stop_at, with_small_files
from test_workers import rows_on

import rsstudy.training.loop as loop
from rsstudy.adapters import load_adapter
from rsstudy.data.parquet import read_parquet
from rsstudy.data.pixels import pixels
from rsstudy.errors import StudyError
from rsstudy.experiments import sweep
from rsstudy.experiments.record import read_record
from rsstudy.experiments.run import Run, execute
from rsstudy.files import cache_folder, whole_file
from rsstudy.tensors import save_tensors
from rsstudy.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch=3, precision="fp32")


@pytest.fixture
def data(rows, write_parquet, own_cache):
    return str(write_parquet(rows))


def interrupted(data, folder, monkeypatch):
    """A run that a crash left in its second epoch, with a checkpoint of the third step."""
    run = Run(data, "tiny@random", recipe=RECIPE)
    with monkeypatch.context() as patched:
        patched.setattr("rsstudy.training.checkpoint.CHECKPOINT_SECONDS", 0.0)
        stopping = partial(loop.train, after_step=stop_at(3))
        patched.setattr("rsstudy.experiments.run.train", stopping)
        with pytest.raises(Stopped):
            execute(run, folder, progress=False)
    assert (folder / "checkpoint.pt").exists()
    return run


def test_kills_at_random_moments_leave_whole_files_and_the_same_weights(tmp_path):
    """A few here; results/robustness/kills.json has the tally of many."""
    tally = kill_at_random.main(6, tmp_path, seed=time.monotonic_ns() % 1000)
    assert tally["kills"] == 6 and tally["suites that ended as the undisturbed one"] >= 1
    assert sum(tally["where the kills fell"].values()) == 6
    assert tally["trainings resumed from a checkpoint"] >= 1


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.999])
def test_a_flipped_bit_in_a_checkpoint_is_refused(data, tmp_path, monkeypatch, place):
    run = interrupted(data, tmp_path / "run", monkeypatch)
    file = tmp_path / "run" / "checkpoint.pt"
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 16
    file.write_bytes(content)
    try:
        execute(run, tmp_path / "run", progress=False)
    except StudyError as problem:
        assert "is damaged" in str(problem) and "delete it to start anew" in str(problem)
        assert "\n" not in str(problem)
        file.unlink()
        execute(run, tmp_path / "run", progress=False)
    # where it went unseen (padding between entries), it changed nothing
    execute(run, tmp_path / "whole", progress=False)
    resumed, whole = (load_adapter(tmp_path / name) for name in ("run", "whole"))
    for one, other in zip(resumed.method.parameters(), whole.method.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_flipped_bit_in_an_adapter_is_refused(data, tmp_path):
    _, folder = execute(Run(data, "tiny@random", recipe=RECIPE), tmp_path / "run", progress=False)
    file = folder / "adapter.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(StudyError, match="is damaged: its sha256 is not the one in adapter.json"):
        load_adapter(folder)


def test_a_finished_run_with_a_cut_adapter_is_not_called_done(data, tmp_path):
    run = Run(data, "tiny@random", recipe=RECIPE)
    _, folder = execute(run, tmp_path / "run", progress=False)
    file = folder / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StudyError, match="is damaged: .* delete .* and run again"):
        execute(run, folder, progress=False)
    file.unlink()  # a committed record has none
    assert execute(run, folder, progress=False)[0]["status"] == "finished"


@pytest.mark.parametrize("where", ["pictures", "end cut off", "header"])
def test_a_damaged_picture_cache_is_decoded_anew(data, caplog, where):
    split = read_parquet(Path(data)).split("train")
    before = pixels(split, 32, progress=False)
    expected = before.images.clone()
    (file,) = (cache_folder() / "pixels").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    if where == "pictures":
        content[len(content) // 2] ^= 1
    elif where == "header":
        content[3] ^= 1
    else:
        del content[-100:]
    file.unlink()  # the one above is mapped
    file.write_bytes(content)
    again = pixels(split, 32, progress=False)
    assert torch.equal(again.images, expected) and again.digest == before.digest
    assert "decoding anew" in caplog.text


def test_a_set_that_changes_under_a_suite_stops_it(rows, write_parquet, own_cache, tmp_path):
    folder = write_parquet(rows)
    changed = write_parquet([*rows[:1], replace(rows[1], captions=["other ."] * 5), *rows[2:]], "x")
    arms = rows_on(str(folder))[:3]
    execute_once = sweep.execute

    def then_change(*arguments, **named):
        result = execute_once(*arguments, **named)
        shard = "train-00000-of-00001.parquet"
        os.replace(changed / shard, folder / shard) if (changed / shard).exists() else None
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sweep, "execute", then_change)
        with pytest.raises(StudyError, match="changed while the suite was running") as problem:
            sweep.run_arms(arms, tmp_path / "runs", progress=False)
    assert "\n" not in str(problem.value)
    records = [read_record(path) for path in (tmp_path / "runs").glob("*/record.json")]
    assert len({record["config"]["manifest_digest"] for record in records}) == 2
    sweep.run_arms(arms, tmp_path / "anew", progress=False)


def test_a_clock_that_goes_back_changes_nothing(data, tmp_path, monkeypatch):
    hours = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    record, _ = execute(Run(data, "tiny@random", recipe=RECIPE), tmp_path / "run", progress=False)
    assert record["cost"]["wall_seconds"] > record["cost"]["train_seconds"] > 0
    assert all(epoch["seconds"] > 0 for epoch in record["history"][1:])


def test_a_full_disk_at_a_checkpoint_stops_in_one_line_and_keeps_the_last_one(
    data, tmp_path, monkeypatch
):
    run = interrupted(data, tmp_path / "run", monkeypatch)
    kept = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    save = torch.save

    def full(everything, file):
        save(everything, file)
        os.truncate(file, 1000)
        raise RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos\n more")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(StudyError, match="could not write .*checkpoint.pt") as problem:
            execute(run, tmp_path / "run", progress=False)
    assert "\n" not in str(problem.value)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == kept
    assert not list((tmp_path / "run").glob(".*.tmp"))
    execute(run, tmp_path / "run", progress=False)


def test_a_full_disk_keeps_the_file_that_was_there(tmp_path):
    """A real one, as far as a process can have it: a limit on the size of its files."""
    save_tensors(tmp_path / "x.safetensors", {"w": torch.ones(3)})
    before = (tmp_path / "x.safetensors").read_bytes()
    tensors = {"w": torch.zeros(100_000)}
    done = Fork(with_small_files, 5000, save_tensors, tmp_path / "x.safetensors", tensors).end()
    assert "StudyError: could not write" in done.stderr.splitlines()[-1]
    assert (tmp_path / "x.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def unprivileged(program: str, *words: str) -> None:
    """The command in a process that permissions bind: without capabilities, should it be root's."""
    if os.geteuid() == 0:
        version, none = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(version, none) == 0
    command(program, *words)


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="capabilities")
def test_a_results_folder_that_cannot_be_written_is_said_before_training(
    rows, write_parquet, monkeypatch
):
    """And what is done already can be read there."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        home.chmod(0o755)
        source = write_parquet(rows)
        shutil.copytree(source, home / "set")
        for name in ("cache", "runs", "work"):
            (home / name).mkdir()
            (home / name).chmod(0o777)
        monkeypatch.chdir(home / "work")

        def train(out):
            small = f"--data {home / 'set'} --encoder tiny@random --epochs 1 --batch 3 --out {out}"
            words = ("train", *small.split())
            return Fork(unprivileged, "rsstudy", *words, RSSTUDY_CACHE=str(home / "cache")).end()

        first = train(home / "runs" / "done")
        assert first.returncode == 0, first.stderr
        (home / "runs").chmod(0o555)
        (home / "runs" / "done").chmod(0o555)
        refused = train(home / "runs" / "more")
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].startswith("error: could not write in ")
        assert "Permission denied" in refused.stderr and "Traceback" not in refused.stderr
        assert "epoch" not in refused.stderr  # nothing was trained in vain
        again = train(home / "runs" / "done")
        assert again.returncode == 0 and "finished" in again.stdout
        (home / "runs").chmod(0o755)
        (home / "runs" / "done").chmod(0o755)


def write_half(file: Path) -> None:
    """And be killed."""
    with whole_file(file) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_while_writing_keeps_the_old_file_and_the_next_holder_clears_up(tmp_path):
    (tmp_path / "record.json").write_text("whole")
    assert Fork(write_half, tmp_path / "record.json").end().returncode == -signal.SIGKILL
    assert (tmp_path / "record.json").read_text() == "whole"
    assert len(list(tmp_path.glob(".record.json.*.tmp"))) == 1
    with whole_file(tmp_path / "record.json") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "record.json").read_text() == "new"
