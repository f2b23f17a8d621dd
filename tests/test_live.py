"""While a suite works, its reader sees what is done, running and left, and how long it takes."""

import io
import re
import signal

import pytest
from processes import Fork, command, here, wait_until
from rich.console import Console

from rsstudy.experiments import live
from rsstudy.experiments.live import Board, Progress
from rsstudy.experiments.record import read_record
from study.cli import cli
from study.suites import SCALES, arms


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    return now


def test_the_expected_time_is_that_of_the_epochs_left(clock):
    board = Board(
        "suite", [Progress("a", 2, 4.0), Progress("b", 1, 6.0), Progress("c", 1, 2.0)], False
    )
    assert board.left() is None and "not known yet" in board.summary()
    board.begin(0)
    board.did(0, 2.0, {"cost": {"wall_seconds": 10.0}})  # five seconds an epoch
    assert board.left() == pytest.approx(5 * (2 + 6 + 2))
    clock[0] += 20
    assert board.left() == pytest.approx(50 - 20)  # the running run's time has begun
    board.did(0, 2.0, None)  # a diverged run times nothing
    board.end(0, 41.234)
    board.begin(1)
    assert board.left() == pytest.approx(5 * 8)
    assert board.summary() == "suite: 1 done, 1 running, 1 left; 0:20 so far, 0:40 expected"


def test_the_table_shows_the_arms_around_the_running_one_and_counts_the_others(clock):
    board = Board("suite", [Progress(f"arm{i}", 2, 2.0) for i in range(30)], False)
    for done in range(10):
        board.begin(done)
        board.did(done, 1.0, None)
        board.end(done, None if done == 9 else 40 + done / 4)
    board.begin(10)
    clock[0] += 65
    text = io.StringIO()
    Console(file=text, width=100).print(board.table())
    shown = text.getvalue()
    assert re.findall(r"arm(\d+)", shown) == [str(i) for i in range(4, 17)]
    assert "4 above, 13 below not shown" in shown
    assert re.search(r"arm8 +done +1/1 +42\.00", shown)
    assert re.search(r"arm9 +failed +1/1 +diverged", shown)
    assert re.search(r"arm10 +running 1:05 +0/2", shown)
    assert re.search(r"arm11 +waiting +0/2", shown)


def test_an_arm_expects_the_epochs_that_its_runs_take():
    for scale in SCALES:
        for arm in arms("benchmark", scale) + arms("compare", scale):
            runs = [run for rate in arm.learning_rates for run in arm.candidate(rate)]
            runs = runs if len(runs) > 1 else []
            chosen = runs[0] if runs and arm.searched_with == 1.0 else arm.run
            runs += [run for run in arm.repeats(chosen) if run not in runs]
            assert len(runs) == arm.count()
            assert arm.epochs() == sum(r.recipe.epochs * r.recipe.fraction for r in runs)


def test_an_interrupted_suite_loses_at_most_the_running_run(tmp_path):
    """The whole suite of smoke scale, stopped as by Ctrl-C, then asked for again."""
    methods = " --method ".join(["", "zero-shot", "ia3", "bitfit", "ssf", "layernorm"])
    words = f"suite benchmark --scale smoke {methods} --runs {tmp_path}".split()
    running = Fork(command, "study", *words, COLUMNS="300")

    def some_are_done():
        return len(list(tmp_path.glob("*/record.json"))) >= 2 or not running.process.is_alive()

    wait_until(some_are_done)
    running.send(signal.SIGINT)
    done = running.end()
    assert done.returncode != 0 and "Traceback" not in done.stderr
    kept = {path: path.read_bytes() for path in tmp_path.glob("*/record.json")}
    assert 2 <= len(kept) < 5
    assert not list(tmp_path.rglob("*.tmp"))
    again = here(cli, *words, COLUMNS="300")
    assert again.returncode == 0, again.stderr
    finished = sorted(tmp_path.glob("*/record.json"))
    assert len(finished) == 5
    for path, whole in kept.items():
        if read_record(path)["status"] == "finished" and b'"finished"' in whole:
            assert path.read_bytes() == whole  # not done twice
    lines = [line for line in again.stderr.splitlines() if "suite benchmark" in line]
    assert len(lines) == 5  # in a log, each arm is one line
    assert "5 done, 0 running, 0 left" in lines[-1] and "ssf" in lines[-1]
