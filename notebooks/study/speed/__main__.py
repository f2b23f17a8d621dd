"""``python -m study.speed NAME [OPTIONS]``: time one thing and write its record."""

from importlib import import_module

import click

from rsstudy.experiments.cli import SETTINGS, run_command

NAMES = (
    *("epochs", "growth", "others", "paper-scale", "ranking"),
    *("rate", "step-profile", "steps", "two-processes"),
)


class Benchmarks(click.Group):
    """Each module's function of its own name, imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        stem = cmd_name.replace("-", "_")
        return getattr(import_module(f"study.speed.{stem}"), stem) if cmd_name in NAMES else None


if __name__ == "__main__":  # not in the processes that ``steps`` starts
    about = "Time training steps, epochs and ranking; NAME --help says what is measured."
    run_command(Benchmarks(context_settings=SETTINGS, help=about))
