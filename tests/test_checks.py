"""What the prose claims is what the records say, and every number with a unit has its check."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from test_dials import planted

from rsstudy.errors import StudyError
from rsstudy.experiments.record import readable
from study.checks import WHOLE, WORDS, WRITTEN, Block, Claim, blocks, check
from study.cli import cli
from study.verdicts import Found, Said, dial_words, records_of

ROOT = Path(__file__).parents[1]
RESULTS, BOOK = ROOT / "results", ROOT / "book"
OPPOSITE = {"clear": "open", "likely": "clear", "open": "likely"}


@pytest.fixture(scope="module")
def found():
    return blocks(ROOT)


@pytest.fixture(scope="module")
def said():
    return Said(RESULTS)


@pytest.fixture(scope="module")
def checked(found, said):
    return check(found, said)


def block(text, *checks):
    return Block(Path("page.md"), 1, "", False, lines=[text], checks=list(checks))


def test_every_check_holds(checked):
    assert len(checked) > 100
    for one in checked:
        print(f"{one.block.page.name}:{one.block.line}: {one.source}: {one.said}")
    wrong = [f"{one.source}: {one.said}; {one.problems}" for one in checked if one.problems]
    assert not wrong, "\n".join(wrong)


def mutants(source):
    """The check with each of its numbers a tenth off (a last digit at least), each word turned."""
    said = re.search(r" == .*|, \w+$", source)
    start = said.start()
    for number in re.finditer(rf"-?{WRITTEN}", source[start:]):
        written = number[0].replace("_", "")
        decimals = len(written.partition(".")[2])
        off = round(float(written) * 1.1, decimals)
        off = off if off != float(written) else float(written) + 10**-decimals
        changed = f"{off:.{decimals}f}"
        yield source[: start + number.start()] + changed + source[start + number.end() :]
    for word in re.finditer(rf"\b({'|'.join(OPPOSITE)})$", source):
        yield source[: word.start()] + OPPOSITE[word[0]]
    if text := re.search(r'== "(.*)"', source):
        yield source.replace(text[0], f'== "not {text[1]}"')


def test_a_check_with_another_number_or_word_fails(checked):
    for one in checked:
        changed = list(mutants(one.source))
        claim = one.claim
        assert len(changed) == len(claim.numbers) + bool(claim.word) + bool(claim.text), one.source
        for source in changed:
            assert Claim.of(source).differs(one.found), f"{source} passes: {one.said}"


def test_every_number_with_a_unit_has_its_check(found):
    held = [b for b in found if b.page.name in WHOLE or b.boxed]
    assert {b.page.name for b in held} > {*WHOLE, "08_trained.ipynb", "05_updates.ipynb"}
    bare = [f"{b.page.name}:{b.line}: {sorted(b.unchecked)}" for b in held if b.unchecked]
    assert not bare, "\n".join(bare)


@pytest.mark.parametrize(
    "text, bare",
    [
        ("It is 4.3 ahead.", {"4.3"}),
        ("It is three points ahead, and 5 to 7 % of two sets.", {"3", "5", "7"}),
        ("ViT-B/32, Flickr8k, an H100 and 30 rows in 1,234 files.", {"1234"}),
        ("It is [4 points](page.md#1.2) in `9 points`.", {"4"}),
    ],
)
def test_a_number_with_a_unit_is_noticed(text, bare):
    assert block(text).unchecked == bare
    assert not block(text, f"score('a', 'b') == {', '.join(bare)}").unchecked


@pytest.mark.parametrize(
    "text, source, lacks",
    [
        ("It is clearly 4.3 points behind (3.0 to 5.6).", "x() == -4.3, [-5.6, -3.0], clear", ""),
        (
            "It is clearly 4.3 points ahead (3.0 to 5.6).",
            "x() == -4.3, [-5.6, -3.0], clear",
            "sign",
        ),
        ("It is +1.6, open: -1.0 to 4.3.", "x() == 1.6, [-1.0, 4.3], open", ""),
        ("It is -1.6, open: -1.0 to 4.3.", "x() == 1.6, [-1.0, 4.3], open", "sign"),
        ("It is clearly four points behind.", "x() == -4, clear", ""),
        ("It is clearly four points behind.", "x() == -4.0, clear", "lacks -4.0"),
        ("It is four points behind.", "x() == -4, clear", "lacks clear"),
        ("It is open, 0.3 behind.", "x() == -0.3, open", "say what is excluded"),
    ],
)
def test_the_text_has_to_say_what_its_check_says(text, source, lacks):
    value = Found(1.0, 0.0, 2.0, "clear")
    said = Claim.of(source).unsaid(block(text, source), value)
    assert (lacks in " ".join(said)) if lacks else not said


@pytest.mark.parametrize(
    "source",
    ["score(", "score('a') == 1, 2", "score('a')", "score('a') == 1, perhaps", "a.b() == 1"],
)
def test_a_check_of_another_form_is_refused(source, said):
    with pytest.raises(StudyError, match="check"):
        check([block("1", source)], said)


@pytest.mark.parametrize(
    "source, told",
    [
        ("scores('full', 'ucm') == 1", "scores is none of"),
        ("__init__('x') == 1", "__init__ is none of"),
        ("score('fulll', 'ucm') == 1", "0 runs of fulll on ucm in 6 epochs at 112 px"),
        ("score('mrs-adapter+hmmc', 'rsitmd') == 1", "0 runs"),
    ],
)
def test_what_is_not_on_record_is_said(source, told, said):
    with pytest.raises(StudyError, match=re.escape(told)):
        check([block("1", source)], said)


@pytest.mark.parametrize(
    "page, said",
    [
        ("A text.\n\n<!-- check: level() == 95 -->\n", "no text is directly above"),
        ("A text.\n<!-- check: level() == 95\n", "is not closed"),
    ],
)
def test_a_check_is_directly_below_its_text_and_closed(page, said, tmp_path):
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "page.md").write_text(page)
    with pytest.raises(StudyError, match=said):
        blocks(tmp_path)


def test_the_gains_under_one_heading_are_corrected_together(said):
    gain = "gain('mrs-adapter', 'linear-probe', 'ucm', epochs=10), likely"
    others = [f"gain('{name}', 'full', 'ucm'), open" for name in ("lora", "ia3", "harma")]
    alone = check([block("", gain)], said)[0]
    together = check([block("", gain, *others)], said)[0]
    assert (alone.found.word, together.found.word) == ("clear", "likely")
    assert alone.found.low == together.found.low


def test_a_changed_record_fails_the_checks_of_its_arm_and_no_others(found, said, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results)
    [poor] = records_of(said._runs, "zero-shot", "rsicd")
    for record in records_of(said._runs, "mrs-adapter, trained heads", "rsicd", epochs=1):
        spoiled = record | {name: poor[name] for name in ("scores", "test_queries")}
        (results / "runs" / f"{record['id']}.json").write_text(readable(spoiled))
    pages = [b for b in found if b.page.name in WHOLE and "gain(" in " ".join(b.checks)]
    failed = {one.source for one in check(pages, Said(results)) if one.claim.differs(one.found)}
    assert failed and all("heads" in source and "epochs=1" in source for source in failed)


def test_the_counted_claims_turn_with_what_is_printed(found, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    path = tmp_path / "results" / "paper" / "claims.csv"
    table = pd.read_csv(path, dtype=str)
    table["printed"] = table["printed"].replace({"0.16": "0.17", "98.9": "99.89"})
    table.to_csv(path, index=False)
    ledger = [b for b in found if b.page.name == "06_claims.md"]
    failed = {one.source for one in check(ledger, Said(tmp_path / "results")) if one.problems}
    assert len(failed) == 2 and all("printed" in source for source in failed)


@pytest.mark.parametrize(
    "gain, words",
    [
        (lambda form, raised, position: 3 + 4 * position, ("clear", "clear")),
        (lambda form, raised, position: 4 * position if form == "hinge" else -3, ("open", "clear")),
        (lambda form, raised, position: 10 - 6 * position, ("clear", "clear")),
        (lambda form, raised, position: 3, ("open", "open")),
    ],
)
def test_the_words_on_hmmc_follow_the_dials(gain, words):
    change = dial_words(planted(gain)).xs("change", level="what")
    assert tuple(change.loc[["InfoNCE", "hinge"], "word"]) == words
    end = gain("hinge", "both", 1.0)
    assert dial_words(planted(gain)).loc[("hinge", "end"), "value"] == pytest.approx(end, abs=0.5)


def test_an_experiment_that_is_not_complete_decides_nothing():
    rising = planted(lambda form, raised, position: 3 + 4 * position)
    for part in (
        rising[rising["objective"].isin(["hmmc", "hinge-two-views"])],
        rising[~rising["data"].str.contains("alike_images=1.0&alike_captions=1.0")],
        rising[rising["seed"] == 0],
    ):
        with pytest.raises(StudyError, match="not complete"):
            dial_words(part)


def test_the_ledger_has_the_papers_eight_claims_each_with_a_verdict():
    text = (BOOK / "06_claims.md").read_text()
    printed = pd.read_csv(RESULTS / "paper" / "claims.csv").drop_duplicates("id")
    rows = re.findall(r"^\| (\d) \| (.*?) \| (.*?) \| .* \|$", text, re.M)
    assert [(int(number), claim) for number, claim, _ in rows] == [
        (row.id, row.claim) for row in printed.itertuples()
    ]
    [told] = re.findall(r"^The verdicts are (.*?)\. ", text, re.M | re.S)
    counts = Counter(verdict for *_, verdict in rows)
    assert counts.keys() <= set(re.findall(r"\*([^*]+)\*", " ".join(told.split())))
    answer = " ".join(text.split(":::")[1].split())
    spelled = {1: "one", 3: "three"}
    said = {"holds": "holds", "holds in part": "hold in part", "tested, open": "is tested and open"}
    for verdict, number in counts.items():
        assert f"{spelled[number]} {said.get(verdict, verdict)}" in answer
    assert re.findall(r"^:{3,}\{dropdown\} (\d)\.", text, re.M) == [of for of, *_ in rows]
    opened = re.split(r"^:{3,}\{dropdown\} \d\.", text, flags=re.M)[1:]
    assert all("**For.**" in of and "**Against" in of for of in opened)


def test_the_answers_are_five_in_short_sentences(found):
    answers = [b for b in found if "five answers" in b.section and b.checks][:5]
    for sentence in re.split(r"[.:;] ", " ".join(b.text for b in answers)):
        assert len(sentence.split()) <= 25, sentence


def test_no_text_claims_equality_for_lack_of_evidence(found):
    empty = re.compile("cannot be told from|not shown to|no difference was found", re.I)
    assert [f"{b.page.name}:{b.line}" for b in found if empty.search(b.text)] == []
    assert set(WORDS) == {"clear", "likely", "open"}


def test_the_command_prints_every_check_and_fails_with_one(tmp_path):
    for folder in ("book", "notebooks", "results/runs"):
        (tmp_path / folder).mkdir(parents=True)
    page, arguments = tmp_path / "book" / "page.md", ["checks", "--results", tmp_path / "results"]
    page.write_text("At 95 %.\n<!-- check: level() == 95 -->\n")
    done = CliRunner().invoke(cli, list(map(str, [*arguments, "--json"])))
    assert done.exit_code == 0 and done.output.count('"check": "level() == 95"') == 1
    CliRunner().invoke(cli, list(map(str, [*arguments, "--out", tmp_path / "traced.json"])))
    assert json.loads((tmp_path / "traced.json").read_text()) == {"level() == 95": []}
    page.write_text("At 90 %.\n<!-- check: level() == 90 -->\n")
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert "1 of 1 checks fail" in str(done.exception) and "95" in done.output


def test_an_example_in_code_is_no_check(tmp_path):
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    page = (
        "# Page\n\n```markdown\nIt is 4.3 ahead.\n<!-- check: nothing() == 4.3 -->\n```\n\nOpen.\n"
    )
    (tmp_path / "book" / "page.md").write_text(page, "utf-8")
    assert [(of.text, of.checks) for of in blocks(tmp_path)] == [("Open.", [])]


@pytest.mark.parametrize("fence", [":::{dropdown} More", "```{admonition} Key takeaways"])
def test_a_check_in_a_box_or_behind_a_dropdown_is_held(fence, tmp_path):
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    page = f"{fence}\nAt 95 %.\n<!-- check: level() == 95 -->\n{fence[:3]}\n\nOpen.\n"
    (tmp_path / "book" / "page.md").write_text(page, "utf-8")
    found = blocks(tmp_path)
    assert [(of.text, of.checks) for of in found] == [
        ("At 95 %.", ["level() == 95"]),
        ("Open.", []),
    ]
    assert found[0].boxed == ("takeaways" in fence)


def test_a_check_in_a_dropdown_is_found_and_a_box_is_what_has_its_class(tmp_path):
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    held = "At 95 %.\n<!-- check: level() == 95 -->"
    box = ":::{admonition} The answer\n:class: tip takeaways\n\n" + held + "\n:::\n"
    code = "```bash\nrun\n```\n\n"
    fold = f"::::{{dropdown}} More\n:open:\n\n{code}{held}\n::::\n\nAfter.\n\n"
    fold += held.replace("At 95 %.", ":::{table} All\n\n| At 95 %. |\n:::")
    (tmp_path / "book" / "page.md").write_text(f"# Page\n\n{box}\n{fold}", "utf-8")
    seen = [(of.text, len(of.checks), of.boxed, of.folded) for of in blocks(tmp_path)]
    assert seen == [
        ("At 95 %.", 1, True, False),
        ("At 95 %.", 1, False, True),
        ("After.", 0, False, False),
        ("| At 95 %. |", 1, False, False),
    ]


def test_a_check_tells_the_runs_that_it_reads(said):
    """Those of the arms that it asks for, and no other's."""

    def read(source):
        [one] = check([block("x", source)], said)
        return set(one.runs)

    def own(table, label, data):
        return {record["id"] for record in records_of(table, label, data)}

    table = said._compared
    full, adapter = own(table, "full", "rsicd"), own(table, "mrs-adapter", "rsicd")
    assert full and adapter
    assert read('score("full", "rsicd") == 24.8') == full
    assert read('gain("full", "mrs-adapter", "rsicd") == 4.3') == full | adapter
    assert read('score("full", "rsicd") + 0 == 24.8') == full, "nothing is left from before"
    [fold] = read('in_fold("mrs-adapter", "hmmc", "ucm", 3) == 56.5')
    assert "f3" in fold and "hmmc" in fold
    small = read('others("ucm") == 26')
    assert own(table, "lora", "ucm") | own(table, "mrs-adapter", "ucm") <= small
    assert not small & own(table, "full", "ucm") and len(small) > 26
    updated = read('update("mrs-adapter", "forgotten") == -6.5')
    assert updated and all("mrs-adapter" in run for run in updated)
    assert updated < read('update("mrs-adapter", "spared") == 1.7')
    assert read('counted("mrs-adapter") == 161_088') == set()
