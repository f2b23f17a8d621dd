"""The dial experiment's reading finds the gain and the slope that were put in."""

import numpy as np
import pandas as pd
import pytest

from rsstudy.experiments.arms import Arm
from rsstudy.experiments.names import label_of, objective_label
from rsstudy.settings import settings_of
from study.dials import curves, gains, raised_similarity, slopes
from study.suites import CONTROLLED, DIALS, arms


def planted(gain, seeds=range(5)):
    """Records of the whole experiment in which HMMC gains ``gain(form, raised, position)``."""
    form_of = {name: form for form, pair in CONTROLLED.items() for name in pair}

    def row(arm: Arm):
        run, position = arm.run, float(arm.level)
        noise = np.random.default_rng([run.seed, int(100 * position)]).normal(0, 0.3)
        level = 60 - 10 * position + run.seed
        if run.objective in ("hmmc", "hmmc-infonce"):
            level += gain(form_of[run.objective], arm.factor, position) + noise
        return {
            "id": f"{run.objective}-{run.data}-{run.seed}",
            "data": run.data,
            "encoder": run.encoder,
            "label": label_of(run),
            "objective": run.objective,
            "objective_label": objective_label(run),
            "seed": run.seed,
            "fold": "",
            "mean_recall": level,
            "learning_rate": run.recipe.learning_rate,
            "image_size": 64,
            "record": {"config": {"recipe": settings_of(run.recipe)}},
        }

    return pd.DataFrame([row(arm) for arm in arms("dials", "short") if arm.run.seed in seeds])


@pytest.fixture(scope="module")
def records():
    start = {"hinge": 2, "InfoNCE": -1}
    return planted(lambda form, raised, position: start[form] + 4 * position * (raised == "both"))


@pytest.fixture(scope="module")
def gained(records):
    return gains(records)


def test_the_planted_gain_and_slope_are_found_with_their_intervals(gained):
    assert len(gained) == 2 * 3 * 5 * 5  # forms, what is raised, positions, seeds
    along = slopes(gained).set_index(["form", "raised"])
    for form, start in (("hinge", 2), ("InfoNCE", -1)):
        at = curves(gained).set_index(["form", "raised", "position"])
        for position in DIALS:
            row = at.loc[form, "both", position]
            assert row["low"] <= row["mean"] <= row["high"]
            assert row["mean"] == pytest.approx(start + 4 * position, abs=0.5)
        assert along.loc[(form, "both"), "slope"] == pytest.approx(4, abs=0.8)
        assert along.loc[(form, "both"), "p"] < 0.01
        for raised in ("pictures", "captions"):
            assert along.loc[(form, raised), "low"] < 0 < along.loc[(form, raised), "high"]


def test_one_seed_alone_has_a_mean_and_no_interval(gained):
    at = curves(gained[gained["seed"] == 0])
    assert at["mean"].notna().all() and at["seeds"].eq(1).all()
    assert at[["low", "high", "p"]].isna().all(axis=None)


def test_scenes_with_both_dials_at_zero_stand_at_the_start_of_every_curve(gained):
    start = gained.query("position == 0")
    assert set(start["raised"]) == {"both", "captions", "pictures"}
    assert start.groupby(["form", "seed"])["gain"].nunique().eq(1).all()


def test_a_run_without_its_control_gives_no_gain_and_its_seed_no_slope(records, gained):
    lost = (records["objective"] == "hinge-two-views") & (records["seed"] == 3)
    lost &= records["data"].str.contains("alike_images=0.5&alike_captions=0.5")
    without = gains(records[~lost])
    assert len(without) == len(gained) - 1
    along = slopes(without).set_index(["form", "raised"])
    assert along.loc[("hinge", "both"), "seeds"] == 4
    assert along.loc[("InfoNCE", "both"), "seeds"] == 5


def test_the_pilots_runs_are_not_of_the_experiment(records, gained):
    pilot = planted(lambda *_: 50, seeds=[0])
    scenes = pilot["data"].str.replace("seed=0&", "seed=100&")
    both = [records, pilot.assign(seed=100, data=scenes, id="pilot")]
    pd.testing.assert_frame_equal(gains(pd.concat(both, ignore_index=True)), gained)


def test_what_the_dials_raise_is_read_at_both_ends():
    table = pd.DataFrame({"position": DIALS, "value": [0.2 + position for position in DIALS]})
    table = table.assign(raised="both", modality="image", measure="mean")
    row = raised_similarity(table).iloc[0]
    assert (row["at_0"], row["at_1"]) == (0.2, 1.2)
