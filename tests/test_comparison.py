"""The comparison's tables say what the records say: sizes, intervals, who answers what."""

import numpy as np
import pandas as pd
import pytest

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import compare, corrected
from rsstudy.experiments.record import as_table, project_folder
from rsstudy.methods import METHODS
from study.comparison import (
    PRINTED,
    QUOTED,
    contrasted,
    interval,
    recall_by_class,
    shared_seeds,
    side_by_side,
)
from study.published import read_reported

CLASSES = ("field", "river", "field", "port")
CAPTIONS = (1, 2, 1, 1)


def record(method, first, history, seed=0, objective="infonce", classes=CLASSES, total=1_000):
    """Queries whose place in ``first`` (pictures, then captions) is 1 find their own at once.

    The others have twenty candidates before it.
    """
    above = [0 if found else 20 for found in first]

    def counts(part):
        return {"above": part, "tie": [1] * len(part), "own": [1] * len(part)}

    queries = {"image_to_text": counts(above[:4]), "text_to_image": counts(above[4:])}
    found = 50 * np.mean(first[:4]) + 50 * np.mean(first[4:])
    config = {"data": "ucm", "encoder": "vits14-minilm", "method": method, "objective": objective}
    return {
        "id": f"{method}-{objective}-s{seed}",
        "label": method,
        "objective_label": objective,
        "config": config | {"seed": seed, "image_size": 112, "recipe": {"learning_rate": 1e-3}},
        "scores": {"mean_recall": found},
        "best_epoch": int(np.argmax(history)),
        "trained_parameters": {"method": total - 300, "heads": 300, "total": total},
        "cost": {"train_seconds": 1.0},
        "status": "finished",
        "history": [{"epoch": n, "mean_recall": v} for n, v in enumerate(history)],
        "test_queries": {
            **queries,
            "relaxed": queries,
            "captions_of_image": list(CAPTIONS),
            "text_of_caption": list(range(5)),
            "classes": list(classes),
        },
    }


A = record("adapter", [1, 1, 0, 0, 1, 1, 1, 0, 0], [10.0, 20.0, 23.0])
B = record("full", [1, 0, 1, 0, 1, 0, 0, 1, 0], [10.0, 30.0, 20.0], total=9_000)
REPORTED = pd.DataFrame(
    {
        "method": ["Adapter", "Full fine-tuning", "Single Language"],
        "mean_recall_printed": [33.25, 30.0, 27.0],
        "trainable_params_millions": [0.17, 151.0, 151.0],
    }
)


def in_table(*records):
    return as_table(records).assign(factor="a branch")


def test_a_row_has_its_sizes_the_papers_numbers_and_how_it_still_rose():
    table = side_by_side(in_table(B, A), REPORTED).set_index("label")
    assert list(table.index) == ["adapter", "full"], "the best first"
    row, full = table.loc["adapter"], table.loc["full"]
    assert (row.method, row.heads, row.total, row.seeds) == (700, 300, 1_000, 1)
    assert row.mean_recall == pytest.approx(55.0)
    assert row.low < row.mean_recall < row.high
    assert (row.printed, row.printed_millions) == (33.25, 0.17)
    assert row.rise == pytest.approx(3.0) and full.rise == 0
    assert np.isnan(row.quoted) and (full.printed, full.quoted) == (30.0, 27.0)
    full = side_by_side(in_table(B), REPORTED.head(1)).iloc[0]
    assert np.isnan(full.printed) and np.isnan(full.quoted)


def test_more_seeds_change_the_mean_and_leave_the_interval_one_over_test_pictures():
    first = [1, 1, 0, 0, 1, 1, 1, 0, 0]
    alone = side_by_side(in_table(record("adapter", first, [1.0])), REPORTED).iloc[0]
    same = [record("adapter", first, [1.0], seed) for seed in range(3)]
    row = side_by_side(in_table(*same), REPORTED).iloc[0]
    assert (row.seeds, row.deviation) == (3, 0)
    assert [r["config"]["seed"] for r in row.records] == [0, 1, 2]
    assert [row.low, row.high] == pytest.approx([alone.low, alone.high])
    other = record("adapter", [1] * 9, [1.0], seed=1)
    row = side_by_side(in_table(same[0], other), REPORTED).iloc[0]
    assert row.mean_recall == pytest.approx((alone.mean_recall + 100) / 2)
    assert row.deviation == pytest.approx((100 - alone.mean_recall) / 2**0.5)


def test_objectives_and_other_towers_have_rows_of_their_own():
    hinge = record("full", [0] * 9, [1.0], objective="hinge")
    other = record("full", [0] * 9, [1.0], objective="hinge")
    other["config"]["encoder"] = "cnn-gru"
    names = set(side_by_side(in_table(B, hinge, other), REPORTED)["name"])
    assert names == {"full", "full, hinge", "full (cnn-gru), hinge"}


def test_every_row_of_the_paper_that_is_named_exists_and_every_method_too():
    reported = read_reported(project_folder() / "results")
    for (method, _), name in [*PRINTED.items(), *QUOTED.items()]:
        assert method == "cnn-gru" or method in METHODS
        for data in ("rsicd", "ucm"):
            assert ((reported["dataset"] == data) & (reported["method"] == name)).sum() == 1


def test_recall_by_class_takes_captions_with_their_picture():
    table = recall_by_class({"adapter": A})["adapter"]
    # Pictures: field 1, 0; river 1; port 0. Captions: field 1, 0; river 1, 1; port 0.
    assert table.to_dict() == pytest.approx({"field": 50.0, "port": 0.0, "river": 100.0})
    with pytest.raises(StudyError, match="no classes .* for adapter: do its run again"):
        recall_by_class({"adapter": record("adapter", [1] * 9, [1.0], classes=())})


def test_only_seeds_that_both_arms_have_are_compared():
    one, other = (
        [{"id": name + str(s), "config": {"seed": s}} for s in seeds]
        for name, seeds in (("a", (0, 1, 2)), ("b", (2, 1, 5)))
    )
    kept = shared_seeds(one, other)
    assert [[r["id"] for r in side] for side in kept] == [["a1", "a2"], ["b2", "b1"]]
    assert shared_seeds(one, []) == ([], [])


def test_contrasts_are_corrected_over_all_that_are_asked():
    asked = {"adapter less full": ([A], [B]), "full less adapter": ([B], [A])}
    found = contrasted(asked)
    assert list(found) == list(asked)
    one, other = found.values()
    assert one == corrected([compare([A], [B]), compare([B], [A])])[0]
    assert interval(one) == f"{one.estimate:+.1f} ({one.low:+.1f} to {one.high:+.1f})"
    assert one.estimate == -other.estimate
