"""A run is seen as it goes: its curve on file, its progress in a log, runs side by side."""

import json
import sys
from types import SimpleNamespace

import pytest
from PIL import Image
from processes import Stopped, stop_at
from test_training import ready, run

import rsstudy.progress
from rsstudy.errors import StudyError
from rsstudy.experiments.run import CHECKPOINT
from rsstudy.files import hold
from rsstudy.progress import Progress
from rsstudy.training.curve import HISTORY, read_history


@pytest.mark.parametrize("after", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("saved", ["every step", "every epoch"])
def test_a_resumed_run_goes_on_with_its_curve_without_a_line_twice_or_none(
    small, tmp_path, monkeypatch, after, saved
):
    if saved == "every step":
        monkeypatch.setattr("rsstudy.training.checkpoint.CHECKPOINT_SECONDS", 0)
    given = {"checkpoint": tmp_path / CHECKPOINT, "identity": "x"}
    with pytest.raises(Stopped):
        run(ready(), small, after_step=stop_at(after), **given)
    with open(tmp_path / HISTORY, "a") as file:  # a kill in the middle of a line
        file.write('{"step": 9, "epo')
    done = 2 + (after - (saved == "every epoch" and after % 3 == 0)) // 3
    found = run(ready(), small, scores=range(done, 100), **given)
    rows = read_history(tmp_path / HISTORY)
    epochs = [row for row in rows if "mean_recall" in row]
    steps = [row for row in rows if "mean_recall" not in row]
    for name in ("epoch", "loss", "learning_rate", "mean_recall"):
        assert [row[name] for row in epochs] == [row[name] for row in found.history]
    last = 0
    for epoch in range(1, 4):  # every step is in one line
        total = 0.0
        for row in (row for row in steps if epoch - 1 < row["epoch"] <= epoch):
            total += row["loss"] * (row["step"] - last)
            last = row["step"]
            assert row["epoch"] == pytest.approx(last / 3, abs=1e-4)
        assert last == 3 * epoch
        assert total / 3 == pytest.approx(found.history[epoch]["loss"], rel=1e-6)


def test_tensorboard_gets_the_curve_where_it_is_installed(small, tmp_path, monkeypatch):
    seen = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            seen.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            seen.append((name, step))

        def flush(self):
            pass

        def close(self):
            seen.append("closed")

    (tmp_path / "tensorboard.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    stand_in = SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    folder = tmp_path / "run"
    folder.mkdir()
    run(ready(), small, checkpoint=folder / CHECKPOINT)
    assert seen[0] == (str(folder), 1) and seen[-1] == "closed"
    assert ("loss", 3) in seen and [("mean_recall", n) in seen for n in (0, 3, 6, 9)] == [True] * 4


def test_a_training_without_a_folder_writes_nothing(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(ready(), small)
    assert {path.name for path in tmp_path.iterdir()} == {"set", "cache"}


def test_a_log_gets_a_plain_line_every_half_minute(capsys, monkeypatch):
    now = iter(range(0, 10**6, 7))  # each look at the clock is 7 s after the one before
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(now)))
    with Progress(total=200, desc="decoding ucm", unit=" images", initial=20) as bar:
        bar.note(epoch="3/30", loss="1.234")
        for _ in range(100):
            bar.update()
    said = capsys.readouterr().err
    assert "\r" not in said and "\x1b" not in said
    lines = said.splitlines()
    assert 20 <= len(lines) <= 40
    assert lines[0].startswith("decoding ucm: epoch 3/30, loss 1.234, images 2")
    assert lines[0].endswith("min left")


def test_short_work_and_silent_work_leave_no_line_in_a_log(capsys):
    for _ in Progress(range(3), desc="x", leave=True):
        pass
    with Progress(total=3, disable=True) as bar:
        bar.note(loss="1")
        bar.update()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(rsstudy.progress.sys.stderr, "isatty", lambda: True)
    with Progress(total=3, desc="x") as bar:
        bar.note(loss="1")
        bar.update()
    assert "loss=1" in capsys.readouterr().err


def test_runs_are_shown_side_by_side_in_a_table_and_a_picture(train, call, tmp_path):
    train(out="runs/a"), train("--seed", "1", "--no-test", out="runs/b")
    shown = call("show", "runs/a", "runs/b/record.json", "--out", "both.png").output
    assert shown.count("mrs-adapter infonce s0: ") == 3 == shown.count("mrs-adapter infonce s1: ")
    assert shown.count(" test ") == 1 and shown.count(" validation ") >= 2
    assert Image.open(tmp_path / "both.png").size[0] > 500
    one, two = json.loads(call("show", "runs/a", "runs/b", "--json").output)
    record = json.loads((tmp_path / "runs/a/record.json").read_text())
    assert (one["epochs"], one["scores"]) == (record["history"], record["scores"])
    assert two["status"] == "validated" and "scores" not in two
    assert [row["step"] for row in one["steps"]] == [2]
    listed = call("runs").output
    assert "finished" in listed and "validated" in listed
    as_csv = call("runs", "--csv").output.splitlines()
    assert as_csv[0].startswith("id,status,data") and len(as_csv) == 3
    rows = json.loads(call("runs", "--json").output)
    assert rows[0]["mean_recall"] is None or rows[0]["mean_recall"] > 0
    assert call("show", "runs/a", "--out", "x.jpg").error.startswith("error: x.jpg: name the")
    assert call("show", "nowhere").error.startswith("error: there is no nowhere")
    assert call("runs", "nowhere").error.startswith("error: there is no run in nowhere")


@pytest.mark.parametrize("closed", [True, False])
def test_work_goes_on_where_nobody_reads_its_progress(monkeypatch, closed):
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr("sys.stderr", None if closed else full)
    monkeypatch.setattr("rsstudy.progress.PLAIN_SECONDS", 0.0)
    assert list(Progress(range(3), disable=closed)) == [0, 1, 2]


def test_copies_of_one_run_keep_a_column_each(train, call, tmp_path):
    train(out="runs/a"), train(out="runs/b")
    shown = call("show", "runs/a", "runs/b").output
    assert shown.count("runs/a: ") == 3 == shown.count("runs/b: ")


def test_a_run_that_is_under_way_is_shown_from_its_curve_alone(call, tmp_path):
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    row = {"step": 20, "epoch": 1, "loss": 1.5, "learning_rate": 1e-3}
    lines = [{"step": 0, "epoch": 0, "loss": None, "learning_rate": None, "mean_recall": 9.0}, row]
    (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with hold(folder):
        assert "mine: running" in call("show", "runs/mine", "--out", "x.svg").output
    assert (tmp_path / "x.svg").exists()
    assert json.loads(call("runs", "--json").output) == [{"id": "mine", "status": "interrupted"}]
    (folder / HISTORY).write_text("no curve\n")
    assert "is no curve of a run" in call("show", "runs/mine").error


def test_a_damaged_curve_stops_nothing_silently(tmp_path):
    (tmp_path / HISTORY).write_text('{"loss": 1}\n')
    with pytest.raises(StudyError, match="delete it"):
        read_history(tmp_path / HISTORY)
