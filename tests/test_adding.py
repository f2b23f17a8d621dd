"""The book's page on adding a method is true: what it shows is taken from it and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "adding.md").read_text()
FILE, ROW = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project's code with the page's file and the page's row added, and nothing else."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "rsstudy", folder / "rsstudy")
    (folder / "tests").mkdir()
    for name in ("conftest.py", "test_method_table.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    (folder / "rsstudy" / "methods" / "shift.py").write_text(FILE)
    table = folder / "tests" / "test_method_table.py"
    code, found = re.subn(
        r"^TABLE = \{\n", lambda start: start[0] + ROW, table.read_text(), flags=re.MULTILINE
    )
    assert found == 1
    table.write_text(code)
    return folder


def run(folder: Path, *words: str) -> str:
    # A virtual environment may have the project itself installed: the copy comes before it.
    where = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    where.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=where,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pages_method_holds_what_every_method_holds(copy):
    said = run(
        copy, "pytest", "tests/test_method_table.py", "-k", "shift", "-q", "-p", "no:cacheprovider"
    )
    passed = int(re.search(r"(\d+) passed", said)[1])
    listed = run(
        copy,
        "pytest",
        "tests/test_method_table.py",
        "-k",
        "layernorm",
        "-q",
        "-p",
        "no:cacheprovider",
        "--collect-only",
    )
    assert passed >= len(re.findall(r"layernorm", listed)) - 2, "as many as any other method"


def test_the_pages_commands_list_it_with_its_size_and_train_it(copy):
    listing, training = (command.split() for command in COMMANDS)
    assert listing[0] == training[0] == "rsstudy"
    assert re.search(r"shift .*15,360", run(copy, *listing))
    shown = run(copy, *training, "--epochs", "1")
    assert re.search(r"scenes-tiny-shift-infonce-s0", shown) and re.search(
        r"\n test +[\d.]+/", shown
    )


def test_a_wrong_formula_on_the_row_fails(copy):
    table = copy / "tests" / "test_method_table.py"
    right = table.read_text()
    try:
        table.write_text(right.replace(ROW, ROW.replace("b.width", "2 * b.width")))
        with pytest.raises(AssertionError, match="failed"):
            run(copy, "pytest", "tests/test_method_table.py", "-k", "shift and formula", "-q")
    finally:
        table.write_text(right)


def test_what_the_page_names_is_there():
    from rsstudy.encoders import PLACES
    from rsstudy.methods import METHODS, primitives

    for name in re.findall(r"`(add_\w+|reparameterise)`", PAGE):
        assert hasattr(primitives, name)
    places = re.search(r"one of seven places(.*?)\n\n", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`([a-z-]+)`", places)) == set(PLACES)
    for row in re.findall(r"^\| (?:a|tokens).*\| (.*?) \|$", PAGE, re.MULTILINE):
        assert set(re.findall(r"`([\w-]+)`", row)) <= set(METHODS)
