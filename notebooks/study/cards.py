"""Run cards: what a run's id opens, and the table of all runs."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.experiments.record import RUNS, fold_name, records_in
from rsstudy.files import whole_file
from rsstudy.methods import create_method
from rsstudy.objectives import named_objective
from rsstudy.settings import settings_of
from rsstudy.training.recipe import Recipe, default_recipe
from study.labels import DEVICES, ENCODERS, RECIPES, SETS, named

Record = Mapping[str, Any]
# Settings of the recipe that ``rsstudy train`` has an option of its own for.
SHORT = ("epochs", "batch", "learning_rate")
DIGITS = 12  # of a digest, on a card


def write_cards(results: Path, out: Path) -> int:
    """Write ``out/ID.js`` for every run of ``results/runs``; returns how many.

    A card is a script, ``runCard(id, html)``: a browser reads no JSON beside a page on disk.

    Raises:
        StudyError: the file system refused, or a file is no record.
    """
    records = records_in(results / RUNS)
    ids = {record["identity"]: record["id"] for record in records}
    for record in records:
        file = results / RUNS / f"{record['id']}.json"
        link = Path(os.path.relpath(file, out)).as_posix()
        with whole_file(out / f"{record['id']}.js") as temporary:
            words = f"runCard({json.dumps(record['id'])}, {json.dumps(card(record, ids, link))})\n"
            temporary.write_text(words, encoding="utf-8")
    return len(records)


def card(record: Record, ids: Mapping[str, str], link: str) -> str:
    """A run in a reader's words, HTML of some 2 kB.

    Args:
        ids: of runs by identity, to name the one that this run started from.
        link: where the record lies, seen from the folder of the cards.
    """
    parts = {
        "Scores": _scores(record),
        "Settings": _settings(record, ids),
        "Cost": _cost(record["cost"]),
        "Made with": _made_with(record),
        f"Digests, the first {DIGITS} digits": _digests(record),
    }
    command = f"<pre>{escape(rerun(record, ids))}</pre>"
    if record.get("record") == "before":
        command += "<p>An older version made this run; with today's the scores may differ.</p>"
    return "".join(
        [
            f"<h2>{escape(title(record))}</h2>",
            f"<p><b>{record['id']}</b></p>",
            *(f"<h3>{name}</h3><dl>{_list(rows)}</dl>" for name, rows in parts.items()),
            f"<h3>The same run again</h3>{command}",
            f'<p><a href="{escape(link)}">The record</a>: results/runs/{record["id"]}.json</p>',
        ]
    )


def title(record: Record) -> str:
    """What was trained, how and on what."""
    of = _names(record)
    part = "" if of["fold"] == "published" else f", {of['fold']}"
    method = of["method"][0].upper() + of["method"][1:]
    return f"{method} with {of['objective']} on {of['set']}{part}"


def rerun(record: Record, ids: Mapping[str, str]) -> str:
    """The command that does a run again, with what differs from the command's defaults."""
    config = record["config"]
    names = [config[name] for name in ("encoder", "method", "data")]
    usual = settings_of(default_recipe(*names))
    words = ["rsstudy", "train"]
    for name in ("data", "encoder", "method", "objective", "seed"):
        words += [f"--{name}", str(config[name])]
    if fold := config.get("fold"):
        words += ["--fold", str(fold["number"])]
        words += ["--folds", fold["assignment"]] * (fold["assignment"] != "first")
        words += ["--grouped"] * fold["grouped"]
    words += ["--train-heads"] * config["train_heads"]
    for name, value in config["recipe"].items():
        if value != usual[name]:
            option = f"--{name.replace('_', '-')}"
            own = [option, str(value)]
            words += own if name in SHORT else ["--set", f"recipe.{name}={value}"]
    for part, settings in _changed(config).items():
        for name, value in settings.items():
            words += ["--set", f"{part}.{name}={value}"]
    if after := config.get("after"):
        words += ["--after", f"runs/{ids[after['identity']]}"]
    for name in config.get("also", ()):
        words += ["--also", name]
    words += ["--no-test"] * ("scores" not in record)
    return shlex.join(words)


def all_runs(results: Path) -> pd.DataFrame:
    """Every run on record in a reader's words, a row each; those of the decisive record first."""
    rows = []
    for record in records_in(results / RUNS):
        config, recipe = record["config"], record["config"]["recipe"]
        row = {
            "run": record["id"],
            **_names(record),
            "rate": _rate(recipe["learning_rate"]),
            "test": _points(record.get("scores")),
            "validation": _points(record["validation_scores"]),
            "best epoch": f"{record['best_epoch']} of {recipe['epochs']}",
            "recipe": RECIPES.get(record["recipe"], record["recipe"]),
            "seed": config["seed"],
            "trained parameters": f"{record['trained_parameters']['total']:,}",
            "device": DEVICES.get(kind := record["environment"]["device"], kind),
        }
        before = record.get("record") == "before"
        order = (before, "scores" not in record, config["data"], row["method"], config["seed"])
        rows.append((order, record["id"], row | {"record": "before" if before else "decisive"}))
    return pd.DataFrame([row for *_, row in sorted(rows, key=lambda of: of[:2])])


def table_of(runs: pd.DataFrame) -> str:
    """The table as HTML, a line a row, for it is long; its ids become links in the book."""
    html = runs.to_html(index=False, border=0, classes="all-runs", justify="left")
    return re.sub(r"\n *(?=<t[dh]>|</tr>)", "", html)


def _names(record: Record) -> dict[str, str]:
    """Set, fold, method and objective of a run; what is rare is told with the method."""
    config = record["config"]
    data, _, dials = config["data"].partition("?")
    alike = re.findall(r"alike_\w+=([\d.]+)", dials)
    fold = re.sub("^f", "fold ", fold_name(config.get("fold"))).replace("-", ", ")
    method = [named(record["label"])]
    if config["encoder"] == "cnn-gru":
        method.append(ENCODERS["cnn-gru"])
    if config["image_size"] == 224:
        method.append("224 px")
    if after := config.get("after"):
        method.append(f"after {SETS[after['data']].name}")
    scenes = "scenes, pictures {:g}, captions {:g}".format(*map(float, alike)) if alike else data
    return {
        "set": SETS[data].name if data in SETS else scenes,
        "fold": fold or "published",
        "method": ", ".join(method),
        "objective": named(record.get("objective_label", config["objective"])),
    }


def _list(rows: Iterable[tuple[str, Any]]) -> str:
    return "".join(f"<dt>{escape(name)}<dd>{escape(str(value))}" for name, value in rows)


def _changed(config: Record) -> dict[str, dict[str, Any]]:
    """The settings of method and objective that are not at their default."""
    of = {
        "method": settings_of(create_method(config["method"])),
        "objective": settings_of(named_objective(config["objective"])),
    }
    return {
        part: {k: v for k, v in config[f"{part}_settings"].items() if v != usual.get(k)}
        for part, usual in of.items()
    }


def _points(scores: Mapping[str, float] | None) -> str:
    return f"{scores['mean_recall']:.1f}" if scores else "-"


def _rate(value: float) -> str:
    return re.sub(r"(\.0)?e-0?", "e-", f"{value:.3g}" if value == 0 else f"{value:.1e}")


def _scores(record: Record) -> list[tuple[str, str]]:
    """Mean recall and its six parts, in per cent, on validation, test and other sets' tests."""
    recipe, best = record["config"]["recipe"], record["best_epoch"]
    found = {"validation": record["validation_scores"]}
    if "scores" in record:
        found["test"] = record["scores"]
    for name, of in record.get("elsewhere", {}).items():
        found[f"test of {SETS[name].name if name in SETS else name}"] = of["scores"]
    rows = [("best epoch", f"{best} of {recipe['epochs']}, by validation; 0 is the start")]
    for name, of in found.items():
        cuts = "; ".join(
            f"{way} " + " / ".join(f"{of[f'{key}_r{k}']:.1f}" for k in (1, 5, 10))
            for key, way in (("i2t", "picture to text"), ("t2i", "text to picture"))
        )
        rows.append((name, f"mean recall {of['mean_recall']:.1f} % (R@1 / 5 / 10: {cuts})"))
    epochs = [f"{e['mean_recall']:.1f}" for e in record["history"] if e["mean_recall"] is not None]
    if "scores" not in record:
        rows.append(("test", "not opened: this run was for a choice on validation"))
    return [*rows, ("validation by epoch", " ".join(epochs))]


def _settings(record: Record, ids: Mapping[str, str]) -> list[tuple[str, Any]]:
    """What was chosen: names and numbers, then each setting that is not at its default."""
    config = record["config"]
    recipe = config["recipe"]
    trained = record["trained_parameters"]
    usual = settings_of(Recipe())
    rows = [
        ("record", "before: wide start, short training" if record.get("record") else "decisive"),
        ("data", config["data"]),
        ("fold", _names(record)["fold"]),
        ("seed", config["seed"]),
        ("encoder", f"{ENCODERS.get(of := config['encoder'], of)}, {config['image_size']} px"),
        ("recipe", RECIPES.get(record["recipe"], record["recipe"])),
        ("epochs, batch", f"{recipe['epochs']} epochs, {recipe['batch']} pairs"),
        ("learning rate", _rate(recipe["learning_rate"])),
        ("trained", f"{trained['total']:,} parameters, {trained['heads']:,} of them in heads"),
    ]
    if after := config.get("after"):
        rows.append(("starts from", ids[after["identity"]]))
    changed = {**_changed(config), "recipe": {}}
    told = (*SHORT, "image_size")
    changed["recipe"] = {k: v for k, v in recipe.items() if v != usual[k] and k not in told}
    for part, settings in changed.items():
        rows += [(f"{part}: {name.replace('_', ' ')}", value) for name, value in settings.items()]
    return rows


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _cost(cost: Mapping[str, float]) -> list[tuple[str, str]]:
    return [
        ("whole run", _time(cost["wall_seconds"])),
        ("training", f"{_time(cost['train_seconds'])}, {cost['steps']:,} steps"),
        ("speed", f"{cost['images_per_second']:.1f} pictures/s, beside other work"),
        ("memory, at most", f"{cost['peak_memory_bytes'] / 1e9:.2f} GB"),
        ("file", f"{cost['adapter_bytes'] / 1e6:.2f} MB"),
    ]


def _made_with(record: Record) -> list[tuple[str, str]]:
    of = record["environment"]
    commit = (of["commit"] or "not known")[:DIGITS] + ", with changes" * bool(of["dirty"])
    versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    config = record["config"]
    own = [f"{part} {config.get(f'{part}_version', 1)}" for part in ("method", "objective")]
    return [
        ("device", f"{DEVICES.get(of['device'], of['device'])}, {of['device_name']}"),
        ("commit", commit),
        ("versions", f"{versions}; {', '.join(own)}, recipe {config['recipe_version']}"),
    ]


def _digests(record: Record) -> list[tuple[str, str]]:
    config = record["config"]
    found = {
        "identity": record["identity"],
        "captions and splits": config["manifest_digest"],
        "pictures": config["pictures_digest"],
        "fold": (config.get("fold") or {}).get("digest"),
        **{f"pixels, {part}": digest for part, digest in record["pixel_digests"].items()},
        **{Path(name).name: digest for name, digest in (config["weights"] or {}).items()},
    }
    return [(name, digest[:DIGITS]) for name, digest in found.items() if digest]
