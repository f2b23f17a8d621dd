"""The command ``rsstudy``: thin, over the rooms of the package."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from rsstudy import __version__
from rsstudy.errors import StudyError

data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder that holds the known sets, one folder each; else RSSTUDY_DATA, else the cache.",
)
device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PART.NAME=VALUE",
    help="Override a setting of method, objective or recipe: --set method.bottleneck=32 "
    "--set objective.margin=0.1 --set recipe.schedule=constant. `rsstudy list methods`, `... "
    "objectives` and `... recipe` show all settings. Repeatable.",
)
fold = click.option(
    "--fold",
    "number",
    type=click.IntRange(0, 10),
    help="Use the set as this one of ten folds: it is test, the next validation, the rest train. "
    "0: the published splits.",
)
folds = click.option(
    "--folds",
    "assignment",
    type=click.Choice(["first", "second"]),
    default="first",
    show_default=True,
    help="Which of two assignments of pictures to folds.",
)
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
    kind: str | None,
    pattern: str | None,
    everything: bool,
    encoder: str | None,
    data_root: Path | None,
    as_json: bool,
) -> None:
    """List what can be named: KIND is data, encoders, methods, objectives or recipe.

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
        note = (
            f"{count - len(rows)} more open_clip models can be named: `rsstudy list encoders "
            "--all`, or by pattern, `rsstudy list encoders 'ViT-B-*'`."
        )
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
    from rsstudy.experiments.pretrain import pretrain, usual
    from rsstudy.settings import settings_from
    from rsstudy.training.recipe import Recipe

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
@click.option(
    "--encoder",
    required=True,
    help="MODEL, MODEL@TAG, MODEL@FILE, each also with "
    "+DELTA, a file of `rsstudy pretrain`; see `rsstudy list encoders`.",
)
@click.option(
    "--method", default="mrs-adapter", show_default=True, help="A name of `rsstudy list methods`."
)
@click.option(
    "--objective", default="infonce", show_default=True, help="A name of `rsstudy list objectives`."
)
@click.option(
    "--scale", type=SCALES, help="Whose recipe to start from; smoke for tiny, bench for others."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--epochs", type=int, help="Short for --set recipe.epochs=...")
@click.option("--batch", type=int, help="Short for --set recipe.batch=...")
@click.option("--learning-rate", type=float, help="Short for --set recipe.learning_rate=...")
@click.option("--image-size", type=int, help="Short for --set recipe.image_size=...")
@click.option("--train-heads", is_flag=True, help="Train the heads beside the method.")
@click.option(
    "--after",
    type=click.Path(path_type=Path),
    help="Folder of a finished run of the same method: start from what it trained.",
)
@click.option("--also", multiple=True, help="A set whose test split is scored, too. Repeatable.")
@fold
@folds
@grouped
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; else runs/ID.")
@click.option(
    "--no-test",
    is_flag=True,
    help="Stop once the epoch is chosen on validation; the "
    "same command without this goes on to test. A tested run is shown.",
)
@overrides
@data_root
@device
@as_json
def train_command(
    data: str,
    encoder: str,
    method: str,
    objective: str,
    scale: Any,
    seed: int,
    epochs: int | None,
    batch: int | None,
    learning_rate: float | None,
    image_size: int | None,
    train_heads: bool,
    after: Path | None,
    also: tuple[str, ...],
    number: int | None,
    assignment: Any,
    grouped: bool,
    out: Path | None,
    no_test: bool,
    overrides: tuple[str, ...],
    data_root: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Train a method, choose the epoch on validation, score it on test, keep record and adapter.

    The same command again finds the record and runs nothing; an interrupted run goes on where it
    was. On several GPUs: torchrun --nproc-per-node 8 -m rsstudy train ...
    """
    from rsstudy.experiments.run import Run, execute
    from rsstudy.methods import create_method
    from rsstudy.settings import settings_from
    from rsstudy.training.parallel import joined
    from rsstudy.training.recipe import Recipe, default_recipe, recipe_for

    parts = _overrides(overrides, ("method", "objective", "recipe"))
    create_method(method, parts["method"])  # an unknown name ends here, before anything is read
    default = recipe_for(scale, method, data) if scale else default_recipe(encoder, method, data)
    short = {
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "image_size": image_size,
    }
    chosen = {name: value for name, value in short.items() if value is not None}
    recipe = settings_from(
        "recipe", Recipe, {**dataclasses.asdict(default), **chosen, **parts["recipe"]}
    )
    run = Run(
        data,
        encoder,
        method,
        objective,
        recipe,
        seed,
        train_heads,
        parts["method"],
        parts["objective"],
        after,
        also,
        _fold(number, assignment, grouped),
    )
    with joined(device) as processes:
        record, folder = execute(run, out, data_root=data_root, device=device, test=not no_test)
    if processes.leads:
        _print_scores(record, {"folder": str(folder)}, as_json)


@cli.command("evaluate", short_help="Score an adapter or an encoder on any set.")
@click.option(
    "--adapter", type=click.Path(path_type=Path), help="Folder of a run that kept its adapter."
)
@click.option(
    "--encoder",
    help="Without --adapter: score this encoder zero-shot. With it: where "
    "its base weights lie now.",
)
@click.option("--data", required=True, help="A known set, a folder, a JSON, or generated scenes.")
@click.option("--split", default="test", show_default=True)
@click.option("--image-size", type=int, help="Without --adapter: pixels a side.")
@fold
@folds
@grouped
@click.option(
    "--json",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write scores and per-query counts here; - for the terminal.",
)
@data_root
@device
def evaluate_command(
    adapter: Path | None,
    encoder: str | None,
    data: str,
    split: str,
    image_size: int | None,
    number: int | None,
    assignment: Any,
    grouped: bool,
    file: Path | None,
    data_root: Path | None,
    device: str,
) -> None:
    """Score a saved adapter, or an encoder as it is, on one split of any set.

    An adapter that was trained in a fold is scored in that fold, if no other is named.
    """
    from rsstudy.adapters import ADAPTER, load_adapter, read_adapter_config
    from rsstudy.devices import pick_device
    from rsstudy.encoders import create
    from rsstudy.evaluation import query_counts
    from rsstudy.experiments.names import public_name
    from rsstudy.experiments.splits import data_label, evaluate_split
    from rsstudy.files import sha256_of, whole_file

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
    result, pairs, chosen = evaluate_split(
        model,
        data,
        split,
        data_root,
        True,
        adapter,
        _fold(number, assignment, grouped),
        published=number == 0,
    )
    scored = {}
    if adapter is not None:
        config = read_adapter_config(adapter)
        scored = {name: config[name] for name in ("run", "method", "method_settings", "seed")}
        scored["adapter_sha256"] = sha256_of(adapter / ADAPTER)
    answer = {
        "adapter": scored or None,
        "data": data_label(data, chosen),
        "split": split,
        "images": len(chosen),
        "captions": len(pairs.text_of),
        "encoder": public_name(model.name),
        "image_size": model.image_size,
        "weights": model.weights,
        "scores": result.scores,
        "split_manifest_digest": chosen.manifest_digest(),
        "split_pixel_digest": pairs.pixel_digest,
        "queries": query_counts(result, pairs.image_of, chosen.classes),
    }
    text = json.dumps(answer) + "\n"
    if file is not None and str(file) == "-":
        click.echo(text, nl=False)
        return
    if file is not None:
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _print([_joined(_rounded(result.scores))], as_json=False)


@cli.command("export", short_help="Write a trained encoder as plain open_clip weights.")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of a run that kept its adapter.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The file to write, .safetensors."
)
@click.option("--encoder", help="Where its base weights lie now.")
def export_command(adapter: Path, out: Path, encoder: str | None) -> None:
    """Merge an adapter into its open_clip model, and print the line of Python that loads it.

    Only methods that change weights can be merged: lora, dora, bitfit, layernorm, ssf, ia3, full
    and the like; one that adds computations (an adapter, tokens) says so.
    """
    from rsstudy.adapters import export

    click.echo(export(adapter.parent if adapter.is_file() else adapter, out, encoder))


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


def _listed(
    kind: str, encoder: str | None, data_root: Path | None, as_json: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """A list's rows, the rows of their settings, and a line to go below."""
    from rsstudy.settings import explained

    if kind == "data":
        from rsstudy.data.sources import known_sets

        rows = [dataclasses.asdict(known) for known in known_sets(data_root)]
        return (
            rows,
            [],
            (
                "`rsstudy data check NAME` says how to get a set that is not present. "
                "Generated scenes take settings: scenes?images=400&seed=1."
            ),
        )
    if kind == "encoders":
        from rsstudy.encoders import list_encoders

        return [dataclasses.asdict(info) for info in list_encoders()], [], ""
    if kind == "methods":
        from rsstudy.methods import METHODS

        settings = [
            {"of": name, **_setting_row(setting)}
            for name, method in sorted(METHODS.items())
            for setting in explained(method)
        ]
        return _method_rows(encoder), settings, "Set one by --set method.SETTING=VALUE."
    if kind == "objectives":
        from rsstudy.objectives import OBJECTIVES, Objective, named_objective

        rows = [{"name": n, **dataclasses.asdict(named_objective(n))} for n in OBJECTIVES]
        if not as_json:
            default = dataclasses.asdict(Objective())
            own = [
                [f"{k} {v}" for k, v in row.items() if k != "name" and v != default[k]]
                for row in rows
            ]
            rows = [
                {"name": row["name"], "what it changes": ", ".join(changes) or "-"}
                for row, changes in zip(rows, own, strict=True)
            ]
        below = [_setting_row(setting) for setting in explained(Objective)]
        return rows, below, "Set one by --set objective.SETTING=VALUE."
    from rsstudy.training.recipe import OF_SCALE, Recipe

    rows = [
        {
            "name": setting["name"],
            **{scale: str(getattr(of, setting["name"])) for scale, of in OF_SCALE.items()},
            "what": _what(setting),
        }
        for setting in explained(Recipe)
    ]
    return (
        rows,
        [],
        ("Set one by --set recipe.NAME=VALUE. Full fine-tuning has learning rates of its own."),
    )


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
        row: dict[str, Any] = {"name": name, "what": what, "settings": dataclasses.asdict(method)}
        if preset:
            row["what"] = ", ".join(f"{k} {v}" for k, v in PRESETS[name].items()) or "the defaults"
        if encoder is not None:
            model = create(encoder, meta=True)
            try:
                attach(model, method)
            except StudyError as problem:  # it does not fit this encoder; the others may
                row.update(
                    trainable_parameters=None,
                    of_the_method=None,
                    of_the_heads=None,
                    what=str(problem),
                )
            else:
                counts = count_trained(model)
                row.update(
                    trainable_parameters=counts.total,
                    of_the_method=counts.method,
                    of_the_heads=counts.heads,
                )
        rows.append(row)
    return rows


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
        "id": record["id"],
        **more,
        "status": record["status"],
        "best_epoch": record["best_epoch"],
        "trained_parameters": record["trained_parameters"],
        **{name: record[name] for name in ("validation_scores", "scores") if name in record},
        **(
            {"base_untouched_once_taken_off": record["removed"]["base_equal"]}
            if "removed" in record
            else {}
        ),
        **(
            {
                "elsewhere": {
                    name: {"scores": found["scores"]} for name, found in record["elsewhere"].items()
                }
            }
            if "elsewhere" in record
            else {}
        ),
        "cost": record["cost"],
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    scored = {"validation": "validation_scores", "test": "scores"}
    scores = [
        {"split": split, **_joined(_rounded(facts.pop(name)))}
        for split, name in scored.items()
        if name in facts
    ]
    scores += [
        {"split": f"test of {name}", **_joined(_rounded(found["scores"]))}
        for name, found in facts.pop("elsewhere", {}).items()
    ]
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
            name.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=numeric or name == "name" or "R@" in name,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    _console().print(table)


def main() -> None:
    """The command ``rsstudy``."""
    run_command(cli)


def run_command(command: click.Command) -> None:
    """Run a command; every error a user can mend is one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        sys.exit(command.main(standalone_mode=False) or 0)
    except StudyError as problem:
        from rsstudy.training.parallel import let_the_first_speak

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
        click.echo(
            "\ninterrupted; the same command goes on from the last checkpoint, if one is kept",
            err=True,
        )
        sys.exit(130)
