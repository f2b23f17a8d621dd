"""The front page's answer is what the records give, and its words follow the verdicts."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import Contrast
from rsstudy.experiments.record import before, readable
from study import answer
from study.answer import (
    ADAPTER,
    ALL,
    BOTH,
    NOTHING,
    PAPERS,
    SECOND,
    SHOWN,
    picture_table,
    seeds_of_many,
    sentences,
    shown_runs,
    write_answer,
)
from study.claims import FIRST, SETS, read_evidence
from study.updates import stages

ROOT = Path(__file__).parents[1]
RESULTS, BOOK = ROOT / "results", ROOT / "book"


def test_the_committed_answer_is_what_the_records_give(tmp_path):
    found = write_answer(RESULTS, tmp_path)
    for name in ("answer.md", "answer.svg"):
        assert (tmp_path / name).read_text() == (BOOK / name).read_text(), (
            f"book/{name} is out of date: run `python -m study answer`"
        )
    assert len(found) == 5
    assert "answer.md" in (BOOK / "index.md").read_text()
    assert "answer.svg" in (BOOK / "answer.md").read_text()


def test_the_picture_shows_every_run_behind_it(tmp_path):
    table = picture_table(read_evidence(RESULTS))
    assert list(table["name"]) == [name for name, *_ in SHOWN] * 2
    assert set(table["data"]) == {"ucm", "rsicd"}
    rows = table[table["name"] != ALL]
    assert table.loc[table["name"] == ALL, "estimate"].isna().all(), "all of it is the zero"
    whole = table[table["name"] == ALL].set_index("data")["mean_recall"]
    apart = rows["mean_recall"] - rows["data"].map(whole)
    assert rows["estimate"].to_numpy(float) == pytest.approx(apart.to_numpy())
    assert (rows["low_corrected"] < rows["low"]).all() and (rows["low"] < rows["high"]).all()
    svg = (BOOK / "answer.svg").read_text()
    assert svg.count("<!-- UCM-Captions: nothing trained") == 1


@pytest.fixture
def turned(tmp_path):
    """``turned(records, **changes)``: the sentences once these records say something else."""
    shutil.copytree(RESULTS, tmp_path / "results")

    def change(records, **changes):
        for record in records:
            paths = list((tmp_path / "results").glob(f"*/{record['id']}.json"))
            assert paths
            for path in paths:  # some runs were done twice
                path.write_text(readable({**record, **changes}))
        return sentences(read_evidence(tmp_path / "results"))

    return change


def as_in(record):
    return {name: record[name] for name in ("scores", "test_queries")}


def test_the_words_follow_the_verdict(turned):
    runs = shown_runs(read_evidence(RESULTS))
    [nothing] = runs[SECOND, NOTHING]
    said = turned(runs[SECOND, ALL], **as_in(nothing))  # all of it, trained, does what nothing does
    assert "the small part is clearly ahead of the whole" in said[0]
    said = turned(runs[SECOND, PAPERS], **as_in(runs[SECOND, ADAPTER][0]))
    assert "cannot be told from the same adapter" in said[2]
    [poor], full = runs[FIRST, NOTHING], runs[FIRST, ALL]
    trained, looked = turned(full, **as_in(poor))[1].split("; after")
    assert "the small part is clearly ahead of the whole" in trained
    assert "with trained heads is clearly ahead of it" in trained
    assert "ahead of it" not in looked


def test_what_trained_heads_add_is_told_from_their_own_runs(turned):
    evidence = read_evidence(RESULTS)
    runs = shown_runs(evidence)
    [poor], whole = runs[FIRST, NOTHING], turned([])[0]
    told = re.compile(r"with trained heads (.*?) it \(")
    trained, looked = told.findall(turned([])[1])
    assert (trained, looked) == ("is clearly behind", "cannot be told from")
    said = turned(runs[FIRST, BOTH], **as_in(runs[FIRST, ALL][0]))[1]
    assert told.findall(said)[0] != trained and told.findall(said)[1] == looked
    said = turned(evidence.on_first("mrs-adapter", train_heads=True), **as_in(poor))
    assert told.findall(said[1])[1] == "is clearly behind" and said[0] == whole


def test_a_first_look_is_told_from_its_own_runs(turned):
    evidence = read_evidence(RESULTS)
    [poor] = shown_runs(evidence)[FIRST, NOTHING]
    assert "after 1 epoch the small part is clearly behind it" in turned([])[1]
    said = turned(evidence.on_first("full"), **as_in(poor))[1]
    assert "after 1 epoch the small part is clearly ahead of it" in said
    assert said.split("; after")[0] == turned([])[1].split("; after")[0]


def test_each_word_has_its_verb_and_an_open_one_says_what_is_excluded():
    """Clear by the corrected interval, likely by the 95 % one alone, with the direction."""

    def contrast(estimate, half, thin):
        return Contrast(
            estimate,
            1.0,
            20.0,
            estimate - half,
            estimate + half,
            estimate - thin,
            estimate + thin,
            0.1,
            0.5,
            1.0,
            (3, 3),
            50,
        )

    found = {
        "clear": contrast(2.0, 1.0, 1.5),
        "likely": contrast(-2.0, 1.0, 2.5),
        "open": contrast(0.5, 2.0, 3.0),
    }
    assert [c.word for c in found.values()] == list(found)
    told = [answer._told(c) for c in found.values()]
    assert told == ["is clearly ahead of", "is likely behind", "cannot be told from"]
    said = [answer._said(c) for c in found.values()]
    assert said[0] == "+2.0, +1.0 to +3.0"
    assert said[2].endswith("open, at most 1.5 points worse, at most 2.5 better")
    counted = answer._shown(found)
    assert counted.endswith("1 clearly better, 1 likely worse, 1 open")


def test_what_hmmc_does_on_the_first_set_is_told_from_its_own_runs(turned):
    runs = shown_runs(read_evidence(RESULTS))
    [poor] = runs[FIRST, NOTHING]
    before, after = turned([])[2], turned(runs[FIRST, ADAPTER], **as_in(poor))[2]
    assert f"on {SETS[FIRST]} is clearly behind it" in before
    assert f"on {SETS[FIRST]} is clearly behind it" not in after
    first = f"on {SETS[SECOND]} is clearly behind the same adapter"
    assert first in before and first in after


def test_hmmc_is_told_with_its_steps_from_the_records(turned):
    runs = shown_runs(read_evidence(RESULTS))[SECOND, PAPERS]
    [steps] = {record["cost"]["steps"] for record in runs}
    assert f"plain InfoNCE after {steps} steps" in turned([])[2]
    said = turned(runs, cost={**runs[0]["cost"], "steps": 4321})[2]
    assert "plain InfoNCE after 4,321 steps" in said and "recipe are part" in said


def test_every_bar_names_its_runs():
    lines = (BOOK / "answer.md").read_text().splitlines()
    for (data, name), runs in shown_runs(read_evidence(RESULTS)).items():
        [line] = [line for line in lines if line.startswith(f"- {SETS[data]}, {name}: ")]
        assert re.findall(r"`(.*?)`", line) == [record["id"] for record in runs]


def test_that_less_is_forgotten_is_said_where_it_is_shown(turned):
    of = stages(before(RESULTS, "transfer"))
    assert "it likely forgets less (" in turned([])[4]
    for second, first in zip(of["mrs-adapter"]["second"], of["mrs-adapter"]["first"], strict=True):
        kept = {**second["elsewhere"], FIRST: {**second["elsewhere"][FIRST], **as_in(first)}}
        said = turned([second], elsewhere=kept)[4]  # one seed after the other forgets nothing
    assert "it clearly forgets less (" in said


def test_what_is_said_of_updates_follows_their_records(turned):
    table = before(RESULTS, "transfer")
    seconds = stages(table)["mrs-adapter"]["second"]
    second, first = seconds[0], stages(table)["mrs-adapter"]["first"][0]
    assert "it clearly loses" in turned([])[4]
    spoiled = {"base_equal": False, "reread": 0}
    assert "does not leave the encoder as it was" in turned([second], removed=spoiled)[4]
    kept = {**second["elsewhere"], FIRST: {**second["elsewhere"][FIRST], **as_in(first)}}
    assert "it may lose or gain" in turned(seconds, elsewhere=kept)[4]


@pytest.mark.parametrize(
    "seeds, said",
    [
        ((1, 1), "one seed each"),
        ((3, 5), "3 to 5 seeds each"),
        ((5, 1, 5), "2 of them with 5 seeds, the others with one"),
    ],
)
def test_how_many_seeds_the_many_have_is_counted(seeds, said):
    assert seeds_of_many([SimpleNamespace(seeds=(own, 5)) for own in seeds]) == said


@pytest.mark.parametrize("data", [SECOND, FIRST])
def test_an_answer_without_its_runs_is_refused(data, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    for record in shown_runs(read_evidence(RESULTS))[data, BOTH]:
        for file in (tmp_path / "results").glob(f"*/{record['id']}.json"):
            file.unlink()
    with pytest.raises(StudyError, match=f"no run on record for {BOTH} on {data}"):
        sentences(read_evidence(tmp_path / "results"))


def test_no_sentence_holds_a_number_of_its_own():
    source = (ROOT / "rsstudy" / "answer.py").read_text()
    spoken = source[source.index("def sentences") : source.index("def write_answer")]
    words = " ".join(re.findall(r'f?"([^"\n]*)"', spoken))
    words = re.sub(r"{[^}]*}", "", words)
    assert "the whole" in words and not re.findall(r"\d", words)
