"""The book's page on adding is true: what it shows is taken from it and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "15_adding.md").read_text()
FILES = dict(re.findall(r"`(rsstudy/[\w/]+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
[ROW] = re.findall(r"`tests/test_method_table.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line.split()
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project's code with the page's files and the page's row added, and nothing else."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "rsstudy", folder / "rsstudy")
    (folder / "tests").mkdir()
    for name in ("browser.py", "conftest.py", "test_method_table.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    for name, code in FILES.items():
        (folder / name).write_text(code)
    table = folder / "tests" / "test_method_table.py"
    code, found = re.subn(
        r"^TABLE = \{\n", lambda start: start[0] + ROW, table.read_text(), flags=re.MULTILINE
    )
    assert found == 1
    table.write_text(code)
    assert ROW.count("b.width") == 1
    wrong = code.replace(ROW, ROW.replace("b.width", "2 * b.width"))
    (folder / "tests" / "test_wrong_row.py").write_text(wrong)
    return folder


@pytest.fixture(scope="module")
def harbours(copy):
    """Thirty pictures with two captions each, in the form that the page's data set has."""
    folder, rows = copy / "sets" / "harbours", []
    folder.mkdir(parents=True)
    for number in range(30):
        colour = (number * 8, 255 - number * 8, number * 5 % 256)
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        split = "train" if number < 20 else "val" if number < 25 else "test"
        for side in ("left", "right"):
            caption = f"a harbour with {number} boats on the {side} ."
            rows.append({"picture": f"{number}.png", "use": split, "caption": caption})
    pd.DataFrame(rows).to_csv(folder / "captions.csv", index=False)


# Several commands in one process, which imports the copy once; the output of each, parted by zeros.
# Then the tests of the page's method: how many the table has for another method, and each outcome.
SEVERAL = """
import json, sys
import pytest
from rsstudy.experiments.cli import cli
for words in json.loads(sys.argv[1]):
    cli.main(words, standalone_mode=False)
    print(end="\\0")

class Outcomes:
    found, others = {}, 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        of_table = [item.name for item in items if "test_method_table" in item.nodeid]
        Outcomes.others = sum("layernorm" in name for name in of_table)

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.found[report.nodeid] = report.outcome

pytest.main(["tests", "-q", "-p", "no:cacheprovider", "-k", sys.argv[2]], plugins=[Outcomes()])
print(end="\\0")
print(json.dumps([Outcomes.found, Outcomes.others]))
"""


@pytest.fixture(scope="module")
def said(copy, harbours):
    """What each of the page's commands prints, with an epoch of a few pictures in fp32; and last
    the outcomes of the tests of the page's method, and how many tests another method has."""
    small = ["--epochs", "1", "--set", "recipe.precision=fp32", "--set", "recipe.fraction=0.2"]
    small_on_few = small[:-2]  # of twenty pictures all
    words = [
        [*command[1:], *(small_on_few if "harbours" in command else small)]
        if command[1] == "train"
        else command[1:]
        for command in COMMANDS
    ]
    # A virtual environment may have the project itself installed: the copy comes before it.
    where = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"}
    where.pop("PYTHONSAFEPATH", None)
    asked = [json.dumps(words), "shift and (formula or not wrong_row)"]
    command = [sys.executable, "-c", SEVERAL, *asked]
    done = subprocess.run(command, cwd=copy, env=where, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("\0")


def test_the_pages_method_holds_what_every_method_holds(said):
    found, others = json.loads(said[-1])
    outcomes = [outcome for test, outcome in found.items() if "test_method_table" in test]
    assert set(outcomes) == {"passed"}, said[-2]
    assert len(outcomes) >= others - 2, "as many as any other method"


def test_a_wrong_formula_on_the_row_fails(said):
    found, _ = json.loads(said[-1])
    outcomes = {outcome for test, outcome in found.items() if "test_wrong_row" in test}
    assert outcomes == {"failed"}, said[-2]


def test_the_page_shows_one_of_each_kind():
    folders = {str(Path(name).parent.relative_to("rsstudy")) for name in FILES}
    assert len(FILES) == 4 and folders == {"data/sets", "encoders", "methods", "objectives"}


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=map(" ".join, COMMANDS))
def test_the_pages_commands_work(said, number):
    command, printed = COMMANDS[number], said[number]
    assert command[0] == "rsstudy"
    if command[1] == "train":
        assert re.search(r"\n test +[\d.]+/", printed)
    if "list" in command:
        assert re.search(r"shift .*15,360", printed)
    if "check" in command:
        assert "30" in printed and "60" in printed


def test_what_the_page_names_is_there():
    from rsstudy.encoders import PLACES
    from rsstudy.methods import METHODS, primitives

    for name in re.findall(r"`(add_\w+|reparameterise)`", PAGE):
        assert hasattr(primitives, name)
    places = re.search(r"one of seven places(.*?)\n\n", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`([a-z-]+)`", places)) == set(PLACES)
    for row in re.findall(
        r"^\| (?:a|tokens).*\| (.*?) \|$", PAGE.partition("Which primitive")[2], re.MULTILINE
    ):
        assert set(re.findall(r"`([\w-]+)`", row)) <= set(METHODS)
