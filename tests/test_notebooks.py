"""The committed notebooks: executed from top to bottom, and free of any one machine's traces."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])(/(root|home|tmp|work|Users|mnt|opt)/|[A-Z]:\\Users)")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"])]


def text_of(output: dict) -> str:
    """All text of one output; encoded pictures are left out."""
    parts = [output.get("text", ""), output.get("traceback", "")]
    parts += [
        data if isinstance(data, str | list) else json.dumps(data)
        for kind, data in output.get("data", {}).items()
        if not kind.startswith("image/") or kind == "image/svg+xml"
    ]
    text = "\n".join("".join(part) for part in parts)
    return re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", text)


@each_notebook
def test_a_reader_sees_code_only_when_he_asks_for_it(path):
    """But for cells that a page is about: that on Python tags them."""
    for cell in code_cells(path):
        expected = {"hide-input" if cell["outputs"] else "remove-cell"}
        if path.stem == "14_python":
            expected.add("keep-code")
        assert expected & {*cell["metadata"]["tags"]}


@each_notebook
def test_every_code_cell_was_executed_in_order(path):
    counts = [cell["execution_count"] for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_output_is_an_error(path):
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    assert [output["ename"] for output in outputs if output["output_type"] == "error"] == []


@each_notebook
def test_no_output_names_a_place_on_a_machine(path):
    for cell in code_cells(path):
        for output in cell["outputs"]:
            assert not MACHINE_PATH.search(text_of(output)), "".join(cell["source"])


@each_notebook
def test_no_picture_of_a_set_without_a_licence_is_committed(path):
    """A reader's own copy is shown on the reader's machine; to commit that would publish it."""
    for cell in code_cells(path):
        shown = [kind for output in cell["outputs"] for kind in output.get("data", {})]
        if re.search(r"\bload\(\s*[\"'](ucm|rsicd|rsitmd|flickr8k)", "".join(cell["source"])):
            assert not [kind for kind in shown if kind.startswith("image/")], (
                f"{path.name} was executed with RSSTUDY_DATA set: execute it again without"
            )


@each_notebook
def test_no_figure_outgrows_the_width_it_was_drawn_at(path):
    """What juts out of a figure widens its picture, so that its letters shrink on a phone."""
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    pictures = [
        data
        for output in outputs
        for kind, data in output.get("data", {}).items()
        if kind in ("image/png", "image/jpeg")
    ]
    widths = [Image.open(io.BytesIO(base64.b64decode(data))).width for data in pictures]
    assert all(width <= 740 for width in widths), widths  # 7.2 inches of 100 pixels, and a margin


@each_notebook
def test_what_reads_smoke_runs_is_executed_after_them(path):
    """The Makefile lets the notebooks that run a suite wait for the smoke runs, and no others."""
    code = "\n".join("".join(cell["source"]) for cell in code_cells(path))
    assert '/ "runs"' not in code or "run_suite(" in code


@each_notebook
def test_the_kernel_is_the_one_every_machine_has(path):
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


def test_contents_and_notebooks_agree():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    files = [page["file"] for part in toc["parts"] for page in part["chapters"]]
    listed = [file for file in files if file.startswith("notebooks/")]
    assert sorted(listed) == [f"notebooks/{path.stem}" for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_page_holds_a_placeholder(path):
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"]).replace("RSSTUDY_DATA", "")
            assert not re.search(r"\b([A-Z]+(_[A-Z]+)+|TODO|FIXME|TBD)\b", text)
