"""`import rsstudy` gives the public names, at once, and the types that a checker sees."""

import ast
import subprocess
import sys
from pathlib import Path

import rsstudy


def test_every_public_name_is_there_and_documented():
    for name in rsstudy.__all__[1:]:
        assert getattr(rsstudy, name).__doc__, name
    assert set(rsstudy.__all__) <= set(dir(rsstudy))


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, rsstudy; print([m for m in ('torch', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_type_checker_sees_the_same_names():
    tree = ast.parse(Path(rsstudy.__file__).read_text())
    seen = {
        (alias.name, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("rsstudy")
        for alias in node.names
    }
    given = {(name, f"rsstudy.{of}") for of, names in rsstudy._PUBLIC.items() for name in names}
    assert seen == given
    assert (Path(rsstudy.__file__).parent / "py.typed").exists()


def test_the_reading_path_names_files_that_are_there():
    folder = Path(rsstudy.__file__).parent
    path = rsstudy.__doc__.split("Read these files")[1]
    files = [folder / name for name in path.replace("\n", " ").split("``")[1::2]]
    assert len(files) >= 12 and all(file.is_file() for file in files)
    assert sum(len(file.read_text().splitlines()) for file in files) < 2050
