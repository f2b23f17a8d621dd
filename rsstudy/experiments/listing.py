"""What ``rsstudy list`` prints: everything that has a name, and every setting."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from rsstudy.data.sources import known_sets
from rsstudy.encoders import create, list_encoders
from rsstudy.errors import StudyError
from rsstudy.experiments.show import show
from rsstudy.methods import METHODS, PRESETS, attach, count_trained, create_method
from rsstudy.objectives import OBJECTIVES, Objective, named_objective
from rsstudy.settings import explained, settings_of
from rsstudy.training.recipe import OF_SCALE, Recipe

Rows = Sequence[dict[str, Any]]

# The encoders that come first: this package's, the paper's, and CLIP's other ViTs.
FIRST_ENCODERS = ("tiny", "vits14-minilm", "ViT-B-32", "ViT-B-16", "ViT-L-14")


@dataclass
class Listing:
    """A list: its rows, the rows of their settings (``of`` names a row), and a line below."""

    rows: Rows
    settings: Rows = ()
    note: str = ""
    hidden: Collection[str] = ("how_to_get", "settings")  # columns of the JSON alone

    def print(self) -> None:
        """Print the tables and the note."""
        show([{k: v for k, v in row.items() if k not in self.hidden} for row in self.rows])
        if self.settings:
            click.echo()
            show(self.settings)
        if self.note:
            click.echo(f"\n{self.note}")


def listed(
    kind: str, everything: bool, pattern: str | None, encoder: str | None, data_root: Path | None
) -> Listing:
    """Everything of a kind, or what a pattern picks; of encoders the first, unless everything.

    Raises:
        StudyError: nothing has a name that fits the pattern.
    """
    found = _listing(kind, encoder, data_root)
    if pattern is not None:

        def fits(row: dict[str, Any]) -> bool:
            name = row.get("of", row.get("name"))
            return name is None or fnmatchcase(name, pattern)

        found.rows, found.settings = (
            list(filter(fits, part)) for part in (found.rows, found.settings)
        )
        if not found.rows:
            hint = " --all" if kind == "encoders" else ""
            raise StudyError(f"no name matches {pattern!r}; `rsstudy list {kind}{hint}` shows all")
        return found
    if kind == "encoders" and not everything:
        by_name = {row["name"]: row for row in found.rows}
        found.rows = [by_name[name] for name in FIRST_ENCODERS]
        found.note = (
            f"{len(by_name) - len(FIRST_ENCODERS)} more open_clip models can be named: `rsstudy "
            "list encoders --all`, or by pattern, `rsstudy list encoders 'ViT-B-*'`."
        )
    return found


def _listing(kind: str, encoder: str | None, data_root: Path | None) -> Listing:
    rows: list[dict[str, Any]] = []
    if kind == "data":
        note = (
            "`rsstudy data check NAME` says how to get a set that is not present. "
            "Generated scenes take settings: scenes?images=400&seed=1."
        )
        return Listing([asdict(known) for known in known_sets(data_root)], note=note)
    if kind == "encoders":
        return Listing([asdict(info) for info in list_encoders()])
    if kind == "methods":
        settings = [
            {"of": name, **_setting(setting)}
            for name, method in sorted(METHODS.items())
            for setting in explained(method)
        ]
        return Listing(_methods(encoder), settings, "Set one by --set method.SETTING=VALUE.")
    if kind == "objectives":
        default = settings_of(Objective())
        for name in OBJECTIVES:
            of = settings_of(named_objective(name))
            changes = ", ".join(f"{k} {v}" for k, v in of.items() if v != default.get(k))
            rows.append({"name": name, "what it changes": changes or "-", **of})
        settings = [_setting(setting) for setting in explained(Objective)]
        hidden = {name for row in rows for name in row} - {"name", "what it changes"}
        return Listing(rows, settings, "Set one by --set objective.SETTING=VALUE.", hidden)
    for setting in explained(Recipe):
        name, what = setting["name"], _setting(setting)["what"]
        values: dict[str, str] = {of: str(getattr(r, name)) for of, r in OF_SCALE.items()}
        rows.append({"name": name, **values, "what": what})
    note = "Set one by --set recipe.NAME=VALUE. Full fine-tuning has learning rates of its own."
    return Listing(rows, note=note)


def _setting(setting: dict[str, Any]) -> dict[str, str]:
    what, choices = setting["what"], " or ".join(map(str, setting["choices"]))
    what = f"{what} ({choices})" if choices else what
    return {"setting": setting["name"], "default": str(setting["default"]), "what": what}


def _methods(encoder: str | None) -> Rows:
    """Every method and preset; with an encoder, how many parameters each trains there."""
    rows = []
    for name in sorted([*METHODS, *PRESETS]):
        method: Any = create_method(name)
        what = (inspect.getmodule(type(method)).__doc__ or "").split("\n")[0]
        if name in PRESETS:
            what = ", ".join(f"{k} {v}" for k, v in PRESETS[name].items()) or "the defaults"
        row: dict[str, Any] = {"name": name, "what": what, "settings": settings_of(method)}
        if encoder is not None:
            model = create(encoder, meta=True)
            counts: dict[str, int] = {}
            try:
                attach(model, method)
                counts = asdict(count_trained(model))
            except StudyError as problem:  # it does not fit this encoder; the others may
                row["what"] = str(problem)
            row["trainable_parameters"] = counts.get("total")
            row |= {f"of_the_{part}": counts.get(part) for part in ("method", "heads")}
        rows.append(row)
    return rows
