"""A suite is a grid of different runs, done once each, whatever happens to one of them."""

from dataclasses import replace

import pytest

from rsstudy import suites
from rsstudy.methods import create_method
from rsstudy.records import read_records
from rsstudy.suites import SCALES, SUITES, grid, recipe_for, run_suite
from rsstudy.training import Diverged, Recipe


@pytest.fixture
def small(rows, write_parquet, own_cache, monkeypatch):
    """The smoke scale on ten pictures, with an encoder that needs no pretraining."""
    setting = replace(
        SCALES["smoke"], data=(str(write_parquet(rows)),), encoder="tiny@random", seeds=1,
        recipe=Recipe(epochs=1, batch=3, precision="fp32"),
    )  # fmt: skip
    monkeypatch.setitem(suites.SCALES, "smoke", setting)


def once(tmp_path):
    return run_suite("compare", "smoke", tmp_path, say=lambda _: None, progress=False)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SUITES)
def test_every_run_of_a_grid_is_another_one_and_can_be_made(name, scale):
    runs = grid(name, scale)
    assert len({repr(run) for run in runs}) == len(runs)
    for run in runs:
        create_method(run.method, run.method_settings)
        run.resolved_objective()


def test_the_paper_scale_follows_the_papers_recipe():
    recipe = recipe_for("paper", "mrs-adapter")
    assert (recipe.optimizer, recipe.learning_rate, recipe.epochs, recipe.batch) == (
        "adam", 2e-4, 30, 16,
    )  # fmt: skip
    assert (recipe.schedule, recipe.step_epoch, recipe.step_factor) == ("step", 20, 0.7)
    assert recipe.weight_decay == recipe.clip_norm == 0 and recipe.validation == "random"


def test_a_second_call_trains_nothing(small, tmp_path, monkeypatch):
    first = once(tmp_path)
    assert len(first) == len(grid("compare", "smoke")) == len(read_records(tmp_path))
    monkeypatch.setattr("rsstudy.run.train", lambda *_, **__: pytest.fail("trained again"))
    assert once(tmp_path) == first


def test_a_diverged_run_does_not_stop_the_others(small, tmp_path, monkeypatch):
    execute = suites.execute

    def sometimes(run, *more):
        if run.method == "full":
            raise Diverged("the loss is nan at step 1 of epoch 1")
        return execute(run, *more)

    monkeypatch.setattr(suites, "execute", sometimes)
    assert {r["config"]["method"] for r in once(tmp_path)} == {
        "zero-shot", "linear-probe", "mrs-adapter",
    }  # fmt: skip
