"""The command ``rsstudy``: each command parses, calls one function and shows what it returns."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from rsstudy import __version__
from rsstudy.errors import StudyError
from rsstudy.experiments import options
from rsstudy.experiments.options import DATA, ENCODER, METHOD, OBJECTIVE, PATH, SPLIT, flag, option
from rsstudy.experiments.searching import embed_command, search_command
from rsstudy.experiments.show import score_columns, show, show_check, show_record, write_facts

LIST_KINDS = {
    "data": "sets known by name, and whether they are here",
    "encoders": "towers to start from: our own, and every open_clip model",
    "methods": "what is trained, and its settings",
    "objectives": "what training minimises, and its settings",
    "recipe": "how to train: each setting at each scale",
}
SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
}
FOLD = ("number", "assignment", "grouped")  # what ``options.in_fold`` gives
# Options of `rsstudy train` that are short for --set recipe.NAME=VALUE.
SHORT = ("epochs", "batch", "learning_rate", "image_size")
# How torch and CUDA say that memory ran out.
NO_MEMORY = re.compile("not enough memory|out of memory|can't allocate", re.IGNORECASE)


@click.group(cls=options.Commands, context_settings=SETTINGS)
@click.version_option(__version__)
def cli() -> None:
    """Parameter-efficient transfer for remote-sensing image-text retrieval, reproducibly.

    \b
    A first look, on a CPU, without any download:
      rsstudy pretrain tiny
      rsstudy train --data scenes --encoder tiny --method mrs-adapter --objective hmmc

    \b
    On data of your own (Parquet, imagefolder, WebDataset, Karpathy JSON and other forms):
      rsstudy data check FOLDER
      rsstudy train --data FOLDER --encoder ViT-B-32@openai --method mrs-adapter --out my-run
      rsstudy evaluate --adapter my-run --data FOLDER --split test --json scores.json
    """


@cli.command("list", short_help="Names, settings and their defaults.")
@click.argument("kind", type=click.Choice(list(LIST_KINDS)), required=False, metavar="[KIND]")
@click.argument("pattern", required=False)
@flag("--all everything", "With encoders: every open_clip model, too.")
@option("--encoder", "With methods: count what each trains on this encoder.", ENCODER)
@options.data_root
@options.as_json
def list_command(kind: str | None, everything: bool, as_json: bool, **what: Any) -> None:
    """List what can be named: KIND is data, encoders, methods, objectives or recipe.

    PATTERN picks by name, with * and ?: `rsstudy list encoders 'ViT-B-*'`.

    `rsstudy list methods --encoder ViT-B-32` counts trained parameters without any weights.
    """
    if kind is None:
        show([{"name": name, "what": what} for name, what in LIST_KINDS.items()], as_json)
        if not as_json:
            click.echo("\n`rsstudy list NAME` lists them.")
        return
    from rsstudy.experiments.listing import listed

    found = listed(kind, everything or as_json, **what)
    show(found.rows, as_json) if as_json else found.print()


@cli.group("data")
def data_group() -> None:
    """Look at data sets."""


@data_group.command("check", short_help="Say whether a set can be used, and count it.")
@click.argument("name_or_path", type=DATA)
@options.data_root
@options.as_json
@click.pass_context
def data_check(
    context: click.Context, name_or_path: str, data_root: Path | None, as_json: bool
) -> None:
    """Report counts, splits, broken images, empty and duplicate captions, duplicate pictures, leaks
    between splits, the two digests of a set, and the scores that its test captions allow.

    Exit status 1 when something is broken; 0, with the findings listed, when the set can be used.
    --json names every image concerned, where the report names the first.
    """
    from rsstudy.ceilings import highest, tied_oracle
    from rsstudy.data.audit import audit
    from rsstudy.data.sources import load

    whole = load(name_or_path, data_root)
    facts = audit(whole).as_dict()
    if facts["ok"] and "test" in whole.splits:
        captions = whole.split("test").captions
        facts |= {"test_tied_oracle": tied_oracle(captions), "test_highest": highest(captions)}
    click.echo(json.dumps(facts, indent=2)) if as_json else show_check(facts)
    if not facts["ok"]:
        context.exit(1)


@cli.command("pretrain", short_help="Align an encoder on a set.")
@click.argument("encoder", type=ENCODER)
@option("--data", "Set to align on; scenes-ground for tiny, flickr8k for others.", DATA)
@option("--method", "What is trained: full for tiny, lora (a small delta) for others.", METHOD)
@option("--out", "Folder for the delta and its record.", PATH)
@options.seed
@options.overrides
@options.data_root
@options.device
@options.as_json
def pretrain_command(
    encoder: str,
    data: str | None,
    method: str | None,
    out: Path | None,
    seed: int,
    overrides: tuple[str, ...],
    data_root: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Align the towers of ENCODER on a set by InfoNCE, and keep what changed as a small file.

    The encoder so made is named ENCODER+DELTA. `tiny` finds its own in the cache.
    """
    parts = _overrides(overrides, ("method", "recipe"))

    from rsstudy.experiments.pretrain import pretrain, usual

    what = usual(encoder, data, device)
    if method and method != what.method:
        what = dataclasses.replace(what, method=method, method_settings={})
    settings = {**what.method_settings, **parts["method"]}
    recipe = _recipe(what.recipe, parts["recipe"])
    what = dataclasses.replace(what, recipe=recipe, method_settings=settings, seed=seed)
    record, delta = pretrain(what, out, data_root, device)
    name = encoder if encoder == "tiny" and out is None else f"{encoder}+{delta}"
    show_record(record, {"delta": str(delta), "encoder": name}, as_json)


@cli.command("train", short_help="Train a method, choose on validation, score on test.")
@option("--data", "A known set, a folder, a JSON, or scenes?images=400.", DATA, required=True)
@option(
    "--encoder",
    "MODEL, MODEL@TAG, MODEL@FILE, local-dir:PATH or hf-hub:ORG/NAME, each also with +DELTA, a "
    "file of `rsstudy pretrain`; see `rsstudy list encoders`.",
    ENCODER,
    required=True,
)
@option("--method", "A name of `rsstudy list methods`.", METHOD, "mrs-adapter")
@option("--objective", "A name of `rsstudy list objectives`.", OBJECTIVE, "infonce")
@options.scale("Whose recipe to start from; smoke for tiny, bench for others.")
@options.seed
@option("--epochs", "Short for --set recipe.epochs=...", int)
@option("--batch", "Short for --set recipe.batch=...", int)
@option("--learning-rate", "Short for --set recipe.learning_rate=...", float)
@option("--image-size", "Short for --set recipe.image_size=...", int)
@flag("--train-heads", "Train the heads beside the method.")
@option("--after", "Folder of a finished run of the same method, to start from.", PATH)
@options.repeated("--also", "A set whose test split is scored, too.", DATA)
@options.in_fold
@option("--out", "The run's folder; else runs/ID.", PATH)
@flag(
    "--no-test",
    "Stop once the epoch is chosen on validation; the same command without this goes on to test. "
    "A tested run is shown.",
)
@options.overrides
@options.data_root
@options.device
@options.as_json
def train_command(
    scale: Any,
    out: Path | None,
    no_test: bool,
    overrides: tuple[str, ...],
    data_root: Path | None,
    device: str,
    as_json: bool,
    **run: Any,
) -> None:
    """Train a method, choose the epoch on validation, score it on test, keep record and adapter.

    The same command again finds the record and runs nothing; an interrupted run goes on where it
    was. On several GPUs: torchrun --nproc-per-node 8 -m rsstudy train ...
    """
    parts = _overrides(overrides, ("method", "objective", "recipe"))
    short = {name: run.pop(name) for name in SHORT}
    given = {name: value for name, value in short.items() if value is not None}
    for name in given.keys() & parts["recipe"].keys():
        both = f"--{name.replace('_', '-')} and --set recipe.{name}"
        raise StudyError(f"{both} are one setting: leave one of them out")

    from rsstudy.experiments.run import Run, execute
    from rsstudy.training.parallel import joined
    from rsstudy.training.recipe import default_recipe, recipe_for

    fold = _fold(*(run.pop(name) for name in FOLD))
    what = run["method"], run["data"]
    default = recipe_for(scale, *what) if scale else default_recipe(run["encoder"], *what)
    asked = Run(
        **run,
        recipe=_recipe(default, given | parts["recipe"]),
        method_settings=parts["method"],
        objective_settings=parts["objective"],
        fold=fold,
    )
    with joined(device) as processes:
        record, folder = execute(asked, out, data_root=data_root, device=device, test=not no_test)
    if processes.leads:
        show_record(record, {"folder": str(folder)}, as_json)


@cli.command("show", short_help="Show the curves and the scores of runs.")
@click.argument("runs", type=PATH, nargs=-1, required=True, metavar="RUN...")
@option("--out", "Draw the curves into this file, too: .png, .svg or .pdf.", PATH)
@options.as_json
def show_command(runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Show loss and validation by epoch, and the scores, of a run or of several side by side.

    RUN is a run's folder, also while it is running, or a record.
    """
    from rsstudy.experiments.curves import curve_rows, draw, read_curves, score_rows

    curves = read_curves(runs)
    if out is not None:
        draw(curves, out)
    if as_json:
        click.echo(json.dumps(curves, indent=2))
        return
    for rows in filter(None, (curve_rows(curves), score_rows(curves))):
        show(rows)
        click.echo()
    click.echo("\n".join(f"{curve['run']}: {curve['status']}" for curve in curves))


@cli.command("runs", short_help="List your runs.")
@click.argument("folder", type=PATH, default="runs")
@flag("--csv as_csv", "Print CSV in place of a table.")
@options.as_json
def runs_command(folder: Path, as_csv: bool, as_json: bool) -> None:
    """List every run in FOLDER with its scores: mean recall on validation and on test, in percent.

    JSON and CSV have more columns.
    """
    from rsstudy.experiments.curves import all_runs
    from rsstudy.experiments.record import COLUMNS

    rows = all_runs(folder)
    if as_csv:
        out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
        return
    score = ("val_mean_recall", "validation"), ("mean_recall", "test")
    shown = ("id", "status", "data", "encoder", "label", "objective", "best_epoch")
    table = [
        {name: row.get(name) for name in shown}
        | {word: row.get(name) and round(row[name], 2) for name, word in score}
        for row in rows
    ]
    show(rows if as_json else table, as_json)


@cli.command("evaluate", short_help="Score an adapter, or encoders, on any sets.")
@option("--adapter", "Folder of a run that kept its adapter.", options.ADAPTER)
@options.repeated(
    "--encoder encoders",
    "Without --adapter: score this encoder zero-shot. With it: where its base weights are now.",
    ENCODER,
)
@options.repeated(
    "--data sets", "A known set, a folder, a JSON, or generated scenes.", DATA, required=True
)
@options.repeated("--split splits", "Which split is scored.", SPLIT, default=["test"])
@option("--image-size", "Without --adapter: pixels a side.", int)
@options.repeated(
    "--recall-k ks",
    "Score recall at this rank, beside 1, 5 and 10. The mean recall is that of 1, 5 and 10.",
    click.IntRange(1),
)
@flag("--classes", "Classify the pictures, too: zero-shot, by the names of the set's scenes.")
@options.repeated(
    "--template templates",
    'With --classes: a prompt in place of CLIP\'s for aerial scenes, "a satellite photo of {}."',
)
@options.in_fold
@option("--csv table", "Write a CSV here: a row for each encoder, set and split.", PATH)
@options.json_file
@options.data_root
@options.device
@click.pass_context
def evaluate_command(
    context: click.Context,
    adapter: Path | None,
    encoders: tuple[str, ...],
    ks: tuple[int, ...],
    classes: bool,
    templates: tuple[str, ...],
    table: Path | None,
    file: Path | None,
    **where: Any,
) -> None:
    """Score a saved adapter, or encoders as they are, on splits of any sets.

    \b
      rsstudy evaluate --encoder ViT-B-32 --encoder tiny --data rsicd --data ucm --csv scores.csv

    What fails is named, the others go on, and the exit status is 1. --json is a list where several
    scores are asked for. An adapter that was trained in a fold is scored in that fold, if no other
    is named.
    """
    if adapter is None and not encoders:
        raise StudyError("give --adapter DIR, or --encoder NAME for a zero-shot score")
    if adapter is not None and where["image_size"] is not None:
        raise StudyError("an adapter brings its image size with it: leave --image-size out")
    if adapter is not None and len(encoders) > 1:
        raise StudyError("an adapter has one base: give --encoder once")
    if templates and not (classes and all("{}" in template for template in templates)):
        raise StudyError('--template "a photo of {}" goes with --classes, and {} with the name')
    for name, path in (("json", file), ("csv", table)):
        if path is not None and path.is_dir():
            raise StudyError(f"{path} is a folder: give a file for --{name}")
    fold = [where.pop(name) for name in FOLD]
    several = [len(of) > 1 for of in (encoders, where["sets"], where["splits"])]

    from rsstudy.classification import TEMPLATES
    from rsstudy.experiments.scoring import PLACE, row_of, score_all, write_csv

    how = {"fold": _fold(*fold), "published": fold[0] == 0, "ks": ks, "progress": True}
    how["templates"] = (templates or TEMPLATES) if classes else ()
    answers: list[Any] = []
    problems: list[StudyError] = []
    for found in score_all(adapter, encoders, **where, **how):
        if isinstance(found, StudyError):
            problems.append(found)
            continue
        answers.append(found)
        if table is not None:
            write_csv(table, [*map(row_of, answers)])
    if not write_facts(answers if any(several) else answers[0], file) and answers:
        rows = [*map(row_of, answers)]
        place = [name for name, varies in zip(PLACE, several, strict=True) if varies]
        show([{name: row[name] for name in place} | score_columns(row) for row in rows])
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    context.exit(1 if problems else 0)


cli.add_command(search_command)
cli.add_command(embed_command)


@cli.command("export", short_help="Write a trained encoder as plain open_clip weights.")
@option("--adapter", "Folder of a run that kept its adapter.", options.ADAPTER, required=True)
@option("--out", "The file to write, .safetensors.", PATH, required=True)
@option("--encoder", "Where its base weights are now.", ENCODER)
def export_command(adapter: Path, out: Path, encoder: str | None) -> None:
    """Merge an adapter into its open_clip model, and print the line of Python that loads it.

    Only methods that change weights can be merged: lora, dora, bitfit, layernorm, ssf, ia3, full
    and the like; one that adds computations (an adapter, tokens) says so.
    """
    from rsstudy.adapters import export

    click.echo(export(adapter, out, encoder))


def _fold(number: int | None, assignment: Any, grouped: bool) -> Any:
    """The fold that is asked for, if one is.

    Raises:
        StudyError: how to assign is said, and no fold is named.
    """
    from rsstudy.data.folds import Fold

    if number:
        return Fold(number, assignment, grouped)
    if grouped or assignment != "first":
        raise StudyError("--folds and --grouped say how folds are made: name one with --fold")
    return None


def _recipe(default: Any, changes: dict[str, Any]) -> Any:
    from rsstudy.settings import settings_from, settings_of
    from rsstudy.training.recipe import Recipe

    return settings_from("recipe", Recipe, settings_of(default) | changes)


def _overrides(given: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {part: {} for part in parts}
    for text in given:
        place, equals, value = text.partition("=")
        part, dot, name = place.partition(".")
        if not (equals and dot and part in found):
            raise StudyError(
                f"--set {text!r} is not PART.NAME=VALUE with PART one of {', '.join(parts)}"
            )
        if found[part].setdefault(name, value) != value:
            raise StudyError(f"--set gives {place} twice: {found[part][name]} and {value}")
    return found


def main() -> None:
    """The command ``rsstudy``."""
    run_command(cli)


def run_command(command: click.Command) -> None:
    """Run a command; every error a user can mend is one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        sys.exit(command.main(standalone_mode=False) or 0)
    except StudyError as problem:
        _end(problem)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        _stop(f"error: {where}{problem.strerror or problem}")
    except (KeyboardInterrupt, click.Abort):  # before RuntimeError, which Abort is
        kept = "the same command goes on from the last checkpoint, if one is kept"
        _stop(f"\ninterrupted; {kept}", 130)
    except (MemoryError, RuntimeError) as problem:  # torch has no error of its own on a processor
        if not isinstance(problem, MemoryError) and not NO_MEMORY.search(str(problem)):
            raise
        _end(
            "not enough memory: lower --image-size or --batch, or keep the batch and add --set "
            "recipe.accumulate=4, --set recipe.checkpointing=true, or both"
        )


def _end(problem: StudyError | str) -> None:
    if "WORLD_SIZE" in os.environ:  # torchrun may have started others
        from rsstudy.training.parallel import Lost, let_the_first_speak

        if not isinstance(problem, Lost):
            let_the_first_speak()
    _stop(f"error: {problem}")


def _stop(message: str, code: int = 1) -> None:
    click.echo(message, err=True)
    sys.exit(code)
