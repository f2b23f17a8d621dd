"""What a reader does on a page from disk: sort a table, filter it, open the card of a run."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import pytest
from browser import DESKTOP_WIDTH, PHONE_WIDTH, Browser

from rsstudy.experiments.record import records_in
from study.cards import all_runs, table_of, write_cards

ROOT = Path(__file__).parents[1]
PAGE = """# A page

<a class="run" href="#run-{run}">one run</a>, `{run}` and `{absent}`.

- The first three runs say 49.4 %.
  <!-- check:
  score("a", "ucm") == 49.4
  score("b", "ucm") == 49.4
  -->

One run says 9.9 %.
<!-- check: score("c", "ucm") == 9.9 -->

No run says 8.8 %.
<!-- check: counted("a") == 8.8 -->

:::{{div}} sortable
| arm | gain | file | fold |
|---|---|---|---|
| d | 1,200 | 90 kB | fold 10 |
| b | −3.2 | 1.2 MB | fold 3 |
| a | 9.5 % (8 to 11) | 380 kB | fold 1 |
| c | 10.1 % | - | fold 2 |
:::

:::{{table}} Two runs are in a table.
| arm | % |
|---|---|
| a | 7.7 |
:::
<!-- check: score("d", "ucm") == 7.7 -->
"""
TABLE = runpy.run_path(str(ROOT / "book" / "_ext" / "traced.py"))["TABLE"]  # the page of all runs
ABSENT = "ucm-tiny-full-infonce-s0-00000000"
widths = pytest.mark.parametrize("width", [DESKTOP_WIDTH, PHONE_WIDTH])
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    """A folder of results with a few runs."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "runs").mkdir()
    for record in sorted((ROOT / "results" / "runs").glob("ucm*mrs-adapter*"))[:14]:
        shutil.copy(record, folder / "runs")
    return folder


@pytest.fixture(scope="module")
def runs(records) -> list[str]:
    return [record["id"] for record in records_in(records / "runs")]


@pytest.fixture(scope="module")
def book(records, runs, tmp_path_factory) -> Path:
    """A book of two pages, built with the book's own settings by Sphinx alone."""
    source = tmp_path_factory.mktemp("book")
    shutil.copytree(ROOT / "book" / "_ext", source / "book" / "_ext")
    shutil.copytree(ROOT / "book" / "_static", source / "book" / "_static")
    for file in ("_config.yml", "book/references.bib"):
        shutil.copy(ROOT / file, source / file)
    toc = f"format: jb-book\nroot: book/index\nchapters:\n  - file: {TABLE}\n"
    (source / "book" / "_toc.yml").write_text(toc)
    (source / "book" / "index.md").write_text(PAGE.format(run=runs[0], absent=ABSENT))
    html = {"text/html": table_of(all_runs(records)), "text/plain": "a table"}
    shown = nbformat.v4.new_output("execute_result", html, execution_count=1)
    cell = nbformat.v4.new_code_cell("table", execution_count=1, outputs=[shown])
    cell.metadata["tags"] = ["hide-input", "sortable", "filterable"]
    title = nbformat.v4.new_markdown_cell("# Runs")
    language = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    pages = nbformat.v4.new_notebook(cells=[title, cell], metadata=language)
    (source / "notebooks").mkdir()
    nbformat.write(pages, source / f"{TABLE}.ipynb")
    behind = {
        'score("a", "ucm") == 49.4': runs[:2],
        'score("b", "ucm") == 49.4': runs[1:3],
        'score("c", "ucm") == 9.9': runs[:1],
        'score("d", "ucm") == 7.7': runs[:2],
        'counted("a") == 8.8': [],
    }
    (source / "book" / "traced.json").write_text(json.dumps(behind))
    words = ["-b", "html", "-c", source / "book" / "_ext", "-W", "-q", source, source / "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    write_cards(records, source / "html" / "_static" / "runs")
    return source / "html"


def column(browser: Browser, at: int) -> list[str]:
    """What a reader sees in a column of the first table, row by row."""
    return browser.evaluate(
        "[...document.querySelector('.bd-article tbody').rows].filter((row) => !row.hidden)"
        f".map((row) => row.cells[{at}].textContent.trim())"
    )


def press(browser: Browser, key: str, code: int) -> None:
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        of = dict(type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        browser.ask("Input.dispatchKeyEvent", **of, **(text if kind == "keyDown" else {}))


def head(at: int) -> str:
    return f"document.querySelectorAll('.bd-article thead th')[{at}]"


def settled(browser: Browser, condition: str) -> None:
    """Wait until a condition holds on the page, for ten seconds at most."""
    turns = "(turns, next) => ({c}) ? done(true) : turns ? setTimeout(next, 50, turns - 1, next) : "
    look = turns.format(c=condition) + "done(false)"
    assert browser.evaluate(f"new Promise((done) => {{const f = {look}; f(200, f)}})"), condition


@widths
@pytest.mark.parametrize(
    "at, order",
    [(0, "abcd"), (1, "bacd"), (2, "dabc"), (3, "acbd")],
    ids=["words", "numbers with units", "unit prefixes, an empty cell", "numbers in words"],
)
def test_a_click_on_a_header_sorts_and_another_reverses(book, browser, width, at, order):
    browser.open((book / "book" / "index.html").as_uri(), width)
    browser.evaluate(f"{head(at)}.querySelector('button').click()")
    assert "".join(column(browser, 0)) == order
    assert browser.evaluate(f"{head(at)}.getAttribute('aria-sort')") == "ascending"
    browser.evaluate(f"{head(at)}.querySelector('button').click()")
    there, empty = (order[:-1], order[-1]) if at == 2 else (order, "")
    assert "".join(column(browser, 0)) == there[::-1] + empty
    assert browser.evaluate(f"{head(at)}.getAttribute('aria-sort')") == "descending"
    marked = "document.querySelectorAll('[aria-sort]').length"
    browser.evaluate(f"{head((at + 1) % 4)}.querySelector('button').click()")
    assert browser.evaluate(marked) == 1


def test_a_table_is_sorted_by_the_keyboard(book, browser):
    browser.open((book / "book" / "index.html").as_uri(), DESKTOP_WIDTH)
    browser.evaluate(f"{head(0)}.querySelector('button').focus()")
    press(browser, "Tab", 9)
    press(browser, "Enter", 13)
    assert "".join(column(browser, 0)) == "bacd"


@widths
def test_words_above_a_table_filter_its_rows(book, browser, runs, width):
    browser.open((book / f"{TABLE}.html").as_uri(), width)
    assert len(column(browser, 0)) == len(runs)

    def given(text: str) -> list[str]:
        browser.evaluate("document.querySelector('.filter input').focus()")
        browser.evaluate("document.querySelector('.filter input').select()")
        browser.ask("Input.insertText", text=text)
        return column(browser, 0)

    assert given(runs[3]) == given(f"{runs[3]}|") == [runs[3]]
    hmmc = [run for run in runs if "hmmc" in run]
    assert sorted(given("hmmc ADAPTER")) == sorted(hmmc) and 0 < len(hmmc) < len(runs)
    told = browser.evaluate("document.querySelector('.filter output').textContent")
    assert told == f"{len(hmmc)} of {len(runs)}"
    assert given('"adapter hmmc"') == [] != given('"mrs adapter"')


@widths
def test_an_id_opens_the_card_of_its_run(book, browser, records, runs, width):
    page = (book / f"{TABLE}.html").as_uri()
    browser.open(page, width)
    run = column(browser, 0)[-1]
    browser.evaluate("[...document.querySelectorAll('td a.run')].at(-1).click()")
    settled(browser, "document.querySelector('dialog.run').open")
    words = browser.evaluate("document.querySelector('dialog.run').innerText")
    assert run in words and "rsstudy train --data ucm" in words
    link = browser.evaluate("document.querySelector('dialog.run p a').href")
    assert Path(unquote(urlparse(link).path)) == records / "runs" / f"{run}.json"
    press(browser, "Escape", 27)
    settled(browser, "!document.querySelector('dialog.run').open && !location.hash")
    browser.open("about:blank", width)
    browser.open(f"{page}#run-{runs[0]}", width)
    settled(browser, "document.querySelector('dialog.run').open")


@pytest.mark.parametrize("link", ["p a.run", "code a.run"])
def test_ids_in_the_text_open_their_card_too(book, browser, runs, link):
    browser.open((book / "book" / "index.html").as_uri(), PHONE_WIDTH)
    browser.evaluate(f"document.querySelector('{link}').click()")
    settled(browser, "document.querySelector('dialog.run').open")
    assert runs[0] in browser.evaluate("document.querySelector('dialog.run').innerText")


@widths
def test_behind_a_checked_sentence_is_a_link_to_its_runs(book, browser, runs, width):
    browser.open((book / "book" / "index.html").as_uri(), width)
    links = "[...document.querySelectorAll('a.traced')]"
    assert browser.evaluate(f"{links}.map((link) => link.textContent)") == [
        "3 runs",
        "1 run",
        "2 runs",
    ]
    said = f"{links}.map((link) => link.parentElement.textContent.split('.')[0])"
    assert browser.evaluate(said) == [
        "The first three runs say 49",
        "One run says 9",
        "Two runs are in a table",
    ]
    browser.evaluate(f"{links}[1].click()")
    settled(browser, "document.querySelector('dialog.run').open")
    assert runs[0] in browser.evaluate("document.querySelector('dialog.run').innerText")
    browser.open(browser.evaluate(f"{links}[0].href"), width)
    assert sorted(column(browser, 0)) == sorted(runs[:3])


def test_a_run_without_a_card_says_so(book, browser):
    browser.open((book / "book" / "index.html").as_uri(), PHONE_WIDTH)
    browser.evaluate("document.querySelectorAll('code a.run')[1].click()")
    settled(browser, "document.querySelector('dialog.run').open")
    assert "no card" in browser.evaluate("document.querySelector('dialog.run').innerText")


@widths
def test_nothing_is_cut(book, browser, width):
    """A box that is wider than its place scrolls, and the page itself never does."""
    outside = """[...document.querySelectorAll('.bd-article *')].filter((place) => {
      const box = place.getBoundingClientRect();
      for (let over = place; over; over = over.parentElement) {
        if (["auto", "scroll"].includes(getComputedStyle(over).overflowX)) return false;
      }
      return box.width && box.right > innerWidth;
    }).map((place) => place.outerHTML)"""
    for page in ("book/index", TABLE):
        browser.open((book / f"{page}.html").as_uri(), width)
        assert browser.evaluate(outside) == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate("document.querySelector('td a.run').click()")
    settled(browser, "document.querySelector('dialog.run').open")
    card = browser.evaluate("""(() => {
      const card = document.querySelector("dialog.run"), box = card.getBoundingClientRect();
      return [box.left, box.top, innerWidth - box.right, innerHeight - box.bottom,
              card.clientWidth - card.scrollWidth];
    })()""")
    assert min(card) >= 0, card


def test_a_filtered_table_keeps_its_headers_in_view(book, browser):
    browser.open((book / f"{TABLE}.html").as_uri(), PHONE_WIDTH)
    gap = browser.evaluate("""(() => {
      const table = document.querySelector(".bd-article table");
      table.scrollTop = 200;
      return table.tHead.getElementsByTagName("th")[0].getBoundingClientRect().top
        - table.getBoundingClientRect().top;
    })()""")
    assert 0 <= gap < 5


def test_sphinx_alone_has_the_settings_of_jupyter_book():
    from jupyter_book.config import get_final_config

    config, _ = get_final_config(
        user_yaml=ROOT / "_config.yml",
        sourcedir=ROOT,
        cli_config={"external_toc_path": "book/_toc.yml", "latex_individualpages": False},
    )
    own = runpy.run_path(str(ROOT / "book" / "_ext" / "conf.py"))
    assert set(config["extensions"]) - set(own["extensions"]) == {
        "jupyter_book",
        "sphinx_jupyterbook_latex",
    }
    for name in ("html_static_path", "bibtex_bibfiles"):  # conf.py names them from the root
        own[name] = [str(Path(path).relative_to(ROOT)) for path in own[name]]
    del own["html_theme_options"]["navbar_persistent"]
    decided = {name for name in config if name.startswith(("html_", "myst_", "nb_", "bibtex_"))}
    decided |= {"numfig", "suppress_warnings", "copyright", "author"}
    missing = {name for name in decided & config.keys() - own.keys() if config[name]}
    assert missing <= {"nb_execution_timeout", "nb_output_stderr"}
    for name in decided & own.keys():
        assert own[name] == config[name], name
