"""``python -m study.speed NAME [OPTIONS]``: time one thing and write its record."""

from importlib import import_module
from pathlib import Path

from rsstudy.experiments.cli import run_command
from study.speed.common import cli

if __name__ == "__main__":  # not in the processes that ``steps`` starts
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        import_module(f"study.speed.{path.stem}")
    run_command(cli)
