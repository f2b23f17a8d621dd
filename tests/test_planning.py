"""A dry run says what a suite would do here and what is missing, and does nothing."""

import json
import subprocess
import sys

import pytest

from rsstudy.encoders import tiny_delta
from rsstudy.experiments.plan import plan
from study.suites import SUITES, rows_of, run_suite


def dry_run(*arguments, **more):
    command = [sys.executable, "-m", "study", "suite", *arguments, "--dry-run"]
    return subprocess.run(command, capture_output=True, text=True, **more)


def test_a_dry_run_at_paper_scale_lists_every_run_and_what_is_missing(tmp_path, own_cache):
    method = ("--method", "mrs-adapter", "--method", "zero-shot", "--objective", "infonce")
    done = dry_run(
        "compare",
        "--scale",
        "paper",
        "--data",
        "rsitmd",
        *method,
        "--teraflops",
        "10",
        "--data-root",
        str(tmp_path),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "4 runs; " in done.stdout  # three seeds, and zero-shot
    assert "missing here: the set rsitmd; get it from RSITMD" in done.stdout
    assert "missing here: the weights openai of ViT-B-32" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suite", sorted(set(SUITES) - {"adapter", "hmmc", "dials", "compare"}))
def test_a_suite_can_be_planned(suite, tmp_path):
    rows = rows_of(suite, "smoke")
    if suite == "benchmark":  # its second half is its first once more, with trained heads
        rows = [arm for arm in rows if not arm.run.train_heads]
    planned = plan(rows, tmp_path, rate=1e9)
    assert [p.runs for p in planned] == [arm.count() for arm in rows]
    for p in planned:
        assert p.seconds is None if p.encoder.startswith("cnn-gru") else p.seconds > 0


def test_another_devices_rate_stands_in_for_timing_this_one(tmp_path, own_cache):
    chosen = ("--data", "ucm", "--method", "linear-probe", "--objective", "infonce")
    told = [
        dry_run(
            "compare",
            "--scale",
            "paper",
            *chosen,
            "--data-root",
            str(tmp_path),
            "--json",
            "--teraflops",
            rate,
        )
        for rate in ("10", "20")
    ]
    (slow,), (fast,) = (json.loads(done.stdout) for done in told)
    assert slow["seconds"] == pytest.approx(2 * fast["seconds"])
    refused = subprocess.run(
        [sys.executable, "-m", "study", "suite", "compare", "--scale", "smoke", "--teraflops", "5"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert refused.returncode == 1 and refused.stderr == "error: --teraflops is for --dry-run\n"


@pytest.mark.parametrize("suite", ["compare", "hmmc"])
def test_its_times_follow_the_work(suite, tmp_path):
    rows = rows_of(suite, "smoke")
    planned = plan(rows, tmp_path, device="cpu")
    assert [p.runs for p in planned] == [arm.count() for arm in rows]
    assert not any(p.done for p in planned)
    times = {p.name: p.seconds for p in planned}
    assert all(seconds > 0 for seconds in times.values())
    if suite == "compare":
        assert times["zero-shot · infonce"] < times["linear-probe · infonce"]
        assert times["linear-probe · infonce"] < times["mrs-adapter · infonce"]
        assert times["mrs-adapter · infonce"] < times["full · infonce"] < times["full · hmmc"]


def test_the_tiny_encoder_is_missing_until_it_is_pretrained(tmp_path, own_cache):
    rows = rows_of("compare", "smoke", methods=["zero-shot"])
    (before,) = plan(rows, tmp_path, rate=1e9)
    assert any("pretrained encoder tiny" in what for what in before.missing)
    tiny_delta().parent.mkdir(parents=True)
    tiny_delta().touch()
    (after,) = plan(rows, tmp_path, rate=1e9)
    assert not after.missing


def test_what_is_on_record_is_not_done_again_in_the_plan(tmp_path):
    named = {"methods": ["linear-probe"], "objectives": ["infonce"]}
    rows = rows_of("compare", "smoke", **named)
    run_suite("compare", "smoke", tmp_path, say=lambda _: None, progress=False, seeds=1, **named)
    (half,) = plan(rows, tmp_path, device="cpu")
    assert half.done == 1 and half.runs == 2
    run_suite("compare", "smoke", tmp_path, say=lambda _: None, progress=False, **named)
    (whole,) = plan(rows, tmp_path, device="cpu")
    assert (whole.done, whole.seconds) == (2, 0.0)
    (anew,) = plan(rows, tmp_path / "elsewhere", device="cpu")
    assert anew.seconds > half.seconds / 10 > 0


def test_its_json_is_for_programs(tmp_path):
    done = dry_run(
        "compare", "--scale", "smoke", "--method", "zero-shot", "--json", "--runs", str(tmp_path)
    )
    rows = json.loads(done.stdout)
    assert {"name", "data", "encoder", "runs", "done", "seconds", "missing"} == set(rows[0])
