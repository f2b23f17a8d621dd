"""Chapters in the new form stay short: words, figures, sentences, captions, and nothing of code.

A chapter is added to ``CHAPTERS``; the limits are those of its sources, before the book is built.
Tags of a cell: ``narrow`` for a figure of 3.9 inches, ``in-dropdown`` for what goes into the
dropdown of the text right above it, ``remove-stdout`` for what is printed for the tests alone. A
figure's caption is ``mystnb.figure.caption`` of its cell, a table's is ``set_caption`` or {table}.
"""

import json
import re
from html import unescape
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from docutils.utils import new_document

from study import labels
from study.checks import COUNT, NUMBER, WITH_UNIT, Block, _blocks_of

ROOT = Path(__file__).parents[1]
CHAPTERS = (
    "notebooks/01_which_method",
    "notebooks/02_adapter_or_full",
    "notebooks/03_hmmc",
    "notebooks/04_savings",
    "notebooks/05_updates",
    "book/06_claims",
    "notebooks/07_alike",
    "notebooks/08_trained",
    "notebooks/16_machines",
    "notebooks/A4_better",
)

# Their prose is short, too, and their figures and tables are told as those of chapters are.
APPENDICES = ("notebooks/A3_speed",)

FRONT_WORDS, WORDS, ANSWER_WORDS, ANSWER_NUMBERS, ANSWER_SENTENCES = 250, 1000, 75, 4, 3
APPENDIX_WORDS = 700
FIGURES, COLUMNS, SENTENCE, CAPTION = 3, 7, 30, 40
CLOSING = re.compile(r"\*\*Limits that matter here\b.*\]\((\.\./book/)?10_differences\.md\)", re.S)
# Keys of methods that are words of English, too: looked for in whole cells of tables alone.
ENGLISH = {"adapter", "full", "prefix"}

each_chapter = pytest.mark.parametrize("name", CHAPTERS)
each_appendix = pytest.mark.parametrize("name", APPENDICES)
each = pytest.mark.parametrize("name", [*CHAPTERS, *APPENDICES])


def plain(text: str) -> str:
    """Markdown as it is read: without the addresses of links, roles and marks."""
    text = re.sub(r"\{[\w:]+\}`[^`]*`|\]\([^)]*\)", " ", text)
    return " ".join(re.sub(r"[*`\[\]|]|^:?-+:?$", " ", text).split())


def words(text: str) -> int:
    return len(re.findall(r"\S*[^\W_]\S*", text))


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])[\"*)]*\s+(?=[^a-z])", text) if part]


class Chapter:
    """A page or a notebook: its text, its figures and its tables, in view or in dropdowns."""

    def __init__(self, text: str, cells: list[dict], path: Path):
        self.text = text
        self.blocks: list[Block] = list(_blocks_of(path, text))
        self.code = [c for c in cells if "remove-cell" not in c["metadata"]["tags"]]
        self.titles = re.findall(r"^:{3,}\{(dropdown|table)\}(.*)$", text, re.M)

    @classmethod
    def read(cls, name: str) -> "Chapter":
        path = ROOT / f"{name}.ipynb"
        if not path.exists():
            path = ROOT / f"{name}.md"
            return cls(path.read_text("utf-8"), [], path)
        cells = json.loads(path.read_text("utf-8"))["cells"]
        text = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        return cls("\n\n".join(text), [c for c in cells if c["cell_type"] == "code"], path)

    @property
    def answer(self) -> str:
        return " ".join(plain(" ".join(b.lines)) for b in self.blocks if b.boxed)

    def shown(self, folded: bool) -> list[dict]:
        return [c for c in self.code if ("in-dropdown" in c["metadata"]["tags"]) == folded]

    def count(self, folded: bool) -> int:
        """Words of the text and of captions that are in view, or in dropdowns; no table's cells."""
        said = [plain(" ".join(b.lines)) for b in self.blocks if b.folded == folded]
        said += [title for _, title in self.titles if not folded]
        said += [of or "" for cell in self.shown(folded) for of in captions_of(cell)]
        return sum(map(words, said))


def caption(cell: dict) -> str | None:
    """Of the cell's figure."""
    return cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption")


def outputs(cell: dict, kind: str) -> list[str]:
    """The outputs of a kind such as text/html, as text."""
    found = (output.get("data", {}) for output in cell["outputs"])
    return ["".join(data[kind]) for data in found if kind in data]


def figures(cell: dict) -> list[str]:
    """The words of each figure."""
    found = (output.get("data", {}) for output in cell["outputs"])
    drawn = [data for data in found if any(kind.startswith("image/") for kind in data)]
    return ["".join(data["text/plain"]) for data in drawn]


def tables(cell: dict) -> list[str]:
    bare = (re.sub("<style.*?</style>", "", of, flags=re.S) for of in outputs(cell, "text/html"))
    return [unescape(of) for of in bare]


def _bare(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def cells_of(table: str) -> list[str]:
    return [_bare(of) for of in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table, re.S)]


def captions_of(cell: dict) -> list[str | None]:
    """Of its figures and tables, those to explore among them; None where one has none."""
    found: list[str | None] = [caption(cell)] * len(figures(cell))
    for table in tables(cell):
        said = re.search("<(?:fig)?caption>(.*?)</(?:fig)?caption>", table, re.S)
        found.append(said and said[1])
    return found


def captions(chapter: Chapter) -> list[str | None]:
    """Of every figure and table, in view or not."""
    written = [title.strip() or None for kind, title in chapter.titles if kind == "table"]
    return written + [of for cell in chapter.code for of in captions_of(cell)]


def program_names(text: str, whole: bool = False) -> list[str]:
    """Names of the program that a reader would see; ``whole``: the text is one cell of a table."""
    if whole and labels.named(text) != text:
        return [text]
    for name in sorted({*labels.NAMES.values()}, key=len, reverse=True):
        text = text.replace(name, "")
    keys = labels.NAMES.keys() - ENGLISH - {*labels.NAMES.values()}
    return [key for key in keys if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text)]


@pytest.fixture
def chapter(name) -> Chapter:
    return Chapter.read(name)


@each_chapter
def test_the_answer_is_three_short_sentences_with_few_numbers(chapter):
    answer = chapter.answer
    assert answer and len(sentences(answer)) <= ANSWER_SENTENCES, sentences(answer)
    assert words(answer) <= ANSWER_WORDS, words(answer)
    with_unit = " ".join(WITH_UNIT.findall(answer))
    numbers = {*re.findall(NUMBER, answer), *re.findall(COUNT, with_unit, re.I)}
    assert len(numbers) <= ANSWER_NUMBERS, numbers


@each_chapter
def test_the_first_block_is_the_answer(chapter):
    assert chapter.blocks[0].boxed


@each_chapter
@pytest.mark.parametrize("folded", [False, True], ids=["in view", "in dropdowns"])
def test_a_chapter_has_at_most_a_thousand_words_in_view_and_as_many_in_dropdowns(chapter, folded):
    assert chapter.count(folded) <= WORDS, chapter.count(folded)


@each_appendix
def test_an_appendix_has_at_most_seven_hundred_words(chapter):
    said = chapter.count(False) + chapter.count(True)
    assert said <= APPENDIX_WORDS, said


@each_chapter
def test_few_figures_are_in_view_the_first_of_them_before_any_table(chapter):
    if not chapter.code:
        return  # a page computes nothing
    drawn = [figure for cell in chapter.shown(False) for figure in figures(cell)]
    assert 1 <= len(drawn) <= FIGURES
    assert figures(chapter.shown(False)[0]), "the hero figure comes first"


@each
def test_sentences_are_short_with_one_parenthesis_each(chapter):
    said = [plain(" ".join(b.lines)) for b in chapter.blocks if not b.lines[0].startswith("|")]
    every = [s for text in [*said, *filter(None, captions(chapter))] for s in sentences(text)]
    assert every and [s for s in every if words(s) > SENTENCE or s.count("(") > 1] == []


@each
def test_every_figure_and_table_has_a_short_caption(chapter):
    found = captions(chapter)
    assert found and None not in found
    assert [of for of in found if words(of or "") > CAPTION] == []
    written = re.findall(r"^\|[ :|-]+\|$", chapter.text, re.M)
    assert len(written) == sum(kind == "table" for kind, _ in chapter.titles), "one has none"


@each
def test_a_table_has_at_most_seven_columns(chapter):
    wide = [
        (len(re.findall("<t[hd]", row)), row)
        for cell in chapter.code
        for table in tables(cell)
        for row in re.findall(r"<tr.*?</tr>", table, re.S)
    ]
    wide += [
        (line.count("|") - 1, line)
        for b in chapter.blocks
        for line in b.lines
        if line.startswith("|")
    ]
    assert [row for columns, row in wide if columns > COLUMNS] == []


@each
def test_code_is_hidden_and_nothing_that_it_prints_is_in_view(chapter):
    for cell in chapter.code:
        tags, source = cell["metadata"]["tags"], "".join(cell["source"])
        assert "hide-input" in tags, source
        printed = [o for o in cell["outputs"] if o["output_type"] == "stream"]
        printed += [o for o in cell["outputs"] if o.get("data", {}).keys() == {"text/plain"}]
        assert not printed or "remove-stdout" in tags, source


@each
def test_figures_and_tables_have_human_names(chapter):
    for cell in chapter.code:
        for figure in figures(cell):
            assert not program_names(figure), figure
        for table in tables(cell):
            assert [of for of in cells_of(table) if program_names(of, whole=True)] == []
    for block in chapter.blocks:
        if block.lines[0].startswith("|"):
            parts = [part.strip() for line in block.lines for part in line.split("|")]
            assert [part for part in parts if program_names(part, whole=True)] == []


@each_chapter
def test_a_chapter_ends_with_advice_and_its_limits(chapter):
    assert "\n## What I would do\n" in chapter.text
    assert CLOSING.match("".join(chapter.text.rstrip().rpartition("\n\n")[2]))


def contents() -> list[str]:
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
    return [page["file"] for part in toc["parts"] for page in part["chapters"]]


@pytest.mark.parametrize("name", sorted({*contents()} - {*CHAPTERS} - {"book/plan"}))
def test_every_other_page_is_short_too(chapter):
    """All but the plan, which is kept as it was committed."""
    assert chapter.count(folded=False) <= 1.1 * WORDS
    said = [plain(" ".join(b.lines)) for b in chapter.blocks if not b.lines[0].startswith("|")]
    assert [s for text in said for s in sentences(text) if words(s) > SENTENCE] == []


def test_files_are_numbered_in_reading_order():
    names = [Path(page).name for page in contents()]
    given = [name.partition("_")[0] for name in names]
    numbers = [int(number) for number in given if number.isdecimal()]
    letters = [number for number in given if re.fullmatch(r"A\d", number)]
    assert numbers == list(range(1, 17)) and letters == [f"A{n + 1}" for n in range(len(letters))]
    assert given[:16] == [f"{n:02}" for n in numbers], "chapters come first"
    named = {p.stem for p in [*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")]}
    assert named - {*names} == {"index", "notice"}, "every page is in the contents"


def test_the_front_page_is_an_answer_a_picture_and_four_doors():
    page = Chapter.read("book/index")
    doors = re.findall(
        r"^:::\{grid-item-card\} (.*)\n:link: (.*)\n:link-type: doc\n(.*)$", page.text, re.M
    )
    said = [plain(" ".join(b.lines)) for b in page.blocks]
    said += [plain(f"{title}. {text}") for title, _, text in doors]
    assert sum(map(words, said)) <= FRONT_WORDS
    long = [s for text in said for s in sentences(text) if words(s) > SENTENCE]
    assert page.blocks[1].boxed and page.text.count("```{image}") == 1 and not long
    assert len(doors) == 4 and all(
        list((ROOT / "book").glob(f"{to}.md")) or list((ROOT / "book").glob(f"{to}.ipynb"))
        for _, to, _ in doors
    )


@pytest.mark.parametrize(
    "text, whole, found",
    [
        ("mrs-adapter 49.4; LoRA 48.0", False, ["mrs-adapter"]),
        ("MRS adapter 49.4; full fine-tuning 49.7", False, []),
        ("Trained: lora 147,456", False, ["lora"]),
        ("full", True, ["full"]),
        ("adapter, HMMC", True, ["adapter, HMMC"]),
        ("full fine-tuning", True, []),
        ("UCM-Captions: ucm 82.7 %", False, ["ucm"]),
    ],
)
def test_a_program_name_is_noticed(text, whole, found):
    assert program_names(text, whole) == found


def test_a_sentence_ends_where_a_reader_stops():
    text = "It is 9.9 %. **Then 3** it is, e.g. at 0.1, more! *So* what?"
    assert [words(of) for of in sentences(plain(text))] == [3, 8, 2]


def test_cells_tagged_so_are_moved_into_the_dropdown_right_above_them():
    spec = spec_from_file_location("dropdown_cells", ROOT / "book" / "_ext" / "dropdown_cells.py")
    spec.loader.exec_module(extension := module_from_spec(spec))
    dropdown = nodes.container(design_component="dropdown")
    inside = [nodes.container(classes=["cell", "tag_in-dropdown"]) for _ in range(2)]
    after = nodes.container(classes=["cell"])
    page = new_document("page")
    page += [nodes.section("", dropdown, *inside, after)]
    extension.move(None, page)
    assert list(page[0]) == [dropdown, after] and list(dropdown) == inside
