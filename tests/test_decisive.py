"""The plan's primary contrasts are computed as its page declares them."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from test_statistics import of_fold

from rsstudy.errors import StudyError
from rsstudy.experiments.names import label_of
from rsstudy.experiments.record import readable
from rsstudy.training.recipe import recipe_name
from study.decisive import LOOKED_AT, PRIMARY, primary_contrasts
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


@pytest.fixture
def on_record(tmp_path):
    """All runs of the first look, made up: HMMC lies far behind on every fold."""
    (tmp_path / "runs").mkdir()
    random = np.random.default_rng(0)
    for asked, side, fold in product(PRIMARY, ("one", "other"), LOOKED_AT[0]):
        method, objective = getattr(asked, side)
        made = of_fold(fold, int(random.integers(1000)))
        for way in ("image_to_text", "text_to_image") if objective == "hmmc" else ():
            counts = made["test_queries"][way]
            counts["above"] = [int(n) + 40 for n in counts["above"]]
        name = f"{asked.data}-f{fold}-{method}-{objective}"
        ways = {"method": method, "objective": objective, "train_heads": False}
        made["config"] = {**made["config"], "data": asked.data, **ways}
        own = {"id": name, "status": "finished", "label": method, "recipe": asked.recipe}
        (tmp_path / "runs" / f"{name}.json").write_text(readable({**made, **own}))
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
