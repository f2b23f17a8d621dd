"""The tables on costs say what the records hold, and a verdict turns with its number."""

import copy
import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from rsstudy.errors import StudyError
from rsstudy.experiments.cost import Power, Use
from study.cost_tables import (
    against_targets,
    beside_other_code,
    break_even,
    counted_beside_measured,
    energy,
    measured_steps,
    memory,
    on_a_gpu,
    paper_scale,
    read_benchmarks,
    read_counted,
    read_measured,
    share_of_full,
    targets_in_words,
)
from study.figures import costs as cost_figures
from study.labels import HMMC
from study.suites import arms

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def found():
    return read_benchmarks(RESULTS / "benchmarks")


@pytest.fixture
def steps(found):
    return measured_steps(found["steps"])


@pytest.fixture(scope="module")
def bench():
    return read_counted(RESULTS / "costs" / "vits14-minilm.json")


@pytest.fixture(scope="module")
def paper():
    return read_counted(RESULTS / "costs" / "ViT-B-32.json")


def test_an_absent_or_broken_record_is_named_in_one_line(tmp_path):
    with pytest.raises(StudyError, match="make bench"):
        read_benchmarks(tmp_path)
    (tmp_path / "cpu-steps.json").write_text("[]")
    for message, read in (
        ("cpu-steps", lambda: read_benchmarks(tmp_path)),
        ("python -m study costs --out", lambda: read_counted(tmp_path / "absent.json")),
        ("holds no plan", lambda: paper_scale(tmp_path / "absent.json")),
        ("holds no tally", lambda: read_measured(tmp_path / "absent.json", "rows", "tally")),
    ):
        with pytest.raises(StudyError, match=message):
            read()


def test_every_cost_is_told_in_percent_of_full_fine_tunings(paper, steps):
    gpu = measured_steps(read_benchmarks(RESULTS / "benchmarks", "cuda")["steps"])
    table = share_of_full(paper, steps, gpu)
    assert (table.loc["full"] == 100).all() and list(table.index) == list(paper.index)
    ours, full = paper.loc["mrs-adapter"], paper.loc["full"]
    of = table.loc["mrs-adapter"]
    assert of["file"] == pytest.approx(100 * ours["stored_bytes"] / full["stored_bytes"])
    assert of["computation"] == pytest.approx(100 * ours["step_flops"] / full["step_flops"])
    held = memory(paper, 16).sum(axis=1)
    assert of["memory, 16 pairs"] == pytest.approx(100 * held["mrs-adapter"] / held["full"])
    for name, seconds in (("two cores", steps["step"]), ("H100", gpu["as timed"])):
        ratio = seconds["mrs-adapter"] / seconds["full"]
        assert of[f"seconds, {name}"] == pytest.approx(100 * ratio)
    assert pd.isna(table.loc["vpt", "seconds, H100"]), "not timed there"
    beside = on_a_gpu(gpu).loc["mrs-adapter"]  # one value for the one ratio
    assert 100 * beside["seconds"] == pytest.approx(of["seconds, H100"])
    joules = gpu["joules_a_step"] / gpu["step"] * gpu["as timed"]
    assert beside["joules"] == pytest.approx(joules["mrs-adapter"] / joules["full"])


def test_other_code_is_told_by_what_it_took_over_the_studys(found):
    rows = beside_other_code(found)
    other = copy.deepcopy(found)
    other["others"]["rows"]["ratios"]["peft, lora over lora"] = 9.0
    other["epochs-ViT-B-32"]["rows"]["research style over bf16"] = 8.0
    again = beside_other_code(other)
    changed = {name: again[name] for name in rows if again[name] != rows[name]}
    assert changed == {"peft, a step, LoRA": 9.0, "research code, an epoch, ViT-B/32": 8.0}


def test_a_target_stands_beside_both_machines_in_words(found, bench, paper):
    gpu = read_benchmarks(RESULTS / "benchmarks", "cuda")
    table = targets_in_words(against_targets(found, bench), against_targets(gpu, paper))
    of = table.set_index("Target")
    assert of.loc["a step with MRS adapter, over full fine-tuning", "H100"] == "0.958: not met"
    assert of.loc["a step with MRS adapter, over full fine-tuning", "Two cores"] == "-"
    assert of.loc["an epoch of research code, over one here", "Bound"] == "at least 3"
    assert set(table["Two cores"].str.split(": ").str[-1]) == {"met", "not met", "-"}


def test_a_verdict_turns_with_what_was_measured(found, bench):
    def verdicts(of):
        return against_targets(of, bench).set_index("what")["met"]

    assert verdicts(found).isna().sum() == 3, "what takes a GPU waits for one"
    slow, fast = copy.deepcopy(found), copy.deepcopy(found)
    for of, value in ((slow, 1.1), (fast, 1e3)):
        of["epochs"]["rows"]["research style over bf16"] = value
        of["epochs"]["rows"]["loading share"] = 1 / value
    names = ["an epoch of research code, over one here", "share of an epoch that loading takes"]
    assert not verdicts(slow)[names].any() and verdicts(fast)[names].all()


def test_a_gpus_targets_are_taken_from_256_pairs_on_a_gpu(found, bench):
    other = copy.deepcopy(found)
    other["steps"]["environment"]["device"] = "cuda"
    assert against_targets(other, bench)["met"].isna().sum() == 3, "another batch"
    other["steps"]["settings"]["batch"] = 256
    rows = against_targets(other, bench).set_index("what")["measured"]
    assert rows.notna().all()
    seconds = measured_steps(found["steps"])["as timed"]  # as the chapter prints it
    of_full = rows["a step with MRS adapter, over full fine-tuning"]
    assert of_full == pytest.approx(seconds["mrs-adapter"] / seconds["full"])
    flops = bench.loc["mrs-adapter", "step_flops"] * 256 / seconds["mrs-adapter"]
    rate = other["rate"]["rows"]["bfloat16"]["flops_a_second"]
    assert rows["share of the matrix-product rate, ViT-B/32, PETL"] == pytest.approx(flops / rate)


def test_a_gpu_is_held_to_what_was_measured_on_it(paper):
    gpu = read_benchmarks(RESULTS / "benchmarks", "cuda")
    assert gpu["steps"]["environment"]["device"] == "cuda"
    rows = against_targets(gpu, paper).set_index("what")["measured"]
    steps = measured_steps(gpu["steps"])
    ours, full = steps.loc["mrs-adapter"], steps.loc["full"]
    its_memory = rows["its peak memory, over full fine-tuning"]
    assert its_memory == pytest.approx(ours["peak_bytes"] / full["peak_bytes"])
    assert rows["such a step with ViT-B/32, over the limit"] == ours["step over limit"]
    assert pd.isna(rows["a step with MRS adapter and InfoNCE, over the limit"]), "another encoder"
    assert pd.isna(rows["share of an epoch that loading takes"]), "not measured there"


def test_memory_is_the_sum_of_its_parts(paper):
    held, of = memory(paper, 10), paper.loc["full"]
    whole = 4 * of["base"] + 12 * of["total"] + 10 * of["activation_bytes"]
    assert held.loc["full"].sum() == whole
    assert held.loc["mrs-adapter", "weights"] == 4 * (of["base"] + 161_088)
    assert held.loc["linear-probe", "weights"] == 4 * of["base"], "heads are the base's"


def test_counted_and_measured_are_both_relative_to_full(steps, bench):
    both = counted_beside_measured(bench, steps)
    assert tuple(both.loc["full"]) == (1, 1, 1)
    steps.loc["lora", "step"] *= 2
    again = counted_beside_measured(bench, steps)
    assert again.loc["lora", "apart"] == pytest.approx(2 * both.loc["lora", "apart"])


def test_a_machine_that_slows_down_between_two_methods_changes_no_comparison(found, bench):
    names = {"step", "limit", "one view"}
    for slowed in ("full", "mrs-adapter", "lora"):
        record = copy.deepcopy(found["steps"])
        rows = [row for row in record["rows"] if row["label"] == slowed]
        assert rows
        for row in rows:
            row["joules_a_step"] *= 1.4
            for name in names & set(row):
                row[name] = {key: 1.4 * value for key, value in row[name].items()}
        before, after = (measured_steps(of) for of in (found["steps"], record))
        for column in ("step", "joules_a_step"):
            shares = [of[column] / of.loc["dora", column] for of in (before, after)]
            pd.testing.assert_series_equal(*shares, rtol=1e-9)


def test_a_step_without_a_limit_beside_it_is_not_set_beside_others(found):
    record = copy.deepcopy(found["steps"])
    one_view = ("mrs-adapter", "infonce")
    record["rows"] = [r for r in record["rows"] if (r["label"], r["objective"]) != one_view]
    steps = measured_steps(record)
    assert pd.isna(steps.loc["mrs-adapter, hmmc", "step"]) and steps["step"].isna().sum() == 1
    assert steps["as timed"].notna().all()
    for row in record["rows"]:
        row.pop("limit", None)
    assert measured_steps(record)["step"].isna().all()


def test_two_views_are_told_by_what_they_took_beside_one(steps):
    ratio = steps.loc["mrs-adapter, hmmc", "step"] / steps.loc["mrs-adapter", "step"]
    assert ratio == pytest.approx(steps.loc["mrs-adapter, hmmc", "step over one view"], rel=0.01)
    limits = steps["limit"].drop("mrs-adapter, hmmc")
    assert limits.to_numpy() == pytest.approx(limits.median())


def test_what_replaces_the_base_never_pays_from_anywhere(paper, steps):
    table = break_even(paper, steps, Use(tasks=1, updates=1, users=1))
    assert pd.isna(table.loc["full", "pays from"]) and table.loc["full", "training"] == 1
    assert table.loc["full, hinge", "stored"] == table.loc["full", "stored"], "any objective"
    assert table.loc["mrs-adapter", "pays from"] == 2
    adapter, full = table.loc["mrs-adapter", "stored"], table.loc["full", "stored"]
    assert adapter > full, "one task: the base too"


def test_what_replaces_the_base_ships_it_anew_each_time(paper, steps):
    table = break_even(paper, steps, Use(tasks=2, updates=3, users=5))
    base, own = 4 * paper.loc["full", "base"], paper.loc["mrs-adapter", "stored_bytes"]
    told = table[["stored", "sent"]].T
    assert told["full"].tolist() == [2 * base, 5 * 6 * base]
    assert told["mrs-adapter"].tolist() == [base + 2 * own, 5 * (base + 6 * own)]


def test_energy_grows_with_the_pairs_and_the_grid(steps):
    once, twice = energy(steps, 100), energy(steps, 200)
    assert (twice["watt-hours"] / once["watt-hours"]).round(6).eq(2).all()
    clean = energy(steps, 100, Power(grams_a_kwh=0))
    assert (clean["grams of CO2"] == 0).all()


def test_a_record_names_its_machine_and_no_place_on_it(found):
    for record in found.values():
        assert record["environment"]["device_name"] and record["environment"]["commit"]
        assert "/work" not in json.dumps(record) and "/home" not in json.dumps(record)


def test_every_cost_figure_can_be_drawn_and_says_what_it_shows(paper, found, steps):
    drawn = [
        cost_figures.memory_by_batch(paper, "Memory"),
        cost_figures.over({"a step": steps["step over limit"]}, "over the limit", 1.0, "limit"),
        cost_figures.operators(found["profile"]),
        cost_figures.growth(found["growth"]),
        cost_figures.bars({"a": 1.0, "b": 2.0}, "times"),
    ]
    for figure in drawn:
        assert len(figure.get_label().split()) > 3
        assert figure.axes[0].get_xlabel()


def test_the_main_methods_stand_side_by_side_in_every_cost(paper):
    names = list(cost_figures.MAIN)
    shares = pd.DataFrame({"file": 0.123, "seconds": 70.4}, index=names)
    shares.loc["mrs-adapter, hmmc", "seconds"] = 140.6
    figure = cost_figures.saved(shares, "Saved")
    axis = figure.axes[0]
    told = [text.get_text() for text in axis.texts]
    assert told.count("0.1") == len(names) and {"file", "seconds", "70", "141"} < {*told}
    assert "adapter, HMMC: file 0.1, seconds 141" in figure.get_label()
    assert axis.get_title(loc="left") == "Saved" and "full fine-tuning" in axis.get_xlabel()
    colors = [bar.get_facecolor() for bar in axis.patches if bar.get_width() == 140.6]
    assert colors == [to_rgba(HMMC)]
    held = memory(paper, 16).sum(axis=1)
    share = f"{100 * held['mrs-adapter'] / held['full']:.0f} at 16"
    assert f"InfoNCE 28 at 4, {share}" in cost_figures.memory_by_batch(paper, "").get_label()


def test_the_hours_at_paper_scale_are_the_counted_work_over_the_rate(tmp_path):
    rows = [
        {"suite": "compare", "data": "ucm", "runs": 3, "teraflops": 36_000.0},
        {"suite": "compare", "data": "ucm", "runs": 1, "teraflops": None},
        {"suite": "benchmark", "data": "ucm", "runs": 2, "teraflops": 72_000.0},
    ]
    (tmp_path / "paper.json").write_text(json.dumps({"rows": rows}))
    one, other = paper_scale(tmp_path / "paper.json", rates=(10,)).to_dict("records")
    assert (one["runs"], one["hours at 10 TFLOP/s"], one["exaflops"]) == (4, 1.0, 0.036)
    assert other["hours at 10 TFLOP/s"] == 2.0
    committed = paper_scale(RESULTS / "plans" / "paper.json")
    for suite in ("compare", "benchmark"):
        runs = sum(arm.count() for arm in arms(suite, "paper"))
        assert committed.loc[committed["suite"] == suite, "runs"].sum() == runs
