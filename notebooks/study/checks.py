"""Sentences are written by hand; what they claim is checked against the records.

A comment directly below a paragraph, a list item or a table says what it claims, one check a line:

    With HMMC the adapter is **clearly 5.2 points behind** itself with InfoNCE (3.9 to 6.5).
    <!-- check: gain("mrs-adapter+hmmc", "mrs-adapter", "rsicd") == -5.2, [-6.5, -3.9], clear -->

Left is a question to the records: a method of ``study.verdicts.Said``, or arithmetic with some.
Right is what the text says: a number or a quoted text, the 95 % interval, and the word. Number or
interval may be absent. Numbers are compared at the precision that they are written with, words with
the verdict, corrected over all gains that are checked under one heading. Each must occur in the
text above; a gain there has its sign or a word for its direction, and *open* an interval.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import Contrast
from study.comparison import judged
from study.verdicts import Found, Said

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
OPERATORS[ast.Div] = operator.truediv
QUESTIONS = {name for name in vars(Said) if not name.startswith("_")}
WORDS = {"clear": r"clear(ly)?", "likely": "likely", "open": "open"}
WAYS = {
    True: "above|ahead|better|gain(s|ed)?|higher|lead|lifts|more|rises",
    False: "behind|below|costs|down|falls|fewer|less|los(t|e|es|ing)|lower|worse",
}
SPELLED = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
NUMBER = r"(?<![\w/.\-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)"
COUNT = rf"(?:{NUMBER}|\b(?:{SPELLED})\b)"
UNIT = (
    r"(?:%|[KMG]B\b|px\b|(?:points?|parameters?|million|thousand|steps?|pixels?|epochs?|seeds?|"
    r"seconds?|minutes?|hours?)\b)"
)
WITH_UNIT = re.compile(
    rf"{COUNT}(?:,? (?:to|and|or|of) {COUNT}|, {COUNT})*[ -](?:\w+ )?{UNIT}", re.I
)
WRITTEN = r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?![\w.])"
FORM = re.compile(
    rf"(?P<asked>.+?)(?: == (?P<value>-?{WRITTEN}))?"
    rf"(?:(?: == |, )\[(?P<low>-?{WRITTEN}), (?P<high>-?{WRITTEN})\])?"
    rf'(?: == "(?P<text>[^"]*)")?(?:, (?P<word>{"|".join(WORDS)}))?'
)
FENCE = re.compile(r"(`{3,}|:{3,}|\$\$)(\{(?:admonition|dropdown|table)\}.*)?")
# Pages all of whose numbers with a unit are checked; of the others those in their first box are.
WHOLE = ("index.md", "06_claims.md")


@dataclass
class Block:
    """A paragraph, list item or table, and the checks directly below it.

    It is boxed in a box of the class takeaways, and folded in a dropdown.
    """

    page: Path
    line: int
    section: str
    boxed: bool
    folded: bool = False
    lines: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What a reader sees, in one line."""
        plain = re.sub(r"`[^`]*`|\]\([^)]*\)|[*\[\]\\]", "", " ".join(map(str.strip, self.lines)))
        return plain.replace("−", "-")

    @property
    def numbers(self) -> set[str]:
        """Every number of the text, as digits without a sign."""
        return {_digits(found) for found in re.findall(COUNT, self.text, re.I)}

    @property
    def unchecked(self) -> set[str]:
        """The numbers with a unit, with decimals or with thousands, that no check names."""
        named = {_digits(n) for source in self.checks for n in re.findall(WRITTEN, source)}
        found = [n for part in WITH_UNIT.findall(self.text) for n in re.findall(COUNT, part, re.I)]
        found += [n for n in re.findall(NUMBER, self.text) if "." in n or "," in n]
        return {_digits(number) for number in found} - named


@dataclass(frozen=True)
class Claim:
    """A check, parsed: the question, and what the text says of it as it is written."""

    asked: ast.expr
    value: str | None
    low: str | None
    high: str | None
    text: str | None
    word: str | None

    @classmethod
    def of(cls, source: str) -> Claim:
        """Parse the line of a check.

        Raises:
            StudyError: it is of another form.
        """
        form = FORM.fullmatch(source)
        if form is None or not any(form.groups()[1:]):
            raise StudyError(f"check {source!r} is not QUESTION == NUMBER, [LOW, HIGH], WORD")
        try:
            asked = ast.parse(form["asked"], mode="eval").body
        except SyntaxError as problem:
            raise StudyError(f"check {source!r}: {problem.msg}") from None
        return cls(asked, *form.group("value", "low", "high", "text", "word"))

    @property
    def numbers(self) -> list[str]:
        return [number for number in (self.value, self.low, self.high) if number is not None]

    def differs(self, found: Found | str) -> list[str]:
        """What of this the records do not say."""
        if isinstance(found, str) or self.text is not None:
            return [] if found == self.text else [f"the records say {found!r}"]
        pairs = (self.value, found.value), (self.low, found.low), (self.high, found.high)
        wrong = [f"not {w}" for w, of in pairs if w is not None and not _rounds_to(of, w)]
        return wrong + [f"not {self.word}"] * (self.word not in (None, found.word))

    def unsaid(self, block: Block, found: Found | str) -> list[str]:
        """What of this the text above does not say."""
        missing = [number for number in self.numbers if _digits(number) not in block.numbers]
        words = [re.escape(self.text)] if self.text else []
        words += [WORDS[self.word]] if self.word else []
        missing += [word for word in words if not re.search(rf"\b{word}\b", block.text, re.I)]
        if isinstance(found, Found) and found.word and self.value:
            sign = re.escape(f"{float(self.value):+g}"[0] + _digits(self.value))
            way = WAYS[float(self.value) > 0]
            if not re.search(rf"(?<!\w){sign}|\b({way})\b", block.text, re.I):
                missing.append(f"a sign, or one of {way}")
        if self.word == "open" and not self.low:
            missing.append("an interval: say what is excluded")
        return [f"the text lacks {what}" for what in missing]


@dataclass(frozen=True)
class Checked:
    """A check, what the records say, what is wrong with it, and the ids of the runs it reads."""

    block: Block
    source: str
    claim: Claim
    found: Found | str
    problems: tuple[str, ...]
    runs: tuple[str, ...]

    @property
    def said(self) -> str:
        """What the records say, in words."""
        if isinstance(self.found, str):
            return self.found
        interval = ""
        if self.found.low is not None:
            interval = f" ({self.found.low:+.2f} to {self.found.high:+.2f})"
        word = f", {self.found.word}" if self.found.word else ""
        return f"{self.found.value:,.6g}{interval}{word}"


def blocks(root: Path) -> list[Block]:
    """Of all pages and of the markdown cells of all notebooks below a project's folder."""
    pages = [(path, path.read_text("utf-8")) for path in sorted((root / "book").glob("*.md"))]
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        pages.append((path, "\n\n".join(sources)))
    return [block for path, text in pages for block in _blocks_of(path, text)]


def _blocks_of(path: Path, text: str) -> Iterator[Block]:
    """The blocks of a page.

    Raises:
        StudyError: a check is not directly below a block, or is not closed.
    """
    section, block = "", None
    fences: list[tuple[str, str]] = []
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        bare = line.strip()
        if fences and not fences[-1][1] and bare != fences[-1][0]:
            continue  # code, formulas, pictures, what is included
        if bare.startswith("<!-- check:"):
            comment = bare
            while not comment.endswith("-->"):
                if (more := next(lines, None)) is None:
                    raise StudyError(f"{path.name}:{number}: the check is not closed")
                comment += "\n" + more[1].strip()
            if block is None:
                raise StudyError(f"{path.name}:{number}: no text is directly above the check")
            block.checks += filter(None, comment[11:-3].strip().split("\n"))
        elif fences and bare == fences[-1][0]:
            _, directive = fences.pop()
            block = block if "{table}" in directive else None  # its checks are below its fence
        elif fence := FENCE.match(bare):
            fences.append((fence[1], fence[2] or ""))
            block = None
        elif bare.startswith("#"):
            section, block = bare, None
        elif not bare or re.match(r":[\w-]+:", bare):
            block = None
            if fences and bare.startswith(":class:"):
                fences[-1] = fences[-1][0], f"{fences[-1][1]} {bare}"
        else:
            if block is None or block.checks or re.match(r"([-*]|\d+\.) ", bare):
                within = " ".join(directive for _, directive in fences)
                boxed, folded = "takeaways" in within, "{dropdown}" in within
                block = Block(path, number, section, boxed, folded)
                yield block
            block.lines.append(re.sub(r"^([-*]|\d+\.) ", "", bare))


def check(found: Sequence[Block], said: Said) -> list[Checked]:
    """Hold every check of some blocks to the records.

    Raises:
        StudyError: a check is of another form, or asks for what is not on record.
    """
    asked = [(block, source, Claim.of(source)) for block in found for source in block.checks]
    values, runs = [], []
    for block, source, claim in asked:
        said.read.clear()
        try:
            values.append(_answer(claim.asked, said))
        except (StudyError, KeyError, TypeError) as problem:
            raise StudyError(f"{block.page.name}: check {source!r}: {problem}") from None
        runs.append(tuple(sorted(said.read)))
    families: dict[tuple[Path, str], dict[str, Contrast]] = {}
    for (block, _, claim), value in zip(asked, values, strict=True):
        if isinstance(value, Contrast):
            of = families.setdefault((block.page, block.section), {})
            of[ast.unparse(claim.asked)] = value
    gains = {key: judged(of) for key, of in families.items()}
    done = []
    for (block, source, claim), value, read in zip(asked, values, runs, strict=True):
        if isinstance(value, Contrast):
            value = Found.of(gains[block.page, block.section][ast.unparse(claim.asked)])
        elif not isinstance(value, (str, Found)):
            value = Found(float(value))
        problems = (*claim.differs(value), *claim.unsaid(block, value))
        done.append(Checked(block, source, claim, value, problems, read))
    return done


def _answer(asked: ast.expr, said: Said) -> Any:
    """What the records say to a question."""
    if isinstance(asked, ast.Constant) and isinstance(asked.value, (int, float)):
        return asked.value
    if isinstance(asked, ast.BinOp) and type(asked.op) in OPERATORS:
        sides = [_answer(side, said) for side in (asked.left, asked.right)]
        return OPERATORS[type(asked.op)](*(getattr(side, "value", side) for side in sides))
    if isinstance(asked, ast.Call) and isinstance(asked.func, ast.Name):
        if asked.func.id not in QUESTIONS:
            raise StudyError(f"{asked.func.id} is none of {', '.join(sorted(QUESTIONS))}")
        given = [ast.literal_eval(value) for value in asked.args]
        named = {str(key.arg): ast.literal_eval(key.value) for key in asked.keywords}
        return getattr(said, asked.func.id)(*given, **named)
    raise StudyError(f"{ast.unparse(asked)} is no question to the records")


def _digits(number: str) -> str:
    """A number as it is written or spelled, without sign and thousands."""
    names = SPELLED.split("|")
    if number.lower() in names:
        return str(names.index(number.lower()))
    return re.sub(r"[-+,_]", "", number)


def _rounds_to(value: float | None, written: str) -> bool:
    decimals = len(written.partition(".")[2])
    return value is not None and float(f"{value:.{decimals}f}") == float(written)
