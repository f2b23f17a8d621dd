"""Several workers on one suite: no run is done twice, and none is lost with a dead worker."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from processes import Fork, command, here, wait_until

import rsstudy.experiments.run as room
from rsstudy.errors import Busy, StudyError
from rsstudy.experiments import sweep
from rsstudy.experiments.arms import Arm, only
from rsstudy.experiments.launch import visible_gpus
from rsstudy.experiments.record import read_record, read_records
from rsstudy.experiments.run import Run, execute
from rsstudy.files import hold, is_held
from rsstudy.training import checkpoint
from rsstudy.training.recipe import Recipe
from study.cli import cli
from study.suites import arms


def work(runs, data, seconds):
    """Say which trainings it begins, at which step, and stop for a while in each step."""
    checkpoint.CHECKPOINT_SECONDS, sweep.POLL_SECONDS = 0.0, 0.1
    train = room.train

    def noted(*arguments, **named):
        name = named["checkpoint"].parent.name
        begun = []

        def step(number):
            if not begun:
                begun.append(number)
                print(name, number, flush=True)
            time.sleep(seconds)

        return train(*arguments, **named, after_step=step)

    room.train = noted
    done = sweep.run_arms(rows_on(str(data)), runs, progress=False, say=lambda text: None)
    print("done", len(done), flush=True)


def rows_on(data):
    """Four arms of one run each, and one that searches among three rates."""
    recipe = Recipe(epochs=2, batch=3, precision="fp32")
    runs = [
        Run(data, "tiny@random", method, recipe=recipe)
        for method in ("linear-probe", "mrs-adapter", "bitfit", "layernorm")
    ]
    searched = replace(runs[1], objective="hmmc")
    return [*(Arm(run, (1e-3,), 1) for run in runs), Arm(searched, (1e-3, 3e-3, 1e-2), 2)]


@pytest.fixture
def data(rows, write_parquet, own_cache):
    return write_parquet(rows)


def test_workers_share_the_runs_and_take_up_what_a_killed_one_left(data, tmp_path):
    runs = tmp_path / "runs"
    doomed = Fork(work, runs, data, 600)  # it stays in the second step of its first run
    wait_until(lambda: doomed.out.endswith("\n"))
    name, step = doomed.out.split()
    assert step == "1" and is_held(runs / name)
    workers = [Fork(work, runs, data, 0.05) for _ in range(2)]
    wait_until(lambda: len(list(runs.glob("*/record.json"))) >= 3)
    assert not (runs / name / "record.json").exists()  # nobody else is at it
    doomed.send(signal.SIGKILL)
    doomed.end()
    said = [worker.end() for worker in workers]
    assert [of.returncode for of in said] == [0, 0], said
    lines = [line.split() for of in said for line in of.stdout.splitlines()]
    begun = [line for line in lines if line[0] != "done"]
    assert [line for line in begun if line[0] == name] == [[name, "2"]]  # from its checkpoint
    assert len({line[0] for line in begun}) == len(begun)  # and none was done twice
    assert all(line[1] == "1" for line in begun if line[0] != name)
    assert [line[1] for line in lines if line[0] == "done"] == ["6", "6"]  # each knows all
    alone = sweep.run_arms(rows_on(str(data)), tmp_path / "alone", progress=False)
    together = read_records(runs).set_index("id")["mean_recall"].to_dict()
    assert together == {r["id"]: r["scores"]["mean_recall"] for r in alone}


def test_a_run_that_another_process_is_at_is_refused(data, tmp_path):
    run = rows_on(str(data))[0].run
    _, folder = execute(run, None, tmp_path / "elsewhere", progress=False)
    (tmp_path / folder.name).mkdir()
    with hold(tmp_path / folder.name), pytest.raises(Busy, match="another process is at work in"):
        execute(run, None, tmp_path, progress=False)
    again, _ = execute(run, None, tmp_path, progress=False)
    assert again["status"] == "finished"
    with hold(folder):  # what is done is only read
        assert execute(run, None, tmp_path / "elsewhere", progress=False)[0]["status"] == "finished"


def test_of_two_that_make_the_same_thing_one_waits(tmp_path):
    order = []

    def second():
        with hold(tmp_path / "x", wait=True):
            order.append("second")

    with hold(tmp_path / "x"):
        (tmp_path / "x" / "made").touch()
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        order.append("first")
    waiting.join(timeout=30)
    assert order == ["first", "second"]


def test_an_empty_folder_does_not_stay_behind_and_leftovers_are_removed(tmp_path):
    with hold(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "record.json").touch()
    (tmp_path / "kept" / ".record.json.x1y2.tmp").touch()
    with hold(tmp_path / "kept"):
        left = sorted(path.name for path in (tmp_path / "kept").iterdir())
        assert left == [".lock", "record.json"]


SUITE = ["suite", "benchmark", "--scale", "smoke", "--device", "cpu"]
for method in ("zero-shot", "bitfit", "ssf"):
    SUITE += ["--method", method]


def workers_of(folder):
    """The process numbers of submitit's workers on some folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and str(folder) in words:
            found.append(int(process.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="it looks for processes in /proc")
def test_jobs_do_a_suite_together_and_the_death_of_one_costs_nothing(tmp_path):
    words = [*SUITE, "--runs", tmp_path / "runs", "--jobs", "2", "--json"]
    running = Fork(command, "study", *words)
    jobs = (tmp_path / "runs" / ".jobs").resolve()
    wait_until(lambda: workers_of(jobs) or not running.process.is_alive())
    assert running.process.is_alive(), running.err
    os.kill(workers_of(jobs)[0], signal.SIGKILL)
    done = running.end()
    said = done.stderr
    assert done.returncode == 0, said
    assert len(json.loads(done.stdout)) == 3 and len(list(tmp_path.glob("runs/*/record.json"))) == 3
    assert said.count("a worker ended early") == 1 and "Traceback" not in said
    assert not workers_of(jobs)
    alone = [arm.run for arm in only(arms("benchmark", "smoke"), [], ["ssf"], [])]
    record, folder = execute(alone[0], None, tmp_path / "alone", progress=False)
    other = read_record(tmp_path / "runs" / folder.name / "record.json")
    assert other["scores"] == record["scores"]


# SLURM as far as submitit sees it: sbatch runs each task of the array at once, in the background.
SBATCH = """#!/bin/sh
script="$1"
cp "$script" "$SLURM_TEST/script"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$script")
(
    sleep 1  # submitit moves its files to their places after this has answered
    for task in $(seq 0 "$last"); do
        SLURM_JOB_ID=7$task SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_JOB_NUM_NODES=1 \\
        SLURM_NTASKS=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here \\
            sh "$script" &
    done
    wait
) >"$SLURM_TEST/log" 2>&1 &
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
        --output|--error) shift 2 ;;
        --*) shift ;;
        *) break ;;
    esac
done
exec "$@"
"""


def test_slurm_gets_an_array_job_whose_workers_do_the_suite(tmp_path):
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    slurm = {"PATH": f"{fake}:{os.environ['PATH']}", "SLURM_TEST": str(tmp_path)}
    runs = tmp_path / "runs"
    options = "--launcher slurm --jobs 2 --submit slurm_partition=gpus --submit timeout_min=90"
    arguments = (*SUITE, "--runs", runs, *options.split())
    done = here(cli, *arguments, **slurm)
    assert done.returncode == 0, done.stderr
    assert "SLURM job 7: 2 workers" in done.stderr
    script = (tmp_path / "script").read_text()
    for flag in ("--array=0-1%2", "--partition=gpus", "--time=90", "--gpus-per-node=0"):
        assert f"#SBATCH {flag}" in script
    wait_until(lambda: len(list(runs.glob(".jobs/*result.pkl"))) >= 2)
    records = [read_record(path) for path in runs.glob("*/record.json")]
    assert len(records) == 3, (tmp_path / "log").read_text()
    assert all(record["status"] == "finished" for record in records)
    refused = here(cli, *arguments, "--submit", "slurm_no_such=1", **slurm)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "SLURM did not take the job" in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--launcher local", "needs --jobs"),
        ("--launcher slurm", "there is no SLURM here"),
        ("--submit x=1", "--submit is for --launcher slurm"),
        ("--launcher slurm --submit x", "is not NAME=VALUE"),
    ],
)
def test_a_launcher_that_cannot_work_says_why_in_one_line(tmp_path, arguments, message):
    done = here(cli, *SUITE, "--runs", tmp_path, *arguments.split(), PATH="/nowhere")
    assert done.returncode == 1 and message in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr


def test_gpus_are_counted_as_cuda_visible_devices_names_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert visible_gpus() == [4, 5]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1f2e")
    with pytest.raises(StudyError, match="by number"):
        visible_gpus()
