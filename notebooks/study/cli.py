"""The commands of ``python -m study``: suites, the queue, and what is drawn from records."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

from rsstudy import __version__
from rsstudy.errors import StudyError
from rsstudy.experiments import options
from rsstudy.experiments.cli import SETTINGS
from rsstudy.experiments.options import DATA, ENCODER, METHOD, PATH, flag, option, repeated
from rsstudy.experiments.show import score_columns, show, show_facts, write_facts

say = partial(click.echo, err=True)


def suite_names() -> list[str]:
    """The suites' names, from the text of ``study.suites``: importing it takes seconds."""
    text = Path(__file__).with_name("suites.py").read_text("utf-8")
    return re.findall(r'^@_suite\("([\w-]+)"\)', text, re.M)


SUITE = options.Name("suite", suite_names)


@click.group(cls=options.Commands, context_settings=SETTINGS)
@click.version_option(__version__)
def cli() -> None:
    """What this book measures: its suites of runs, the plan's queue, its records and tables."""


@cli.command("near", short_help="Count near-duplicate pictures.")
@click.argument("first", type=DATA)
@click.argument("second", type=DATA, required=False)
@options.data_root
@options.as_json
def near_command(first: str, second: str | None, data_root: Path | None, as_json: bool) -> None:
    """Count near-duplicate pictures within one set, across its splits, or between two sets.

    A near-duplicate is the same picture encoded anew, rescaled, turned or mirrored.
    The pairs are named in the table; the JSON has counts alone. A control says which share of
    altered copies of 200 pictures is found.
    """
    import torch

    from rsstudy.data.sources import load
    from rsstudy.experiments.environment import environment
    from rsstudy.experiments.splits import data_label
    from study.near import BARS, PROPOSED, SAME, by_splits, near_duplicates, sensitivity, thumbnails

    names = [name for name in (first, second) if name]
    sets = [load(name, data_root) for name in names]
    by_label = {data_label(*of): of[1] for of in zip(names, sets, strict=True)}
    if len(by_label) < len(sets):
        raise StudyError(
            f"both sets are called {next(iter(by_label))}: name one of them, or rename a folder"
        )
    one, other = sets[0], sets[1] if second else None
    near = near_duplicates(thumbnails(one), thumbnails(other) if other else None)
    facts = {
        "command": f"python -m study near {' '.join(by_label)}",
        "pictures": {label: len(whole) for label, whole in by_label.items()},
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
        digests = {label: whole.manifest_digest() for label, whole in by_label.items()}
        about = {"rsstudy": __version__, "environment": environment(torch.device("cpu"))}
        write_facts({**facts, "manifest_digests": digests, **about}, Path("-"))
        return
    ends = other or one
    pairs = [
        f"{one.splits[p.first]}/{one.filenames[p.first]} = "
        f"{ends.splits[p.second]}/{ends.filenames[p.second]} ({p.peak:.2f})"
        for p in near.pairs
    ]
    bars = {f"{n / BARS:.2f}": count for n, count in enumerate(near.peaks) if count}
    show_facts({**facts, "peaks_of_proposed": bars, "near_duplicates": pairs})


@cli.command("similarity", short_help="Measure how alike pictures and captions are.")
@click.argument("names", type=DATA, nargs=-1, required=True, metavar="NAME_OR_PATH...")
@option("--encoder", "Under which encoder; none: pixels and words, nothing learned.", required=True)
@flag("--towers", "Each tower's features, before heads that nobody trained.")
@option("--image-size", "Pixels a side, where not the encoder's own.", int)
@repeated("--split splits", "Draw from this split.")
@option("--pictures", "How many are drawn of each set, with one caption each.", int, 1000)
@options.seed
@options.json_file
@options.data_root
@options.device
def similarity_command(file: Path | None, **measured: Any) -> None:
    """Measure how alike the pictures of sets are, and their captions.

    Only sets measured under one encoder, with as many pictures, can be compared: so several can be
    named, and lie on one map.
    """
    from study.similarity import compare

    found = compare(**measured)
    if write_facts(found, file):
        return
    rows = [
        {
            "set": name,
            "modality": modality,
            "measure": measure.replace("_", " "),
            "value": round(number["value"], 3),
            "standard error": round(number["standard_error"], 3),
        }
        for name, of in found["sets"].items()
        for modality in ("image", "text")
        for measure, number in of[modality]["headline"].items()
    ]
    show(rows)


@cli.command("suite", short_help="Do a grid of runs, or part of it.")
@click.argument("name", type=SUITE, required=False)
@options.scale("Which encoder, sets, recipe and seeds.", default="smoke")
@option("--runs", "Folder for records and adapters.", PATH, "runs")
@repeated("--data", "Only on this set of the suite, or on one of yours in place of the suite's.")
@option("--encoder", "In place of the scale's.", ENCODER)
@repeated("--method methods", "Only with this method, named as in the table printed.")
@repeated("--objective objectives", "Only with this objective.")
@option("--seeds", "Only the first so many seeds of each arm.", click.IntRange(1))
@repeated(
    "--fold folds",
    "Test on this fold, in place of the suite's own; where it is repeated over folds.",
    click.IntRange(1, 10),
)
@option(
    "--jobs",
    "How many runs at once: as many processes, a GPU each where there are GPUs.",
    click.IntRange(1),
)
@option(
    "--launcher",
    "Where the processes run: here, or as a SLURM array job. Needs the extra `cluster`.",
    click.Choice(["local", "slurm"]),
)
@flag(
    "--dry-run",
    "List the arms, the time they take on this machine and what is missing; run nothing.",
)
@option(
    "--teraflops",
    "With --dry-run: for a device that sustains so many TFLOP/s, in place of timing this one.",
    click.FloatRange(0, min_open=True),
)
@repeated(
    "--submit",
    "For SLURM, as submitit names it: slurm_partition=gpu, timeout_min=720.",
    metavar="NAME=VALUE",
)
@options.data_root
@options.device
@options.as_json
def suite_command(
    name: str | None,
    scale: Any,
    runs: Path,
    jobs: int | None,
    launcher: str | None,
    dry_run: bool,
    teraflops: float | None,
    submit: tuple[str, ...],
    data_root: Path | None,
    device: str,
    as_json: bool,
    **part: Any,
) -> None:
    """Do every run of a suite whose record is not there yet, and print the scores.

    Without NAME the suites are listed.

    Where a scale searches a learning rate, each is tried with the first seed, the choice is made
    on validation and written to RUNS/choices, and only then is the test split opened.

    Several processes may do one suite at once, with --jobs or by the same command given elsewhere
    on the same folder: no run is done twice, and one that a dead process left is taken up.
    """
    from rsstudy.experiments.launch import beside, submit_array
    from rsstudy.experiments.plan import plan
    from rsstudy.training.parallel import started_by_torchrun
    from study.suites import rows_of, run_suite

    if name is None:
        _show_suites(as_json)
        return
    if runs.exists() and not runs.is_dir():
        raise StudyError(f"{runs} is a file: give a folder for --runs")
    arms = rows_of(name, scale, **part)
    if dry_run:
        rate = 1e12 * teraflops if teraflops else None
        _show_plan(plan(arms, runs, data_root, device, not as_json, rate), teraflops, as_json)
        return
    if teraflops is not None:
        raise StudyError("--teraflops is for --dry-run")
    if started_by_torchrun():
        raise StudyError("torchrun is for one run on several GPUs: give a suite --jobs instead")
    if submit and launcher != "slurm":
        raise StudyError("--submit is for --launcher slurm")
    runs = runs.resolve() if launcher == "slurm" else runs
    work = partial(run_suite, name, scale, runs, data_root, device, **part)
    quiet = partial(work, progress=False)
    if launcher == "slurm":
        submit_array(quiet, name, jobs or 4, runs, device, dict(map(_pair, submit)), say)
        return
    if launcher == "local" and jobs is None:
        raise StudyError("--launcher local needs --jobs, how many runs at once")
    with beside(quiet, jobs, runs, device, say) if jobs and jobs > 1 else nullcontext():
        records = work(say=say)
    _show_scores(records, all(arm.test for arm in arms), as_json)
    if name == "primary" and not as_json:
        from study.primary import contrast_rows

        if rows := contrast_rows(records):
            click.echo()
            show(rows)


def _record(results: Path) -> Path:
    """The folder, if it has the form of the committed record.

    Raises:
        StudyError: it has not.
    """
    if not (results / "runs").is_dir():
        raise StudyError(
            f"{results} is not the study's record: name that with --results; `rsstudy runs "
            f"{results}` lists runs of your own"
        )
    return results


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise StudyError(f"--submit {text!r} is not NAME=VALUE")
    return name, value


def _show_suites(as_json: bool) -> None:
    from rsstudy.training.recipe import OF_SCALE
    from study.suites import SUITES, count_runs

    rows = [
        {"name": name, "what": what, **{f"runs_{of}": count_runs(name, of) for of in OF_SCALE}}
        for name, (_, what) in SUITES.items()
    ]
    show(rows, as_json)


def _show_scores(records: Sequence[Mapping[str, Any]], tested: bool, as_json: bool) -> None:
    """Print a suite's records; a setting that is everywhere the same gets no column."""
    from rsstudy.experiments.sweep import shown_scores

    if as_json:
        parts = ("id", "config", "status", "validation_scores", "scores")
        show([{name: r[name] for name in parts if name in r} for r in records], as_json)
        return
    rows = [
        {
            "data": r["config"]["data"],
            "after": r["config"].get("after", {}).get("data", "-"),
            "method": r["label"],
            "encoder": r["config"]["encoder"],
            "objective": r.get("objective_label", r["config"]["objective"]),
            "batch": r["config"]["recipe"]["batch"],
            "seed": r["config"]["seed"],
            "trained": r["trained_parameters"]["total"],
            **score_columns(shown_scores(r, tested)),
        }
        for r in records
    ]
    for name in ("data", "after", "encoder", "batch"):
        if len({row[name] for row in rows}) == 1:
            rows = [{k: v for k, v in row.items() if k != name} for row in rows]
    show(rows)
    if not tested:
        click.echo("\nscores on validation: this suite leaves the test split sealed")


def _show_plan(planned: Sequence[Any], teraflops: float | None, as_json: bool) -> None:
    from rsstudy.experiments.plan import duration

    if as_json:
        show([dataclasses.asdict(row) for row in planned], as_json)
        return
    rows = [
        {
            "data": row.data,
            "arm": row.name,
            "encoder": row.encoder,
            "runs": row.runs,
            "seeds done": row.done,
            "time left": "not counted" if row.seconds is None else duration(row.seconds),
            "GB": "-" if row.memory is None else f"{row.memory / 1e9:.1f}",
        }
        for row in planned
    ]
    show(rows)
    click.echo()
    for repeats in dict.fromkeys(row.repeats for row in planned):
        of = dict.fromkeys(row.name for row in planned if row.repeats == repeats)
        click.echo(f"{', '.join(of)}: {repeats}")
    click.echo(
        "GB: what a training step holds at most: weights, gradients, Adam's moments, the batch's "
        "activations."
    )
    runs, seconds = sum(row.runs for row in planned), sum(row.seconds or 0 for row in planned)
    rate = (
        f"on a device that sustains {teraflops:g} TFLOP/s: FLOPs counted."
        if teraflops
        else "here: FLOPs counted, at the rate of a training step just timed (what else runs slows "
        "that)."
    )
    click.echo(f"{runs} runs; {duration(seconds)} left, one after the other {rate}")
    missing = dict.fromkeys(what for row in planned for what in row.missing)
    click.echo("\n".join(f"missing here: {what}" for what in missing) or "nothing is missing here")


@cli.command("queue", short_help="Work on the decisive record for some hours.")
@option(
    "--hours",
    "How long: what is started ends in it, or leaves a small checkpoint.",
    click.FloatRange(0, min_open=True),
    required=True,
)
@option(
    "--jobs",
    "How many runs at once, one thread each; several share a GPU.",
    click.IntRange(1),
    default=1,
)
@option("--suite name", "The suite to work on.", SUITE, "decisive")
@options.scale("Which encoder, sets, recipe and seeds.", default="bench")
@option(
    "--runs",
    "Folder for this queue's adapters and checkpoints alone; it may be new each time.",
    PATH,
    "runs/queue",
)
@option(
    "--results",
    "Folder of the record: what is in it is not done again, and what is done goes there, ready to "
    "be committed.",
    PATH,
    "results",
)
@options.data_root
@options.device
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

    Records go to RESULTS/runs, choices of learning rates to RESULTS/choices, small trained parts of
    the front page's arms to RESULTS/adapters, checkpoints of what is not done to RESULTS/underway;
    the next call goes on from there, on this machine or another. The processes run only where
    nothing else wants the processor.
    """
    import time

    import torch

    from rsstudy.experiments.launch import beside
    from rsstudy.experiments.queue import Slot, yield_to_others
    from study.kept import keep_trained
    from study.suites import run_suite

    runs, results = runs.resolve(), results.resolve()
    slot = Slot(time.monotonic() + 3600 * hours, results, partial(keep_trained, scale))
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


@cli.command("adapters", short_help="Keep small trained parts of the front page's arms.")
@option("--runs", "Folder of finished runs with their adapters; it is only read.", PATH, "runs")
@options.scale("At which the runs were done.", default="bench")
@options.results
def adapters_command(runs: Path, scale: Any, results: Path) -> None:
    """Copy what `python -m study queue` keeps from other runs: see RESULTS/adapters.

    Kept are trained parts of up to 4 MB, of the front page's arms in the first test fold. Each gets
    a card, README.md. Full fine-tuning is too large.
    """
    from study.kept import keep_trained

    made = keep_trained(scale, runs, results)
    click.echo("\n".join(map(str, made)) or f"nothing to keep in {runs}, or it is kept already")


@cli.command("robustness", short_help="Score runs on altered test pictures and captions.")
@option("--runs", "Folder of finished runs with their adapters; it is only read.", PATH, "runs")
@option(
    "--out", "Folder for the scores; what is there is not done again.", PATH, "results/robustness"
)
@option("--data", "The set that the runs were trained on.", DATA, "ucm")
@options.data_root
@options.device
def robustness_command(
    runs: Path, out: Path, data: str, data_root: Path | None, device: str
) -> None:
    """Score the front page's arms of the first test fold, and the encoder as it is.

    Test pictures are blurred, noisy, clouded, turned or of a lower resolution, or captions have
    other words; see the module study.perturbed.
    """
    from study.robustness import score_runs
    from study.suites import front_page_arms

    rows = [arm for arm in front_page_arms() if arm.run.data == data]
    score_runs(rows, runs, out, data_root, device, say)


@cli.command("decisive", short_help="Tell the decisive record, whatever stage it is at.")
@options.results
@options.as_json
def decisive_command(results: Path, as_json: bool) -> None:
    """Print the plan beside what was done, what the looks say, and what is told beside them.

    A look of which a run is not on record shows what is missing, and no estimate.
    """
    from study.decisive import looks, looks_in_words
    from study.descriptive import class_correlations, class_table, scores_by_fold, transfer
    from study.planned import convergence, progress, progress_in_words, rates_tried, rounded

    tables = {
        "The plan beside what was done": progress,
        "Learning rates tried, % on validation": rates_tried,
        "What validation gained within the last five epochs, points": convergence,
        "The primary contrasts at each look, points of mean recall": looks,
        "Mean recall on test, fold by fold, %": scores_by_fold,
        "Trained on one set, tested on another, %": transfer,
        "HMMC and InfoNCE by class, %": class_table,
        "Rank correlation of HMMC's gain with how often captions repeat": class_correlations,
    }
    in_words = {progress: progress_in_words, looks: looks_in_words}
    made = {title: make(_record(results)) for title, make in tables.items()}
    if as_json:
        rows = {title: json.loads(table.to_json(orient="records")) for title, table in made.items()}
        write_facts(rows, Path("-"))
        return
    for title, table in made.items():
        click.echo(f"\n{title}")
        shown = in_words.get(tables[title], rounded)(table)
        show(shown.to_dict("records")) if len(shown) else click.echo("  nothing on record yet")


@cli.command("runs", short_help="List every run on record, and write results/runs.csv.")
@options.results
def runs_command(results: Path) -> None:
    """Write RESULTS/runs.csv, one row a run, from the records in RESULTS/runs."""
    from rsstudy.experiments.record import write_runs_table

    click.echo(write_runs_table(_record(results)))


@cli.command("cards", short_help="Write a card of every run for the built book.")
@options.results
@option("--out", "Folder for the cards.", PATH, "_build/html/_static/runs")
def cards_command(results: Path, out: Path) -> None:
    """Write OUT/ID.js for every run in RESULTS/runs: the book opens it where the id is clicked."""
    from study.cards import write_cards

    click.echo(f"{write_cards(_record(results).resolve(), out.resolve())} cards in {out}")


@cli.command("costs", short_help="Count what each method costs on an encoder.")
@option("--encoder", "Any encoder with blocks; its weights are not needed.", ENCODER, "ViT-B-32")
@option("--image-size", "Pixels a side.", int)
@option("--words", "Tokens a caption.", int, 20)
@repeated("--method methods", "Only this one, or a preset of it.", METHOD)
@option("--out", "Write a record of it here, too.", PATH)
@options.as_json
def costs_command(out: Path | None, as_json: bool, **of: Any) -> None:
    """Parameters, bytes and FLOPs of the benchmark's methods, counted without computing."""
    import torch

    from rsstudy.experiments.environment import environment
    from study.benchmark import counted_costs

    rows = counted_costs(**of, progress=not as_json)
    about = {name: of[name] for name in ("encoder", "image_size", "words")}
    about["environment"] = environment(torch.device("cpu"))
    write_facts({**about, "rows": rows}, out)
    if as_json:
        show(rows, as_json)
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
    show(shown)
    click.echo(
        "Adam MB: gradients and both moments. kept MB: for the backward pass of one pair, fp32.\n"
        "picture, caption: GFLOP to encode one; step: of training on one pair."
    )


@cli.command("checks", short_help="Hold the sentences of the book to the records.")
@options.results
@option("--out", "Write here, as JSON, which runs each check reads, and print nothing else.", PATH)
@options.as_json
def checks_command(results: Path, out: Path | None, as_json: bool) -> None:
    """Print every check of the prose with what the records say; see the module study.checks.

    A check that fails ends this with an error. With --out no check is judged: the file names the
    runs that each one reads, and the book links them behind its sentences.
    """
    from rsstudy.files import whole_file
    from study.checks import blocks, check
    from study.verdicts import Said

    done = check(blocks(_record(results).resolve().parent), Said(results))
    if out is not None:
        runs = {one.source: one.runs for one in done}
        with whole_file(out) as temporary:
            temporary.write_text(json.dumps(runs), encoding="utf-8")
        click.echo(out)
        return
    rows = [
        {
            "page": f"{one.block.page.name}:{one.block.line}",
            "check": one.source,
            "records": one.said,
            "problem": "; ".join(one.problems),
        }
        for one in done
    ]
    show(rows, as_json)
    if wrong := sum(bool(one.problems) for one in done):
        raise StudyError(f"{wrong} of {len(done)} checks fail: correct the sentences above them")


@cli.command("front-page", short_help="Draw the front page's picture from the records.")
@options.results
@option("--out", "Where the picture is written.", PATH, "book/answer.svg")
def front_page_command(results: Path, out: Path) -> None:
    """Draw the picture, and print its words: the alternative text that the front page gives it."""
    from study.front_page import write_picture

    click.echo(write_picture(_record(results), out))


@cli.command("report", short_help="Make every table of the book from the records.")
@options.results
@option("--out", "Folder for the tables, CSV.", PATH, "report")
@options.as_json
def report_command(results: Path, out: Path, as_json: bool) -> None:
    """Make every table of the book anew from the committed records alone, with its provenance.

    Writes OUT/NAME.csv for each, and OUT/provenance.csv: the records that each was made from, with
    commit, machine and time.
    """
    from study.report import by_table, report

    rows = by_table(report(_record(results), out)).round({"hours": 1})
    shown = rows[["chapter", "table", "what", "files", "runs", "hours"]]
    show(shown.to_dict("records"), as_json)
    if not as_json:
        click.echo(f"\n{len(rows)} tables in {out}; provenance.csv there names every record.")
