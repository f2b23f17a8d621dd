"""A dry run says what a suite would do here and what is missing, and does nothing."""

import json
from dataclasses import fields, replace

import pytest
from processes import here

from rsstudy.encoders import tiny_delta
from rsstudy.encoders.tiny import TEXT, VISION
from rsstudy.experiments.plan import Planned, plan
from rsstudy.experiments.plan import _counted as counted
from study.cli import cli
from study.suites import SCALES, SUITES, rows_of, run_suite


def suite(options: str, *more, **where):
    return here(cli, "suite", *options.split(), *more, **where)


def test_a_dry_run_at_paper_scale_lists_every_run_and_what_is_missing(tmp_path, own_cache):
    chosen = "--data rsitmd --method mrs-adapter --method zero-shot --objective infonce"
    command = f"compare --scale paper {chosen} --teraflops 10 --dry-run"
    done = suite(command, "--data-root", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 runs; " in done.stdout  # three seeds, and zero-shot
    assert "missing here: the set rsitmd; get it from RSITMD" in done.stdout
    assert "missing here: the weights openai of ViT-B-32" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.fixture
def shallow(monkeypatch):
    """The tiny encoder with a block a tower: to count a method takes as long as it has blocks."""
    for config in (VISION, TEXT):
        monkeypatch.setitem(config, "layers", 1)
    counted.cache_clear()
    yield
    counted.cache_clear()


@pytest.mark.parametrize("suite", sorted(set(SUITES) - {"adapter", "hmmc", "dials", "compare"}))
def test_a_suite_can_be_planned(suite, tmp_path, shallow):
    rows = rows_of(suite, "smoke")
    if suite == "benchmark":  # its second half is its first once more, with trained heads
        rows = [arm for arm in rows if not arm.run.train_heads]
    planned = plan(rows, tmp_path, rate=1e9)
    assert [p.runs for p in planned] == [arm.count() for arm in rows]
    for p in planned:
        assert p.seconds is None if p.encoder.startswith("cnn-gru") else p.seconds > 0


def test_another_devices_rate_stands_in_for_timing_this_one(tmp_path, own_cache):
    chosen = "compare --scale paper --data ucm --method linear-probe --objective infonce"
    (slow,), (fast,) = (
        json.loads(
            suite(f"{chosen} --dry-run --json --teraflops {rate}", "--data-root", tmp_path).stdout
        )
        for rate in (10, 20)
    )
    assert set(slow) == {field.name for field in fields(Planned)}
    assert slow["seconds"] == pytest.approx(2 * fast["seconds"])
    refused = suite("compare --scale smoke --teraflops 5", cwd=tmp_path)
    assert refused.returncode == 1 and refused.stderr == "error: --teraflops is for --dry-run\n"


@pytest.mark.parametrize("suite", ["compare", "hmmc"])
def test_its_times_follow_the_work(suite, tmp_path, shallow):
    rows = rows_of(suite, "smoke")
    planned = plan(rows, tmp_path, device="cpu")
    assert [p.runs for p in planned] == [arm.count() for arm in rows]
    assert not any(p.done for p in planned)
    times = {p.name: p.seconds for p in planned}
    assert all(seconds > 0 for seconds in times.values())
    if suite == "compare":
        order = ("zero-shot", "linear-probe", "mrs-adapter", "full")
        rising = [times[f"{method} · infonce"] for method in order] + [times["full · hmmc"]]
        assert rising == sorted(set(rising))


def test_the_tiny_encoder_is_missing_until_it_is_pretrained(tmp_path, own_cache):
    rows = rows_of("compare", "smoke", methods=["zero-shot"])
    (before,) = plan(rows, tmp_path, rate=1e9)
    assert any("pretrained encoder tiny" in what for what in before.missing)
    tiny_delta().parent.mkdir(parents=True)
    tiny_delta().touch()
    (after,) = plan(rows, tmp_path, rate=1e9)
    assert not after.missing


def test_what_is_on_record_is_not_done_again_in_the_plan(tmp_path, monkeypatch):
    small = replace(SCALES["smoke"], data=("scenes?images=30",), encoder="tiny@random")
    monkeypatch.setitem(SCALES, "smoke", small)
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
