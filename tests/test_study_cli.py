"""The study's commands: suites are listed, and a mistyped name is answered in one line."""

import json
import subprocess
import sys

from click.testing import CliRunner

from study.cli import cli
from study.suites import SUITES


def test_suites_are_listed_with_their_runs():
    rows = json.loads(CliRunner().invoke(cli, ["suite", "--json"]).output)
    assert [row["name"] for row in rows] == list(SUITES)
    assert all(row["runs_smoke"] > 0 for row in rows)


def test_a_mistyped_suite_is_answered_in_one_line(tmp_path):
    command = [sys.executable, "-m", "study", "suite", "compar"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "did you mean compare" in done.stderr
