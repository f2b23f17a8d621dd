"""The plan's primary contrasts are computed as its page declares them."""

import dataclasses
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from test_statistics import of_fold

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import _judged
from rsstudy.experiments.names import label_of
from rsstudy.experiments.record import readable
from rsstudy.training.recipe import recipe_name
from study.decisive import (
    ADAPTER,
    FULL,
    HMMC,
    LOOKED_AT,
    PRIMARY,
    looks,
    looks_in_words,
    looks_of,
    primary_contrasts,
    word_at,
)
from study.suites import arms

PAGE = (Path(__file__).parents[1] / "book" / "plan.md").read_text()


def test_the_page_names_the_same_questions_and_margins():
    rows = re.findall(r"^\| (\d) \| (.*?) \| (.*?) \| (\d) \|$", PAGE, re.MULTILINE)
    assert len(rows) == len(PRIMARY)
    for (_, text, data, margin), asked in zip(rows, PRIMARY, strict=True):
        assert float(margin) == asked.margin
        assert {"RSICD": "rsicd", "UCM-Captions": "ucm"}[data] == asked.data
        assert text.startswith(("adapter less full", "HMMC less InfoNCE")) and (
            asked.name.split(" less ")[0] in text
        )


def test_the_queue_makes_each_run_that_a_primary_contrast_takes():
    rows = arms("decisive", "bench")
    made = {
        (r.run.data, *r.folds, r.run.method, r.run.objective, recipe_name(r.run.recipe))
        for r in rows
        if r.folds and label_of(r.run) == r.run.method and not r.run.objective_settings
    }
    for asked in PRIMARY:
        for fold in LOOKED_AT[1]:
            for way in (asked.one, asked.other):
                assert (asked.data, fold, *way, asked.recipe) in made


def make_up(folder, folds):
    """Runs of some folds on both sets, made up: HMMC lies far behind on every fold."""
    (folder / "runs").mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for (data, recipe), way, fold in product(
        (("rsicd", "ten-epochs"), ("ucm", "paper")), (ADAPTER, FULL, HMMC), folds
    ):
        method, objective = way
        made = of_fold(fold, int(random.integers(1000)))
        made["test_queries"]["classes"] = ["a", "b", "c", "d"] * 3
        for direction in ("image_to_text", "text_to_image") if way == HMMC else ():
            counts = made["test_queries"][direction]
            counts["above"] = [int(n) + 40 for n in counts["above"]]
        name = f"{data}-f{fold}-{method}-{objective}"
        ways = {"method": method, "objective": objective, "train_heads": False}
        made["config"] = {**made["config"], "data": data, **ways}
        own = {"id": name, "status": "finished", "label": method, "recipe": recipe}
        own |= {"scores": {"mean_recall": 40.0 + fold + len(name)}}
        (folder / "runs" / f"{name}.json").write_text(readable({**made, **own}))


@pytest.fixture
def on_record(tmp_path):
    """All runs of the first look."""
    make_up(tmp_path, LOOKED_AT[0])
    return tmp_path


def test_a_look_judges_the_three_questions_at_its_level(on_record):
    found = primary_contrasts(on_record, LOOKED_AT[0])
    assert [contrast.margin for contrast in found] == [asked.margin for asked in PRIMARY]
    assert all(contrast.folds == 4 and contrast.freedom == 3 for contrast in found)
    assert found[2].estimate < -20 and abs(found[1].estimate) < 15
    assert all(contrast.alpha == pytest.approx(0.0052, abs=5e-5) for contrast in found)


def test_a_run_that_is_not_on_record_is_named(on_record):
    (on_record / "runs" / "ucm-f5-full-infonce.json").unlink()
    with pytest.raises(StudyError, match="0 runs of full with infonce on ucm, fold 5"):
        primary_contrasts(on_record, LOOKED_AT[0])


def test_a_look_that_lacks_a_run_names_it_and_shows_no_estimate_of_its_set(on_record):
    first = looks(on_record)[:3]
    assert first["estimate"].notna().all() and not any(first["missing"])
    (on_record / "runs" / "ucm-f5-full-infonce.json").unlink()
    found = looks(on_record)
    assert len(found) == 6 and list(found["set"][:3]) == ["RSICD", "UCM-Captions", "UCM-Captions"]
    assert list(found["missing"][:3]) == ["", "full fine-tuning, InfoNCE: folds 5", ""]
    about = ["look", "set", "contrast", "missing", "margin", "of_one", "of_other", "runs"]
    numbers = found.drop(columns=about)
    # Of no question on the set, one whose runs are there included.
    assert (numbers[1:].isna() | numbers[1:].isin([False, ""])).all(axis=None)
    assert numbers[:1].notna().all(axis=None) and numbers["word"][0]
    assert "all folds" not in found["missing"][4] and "7, 8, 9, 10" in found["missing"][3]
    of_sets = looks_of(on_record, "adapter less full fine-tuning")
    assert list(of_sets["Set"]) == ["RSICD", "UCM-Captions"] * 2
    assert list(of_sets["Adapter: runs"]) == ["4 of 4"] * 2 + ["4 of 8"] * 2
    assert list(of_sets["Full fine-tuning: runs"]) == ["4 of 4", "3 of 4", "4 of 8", "3 of 8"]
    assert list(of_sets["Difference (95 %)"][1:]) == ["-"] * 3
    assert list(of_sets["What the look says"][1:]) == ["not complete"] * 3
    said = looks_in_words(found)["what the look says"]
    assert said[0] == found["word"][0] and said[1].startswith("lacks full fine-tuning")
    assert said[2] == "waits for its set"


def test_a_set_that_is_not_there_makes_no_verdict_of_the_others_easier(on_record):
    """Its contrasts have a p-value of 1, so whatever they become, the others' levels grow alone."""
    whole = looks(on_record)[:3]
    for path in (on_record / "runs").glob("rsicd-*.json"):
        path.unlink()
    alone = looks(on_record)[:3]
    assert not alone["word"][0] and alone["estimate"][1:].equals(whole["estimate"][1:])
    assert (alone["low_corrected"][1:] <= whole["low_corrected"][1:]).all()
    assert (alone["high_corrected"][1:] >= whole["high_corrected"][1:]).all()
    # HMMC's p-value is the smallest by far: a third of the look's level, whoever else is there.
    assert alone["low_corrected"][2] == pytest.approx(whole["low_corrected"][2])


def test_both_looks_are_shown_once_all_folds_are_there(on_record):
    make_up(on_record, LOOKED_AT[1])
    found = looks(on_record)
    assert list(found["look"]) == ["folds 3 to 6"] * 3 + ["folds 3 to 10"] * 3
    for folds, rows in zip(LOOKED_AT, (found[:3], found[3:]), strict=True):
        made = primary_contrasts(on_record, folds)
        assert list(rows["estimate"]) == [contrast.estimate for contrast in made]
        assert list(rows["low_corrected"]) == [contrast.low_corrected for contrast in made]
    # Of the plan's page: at eight folds the smallest difference is 1.6 s.
    assert (found["smallest_gap"] / found["spread"])[3:].to_numpy() == pytest.approx(1.64, abs=5e-3)
    assert found["word"][5] == "clear"
    assert looks_in_words(found)["what the look says"][5] == "clear"


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        (None, (-4, 0.5), "clear"),
        (None, (-4, 1.2), "open"),  # likely, which is a word of the last look
        ((-4, 1.2), (-4, 1.2), "likely"),
        ((-4, 0.5), (-4, 1.2), "clear"),
        ((-4, 0.5), (-1, 1.2), "open"),
        ((-4, 0.5), (4, 0.5), "open"),
    ],
)
def test_words_follow_the_plan_from_look_to_look(first, second, word):
    def contrast(estimate, error):
        made = _judged(estimate, error, 7, 2.0, (8, 8), 0, 8)
        return dataclasses.replace(made, low_corrected=made.low - 2, high_corrected=made.high + 2)

    assert word_at(contrast(*second), first and contrast(*first)) == word
