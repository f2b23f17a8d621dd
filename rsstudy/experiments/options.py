"""Options that several commands share, and names that are checked before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from rsstudy.errors import unknown
from rsstudy.registry import ELSEWHERE, ENCODERS, METHODS, OBJECTIVES, SETS, encoder_names, located

ADAPTERS = Path("results/adapters")
SCALES = click.Choice(["smoke", "short", "bench", "paper"])


class Name(click.ParamType):
    """A name of some kind; a mistyped one ends the command at once.

    Args:
        kind: in words, for the message.
        known: gives the names. Nothing may be imported for it that takes time.
        ends_at: what may follow a name (a preset, weights, settings), as a regular expression.
    """

    def __init__(self, kind: str, known: Callable[[], Iterable[str]], ends_at: str = "$") -> None:
        self.name, self.kind, self.known, self.ends_at = kind, kind, known, ends_at

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the name as it is.

        Raises:
            StudyError: nothing of this kind has that name.
        """
        name = re.split(self.ends_at, value)[0]
        if not name.startswith(ELSEWHERE) and name not in (known := list(self.known())):
            raise unknown(self.kind, name, known)
        return str(value)


class DataName(Name):
    """A known set, or a path. A single word is taken for a name, unless a file is called so."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        word = re.fullmatch(r"[\w-]{1,80}(\?.*)?", value)
        is_word = word and not located(value)[0].exists()
        return super().convert(value, param, ctx) if is_word else str(value)


class SplitName(click.ParamType):
    """A split, by any of the names that readers know: "validation" is val."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return this package's name of the split."""
        from rsstudy.data.reading import SPLITS

        return SPLITS.get(value, value)


class AdapterFolder(click.ParamType):
    """The folder of a run, also by a file in it; or the name of one in ``results/adapters``."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """Return the folder, whether it exists or not."""
        path = next((p for p in (Path(value), ADAPTERS / value) if p.exists()), Path(value))
        return path.parent if path.is_file() else path


DATA = DataName(SETS.kind, lambda: SETS, r"\?")
ENCODER = Name(ENCODERS.kind, encoder_names, "[@+]")
METHOD = Name(METHODS.kind, lambda: METHODS, ":")
SPLIT = SplitName()
ADAPTER = AdapterFolder()
OBJECTIVE = Name(OBJECTIVES.kind, lambda: OBJECTIVES)


class Once(click.Command):
    """A command whose options of one value are given once: click would take the last one alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = self.make_parser(ctx).parse_args([*args])[2]
        for param in given:
            once = isinstance(param, click.Option) and not (param.multiple or param.is_flag)
            if once and given.count(param) > 1:
                raise click.UsageError(
                    f"{param.opts[0]} is given twice: leave one of them out", ctx
                )
        return super().parse_args(ctx, args)


class Commands(click.Group):
    """A group of such commands."""

    command_class = Once
    group_class = type


PATH = click.Path(path_type=Path)
SEED = click.IntRange(0, 2**32 - 1)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(names: str, help: str, type: Any = None, default: Any = None, **more: Any) -> Decorator:
    """``click.option``.

    Args:
        names: of the option, and of the parameter where that differs, with a space between.
    """
    return click.option(*names.split(), help=help, type=type, default=default, **more)


def repeated(names: str, help: str, type: Any = None, **more: Any) -> Decorator:
    """An option that may be given several times."""
    return option(names, f"{help} Repeatable.", type, multiple=True, **more)


def flag(names: str, help: str) -> Decorator:
    """An option without a value."""
    return click.option(*names.split(), help=help, is_flag=True)


scale = partial(option, "--scale", type=SCALES)
results = option("--results", "Folder of the committed record.", PATH, "results")
data_root = option(
    "--data-root",
    "Folder that holds the known sets, one folder each; else RSSTUDY_DATA, else the cache.",
    PATH,
)
device = option("--device", "auto, cpu, cuda, cuda:1 or mps.", default="auto")
seed = option("--seed", "Seed of every random draw.", SEED, 0)
as_json = flag("--json as_json", "Print JSON in place of a table.")
json_file = option(
    "--json file",
    "Print everything as JSON in place of a table, or write it into a file.",
    click.Path(path_type=Path, allow_dash=True),
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
)
overrides = repeated(
    "--set overrides",
    "Override a setting of method, objective or recipe: --set method.bottleneck=32 --set "
    "objective.margin=0.1 --set recipe.schedule=constant. `rsstudy list methods`, `... "
    "objectives` and `... recipe` show all settings.",
    metavar="PART.NAME=VALUE",
)


def in_fold(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a fold: ``number``, ``assignment`` and ``grouped``."""
    assignment = "Which of two assignments of pictures to folds."
    for decorate in (
        flag("--grouped", "Keep pictures with an identical caption in one fold."),
        option("--folds assignment", assignment, click.Choice(["first", "second"]), "first"),
        option(
            "--fold number",
            "Use the set as this one of ten folds: it is test, the next validation, the rest "
            "train. 0: the published splits.",
            click.IntRange(0, 10),
        ),
    ):
        command = decorate(command)
    return command
