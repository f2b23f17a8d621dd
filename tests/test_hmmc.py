"""HMMC beside what it is compared with: its figures and tables say what the records say."""

from pathlib import Path

import pytest
from test_decisive import make_up
from test_figures import intervals

from study.comparison import judged
from study.decisive import PRIMARY, validated_on
from study.figures.drawing import in_words
from study.figures.hmmc import forest, validation_curves
from study.hmmc import FORMS, LESS_INFONCE, in_groups, runs_of_the_hinge, scores_by_steps
from study.labels import HMMC, OBJECTIVES
from study.planned import late_gain
from study.verdicts import Said

RESULTS = Path(__file__).parents[1] / "results"
FOLD = ("ucm", 3)


def test_the_contrasts_of_all_groups_are_corrected_together():
    said, found = Said(RESULTS), in_groups(RESULTS, LESS_INFONCE)
    asked = [of for rows in LESS_INFONCE.values() for of in rows.values()]
    every = judged({of: said.gain(*of[:3], epochs=of[3]) for of in asked})
    assert [of for rows in found.values() for of in rows.values()] == list(every.values())
    for heading, rows in (LESS_INFONCE | FORMS).items():
        for one, _, data, epochs in rows.values():
            assert f"{said.steps(one, data, epochs)} steps" in heading


def test_scores_stand_beside_their_steps_and_a_fold_has_no_interval():
    table = scores_by_steps(RESULTS)
    *before, new = table.itertuples(index=False)
    assert all("(" in row.Difference for row in before) and new.Difference == "one fold"
    assert list(table["Steps"]) == sorted(table["Steps"])
    said = Said(RESULTS)
    assert new[3:5] == tuple(said.in_fold("mrs-adapter", o, *FOLD) for o in ("hmmc", "infonce"))
    [row] = [row for row in before if row[:3] == ("full fine-tuning", "UCM-Captions", 162)]
    assert row[3:5] == (said.score("full+hmmc", "ucm"), said.score("full", "ucm"))


def test_validation_is_told_of_the_fold_that_was_asked_for(tmp_path):
    said = Said(RESULTS)
    for name, record in validated_on(RESULTS, PRIMARY[2], 3).items():
        best = said.validated("mrs-adapter", name, *FOLD, record["best_epoch"])
        assert best == record["validation_scores"]["mean_recall"]
        assert said.late("mrs-adapter", name, *FOLD) == late_gain(record["history"])
    make_up(tmp_path, (3,))
    assert list(validated_on(tmp_path, PRIMARY[2], 3)) == ["hmmc", "infonce"]
    assert not any(validated_on(tmp_path, PRIMARY[2], 4).values())
    assert list(validated_on(RESULTS, PRIMARY[1], 3)) == ["mrs-adapter", "full"]


def test_curves_are_named_and_the_kept_epoch_is_ringed():
    def run(slope):
        history = [{"epoch": n, "mean_recall": slope * n} for n in range(5)]
        return {"history": history, "best_epoch": 2}

    figure = validation_curves({"hmmc": run(10.0), "infonce": run(12.0)}, "Behind")
    [axis] = figure.axes
    assert axis.get_title() == "Behind"
    assert list(axis.lines[0].get_ydata()) == [0, 10, 20, 30, 40]
    assert axis.lines[1].get_xydata().tolist() == [[2, 20]]
    named = {line.get_label(): line for line in axis.lines}
    assert named["HMMC"].get_color() == HMMC != OBJECTIVES["infonce"].color
    [legend] = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"HMMC", "InfoNCE"}
    assert "HMMC from 0.0, kept epoch 2 20.0" in in_words(figure)


@pytest.mark.parametrize("asked", [LESS_INFONCE, FORMS])
def test_a_forest_has_both_intervals_and_the_word_of_each_row(asked):
    groups = in_groups(RESULTS, asked)
    figure = forest(groups, "Behind")
    [axis] = figure.axes
    rows = [of for found in groups.values() for of in found.values()]
    assert {bounds[:2] for bounds in intervals(axis)} == {(of.low, of.high) for of in rows}
    thin = {tuple(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 1}
    assert {(of.low_corrected, of.high_corrected) for of in rows} <= thin
    texts = [text.get_text() for text in axis.texts]
    assert {*groups} < {*texts} and {name for found in groups.values() for name in found} < {*texts}
    assert [text for text in texts if text.endswith(("clear", "likely", "open"))] == [
        f"{of.estimate:+.1f}, {of.word}" for of in rows
    ]
    assert {line.get_color() for line in axis.lines if line.get_marker() == "o"} == {HMMC}


def test_the_masked_hinge_stands_beside_the_same_rate():
    runs = runs_of_the_hinge(RESULTS)
    configs = {name: record["config"] for name, record in runs.items()}
    rates = {name: config["recipe"]["learning_rate"] for name, config in configs.items()}
    higher, masked = list(runs)[2:]
    assert rates[higher] == rates[masked] > rates["its control"]
    assert {config["objective"] for name, config in configs.items() if name != "HMMC"} == {
        "hinge-two-views"
    }
    assert configs[masked] != configs[higher]
