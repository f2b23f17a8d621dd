"""The benchmarks run, on the smallest of everything; what they compare does the same work."""

import json
import sys
from pathlib import Path

import pytest
import torch
from processes import Fork

from rsstudy import devices
from rsstudy.experiments.cli import run_command
from rsstudy.training import compiled
from study.speed.__main__ import Benchmarks


def measure(*words: str) -> None:
    """In a process of its own: some benchmarks replace parts of the loop."""
    sys.argv = ["study.speed", *words]
    run_command(Benchmarks())


def without_a_compiler(*words: str) -> None:
    """``measure`` as on a processor with bf16 hardware, where what is captured is not compiled."""
    compiled.bf16_is_native = devices.bf16_is_native = lambda device: True  # in its own process
    compile = torch.compile
    torch.compile = lambda function, **_: compile(function, fullgraph=True, backend="eager")
    measure(*words)


def bench(name: str, folder: Path, options: str, work=measure) -> dict:
    """The record of a benchmark, with options that are parted by spaces."""
    words = f"{name} --device cpu --rounds 1 {options} --out {folder}".split()
    done = Fork(work, *words).end()
    assert done.returncode == 0, done.stderr
    return json.loads(Path(done.stdout.splitlines()[-1]).read_text())


def test_this_loop_and_research_style_code_take_the_same_losses(tmp_path):
    options = "--encoder tiny@random --data scenes?images=60 --pictures 16 --batch 16"
    parity = bench("epochs", tmp_path, options)["rows"]["parity"]
    assert len(parity["mine"]) == 5 and parity["apart"] < 1e-3
    assert parity["mine"] == pytest.approx(parity["theirs"], rel=1e-3)


def test_three_ways_to_rank_agree(tmp_path):
    record = bench("ranking", tmp_path, "--images 60 --width 16 --large 100")
    assert 0 < record["rows"]["recalls"]["mean_recall"] < 100
    assert record["rows"]["large"]["captions"] == 500
    assert record["environment"]["device_name"]


def test_a_step_is_measured_beside_its_limit(tmp_path):
    options = "--encoder tiny@random --batch 4 --words 8 --precision fp32 --jobs 2"
    record = bench("steps", tmp_path, f"{options} --method lora --method zero-shot")
    labels = [row["label"] for row in record["rows"]]
    assert labels == ["zero-shot", "lora, rank 8, matrices q,v", "lora"]
    zero_shot, _, lora = record["rows"]
    assert zero_shot["trained"] == 0
    assert lora["step over limit"] > 0 and "embed merged over base" in lora
    assert lora["optimizer_bytes"] == pytest.approx(8 * lora["trained"], rel=0.01)
    assert 4 * lora["trained"] < lora["stored_bytes"] < 4 * lora["trained"] + 20_000


def test_steps_are_measured_beside_other_peoples_and_as_one_graph(tmp_path):
    options = "--encoder tiny@random --batch 4 --words 8 --compile on"
    rows = bench("others", tmp_path, options, without_a_compiler)["rows"]
    assert {"peft, lora", "open_clip, full", "research style, hmmc"} <= set(rows)
    graphs = {name for name in rows if name.endswith(", compiled")}
    assert graphs == {f"{name}, compiled" for name in ("limit", "mrs-adapter", "full")}
    assert all(rows[name]["compiled"] for name in graphs)
    assert rows["ratios"]["mrs-adapter, compiled over limit, compiled"] > 0
    assert rows["mrs-adapter"]["step_flops"] > 0
