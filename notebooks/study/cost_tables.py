"""The chapter on costs as tables: counted beside measured, targets, when it pays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.errors import StudyError
from rsstudy.experiments.cost import Power, Use, carbon, pays_from

Record = Mapping[str, Any]
PAPERS_BATCH = 16
# What the step's speed is held to: words, bound, whether it is the most allowed, device it is for.
TARGETS = {
    "step": ("a step with MRS adapter and InfoNCE, over the limit", 1.15, True, "any"),
    "paper step": ("such a step with ViT-B/32, over the limit", 1.15, True, "any"),
    "hmmc": ("a step with HMMC (two views), over one view", 2.1, True, "any"),
    "full time": ("a step with MRS adapter, over full fine-tuning", 0.75, True, "GPU, batch 256"),
    "full memory": ("its peak memory, over full fine-tuning", 0.6, True, "GPU, batch 256"),
    "epoch": ("an epoch of research code, over one here", 3.0, False, "any"),
    "paper epoch": ("such an epoch with ViT-B/32", 3.0, False, "any"),
    "loading": ("share of an epoch that loading takes", 0.05, True, "any"),
    "ranking": ("a loop of argsorts at 1,000 x 5,000, over ranking here", 20.0, False, "any"),
    "rate": ("share of the matrix-product rate, ViT-B/32, PETL", 0.45, False, "H100"),
}


def read_measured(path: Path, entry: str, what: str) -> dict[str, Any]:
    """A JSON file of measurements that has an entry; ``what`` it should hold is for the message.

    Raises:
        StudyError: it is absent or something else.
    """
    try:
        found = dict(json.loads(Path(path).read_text("utf-8")))
        found[entry]
        return found
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise StudyError(f"{path} holds no {what} ({problem})") from None


def read_benchmarks(folder: Path, device: str = "cpu") -> dict[str, Any]:
    """The records of ``make bench`` on a kind of device, by name: steps, epochs, others, ...

    Raises:
        StudyError: there is none, or one cannot be read.
    """
    files = sorted(Path(folder).glob(f"{device}-*.json"))
    if not files:
        raise StudyError(f"no benchmark of {device} in {folder}: `make bench` measures them")
    records = [read_measured(path, "benchmark", "record of a benchmark") for path in files]
    return {record["benchmark"]: record for record in records}


def read_counted(path: Path) -> pd.DataFrame:
    """The rows of a file that ``python -m study costs --out`` wrote, by name.

    Raises:
        StudyError: it is absent or something else.
    """
    what = "counted costs: `python -m study costs --out` writes them"
    rows = pd.DataFrame(read_measured(path, "rows", what)["rows"])
    return rows.set_index(_names(rows))


def measured_steps(record: Record) -> pd.DataFrame:
    """The rows of the benchmark ``steps`` by name: medians, at one speed of the machine.

    Each method is timed in a process of its own, and a machine's speed drifts between them. So the
    seconds and joules of its step are scaled to where the limit, timed in turns with it, takes what
    it takes in the middle of all methods. A step of two views has a limit of its own: it is scaled
    by its one view, also timed in turns, to that method's step. They are NaN where there is neither
    to scale by. Column ``as timed`` keeps a step's seconds as they were, for rates; those of
    embedding, which are told beside the base's of the same process, are as timed, too.
    """
    rows = pd.json_normalize(record["rows"], sep=" ")
    rows.columns = [column.removesuffix(" seconds") for column in rows.columns]
    rows = rows.set_index(_names(rows))
    two_views = rows.index[rows.get("one view", pd.Series(index=rows.index)).notna()]
    limits = rows.get("limit", pd.Series(index=rows.index, dtype=float)).drop(two_views)
    scale = (limits.median() / limits).reindex(rows.index)
    for name in two_views:
        own = rows.loc[name, "label"]
        if own in limits.index:
            scale[name] = scale[own] * rows.loc[own, "step"] / rows.loc[name, "one view"]
    timed = [c for c in rows.columns if c.split()[0] in ("step", "limit") and "over" not in c]
    timed += [c for c in rows.columns if c.startswith("one view") or c == "joules_a_step"]
    scaled = {c: rows[c] * scale for c in timed}
    return rows.assign(**scaled, **{"as timed": rows["step"]})


def _names(rows: pd.DataFrame) -> pd.Index:
    """Label and, where it is not InfoNCE, the objective."""
    named = [
        label if objective == "infonce" else f"{label}, {objective}"
        for label, objective in zip(rows["label"], rows["objective"], strict=True)
    ]
    return pd.Index(named, name="name")


def memory(counted: pd.DataFrame, batch: int) -> pd.DataFrame:
    """Counted bytes at the peak of a step: weights, gradients, optimizer, kept for backward; fp32.

    A temporary within an operation is not counted.
    """
    return pd.DataFrame(
        {
            "weights": 4 * (counted["base"] + counted["new"]),
            "gradients": counted["gradient_bytes"],
            "optimizer": counted["optimizer_bytes"],
            "kept for backward": batch * counted["activation_bytes"],
        }
    )


def counted_beside_measured(counted: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Each method over full fine-tuning: FLOPs of a step as counted, seconds as measured.

    Returns:
        columns counted, measured, apart (measured over counted); rows by name, as in ``measured``.
    """
    both = [name for name in measured.index if name in counted.index]
    flops = counted.loc[both, "step_flops"] / counted.loc["full", "step_flops"]
    seconds = measured.loc[both, "step"] / measured.loc["full", "step"]
    return pd.DataFrame({"counted": flops, "measured": seconds, "apart": seconds / flops})


def share_of_full(counted: pd.DataFrame, cpu: pd.DataFrame, gpu: pd.DataFrame) -> pd.DataFrame:
    """What each method takes of what full fine-tuning takes, percent; NaN where nothing was timed.

    Args:
        counted: of ViT-B/32, for file, memory (see ``memory``) and computation of a step.
        cpu, gpu: from ``measured_steps``. On a GPU seconds are told as timed: its limit is no
            steadier than its steps.
    """
    batches = {f"memory, {n} pairs": memory(counted, n).sum(axis=1) for n in (PAPERS_BATCH, 256)}
    seconds = {"seconds, two cores": cpu["step"], "seconds, H100": gpu["as timed"]}
    of = {"file": counted["stored_bytes"], **batches, "computation": counted["step_flops"]}
    table = pd.DataFrame(of | {name: s.reindex(counted.index) for name, s in seconds.items()})
    return 100 * table / table.loc["full"]


def on_a_gpu(gpu: pd.DataFrame) -> pd.DataFrame:
    """Seconds, memory and joules of a step, as timed, of full fine-tuning's; without its row."""
    joules = gpu["joules_a_step"] / gpu["step"] * gpu["as timed"]
    table = pd.DataFrame(
        {"seconds": gpu["as timed"], "memory": gpu["peak_bytes"], "joules": joules}
    )
    return (table / table.loc["full"]).drop(index=["full", "zero-shot"])


def beside_other_code(found: Mapping[str, Record]) -> dict[str, float]:
    """How many times as long other code takes on two cores as the study's, by what is done."""
    steps = found["others"]["rows"]["ratios"]
    epochs, large = (found[name]["rows"] for name in ("epochs", "epochs-ViT-B-32"))
    ranked = found["ranking"]["rows"]
    return {
        "open_clip, a step, full fine-tuning": steps["open_clip, full over full"],
        "the same, captions padded here, too": steps["open_clip, full over full, padded"],
        "peft, a step, LoRA": steps["peft, lora over lora"],
        "peft, captions padded here, too": steps["peft, lora over lora, padded"],
        "research code, a step, HMMC": steps["research style, hmmc over mrs-adapter, hmmc"],
        "research code, an epoch, ViT-B/32": large["research style over bf16"],
        "research code, an epoch, small towers": epochs["research style over bf16"],
        "the same in fp32 here, too": epochs["research style over fp32"],
        "ranking by a loop of argsorts": ranked["argsort loop over ours"],
        "ranking by the k best, CLIP_benchmark": ranked["k best over ours"],
    }


def against_targets(found: Mapping[str, Record], counted: pd.DataFrame) -> pd.DataFrame:
    """Each target with what was measured on this device; NaN where nothing was.

    Args:
        found: from ``read_benchmarks``. Those of a GPU take ``steps`` of 256 pairs on ViT-B/32.
        counted: of the encoder of the benchmark ``steps``.

    Returns:
        columns what, bound, most (else least), where, measured, met (None where not measured).
    """
    steps = measured_steps(found["steps"])
    device = found["steps"]["environment"]["device"]
    measured = {
        "step": steps.loc["mrs-adapter", "step over limit"],
        "hmmc": steps.loc["mrs-adapter, hmmc", "step over one view"],
    }
    if found["steps"]["settings"]["encoder"].partition("@")[0] == "ViT-B-32":
        measured["paper step"] = measured.pop("step")
    for key, benchmark, row in (
        ("paper step", "others", "mrs-adapter over limit"),
        ("epoch", "epochs", "research style over bf16"),
        ("paper epoch", "epochs-ViT-B-32", "research style over bf16"),
        ("loading", "epochs", "loading share"),
        ("ranking", "ranking", "argsort loop over ours"),
    ):
        if benchmark in found:
            rows_of = found[benchmark]["rows"]
            measured[key] = rows_of.get("ratios", rows_of)[row]
    if device == "cuda" and found["steps"]["settings"]["batch"] == 256:
        ours, full = steps.loc["mrs-adapter"], steps.loc["full"]
        measured["full time"] = ours["as timed"] / full["as timed"]
        measured["full memory"] = ours["peak_bytes"] / full["peak_bytes"]
        measured["rate"] = share_of_rate(
            counted.loc["mrs-adapter"], 256, ours["as timed"], found["rate"]
        )
    table = pd.DataFrame(TARGETS.values(), columns=["what", "bound", "most", "where"])
    values = [measured.get(key) for key in TARGETS]
    met = [
        None if value is None else bool(value <= bound if most else value >= bound)
        for value, bound, most in zip(values, table["bound"], table["most"], strict=True)
    ]
    return table.assign(measured=values, met=pd.Series(met, dtype=object))


def targets_in_words(cpu: pd.DataFrame, gpu: pd.DataFrame) -> pd.DataFrame:
    """Each target and what was measured on two cores and on a GPU, with its verdict, in words.

    Args:
        cpu, gpu: from ``against_targets``.
    """

    def told(found: pd.DataFrame) -> list[str]:
        words = {True: "met", False: "not met"}
        pairs = zip(found["measured"], found["met"], strict=True)
        return ["-" if met is None else f"{value:.3g}: {words[met]}" for value, met in pairs]

    bounds = zip(cpu["most"], cpu["bound"], strict=True)
    least = [f"at {'most' if most else 'least'} {bound:g}" for most, bound in bounds]
    columns = {"Target": cpu["what"], "Bound": least, "Two cores": told(cpu), "H100": told(gpu)}
    return pd.DataFrame(columns)


def share_of_rate(counted: pd.Series, pairs: int, seconds: float, rate: Record) -> float:
    """What share of the machine's bf16 matrix products a training step reaches.

    Args:
        counted: a method's row of ``read_counted``, of the encoder that was measured.
        rate: the benchmark ``rate``.
    """
    return counted["step_flops"] * pairs / seconds / rate["rows"]["bfloat16"]["flops_a_second"]


def energy(steps: pd.DataFrame, pairs: int, power: Power | None = None) -> pd.DataFrame:
    """Watt-hours at the machine and grams of CO2 equivalent for some pairs shown, by name."""
    joules = steps["joules_a_step"] / steps["batch"] * pairs
    return pd.DataFrame(
        {"watt-hours": joules / 3600, "grams of CO2": [carbon(j, power) for j in joules]},
        index=steps.index,
    )


def break_even(counted: pd.DataFrame, steps: pd.DataFrame, use: Use) -> pd.DataFrame:
    """What some methods take in all, over the tasks, updates and users of a reader's use.

    Args:
        counted: of the encoder that is meant.
        steps: measured; only each method's seconds over full fine-tuning's are taken from it.

    Returns:
        rows by name; columns stored (bytes, where all tasks are served), sent (bytes, to all users
        over all updates), training (relative to full fine-tuning, which is 1), and from how many
        tasks on less is stored than by full fine-tuning (None: never).
    """
    whole, rows = counted.loc["full"], {}
    for name in steps.index.intersection(counted.index[counted["total"] > 0], sort=False):
        of, share = counted.loc[name], steps.loc[name, "step"] / steps.loc["full", "step"]
        own, base = int(of["stored_bytes"]), 4 * int(of["base"])
        replaces = of["total"] == of["base"]
        kept = 0 if replaces else base  # everyone has the frozen base once
        rows[name] = {
            "stored": use.tasks * own + kept,
            "sent": use.users * (use.tasks * use.updates * own + kept),
            "training": share,
            "pays from": None if replaces else pays_from(base, own, 4 * int(whole["base"])),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def paper_scale(path: Path, rates: Sequence[float] = (5.0, 20.0, 100.0)) -> pd.DataFrame:
    """How long the suites take at paper scale on a device that sustains a rate, runs in sequence.

    Args:
        path: what ``python -m study.speed paper-scale`` wrote.
        rates: TFLOP/s.

    Returns:
        a row a suite and set: suite, set, runs, exaflops (10^18), and hours at each rate.

    Raises:
        StudyError: it is absent or something else.
    """
    what = "plan: notebooks/study/speed/paper_scale.py writes it"
    rows = pd.DataFrame(read_measured(path, "rows", what)["rows"])
    whole = rows.groupby(["suite", "data"], sort=False)[["runs", "teraflops"]].sum()
    found = whole.rename_axis(["suite", "set"]).reset_index()
    teraflops = found.pop("teraflops")
    found["exaflops"] = teraflops / 1e6
    for rate in rates:
        found[f"hours at {rate:g} TFLOP/s"] = teraflops / rate / 3600
    return found
