from rsstudy.experiments.cli import run_command
from study.cli import cli

run_command(cli)
