"""The built book as a reader without a network opens it: from disk, in a browser, on a phone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from browser import PHONE_WIDTH

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "_build" / "html"

pytestmark = [
    pytest.mark.skipif(
        not (BOOK / "index.html").exists(), reason="the book is not built; `make book` builds it"
    ),
    pytest.mark.timeout(120),
]

# What a reader sees on the open page, once formulas, fonts and pictures have settled.
SEEN = """(async () => {
  await window.MathJax?.startup?.promise;
  const fonts = [...document.fonts].filter((font) => font.status !== "unloaded");
  await Promise.all(fonts.map((font) => font.load().catch(() => {})));
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
  const left = [...document.querySelectorAll(".math")].map((place) => place.textContent);
  return {
    formulas: document.querySelectorAll("mjx-container").length,
    raw: left.filter((words) => /\\\\[(\\[]/.test(words)),
    failed: document.querySelectorAll('mjx-merror, mjx-mtext[style*="red"]').length,
    fonts: fonts.filter((font) => font.status === "error").map((font) => font.family),
    images: images.map((image) => [image.getAttribute("src"), image.naturalWidth]),
    figures: [...document.querySelectorAll(".bd-article img")].map((image) => ({
      words: image.alt, file: image.getAttribute("src"),
      shrunk: image.clientWidth / image.naturalWidth,
    })),
    cut: [...document.querySelectorAll(".bd-article pre")].filter((box) => {
      const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
      return box.scrollWidth > box.clientWidth && !scrolls;
    }).map((box) => box.textContent),
    hidden: [...document.querySelectorAll(".bd-article .cell_output pre")].filter(
      (box) => box.scrollWidth > box.clientWidth
    ).map((box) => box.textContent),
    printed: document.querySelectorAll(".bd-article .cell_output pre").length,
    rows: document.querySelectorAll(".bd-article tr").length,
    touching: [...document.querySelectorAll(".bd-article tr")].flatMap((row) => {
      const boxes = [...row.cells].filter((cell) => cell.textContent.trim()).map((cell) => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return [cell.textContent.trim(), range.getBoundingClientRect()];
      });
      return boxes.slice(1).filter(([, box], at) => box.left - boxes[at][1].right < 6)
        .map(([words], at) => words);
    }),
    width: document.documentElement.scrollWidth,
  };
})()"""

# The pages that the open search page lists, after at most ten seconds.
# Results appear one by one: only the summary above them says that the search is over.
FOUND = """new Promise((done) => {
  const links = () => [...document.querySelectorAll("#search-results li a")];
  const over = () => document.querySelector("#search-results .search-summary")?.innerText;
  const look = (turns) => over() || !turns
    ? done(links().map((link) => link.getAttribute("href")))
    : setTimeout(look, 100, turns - 1);
  look(100);
})"""


def contents() -> list[str]:
    """The pages that the table of contents names, relative to the book, without a suffix."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    return [toc["root"]] + [page["file"] for part in toc["parts"] for page in part["chapters"]]


@pytest.fixture(scope="module")
def seen(browser) -> dict[str, dict]:
    """What a reader with a phone sees, by page."""
    facts = {}
    for page in contents():
        browser.open((BOOK / f"{page}.html").as_uri(), PHONE_WIDTH)
        facts[page] = browser.evaluate(SEEN)
    return facts


class Resources(HTMLParser):
    """Collects the addresses that a page loads by itself (not the links a reader may follow)."""

    def __init__(self):
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.addresses.append(found.get("src") or "")
        elif tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(found.get("href") or "")


def test_every_page_of_the_contents_is_built():
    assert [page for page in contents() if not (BOOK / f"{page}.html").is_file()] == []


def test_no_page_loads_anything_from_the_network():
    remote = re.compile(r"(https?:)?//")
    for page in BOOK.rglob("*.html"):
        resources = Resources()
        resources.feed(page.read_text())
        assert [a for a in resources.addresses if remote.match(a)] == [], page.name
        scripts = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", page.read_text(), re.S)
        assert [s for s in scripts if re.search(r"https?://[^\"']+\.js", s)] == [], page.name
    for sheet in BOOK.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?https?:", sheet.read_text()), sheet.name


def test_formulas_are_drawn_without_a_network(seen):
    assert seen["notebooks/08_trained"]["formulas"] > 0
    assert {page: facts["raw"] for page, facts in seen.items() if facts["raw"]} == {}
    assert [page for page, facts in seen.items() if facts["failed"] or facts["fonts"]] == []


def test_every_figure_is_shown(seen):
    missing = [(page, src) for page in seen for src, width in seen[page]["images"] if not width]
    assert missing == []
    assert seen["notebooks/07_alike"]["images"], "the data page shows no picture"


def test_every_figure_says_in_words_what_it_shows(seen):
    figures = [figure for facts in seen.values() for figure in facts["figures"]]
    silent = [
        figure
        for figure in figures
        if len(figure["words"].split()) < 3
        or figure["words"].startswith("<")
        or Path(figure["file"]).name in figure["words"]
    ]
    assert figures and silent == []


def test_letters_in_a_figure_can_be_read_on_a_phone(seen):
    """Figures are drawn with letters of 9 points, 12.5 pixels: shrunk to no less than 9."""
    figures = [figure for facts in seen.values() for figure in facts["figures"]]
    assert figures and [f["file"] for f in figures if 12.5 * f["shrunk"] < 9] == []


def test_code_scrolls_in_its_own_box_on_a_phone(seen):
    assert {page: facts["cut"] for page, facts in seen.items() if facts["cut"]} == {}


def test_what_a_cell_prints_can_be_read_without_scrolling(seen):
    assert sum(facts["printed"] for facts in seen.values()) > 0
    assert {page: facts["hidden"] for page, facts in seen.items() if facts["hidden"]} == {}


def test_columns_of_a_table_do_not_touch(seen):
    assert sum(facts["rows"] for facts in seen.values()) > 0
    assert {page: facts["touching"] for page, facts in seen.items() if facts["touching"]} == {}


def test_no_page_is_wider_than_a_phone(seen):
    assert {page: f["width"] for page, f in seen.items() if f["width"] > PHONE_WIDTH} == {}


def test_search_finds_pages_from_disk(browser):
    browser.open((BOOK / "search.html").as_uri() + "?q=adapter", 1200)
    assert "notebooks/08_trained.html" in browser.evaluate(FOUND)


def test_every_run_that_is_named_has_its_card():
    cards = {path.stem for path in (BOOK / "_static" / "runs").glob("*.js")}
    named = set()
    for page in contents():
        text = (BOOK / f"{page}.html").read_text()
        named |= set(re.findall(r"(?<=>)[\w-]+-s\d+-[0-9a-f]{8}(?=<)", text))
        named |= set(re.findall(r'(?<="#run-)[\w-]+-s\d+-[0-9a-f]{8}(?=")', text))
    assert named and named - cards == set()
