"""The commands that README.md and the pages show exist, with the options that they show."""

import re
import shlex
from pathlib import Path

import click
import pytest

from rsstudy.experiments.cli import cli as rsstudy
from study.cli import cli as study

ROOT = Path(__file__).parents[1]
PROGRAMS = {"rsstudy": rsstudy, "python -m study": study}


def commands():
    for page in ("README.md", "book/12_running.md", "book/13_search.md"):
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for program, group in PROGRAMS.items():
                    found = re.search(rf"(?:^|-m ){program} (.*)", line)
                    if found and not line.startswith("pip"):
                        yield pytest.param(group, found[1], id=f"{page}: {found[1][:60]}")


def test_the_pages_show_commands():
    shown = [param.id for param in commands()]
    assert sum(of.startswith("README") for of in shown) >= 4 and len(shown) > 20


@pytest.mark.parametrize("group, line", list(commands()))
def test_a_shown_command_is_understood(group, line):
    words, command = shlex.split(line, comments=True), group
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None
    options = {o for p in command.params for o in p.opts if o.startswith("-")}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= options
