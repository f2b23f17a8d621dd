"""The chapter on costs as tables: counted beside measured, targets, when it pays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.errors import StudyError
from rsstudy.experiments.cost import Power, Use, carbon, pays_from, totals

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


def held_in_a_step(counted: pd.DataFrame, steps: pd.DataFrame, batch: int) -> pd.DataFrame:
    """What a training step holds beyond the model, as measured and as counted.

    Counted are gradients, moments and what is kept for the backward pass, in fp32.

    Args:
        counted: of the encoder that was measured.
        batch: of the benchmark ``steps``.

    Returns:
        a row a method: name, trained, file, moments, step and counted (MB), images a second (at the
        one speed of ``measured_steps``).
    """
    both = steps.loc[[name for name in steps.index if name in counted.index]]
    parts = memory(counted.loc[both.index], batch).drop(columns=["weights"])
    table = pd.DataFrame(
        {
            "trained": both["trained"],
            "file, MB": both["stored_bytes"] / 1e6,
            "moments, MB": both["optimizer_bytes"] / 1e6,
            "step, MB": both["above_model_bytes"] / 1e6,
            "counted, MB": parts.sum(axis=1) / 1e6,
            "images a second": both["batch"] / both["step"],
        }
    )
    return table.rename_axis("name").reset_index()


def abstract_claims(counted: pd.DataFrame, steps: pd.DataFrame, others: Record) -> pd.DataFrame:
    """What the abstract says of cost, and what is found: a row a number.

    Args:
        counted: of ViT-B/32.
        steps: measured on the bench encoder.
        others: the benchmark of that name, on ViT-B/32.
    """
    ours, full = counted.loc["mrs-adapter"], counted.loc["full"]
    peaks = pd.DataFrame({b: memory(counted, b).sum(axis=1) for b in (PAPERS_BATCH, 256)})
    saving, costing = (
        peaks.loc[name] / peaks.loc["full"] for name in ("mrs-adapter", "mrs-adapter, hmmc")
    )
    flops = counted["step_flops"] / full["step_flops"]
    seconds = steps["step"] / steps.loc["full", "step"]
    elsewhere = others["rows"]["ratios"]["mrs-adapter over full"]
    here, fp32, timed = "counted, ViT-B/32", "counted, ViT-B/32, fp32", "measured, bench encoder"
    there = f"measured, ViT-B/32, batch {others['settings']['batch']}"
    plain = ", full fine-tuning with InfoNCE"
    dearer = f"{flops['mrs-adapter, hmmc'] - 1:+.0%} of full fine-tuning's FLOPs a step"
    saved = "substantial savings in training cost (adapter with InfoNCE)"
    parts, bytes_ = (1 - ours[name] / full[name] for name in ("total", "stored_bytes"))
    rows = [
        ("0.16 M trained parameters", f"{ours['total']:,}", here),
        ("98.9 % fewer than full fine-tuning", f"{parts:.2%}", here),
        (saved, f"{1 - flops['mrs-adapter']:.0%} of a step's FLOPs", here),
        *(("", f"{1 - of:.0%} of the memory at batch {b}", fp32) for b, of in saving.items()),
        ("", f"{1 - seconds['mrs-adapter']:.0%} of a step's seconds", timed),
        ("", f"{1 - elsewhere:.0%} of a step's seconds", there),
        ("", f"{bytes_:.2%} of the file to store or send", here),
        ("the same with its objective, HMMC", dearer, here + plain),
        *(("", f"{of - 1:+.0%} of its memory at batch {b}", fp32) for b, of in costing.items()),
        ("", f"{seconds['mrs-adapter, hmmc'] - 1:+.0%} of its seconds a step", timed + plain),
    ]
    return pd.DataFrame(rows, columns=["the abstract", "found", "how"])


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
    """What some methods take in all for a reader's use, the rest as ``cost.totals`` says.

    Args:
        counted: of the encoder that is meant.
        steps: measured; only each method's seconds over full fine-tuning's are taken from it.

    Returns:
        rows by name; columns stored, sent (bytes), training (relative to full fine-tuning, which
        is 1), and from how many tasks on less is stored than by full fine-tuning (None: never).
    """
    whole, rows = counted.loc["full"], {}
    for name in steps.index.intersection(counted.index[counted["total"] > 0], sort=False):
        of, share = counted.loc[name], steps.loc[name, "step"] / steps.loc["full", "step"]
        own, base = int(of["stored_bytes"]), 4 * int(of["base"])
        replaces = of["total"] == of["base"]
        taken = totals(use, base, own, share, replaces)
        rows[name] = {
            "stored": taken["stored_bytes"],
            "sent": taken["sent_bytes"],
            "training": taken["train_seconds"] / (use.tasks * use.updates),
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
