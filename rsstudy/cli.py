"""The command ``rsstudy``: thin, over the rooms of the package."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from rsstudy import __version__
from rsstudy.errors import StudyError

data_root = click.option(
    "--data-root", type=click.Path(path_type=Path),
    help="Folder that holds the known sets, one folder each; else RSSTUDY_DATA, else the cache.",
)  # fmt: skip
device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="PART.NAME=VALUE",
    help="Override a setting of method, objective or recipe: --set method.bottleneck=32 "
    "--set objective.margin=0.1 --set recipe.schedule=constant. `rsstudy list methods`, `... "
    "objectives` and `... recipe` show all settings. Repeatable.",
)  # fmt: skip
fold = click.option(
    "--fold", "number", type=click.IntRange(0, 10),
    help="Use the set as this one of ten folds: it is test, the next validation, the rest train. "
    "0: the published splits.",
)  # fmt: skip
folds = click.option(
    "--folds", "assignment", type=click.Choice(["first", "second"]), default="first",
    show_default=True, help="Which of two assignments of pictures to folds.",
)  # fmt: skip
grouped = click.option(
    "--grouped", is_flag=True, help="Keep pictures with an identical caption in one fold."
)
SCALES = click.Choice(["smoke", "short", "bench", "paper"])
LIST_KINDS = {
    "data": "sets known by name, and whether they are here",
    "encoders": "towers to start from: our own, and every open_clip model",
    "methods": "what is trained, and its settings",
    "objectives": "what training minimises, and its settings",
    "recipe": "how to train: each setting at each scale",
    "suites": "grids of runs, and how many runs each has",
}
# Of open_clip's models, those that come first in the list: the paper's, and CLIP's other ViTs.
FIRST_ENCODERS = ("tiny", "vits14-minilm", "ViT-B-32", "ViT-B-16", "ViT-L-14")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Parameter-efficient transfer for remote-sensing image-text retrieval, reproducibly.

    \b
    A first look, on a CPU, without any download:
      rsstudy pretrain tiny
      rsstudy train --data scenes --encoder tiny --method mrs-adapter --objective hmmc
      rsstudy suite compare --scale smoke

    \b
    On data of your own (Parquet shards in the Hugging Face image layout, or Karpathy JSON):
      rsstudy data check FOLDER
      rsstudy train --data FOLDER --encoder ViT-B-32@openai --method mrs-adapter --out my-run
      rsstudy evaluate --adapter my-run --data FOLDER --split test --json scores.json
    """


@cli.command("list", short_help="Names, settings and their defaults.")
@click.argument("kind", type=click.Choice(list(LIST_KINDS)), required=False, metavar="[KIND]")
@click.argument("pattern", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="With encoders: every open_clip model, too."
)
@click.option("--encoder", help="With methods: count what each trains on this encoder.")
@data_root
@as_json
def list_command(
    kind: str | None, pattern: str | None, everything: bool, encoder: str | None,
    data_root: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """List what can be named: KIND is data, encoders, methods, objectives, recipe or suites.

    PATTERN picks by name, with * and ?: `rsstudy list encoders 'ViT-B-*'`.

    `rsstudy list methods --encoder ViT-B-32` counts trained parameters without any weights.
    """
    if kind is None:
        _print([{"name": name, "what": what} for name, what in LIST_KINDS.items()], as_json)
        if not as_json:
            click.echo("\n`rsstudy list NAME` lists them.")
        return
    rows, more, note = _listed(kind, encoder, data_root, as_json)
    count = len(rows)
    if pattern is not None:
        rows = [row for row in rows if fnmatchcase(row["name"], pattern)]
        more = [row for row in more if "of" not in row or fnmatchcase(row["of"], pattern)]
        if not rows:
            hint = " --all" if kind == "encoders" else ""
            raise StudyError(f"no name matches {pattern!r}; `rsstudy list {kind}{hint}` shows all")
    elif kind == "encoders" and not everything and not as_json:
        first = {name: number for number, name in enumerate(FIRST_ENCODERS)}
        rows = sorted((r for r in rows if r["name"] in first), key=lambda r: first[r["name"]])
        note = (f"{count - len(rows)} more open_clip models can be named: `rsstudy list encoders "
                "--all`, or by pattern, `rsstudy list encoders 'ViT-B-*'`.")  # fmt: skip
    if as_json:
        _print(rows, as_json)
        return
    hidden = {"how_to_get", "settings"}  # in the JSON, and below
    _print([{k: v for k, v in row.items() if k not in hidden} for row in rows], as_json)
    if more:
        click.echo()
        _print(more, as_json)
    if note:
        click.echo(f"\n{note}")


@cli.group("data")
def data_group() -> None:
    """Look at data sets."""


@data_group.command("check", short_help="Say whether a set can be used, and count it.")
@click.argument("name_or_path")
@data_root
@as_json
@click.pass_context
def data_check(
    context: click.Context, name_or_path: str, data_root: Path | None, as_json: bool
) -> None:
    """Report counts, splits, broken images, empty and duplicate captions, duplicate pictures, leaks
    between splits, the two digests of a set, and the scores that its test captions allow.

    Exit status 1 when something is broken; 0, with the findings listed, when the set can be used.
    --json names every image concerned, where the report names the first.
    """
    from rsstudy.data.audit import audit
    from rsstudy.data.report import report
    from rsstudy.data.sources import load
    from rsstudy.retrieval import highest, tied_oracle

    whole = load(name_or_path, data_root)
    facts = audit(whole).as_dict()
    if facts["ok"] and "test" in whole.splits:
        captions = whole.split("test").captions
        facts |= {"test_tied_oracle": tied_oracle(captions), "test_highest": highest(captions)}
    click.echo(json.dumps(facts, indent=2) if as_json else report(facts))
    if not facts["ok"]:
        context.exit(1)


@data_group.command("near", short_help="Count near-duplicate pictures.")
@click.argument("first")
@click.argument("second", required=False)
@data_root
@as_json
def data_near(first: str, second: str | None, data_root: Path | None, as_json: bool) -> None:
    """Count near-duplicate pictures within one set, across its splits, or between two sets.

    A near-duplicate is the same picture encoded anew, rescaled, turned or mirrored.
    The pairs are named in the table; the JSON has counts alone. A control says which share of
    altered copies of 200 pictures is found.
    """
    from rsstudy.data.near import (
        PROPOSED,
        SAME,
        by_splits,
        near_duplicates,
        sensitivity,
        thumbnails,
    )
    from rsstudy.data.sources import load
    from rsstudy.records import environment, readable
    from rsstudy.run import data_label

    one, other = load(first, data_root), load(second, data_root) if second else None
    near = near_duplicates(thumbnails(one), thumbnails(other) if other else None)
    sets = [(first, one)] + ([(str(second), other)] if other else [])
    labels = [data_label(name, whole) for name, whole in sets]
    if len(set(labels)) < len(labels):
        raise StudyError(f"both sets are called {labels[0]}: name one of them, or rename a folder")
    facts = {
        "command": f"rsstudy data near {' '.join(labels)}",
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

        digests = {label: whole.manifest_digest()
                   for label, (_, whole) in zip(labels, sets, strict=True)}  # fmt: skip
        facts |= {"manifest_digests": digests, "rsstudy": __version__,
                  "environment": environment(torch.device("cpu"))}  # fmt: skip
        click.echo(readable(facts), nl=False)
        return
    ends = other or one
    facts["near_duplicates"] = [
        f"{one.splits[p.first]}/{one.filenames[p.first]} = "
        f"{ends.splits[p.second]}/{ends.filenames[p.second]} ({p.peak:.2f})"
        for p in near.pairs
    ]
    _print_facts(facts)


@data_group.command("similarity", short_help="Measure how alike pictures and captions are.")
@click.argument("names", nargs=-1, required=True, metavar="NAME_OR_PATH...")
@click.option("--encoder", required=True,
              help="Under which encoder; none: pixels and words, nothing learned.")  # fmt: skip
@click.option("--towers", is_flag=True,
              help="Each tower's features, before heads that nobody trained.")  # fmt: skip
@click.option("--image-size", type=int, help="Pixels a side, where not the encoder's own.")
@click.option("--split", "splits", multiple=True, help="Draw from this split. Repeatable.")
@click.option("--pictures", type=int, default=1000, show_default=True,
              help="How many are drawn of each set, with one caption each.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path, allow_dash=True),
              help="Write everything here; - for the terminal.")  # fmt: skip
@data_root
@device
def data_similarity(
    names: tuple[str, ...], encoder: str, towers: bool, image_size: int | None,
    splits: tuple[str, ...], pictures: int, seed: int, file: Path | None, data_root: Path | None,
    device: str,
) -> None:  # fmt: skip
    """Measure how alike the pictures of sets are, and their captions.

    Only sets measured under one encoder, with as many pictures, can be compared: so several can be
    named, and lie on one map.
    """
    from rsstudy.files import whole_file
    from rsstudy.records import readable
    from rsstudy.similarity import compare

    found = compare(names, encoder, towers, image_size, splits, pictures, seed, data_root, device)
    if file is not None and str(file) == "-":
        click.echo(readable(found), nl=False)
        return
    if file is not None:
        with whole_file(file) as temporary:
            temporary.write_text(readable(found), encoding="utf-8")
    rows = [
        {"set": name, "modality": modality, "measure": measure.replace("_", " "),
         "value": round(number["value"], 3), "standard error": round(number["standard_error"], 3)}
        for name, measured in found["sets"].items()
        for modality in ("image", "text")
        for measure, number in measured[modality]["headline"].items()
    ]  # fmt: skip
    _print(rows, as_json=False)


@cli.command("pretrain", short_help="Align an encoder on a set.")
@click.argument("encoder")
@click.option("--data", help="Set to align on; scenes-ground for tiny, flickr8k for others.")
@click.option("--method", help="What is trained: full for tiny, lora (a small delta) for others.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the delta and its record.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@overrides
@data_root
@device
@as_json
def pretrain_command(
    encoder: str, data: str | None, method: str | None, out: Path | None, seed: int,
    overrides: tuple[str, ...], data_root: Path | None, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Align the towers of ENCODER on a set by InfoNCE, and keep what changed as a small file.

    The encoder so made is named ENCODER+DELTA. `tiny` finds its own in the cache.
    """
    from rsstudy.pretraining import pretrain, usual
    from rsstudy.settings import settings_from
    from rsstudy.training import Recipe

    what = usual(encoder, data, device)
    parts = _overrides(overrides, ("method", "recipe"))
    if method and method != what.method:
        what = dataclasses.replace(what, method=method, method_settings={})
    recipe = settings_from("recipe", Recipe, {**dataclasses.asdict(what.recipe), **parts["recipe"]})
    settings = {**what.method_settings, **parts["method"]}
    what = dataclasses.replace(what, recipe=recipe, method_settings=settings, seed=seed)
    record, delta = pretrain(what, out, data_root, device)
    name = encoder if encoder == "tiny" and out is None else f"{encoder}+{delta}"
    _print_scores(record, {"delta": str(delta), "encoder": name}, as_json)


@cli.command("train", short_help="Train a method, choose on validation, score on test.")
@click.option("--data", required=True, help="A known set, a folder, a JSON, or scenes?images=400.")
@click.option("--encoder", required=True, help="MODEL, MODEL@TAG, MODEL@FILE, each also with "
              "+DELTA, a file of `rsstudy pretrain`; see `rsstudy list encoders`.")  # fmt: skip
@click.option("--method", default="mrs-adapter", show_default=True,
              help="A name of `rsstudy list methods`.")  # fmt: skip
@click.option("--objective", default="infonce", show_default=True,
              help="A name of `rsstudy list objectives`.")  # fmt: skip
@click.option("--scale", type=SCALES,
              help="Whose recipe to start from; smoke for tiny, bench for others.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--epochs", type=int, help="Short for --set recipe.epochs=...")
@click.option("--batch", type=int, help="Short for --set recipe.batch=...")
@click.option("--learning-rate", type=float, help="Short for --set recipe.learning_rate=...")
@click.option("--image-size", type=int, help="Short for --set recipe.image_size=...")
@click.option("--train-heads", is_flag=True, help="Train the heads beside the method.")
@click.option("--after", type=click.Path(path_type=Path), help="Folder of a finished run of the "
              "same method: start from what it trained.")  # fmt: skip
@click.option("--also", multiple=True, help="A set whose test split is scored, too. Repeatable.")
@fold
@folds
@grouped
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; else runs/ID.")
@click.option("--no-test", is_flag=True, help="Stop once the epoch is chosen on validation; the "
              "same command without this goes on to test. A tested run is shown.")  # fmt: skip
@overrides
@data_root
@device
@as_json
def train_command(
    data: str, encoder: str, method: str, objective: str, scale: Any, seed: int,
    epochs: int | None, batch: int | None, learning_rate: float | None, image_size: int | None,
    train_heads: bool, after: Path | None, also: tuple[str, ...],
    number: int | None, assignment: Any, grouped: bool, out: Path | None, no_test: bool,
    overrides: tuple[str, ...], data_root: Path | None, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Train a method, choose the epoch on validation, score it on test, keep record and adapter.

    The same command again finds the record and runs nothing; an interrupted run goes on where it
    was. On several GPUs: torchrun --nproc-per-node 8 -m rsstudy train ...
    """
    from rsstudy.methods import create_method
    from rsstudy.parallel import joined
    from rsstudy.recipes import default_recipe, recipe_for
    from rsstudy.run import Run, execute
    from rsstudy.settings import settings_from
    from rsstudy.training import Recipe

    parts = _overrides(overrides, ("method", "objective", "recipe"))
    create_method(method, parts["method"])  # an unknown name ends here, before anything is read
    default = (
        recipe_for(scale, method, data) if scale else default_recipe(encoder, method, data)
    )
    short = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate,
             "image_size": image_size}  # fmt: skip
    chosen = {name: value for name, value in short.items() if value is not None}
    recipe = settings_from(
        "recipe", Recipe, {**dataclasses.asdict(default), **chosen, **parts["recipe"]}
    )
    run = Run(data, encoder, method, objective, recipe, seed, train_heads,
              parts["method"], parts["objective"], after, also,
              _fold(number, assignment, grouped))  # fmt: skip
    with joined(device) as processes:
        record, folder = execute(run, out, data_root=data_root, device=device, test=not no_test)
    if processes.leads:
        _print_scores(record, {"folder": str(folder)}, as_json)


@cli.command("evaluate", short_help="Score an adapter or an encoder on any set.")
@click.option("--adapter", type=click.Path(path_type=Path), help="Folder of a run that "
              "kept its adapter.")  # fmt: skip
@click.option("--encoder", help="Without --adapter: score this encoder zero-shot. With it: where "
              "its base weights lie now.")  # fmt: skip
@click.option("--data", required=True, help="A known set, a folder, a JSON, or generated scenes.")
@click.option("--split", default="test", show_default=True)
@click.option("--image-size", type=int, help="Without --adapter: pixels a side.")
@fold
@folds
@grouped
@click.option("--json", "file", type=click.Path(path_type=Path, allow_dash=True),
              help="Write scores and per-query counts here; - for the terminal.")  # fmt: skip
@data_root
@device
def evaluate_command(
    adapter: Path | None, encoder: str | None, data: str, split: str, image_size: int | None,
    number: int | None, assignment: Any, grouped: bool, file: Path | None,
    data_root: Path | None, device: str,
) -> None:  # fmt: skip
    """Score a saved adapter, or an encoder as it is, on one split of any set.

    An adapter that was trained in a fold is scored in that fold, if no other is named.
    """
    from rsstudy.encoders import create
    from rsstudy.files import sha256_of, whole_file
    from rsstudy.run import (
        ADAPTER,
        data_label,
        evaluate_split,
        load_adapter,
        public_name,
        query_counts,
        read_adapter_config,
    )
    from rsstudy.training import pick_device

    if adapter is None and encoder is None:
        raise StudyError("give --adapter DIR, or --encoder NAME for a zero-shot score")
    if adapter is not None and adapter.is_file():
        adapter = adapter.parent  # a file of the run's folder, such as its record
    if adapter is not None and image_size is not None:
        raise StudyError("an adapter brings its image size with it: leave --image-size out")
    if file is not None and file.is_dir():
        raise StudyError(f"{file} is a folder: give a file for --json")
    if adapter is not None:
        model = load_adapter(adapter, encoder, device)
    else:
        model = create(str(encoder), image_size).to(pick_device(device))
    result, pairs, chosen = evaluate_split(model, data, split, data_root, True, adapter,
                                           _fold(number, assignment, grouped),
                                           published=number == 0)  # fmt: skip
    scored = {}
    if adapter is not None:
        config = read_adapter_config(adapter)
        scored = {name: config[name] for name in ("run", "method", "method_settings", "seed")}
        scored["adapter_sha256"] = sha256_of(adapter / ADAPTER)
    answer = {
        "adapter": scored or None,
        "data": data_label(data, chosen), "split": split, "images": len(chosen),
        "captions": len(pairs.text_of), "encoder": public_name(model.name),
        "image_size": model.image_size, "weights": model.weights, "scores": result.scores,
        "split_manifest_digest": chosen.manifest_digest(),
        "split_pixel_digest": pairs.pixel_digest,
        "queries": query_counts(result, pairs.image_of, chosen.classes),
    }  # fmt: skip
    text = json.dumps(answer) + "\n"
    if file is not None and str(file) == "-":
        click.echo(text, nl=False)
        return
    if file is not None:
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _print([_joined(_rounded(result.scores))], as_json=False)


@cli.command("export", short_help="Write a trained encoder as plain open_clip weights.")
@click.option("--adapter", type=click.Path(path_type=Path), required=True,
              help="Folder of a run that kept its adapter.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="The file to write, .safetensors.")  # fmt: skip
@click.option("--encoder", help="Where its base weights lie now.")
def export_command(adapter: Path, out: Path, encoder: str | None) -> None:
    """Merge an adapter into its open_clip model, and print the line of Python that loads it.

    Only methods that change weights can be merged: lora, dora, bitfit, layernorm, ssf, ia3, full
    and the like; one that adds computations (an adapter, tokens) says so.
    """
    from rsstudy.export import export

    click.echo(export(adapter.parent if adapter.is_file() else adapter, out, encoder))


@cli.command("suite", short_help="Do a grid of runs, or part of it.")
@click.argument("name")
@click.option("--scale", type=SCALES, default="smoke", show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Folder for records and adapters.")  # fmt: skip
@click.option("--data", multiple=True, help="Only on this set of the suite. Repeatable.")
@click.option("--method", multiple=True, help="Only with this method, named as in the table "
              "printed. Repeatable.")  # fmt: skip
@click.option("--objective", multiple=True, help="Only with this objective. Repeatable.")
@click.option("--seeds", type=click.IntRange(1), help="Only the first so many seeds of each arm.")
@click.option("--jobs", type=click.IntRange(1), help="How many runs at once: as many processes, a "
              "GPU each where there are GPUs.")  # fmt: skip
@click.option("--launcher", type=click.Choice(["local", "slurm"]), help="Where the processes run: "
              "here, or as a SLURM array job. Needs the extra `cluster`.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List the arms, the time they take on this machine "
              "and what is missing; run nothing.")  # fmt: skip
@click.option("--teraflops", type=click.FloatRange(0, min_open=True), help="With --dry-run: for a "
              "device that sustains so many TFLOP/s, in place of timing this one.")  # fmt: skip
@click.option("--submit", multiple=True, metavar="NAME=VALUE", help="For SLURM, as submitit names "
              "it: slurm_partition=gpu, timeout_min=720. Repeatable.")  # fmt: skip
@data_root
@device
@as_json
def suite_command(
    name: str, scale: Any, runs: Path, data: tuple[str, ...], method: tuple[str, ...],
    objective: tuple[str, ...], seeds: int | None, jobs: int | None, launcher: str | None,
    dry_run: bool, teraflops: float | None, submit: tuple[str, ...], data_root: Path | None,
    device: str, as_json: bool,
) -> None:  # fmt: skip
    """Do every run of a suite whose record is not there yet, and print the scores.

    Where a scale searches a learning rate, each is tried with the first seed, the choice is made
    on validation and written to RUNS/choices, and only then is the test split opened.

    Several processes may do one suite at once, with --jobs or by the same command given elsewhere
    on the same folder: no run is done twice, and one that a dead process left is taken up.
    """
    from rsstudy.grids import arms
    from rsstudy.launching import beside, submit_array
    from rsstudy.parallel import started_by_torchrun
    from rsstudy.suites import run_suite, shown_scores

    def say(text: str) -> None:
        click.echo(text, err=True)

    if runs.exists() and not runs.is_dir():
        raise StudyError(f"{runs} is a file: give a folder for --runs")
    if dry_run:
        _print_plan(name, scale, runs, data, method, objective, seeds, data_root, device, teraflops,
                    as_json)  # fmt: skip
        return
    if teraflops is not None:
        raise StudyError("--teraflops is for --dry-run")
    if started_by_torchrun():
        raise StudyError("torchrun is for one run on several GPUs: give a suite --jobs instead")
    if submit and launcher != "slurm":
        raise StudyError("--submit is for --launcher slurm")
    suite: dict[str, Any] = {
        "name": name, "scale": scale, "runs": runs, "data_root": data_root, "device": device,
        "data": data, "methods": method, "objectives": objective, "seeds": seeds,
    }  # fmt: skip
    if launcher == "slurm":
        options = dict(_named_value(text) for text in submit)
        submit_array(jobs or 4, options, say, **suite)
        return
    if launcher == "local" and jobs is None:
        raise StudyError("--launcher local needs --jobs, how many runs at once")
    with beside(jobs, say, **suite) if jobs and jobs > 1 else nullcontext():
        records = run_suite(**suite, say=say)
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
            "trained": r["trained_parameters"]["total"], **_rounded(shown_scores(r, tested)),
        }
        for r in records
    ]  # fmt: skip
    _print([_joined(row) for row in rows], as_json=False)
    if not tested:
        click.echo("\nscores on validation: this suite leaves the test split sealed")


@cli.command("queue", short_help="Work on the decisive record for some hours.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), required=True,
              help="How long: what is started ends in it, or leaves a small checkpoint.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True,
              help="How many runs at once, one thread each; several share a GPU.")  # fmt: skip
@click.option("--suite", "name", default="decisive", show_default=True)
@click.option("--scale", type=SCALES, default="bench", show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/queue"),
              show_default=True, help="Folder for this queue's adapters and checkpoints alone; it "
              "may be new each time.")  # fmt: skip
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Folder of the record: what is in it is not done again, and "
              "what is done goes there, ready to be committed.")  # fmt: skip
@data_root
@device
def queue_command(
    hours: float, jobs: int, name: str, scale: Any, runs: Path, results: Path,
    data_root: Path | None, device: str,
) -> None:  # fmt: skip
    """Take the next run of the plan (book/plan.md), and the next, until the time is over.

    Records go to RESULTS/runs, choices of learning rates to RESULTS/choices, checkpoints of what is
    not done to RESULTS/underway; the next call goes on from there, on this machine or another. The
    processes run only where nothing else wants the processor.
    """
    import time

    import torch

    from rsstudy.launching import beside
    from rsstudy.queue import Slot, yield_to_others
    from rsstudy.suites import run_suite

    def say(text: str) -> None:
        click.echo(text, err=True)

    runs, results = runs.resolve(), results.resolve()
    slot = Slot(time.monotonic() + 3600 * hours, results)
    slot.restore(runs)
    yield_to_others()
    torch.set_num_threads(1)
    suite: dict[str, Any] = {
        "name": name, "scale": scale, "runs": runs, "data_root": data_root, "device": device,
        "slot": slot,
    }  # fmt: skip
    try:
        with beside(jobs, say, True, **suite) if jobs > 1 else nullcontext():
            run_suite(**suite, say=say)
    finally:
        slot.publish(runs)
        slot.keep(runs)
    say(f"{len(slot.known())} runs of the new record lie in {results}: commit them")


@cli.command("runs", short_help="List every run on record, and write results/runs.csv.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Folder of the committed record.")  # fmt: skip
def runs_command(results: Path) -> None:
    """Write RESULTS/runs.csv, one row a run, from the records in RESULTS/runs."""
    from rsstudy.records import write_runs_table

    if not results.is_dir():
        raise StudyError(f"{results} is no folder of results: name one with --results")
    click.echo(write_runs_table(results))


def _fold(number: int | None, assignment: Any, grouped: bool) -> Any:
    """The fold that is asked for, if one is.

    Raises:
        StudyError: how to assign is said, and no fold is named.
    """
    from rsstudy.data.folds import Fold

    if not number:
        if grouped or assignment != "first":
            raise StudyError("--folds and --grouped say how folds are made: name one with --fold")
        return None
    return Fold(number, assignment, grouped)


def _print_plan(
    name: str, scale: Any, runs: Path, data: tuple[str, ...], method: tuple[str, ...],
    objective: tuple[str, ...], seeds: int | None, data_root: Path | None, device: str,
    teraflops: float | None, as_json: bool,
) -> None:  # fmt: skip
    from rsstudy.planning import duration, plan
    from rsstudy.suites import rows_of

    rows = plan(rows_of(name, scale, data, method, objective, seeds), runs, data_root, device,
                progress=not as_json, rate=teraflops and 1e12 * teraflops)  # fmt: skip
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    _print([
        {"data": row.data, "arm": row.name, "encoder": row.encoder, "runs": row.runs,
         "seeds done": row.done,
         "time left": "not counted" if row.seconds is None else duration(row.seconds)}
        for row in rows
    ], as_json=False)  # fmt: skip
    count, whole = sum(row.runs for row in rows), duration(sum(row.seconds or 0 for row in rows))
    rate = (f"on a device that sustains {teraflops:g} TFLOP/s: FLOPs counted." if teraflops else
            "here: FLOPs counted, at the rate of a training step just timed (what else runs slows "
            "that).")  # fmt: skip
    click.echo(f"\n{count} runs; {whole} left, one after the other {rate}")
    missing = dict.fromkeys(what for row in rows for what in row.missing)
    for what in missing:
        click.echo(f"missing here: {what}")
    if not missing:
        click.echo("nothing is missing here")


@cli.command("costs", short_help="Count what each method costs on an encoder.")
@click.option("--encoder", default="ViT-B-32", show_default=True, help="Any encoder with blocks; "
              "its weights are not needed.")  # fmt: skip
@click.option("--image-size", type=int, help="Pixels a side.")
@click.option("--words", default=20, show_default=True, help="Tokens a caption.")
@click.option("--method", multiple=True, help="Only this one, or a preset of it. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a record of it here, too.")
@as_json
def costs_command(
    encoder: str, image_size: int | None, words: int, method: tuple[str, ...], out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Parameters, bytes and FLOPs of the benchmark's methods, counted without computing."""
    from rsstudy.benchmark import counted_costs
    from rsstudy.records import environment, readable
    from rsstudy.training import pick_device

    rows = counted_costs(encoder, image_size, words, method, progress=not as_json)
    if out is not None:
        from rsstudy.files import whole_file

        record = {"encoder": encoder, "image_size": image_size, "words": words,
                  "environment": environment(pick_device("cpu")), "rows": rows}  # fmt: skip
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
    ]  # fmt: skip
    _print(shown, as_json=False)
    click.echo("Adam MB: gradients and both moments. kept MB: for the backward pass of one pair, "
               "fp32.")  # fmt: skip
    click.echo("picture, caption: GFLOP to encode one; step: of training on one pair.")


@cli.command("claims", short_help="Judge the paper's claims by the records.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Folder of records and of the paper's tables.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("book/claims.json"),
              show_default=True, help="Where the ledger is written.")  # fmt: skip
@as_json
def claims_command(results: Path, out: Path, as_json: bool) -> None:
    """Write the ledger of the paper's eight claims, drawn from records, and print its verdicts."""
    from rsstudy.claims import write_ledger

    rows = [
        {"id": c.id, "claim": c.claim, "verdict": c.verdict} for c in write_ledger(results, out)
    ]
    _print(rows, as_json)


@cli.command("answer", short_help="Write the front page's answer from the records.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Folder of records.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("book"), show_default=True,
              help="Folder for answer.md and answer.svg.")  # fmt: skip
def answer_command(results: Path, out: Path) -> None:
    """Answer the study's question in one picture and five sentences, drawn from records."""
    from rsstudy.answer import write_answer

    for text in write_answer(results, out):
        click.echo(text)
    click.echo(f"\nwritten to {out / 'answer.md'} and {out / 'answer.svg'}")


@cli.command("report", short_help="Make every table of the book from the records.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Folder of records.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("report"),
              show_default=True, help="Folder for the tables, CSV.")  # fmt: skip
@as_json
def report_command(results: Path, out: Path, as_json: bool) -> None:
    """Make every table of the book anew from the committed records alone, with its provenance.

    Writes OUT/NAME.csv for each, and OUT/provenance.csv: the records that each was made from, with
    commit, machine and time.
    """
    from rsstudy.report import by_table, report

    rows = by_table(report(results, out)).round({"hours": 1})
    shown = rows[["chapter", "table", "what", "files", "runs", "hours"]]
    _print(shown.to_dict("records"), as_json)
    if not as_json:
        click.echo(f"\n{len(rows)} tables in {out}; provenance.csv there names every record.")


def _listed(
    kind: str, encoder: str | None, data_root: Path | None, as_json: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """A list's rows, the rows of their settings, and a line to go below."""
    from rsstudy.settings import explained

    if kind == "data":
        from rsstudy.data.sources import known_sets

        rows = [dataclasses.asdict(known) for known in known_sets(data_root)]
        return rows, [], ("`rsstudy data check NAME` says how to get a set that is not present. "
                          "Generated scenes take settings: scenes?images=400&seed=1.")  # fmt: skip
    if kind == "encoders":
        from rsstudy.encoders import list_encoders

        return [dataclasses.asdict(info) for info in list_encoders()], [], ""
    if kind == "methods":
        from rsstudy.methods import METHODS

        settings = [
            {"of": name, **_setting_row(setting)}
            for name, method in sorted(METHODS.items()) for setting in explained(method)
        ]  # fmt: skip
        return _method_rows(encoder), settings, "Set one by --set method.SETTING=VALUE."
    if kind == "objectives":
        from rsstudy.objectives import OBJECTIVES, Objective

        rows = [{"name": n, **dataclasses.asdict(o)} for n, o in OBJECTIVES.items()]
        if not as_json:
            default = dataclasses.asdict(Objective())
            own = [[f"{k} {v}" for k, v in row.items() if k != "name" and v != default[k]]
                   for row in rows]  # fmt: skip
            rows = [{"name": row["name"], "what it changes": ", ".join(changes) or "-"}
                    for row, changes in zip(rows, own, strict=True)]  # fmt: skip
        below = [_setting_row(setting) for setting in explained(Objective)]
        return rows, below, "Set one by --set objective.SETTING=VALUE."
    from rsstudy.grids import SCALES, SUITES, count_runs

    if kind == "recipe":
        from rsstudy.training import Recipe

        rows = [
            {"name": setting["name"],
             **{scale: str(getattr(of.recipe, setting["name"])) for scale, of in SCALES.items()},
             "what": _what(setting)}
            for setting in explained(Recipe)
        ]  # fmt: skip
        return rows, [], ("Set one by --set recipe.NAME=VALUE. Full fine-tuning has learning rates "
                          "of its own.")  # fmt: skip
    rows = [
        {"name": n, "what": what, **{f"runs_{scale}": count_runs(n, scale) for scale in SCALES}}
        for n, (_, what) in SUITES.items()
    ]
    return rows, [], "Run one by `rsstudy suite NAME --scale SCALE`."


def _setting_row(setting: dict[str, Any]) -> dict[str, str]:
    return {"setting": setting["name"], "default": str(setting["default"]), "what": _what(setting)}


def _what(setting: dict[str, Any]) -> str:
    choices = " or ".join(map(str, setting["choices"]))
    return f"{setting['what']} ({choices})" if choices else setting["what"]


def _method_rows(encoder: str | None) -> list[dict[str, Any]]:
    from rsstudy.encoders import create
    from rsstudy.methods import METHODS, PRESETS, attach, count_trained, create_method

    rows = []
    for name in sorted([*METHODS, *PRESETS]):
        base, _, preset = name.partition(":")
        method: Any = create_method(name)
        what = (inspect.getmodule(METHODS[base]).__doc__ or "").split("\n")[0]
        row: dict[str, Any] = {"name": name, "what": what,
                               "settings": dataclasses.asdict(method)}  # fmt: skip
        if preset:
            row["what"] = ", ".join(f"{k} {v}" for k, v in PRESETS[name].items()) or "the defaults"
        if encoder is not None:
            model = create(encoder, meta=True)
            try:
                attach(model, method)
            except StudyError as problem:  # it does not fit this encoder; the others may
                row.update(trainable_parameters=None, of_the_method=None, of_the_heads=None,
                           what=str(problem))  # fmt: skip
            else:
                counts = count_trained(model)
                row.update(trainable_parameters=counts.total, of_the_method=counts.method,
                           of_the_heads=counts.heads)  # fmt: skip
        rows.append(row)
    return rows


def _named_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise StudyError(f"--submit {text!r} is not NAME=VALUE")
    return name, value


def _overrides(given: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {part: {} for part in parts}
    for text in given:
        place, equals, value = text.partition("=")
        part, dot, name = place.partition(".")
        if not (equals and dot and part in found):
            raise StudyError(
                f"--set {text!r} is not PART.NAME=VALUE with PART one of {', '.join(parts)}"
            )
        found[part][name] = value
    return found


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in scores.items()}


def _joined(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which the three recalls of a direction share a column: six do not fit a terminal."""
    kept = {k: v for k, v in row.items() if not k.startswith(("i2t_", "t2i_"))}
    mean = kept.pop("mean_recall")
    for way in ("i2t", "t2i"):
        kept[f"{way} R@1/5/10"] = "/".join(f"{row[f'{way}_r{k}']:.1f}" for k in (1, 5, 10))
    return {**kept, "mean recall": mean}


def _print_scores(record: dict[str, Any], more: dict[str, Any], as_json: bool) -> None:
    facts: dict[str, Any] = {
        "id": record["id"], **more, "status": record["status"], "best_epoch": record["best_epoch"],
        "trained_parameters": record["trained_parameters"],
        **{name: record[name] for name in ("validation_scores", "scores") if name in record},
        **({"base_untouched_once_taken_off": record["removed"]["base_equal"]}
           if "removed" in record else {}),
        **({"elsewhere": {name: {"scores": found["scores"]}
                          for name, found in record["elsewhere"].items()}}
           if "elsewhere" in record else {}),
        "cost": record["cost"],
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    scored = {"validation": "validation_scores", "test": "scores"}
    scores = [{"split": split, **_joined(_rounded(facts.pop(name)))}
              for split, name in scored.items() if name in facts]  # fmt: skip
    scores += [{"split": f"test of {name}", **_joined(_rounded(found["scores"]))}
               for name, found in facts.pop("elsewhere", {}).items()]  # fmt: skip
    _print_facts(facts)
    click.echo()
    _print(scores, as_json=False)


def _console() -> Any:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file or a pipe has no edge to wrap at
        console.width = 120
    return console


def _print_facts(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            value = "\n".join(str(v) for v in value) or "none"
        table.add_row(name.replace("_", " "), str(value))
    _console().print(table)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in rows[0]:
        numeric = type(rows[0][name]) in (int, float)
        table.add_column(
            name.replace("_", " "), justify="right" if numeric else "left",
            no_wrap=numeric or name == "name" or "R@" in name, overflow="fold",
        )  # fmt: skip
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    _console().print(table)


def main() -> None:
    """Run the command; every error a user can mend is one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except StudyError as problem:
        from rsstudy.parallel import let_the_first_speak

        let_the_first_speak()
        click.echo(f"error: {problem}", err=True)
        sys.exit(1)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        click.echo(f"error: {where}{problem.strerror or problem}", err=True)
        sys.exit(1)
    except MemoryError as problem:
        click.echo(f"error: not enough memory ({problem}): try a smaller --batch", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; the same command goes on from the last checkpoint, if one is "
                   "kept", err=True)  # fmt: skip
        sys.exit(130)
