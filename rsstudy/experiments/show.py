"""What a command prints: rows or facts, as a table for a reader or as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

DIGESTS = ("manifest_digest", "pixel_digest")
ACCURACIES = ("top1", "top5", "mean_per_class")  # of classification, among the scores


def show(rows: Sequence[Mapping[str, Any]], as_json: bool = False) -> None:
    """Print rows that all have the same columns."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, header_style="bold")
    for name, value in rows[0].items():
        numeric = type(value) in (int, float)
        table.add_column(
            name.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=numeric or name == "name" or "/" in name,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    _print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print facts, one a line."""
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            value = "\n".join(map(str, value)) or "none"
        table.add_row(name.replace("_", " "), str(value))
    _print(table)


def show_record(record: Mapping[str, Any], more: Mapping[str, Any], as_json: bool) -> None:
    """Print what a run or a pretraining has come to; ``more`` follows its id."""
    facts = {"id": record["id"], **more}
    facts |= {name: record[name] for name in ("status", "best_epoch", "trained_parameters")}
    scores = {name: record[name] for name in ("validation_scores", "scores") if name in record}
    elsewhere = {name: of["scores"] for name, of in record.get("elsewhere", {}).items()}
    if "removed" in record:
        facts["base_untouched_once_taken_off"] = record["removed"]["base_equal"]
    facts["cost"] = record["cost"]
    if as_json:
        found = {name: {"scores": of} for name, of in elsewhere.items()}
        facts |= scores | ({"elsewhere": found} if found else {})
        click.echo(json.dumps(facts, indent=2))
        return
    show_facts(facts)
    click.echo()
    words = {"validation_scores": "validation", "scores": "test"}
    named = {words[name]: of for name, of in scores.items()}
    named |= {f"test of {name}": of for name, of in elsewhere.items()}
    show([{"split": split, **score_columns(of)} for split, of in named.items()])


def show_check(facts: Mapping[str, Any]) -> None:
    """Print an audit (``Audit.as_dict()`` and what was added to it): the verdict comes first."""
    lines = [f"{facts['name']}: {'usable' if facts['ok'] else 'broken'}"]
    lines += [f"- {error}" for error in facts["errors"]]
    if facts["findings"]:
        lines += ["", "To know when using it:" if facts["ok"] else "Also found:"]
        lines += [f"- {finding}" for finding in facts["findings"]]
    click.echo("\n".join(lines) + "\n")
    counted = [{"split": name, **of} for name, of in facts["splits"].items()]
    captions = sum(of["captions"] for of in counted)
    show([*counted, {"split": "all", "images": facts["images"], "captions": captions}])
    click.echo()
    of_class = sorted(facts["classes"].values())
    sizes = " to ".join(f"{n:,}" for n in dict.fromkeys([*of_class[:1], *of_class[-1:]]))
    classes = f"{len(of_class)}, of {sizes} images each" if of_class else "none given"
    apart = {"name", "images", "splits", "errors", "findings", "ok", "classes", *DIGESTS}
    rest = {name: _counted(of) for name, of in facts.items() if name not in apart}
    show_facts({"classes": classes, **rest})
    click.echo()
    show_facts({name: facts[name] or "not every picture was decoded" for name in DIGESTS})


def _counted(value: Any) -> str:
    """A number, or the length of a list: the findings name its first items."""
    if value is None:
        return "not counted"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(k).replace('_', ' ')}: {_counted(v)}" for k, v in value.items())
    value = len(value) if isinstance(value, list) else value
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def score_columns(scores: Mapping[str, float]) -> dict[str, Any]:
    """Scores as columns: the recalls of a direction share one, since six are too wide."""
    ks = sorted(int(name[5:]) for name in scores if name.startswith("i2t_r"))
    ways = {
        f"{way} R@{'/'.join(map(str, ks))}": "/".join(f"{scores[f'{way}_r{k}']:.1f}" for k in ks)
        for way in ("i2t", "t2i")
    }
    found = {**ways, "mean recall": round(scores["mean_recall"], 2)}
    if ACCURACIES[0] in scores:
        found["top-1/5/class"] = "/".join(f"{scores[name]:.1f}" for name in ACCURACIES)
    return found


def write_facts(facts: Mapping[str, Any] | Sequence[Mapping[str, Any]], file: Path | None) -> bool:
    """Write JSON into a file, or print it where the file is ``-``; whether it was printed."""
    from rsstudy.experiments.record import readable, write_readable

    if file is None:
        return False
    if printed := str(file) == "-":
        click.echo(readable(facts), nl=False)
    else:
        write_readable(file, facts)
    return printed


def _print(table: Table) -> None:
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no edge to wrap at
        console.width = 120
    console.print(table)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
