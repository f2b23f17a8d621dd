"""The commands of ``python -m study``: suites, the queue, and what is drawn from records."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

from rsstudy import __version__
from rsstudy.errors import StudyError
from rsstudy.experiments.cli import (
    SCALES,
    _joined,
    _print,
    _print_facts,
    _rounded,
    as_json,
    data_root,
    device,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """What this book measures: its suites of runs, the plan's queue, its records and tables."""


@cli.command("near", short_help="Count near-duplicate pictures.")
@click.argument("first")
@click.argument("second", required=False)
@data_root
@as_json
def near_command(first: str, second: str | None, data_root: Path | None, as_json: bool) -> None:
    """Count near-duplicate pictures within one set, across its splits, or between two sets.

    A near-duplicate is the same picture encoded anew, rescaled, turned or mirrored.
    The pairs are named in the table; the JSON has counts alone. A control says which share of
    altered copies of 200 pictures is found.
    """
    from rsstudy.data.sources import load
    from rsstudy.experiments.environment import environment
    from rsstudy.experiments.record import readable
    from rsstudy.experiments.splits import data_label
    from study.near import PROPOSED, SAME, by_splits, near_duplicates, sensitivity, thumbnails

    one, other = load(first, data_root), load(second, data_root) if second else None
    near = near_duplicates(thumbnails(one), thumbnails(other) if other else None)
    sets = [(first, one)] + ([(str(second), other)] if other else [])
    labels = [data_label(name, whole) for name, whole in sets]
    if len(set(labels)) < len(labels):
        raise StudyError(f"both sets are called {labels[0]}: name one of them, or rename a folder")
    facts = {
        "command": f"python -m study near {' '.join(labels)}",
        "pictures": {label: len(whole) for label, (_, whole) in zip(labels, sets, strict=True)},
        "pairs_compared": near.compared,
        "pairs_proposed": sum(near.peaks),
        "proposed_from_correlation": PROPOSED,
        "peaks_of_proposed": list(near.peaks),
        "near_duplicate_from_peak": SAME,
        "near_duplicate_pairs": len(near.pairs),
        "near_duplicate_peaks": [round(pair.peak, 3) for pair in near.pairs],
        "by_splits": by_splits(near, one, other),
        "altered_copies_found": sensitivity(one),
    }
    if as_json:
        import torch

        digests = {
            label: whole.manifest_digest() for label, (_, whole) in zip(labels, sets, strict=True)
        }
        facts |= {
            "manifest_digests": digests,
            "rsstudy": __version__,
            "environment": environment(torch.device("cpu")),
        }
        click.echo(readable(facts), nl=False)
        return
    ends = other or one
    facts["near_duplicates"] = [
        f"{one.splits[p.first]}/{one.filenames[p.first]} = "
        f"{ends.splits[p.second]}/{ends.filenames[p.second]} ({p.peak:.2f})"
        for p in near.pairs
    ]
    _print_facts(facts)


@cli.command("similarity", short_help="Measure how alike pictures and captions are.")
@click.argument("names", nargs=-1, required=True, metavar="NAME_OR_PATH...")
@click.option(
    "--encoder", required=True, help="Under which encoder; none: pixels and words, nothing learned."
)
@click.option(
    "--towers", is_flag=True, help="Each tower's features, before heads that nobody trained."
)
@click.option("--image-size", type=int, help="Pixels a side, where not the encoder's own.")
@click.option("--split", "splits", multiple=True, help="Draw from this split. Repeatable.")
@click.option(
    "--pictures",
    type=int,
    default=1000,
    show_default=True,
    help="How many are drawn of each set, with one caption each.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--json",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write everything here; - for the terminal.",
)
@data_root
@device
def similarity_command(
    names: tuple[str, ...],
    encoder: str,
    towers: bool,
    image_size: int | None,
    splits: tuple[str, ...],
    pictures: int,
    seed: int,
    file: Path | None,
    data_root: Path | None,
    device: str,
) -> None:
    """Measure how alike the pictures of sets are, and their captions.

    Only sets measured under one encoder, with as many pictures, can be compared: so several can be
    named, and lie on one map.
    """
    from rsstudy.experiments.record import readable
    from rsstudy.files import whole_file
    from study.similarity import compare

    found = compare(names, encoder, towers, image_size, splits, pictures, seed, data_root, device)
    if file is not None and str(file) == "-":
        click.echo(readable(found), nl=False)
        return
    if file is not None:
        with whole_file(file) as temporary:
            temporary.write_text(readable(found), encoding="utf-8")
    rows = [
        {
            "set": name,
            "modality": modality,
            "measure": measure.replace("_", " "),
            "value": round(number["value"], 3),
            "standard error": round(number["standard_error"], 3),
        }
        for name, measured in found["sets"].items()
        for modality in ("image", "text")
        for measure, number in measured[modality]["headline"].items()
    ]
    _print(rows, as_json=False)


@cli.command("suite", short_help="Do a grid of runs, or part of it.")
@click.argument("name", required=False)
@click.option("--scale", type=SCALES, default="smoke", show_default=True)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder for records and adapters.",
)
@click.option("--data", multiple=True, help="Only on this set of the suite. Repeatable.")
@click.option(
    "--method",
    multiple=True,
    help="Only with this method, named as in the table printed. Repeatable.",
)
@click.option("--objective", multiple=True, help="Only with this objective. Repeatable.")
@click.option("--seeds", type=click.IntRange(1), help="Only the first so many seeds of each arm.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="How many runs at once: as many processes, a GPU each where there are GPUs.",
)
@click.option(
    "--launcher",
    type=click.Choice(["local", "slurm"]),
    help="Where the processes run: here, or as a SLURM array job. Needs the extra `cluster`.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="List the arms, the time they take on this machine and what is missing; run nothing.",
)
@click.option(
    "--teraflops",
    type=click.FloatRange(0, min_open=True),
    help="With --dry-run: for a device that sustains so many TFLOP/s, in place of timing this one.",
)
@click.option(
    "--submit",
    multiple=True,
    metavar="NAME=VALUE",
    help="For SLURM, as submitit names it: slurm_partition=gpu, timeout_min=720. Repeatable.",
)
@data_root
@device
@as_json
def suite_command(
    name: str | None,
    scale: Any,
    runs: Path,
    data: tuple[str, ...],
    method: tuple[str, ...],
    objective: tuple[str, ...],
    seeds: int | None,
    jobs: int | None,
    launcher: str | None,
    dry_run: bool,
    teraflops: float | None,
    submit: tuple[str, ...],
    data_root: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Do every run of a suite whose record is not there yet, and print the scores.

    Without NAME the suites are listed.

    Where a scale searches a learning rate, each is tried with the first seed, the choice is made
    on validation and written to RUNS/choices, and only then is the test split opened.

    Several processes may do one suite at once, with --jobs or by the same command given elsewhere
    on the same folder: no run is done twice, and one that a dead process left is taken up.
    """
    from rsstudy.experiments.launch import beside, submit_array
    from rsstudy.experiments.sweep import shown_scores
    from rsstudy.training.parallel import started_by_torchrun
    from rsstudy.training.recipe import OF_SCALE
    from study.suites import SUITES, arms, count_runs, run_suite

    def say(text: str) -> None:
        click.echo(text, err=True)

    if name is None:
        rows = [
            {"name": n, "what": what, **{f"runs_{of}": count_runs(n, of) for of in OF_SCALE}}
            for n, (_, what) in SUITES.items()
        ]
        _print(rows, as_json)
        return
    if runs.exists() and not runs.is_dir():
        raise StudyError(f"{runs} is a file: give a folder for --runs")
    if dry_run:
        _print_plan(
            name, scale, runs, data, method, objective, seeds, data_root, device, teraflops, as_json
        )
        return
    if teraflops is not None:
        raise StudyError("--teraflops is for --dry-run")
    if started_by_torchrun():
        raise StudyError("torchrun is for one run on several GPUs: give a suite --jobs instead")
    if submit and launcher != "slurm":
        raise StudyError("--submit is for --launcher slurm")
    work = partial(
        run_suite,
        name,
        scale,
        runs.resolve() if launcher == "slurm" else runs,
        data_root,
        device,
        data=data,
        methods=method,
        objectives=objective,
        seeds=seeds,
    )
    quiet = partial(work, progress=False)
    if launcher == "slurm":
        options = dict(_named_value(text) for text in submit)
        submit_array(quiet, name, jobs or 4, runs, device, options, say)
        return
    if launcher == "local" and jobs is None:
        raise StudyError("--launcher local needs --jobs, how many runs at once")
    with beside(quiet, jobs, runs, device, say) if jobs and jobs > 1 else nullcontext():
        records = work(say=say)
    if as_json:
        parts = ("id", "config", "status", "validation_scores", "scores")
        click.echo(json.dumps([{k: r[k] for k in parts if k in r} for r in records]))
        return
    several = len({r["config"]["data"] for r in records}) > 1
    batches = len({r["config"]["recipe"]["batch"] for r in records}) > 1
    encoders = len({r["config"]["encoder"] for r in records}) > 1
    chained = any("after" in r["config"] for r in records)
    tested = all(arm.test for arm in arms(name, scale))
    rows = [
        {
            **({"data": r["config"]["data"]} if several else {}),
            **({"after": r["config"].get("after", {}).get("data", "-")} if chained else {}),
            "method": r["label"],
            **({"encoder": r["config"]["encoder"]} if encoders else {}),
            "objective": r.get("objective_label", r["config"]["objective"]),
            **({"batch": r["config"]["recipe"]["batch"]} if batches else {}),
            "seed": r["config"]["seed"],
            "trained": r["trained_parameters"]["total"],
            **_rounded(shown_scores(r, tested)),
        }
        for r in records
    ]
    _print([_joined(row) for row in rows], as_json=False)
    if not tested:
        click.echo("\nscores on validation: this suite leaves the test split sealed")


@cli.command("queue", short_help="Work on the decisive record for some hours.")
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    required=True,
    help="How long: what is started ends in it, or leaves a small checkpoint.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many runs at once, one thread each; several share a GPU.",
)
@click.option("--suite", "name", default="decisive", show_default=True)
@click.option("--scale", type=SCALES, default="bench", show_default=True)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs/queue"),
    show_default=True,
    help="Folder for this queue's adapters and checkpoints alone; it may be new each time.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of the record: what is in it is not done again, and "
    "what is done goes there, ready to be committed.",
)
@data_root
@device
def queue_command(
    hours: float,
    jobs: int,
    name: str,
    scale: Any,
    runs: Path,
    results: Path,
    data_root: Path | None,
    device: str,
) -> None:
    """Take the next run of the plan (book/plan.md), and the next, until the time is over.

    Records go to RESULTS/runs, choices of learning rates to RESULTS/choices, checkpoints of what is
    not done to RESULTS/underway; the next call goes on from there, on this machine or another. The
    processes run only where nothing else wants the processor.
    """
    import time

    import torch

    from rsstudy.experiments.launch import beside
    from rsstudy.experiments.queue import Slot, yield_to_others
    from study.suites import run_suite

    def say(text: str) -> None:
        click.echo(text, err=True)

    runs, results = runs.resolve(), results.resolve()
    slot = Slot(time.monotonic() + 3600 * hours, results)
    slot.restore(runs)
    yield_to_others()
    torch.set_num_threads(1)
    work = partial(run_suite, name, scale, runs, data_root, device, slot=slot)
    quiet = partial(work, progress=False)
    try:
        with beside(quiet, jobs, runs, device, say, True) if jobs > 1 else nullcontext():
            work(say=say)
    finally:
        slot.publish(runs)
        slot.keep(runs)
    say(f"{len(slot.known())} runs of the new record lie in {results}: commit them")


@cli.command("runs", short_help="List every run on record, and write results/runs.csv.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of the committed record.",
)
def runs_command(results: Path) -> None:
    """Write RESULTS/runs.csv, one row a run, from the records in RESULTS/runs."""
    from rsstudy.experiments.record import write_runs_table

    if not results.is_dir():
        raise StudyError(f"{results} is no folder of results: name one with --results")
    click.echo(write_runs_table(results))


def _print_plan(
    name: str,
    scale: Any,
    runs: Path,
    data: tuple[str, ...],
    method: tuple[str, ...],
    objective: tuple[str, ...],
    seeds: int | None,
    data_root: Path | None,
    device: str,
    teraflops: float | None,
    as_json: bool,
) -> None:
    from rsstudy.experiments.plan import duration, plan
    from study.suites import rows_of

    rows = plan(
        rows_of(name, scale, data, method, objective, seeds),
        runs,
        data_root,
        device,
        progress=not as_json,
        rate=teraflops and 1e12 * teraflops,
    )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    _print(
        [
            {
                "data": row.data,
                "arm": row.name,
                "encoder": row.encoder,
                "runs": row.runs,
                "seeds done": row.done,
                "time left": "not counted" if row.seconds is None else duration(row.seconds),
            }
            for row in rows
        ],
        as_json=False,
    )
    count, whole = sum(row.runs for row in rows), duration(sum(row.seconds or 0 for row in rows))
    rate = (
        f"on a device that sustains {teraflops:g} TFLOP/s: FLOPs counted."
        if teraflops
        else "here: FLOPs counted, at the rate of a training step just timed (what else runs slows "
        "that)."
    )
    click.echo(f"\n{count} runs; {whole} left, one after the other {rate}")
    missing = dict.fromkeys(what for row in rows for what in row.missing)
    for what in missing:
        click.echo(f"missing here: {what}")
    if not missing:
        click.echo("nothing is missing here")


@cli.command("costs", short_help="Count what each method costs on an encoder.")
@click.option(
    "--encoder",
    default="ViT-B-32",
    show_default=True,
    help="Any encoder with blocks; its weights are not needed.",
)
@click.option("--image-size", type=int, help="Pixels a side.")
@click.option("--words", default=20, show_default=True, help="Tokens a caption.")
@click.option("--method", multiple=True, help="Only this one, or a preset of it. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a record of it here, too.")
@as_json
def costs_command(
    encoder: str,
    image_size: int | None,
    words: int,
    method: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Parameters, bytes and FLOPs of the benchmark's methods, counted without computing."""
    from rsstudy.devices import pick_device
    from rsstudy.experiments.environment import environment
    from rsstudy.experiments.record import readable
    from study.benchmark import counted_costs

    rows = counted_costs(encoder, image_size, words, method, progress=not as_json)
    if out is not None:
        from rsstudy.files import whole_file

        record = {
            "encoder": encoder,
            "image_size": image_size,
            "words": words,
            "environment": environment(pick_device("cpu")),
            "rows": rows,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as temporary:
            temporary.write_text(readable(record), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [
        {
            "name": row["label"] + (", " + row["objective"]) * (row["objective"] != "infonce"),
            "trained": row["total"],
            "file MB": round(row["stored_bytes"] / 1e6, 2),
            "Adam MB": round((row["gradient_bytes"] + row["optimizer_bytes"]) / 1e6, 2),
            "kept MB": round(row["activation_bytes"] / 1e6, 1),
            "picture": round(row["image_flops"] / 1e9, 2),
            "caption": round(row["caption_flops"] / 1e9, 2),
            "step": round(row["step_flops"] / 1e9, 2),
        }
        for row in rows
    ]
    _print(shown, as_json=False)
    click.echo(
        "Adam MB: gradients and both moments. kept MB: for the backward pass of one pair, fp32."
    )
    click.echo("picture, caption: GFLOP to encode one; step: of training on one pair.")


@cli.command("checks", short_help="Hold the sentences of the book to the records.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of records and of the paper's tables.",
)
@as_json
def checks_command(results: Path, as_json: bool) -> None:
    """Print every check of the prose with what the records say; see the module study.checks."""
    from study.checks import blocks, check
    from study.verdicts import Said

    done = check(blocks(results.resolve().parent), Said(results))
    rows = [
        {
            "page": f"{one.block.page.name}:{one.block.line}",
            "check": one.source,
            "records": one.said,
            "problem": "; ".join(one.problems),
        }
        for one in done
    ]
    _print(rows, as_json)
    if wrong := sum(bool(one.problems) for one in done):
        raise StudyError(f"{wrong} of {len(done)} checks fail: correct the sentences above them")


@cli.command("front-page", short_help="Draw the front page's picture from the records.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of records.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("book/answer.svg"),
    show_default=True,
    help="Where the picture is written.",
)
def front_page_command(results: Path, out: Path) -> None:
    """Draw the picture, and print its words: the alternative text that the front page gives it."""
    from study.front_page import write_picture

    click.echo(write_picture(results, out))


@cli.command("report", short_help="Make every table of the book from the records.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of records.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Folder for the tables, CSV.",
)
@as_json
def report_command(results: Path, out: Path, as_json: bool) -> None:
    """Make every table of the book anew from the committed records alone, with its provenance.

    Writes OUT/NAME.csv for each, and OUT/provenance.csv: the records that each was made from, with
    commit, machine and time.
    """
    from study.report import by_table, report

    rows = by_table(report(results, out)).round({"hours": 1})
    shown = rows[["chapter", "table", "what", "files", "runs", "hours"]]
    _print(shown.to_dict("records"), as_json)
    if not as_json:
        click.echo(f"\n{len(rows)} tables in {out}; provenance.csv there names every record.")


def _named_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise StudyError(f"--submit {text!r} is not NAME=VALUE")
    return name, value
