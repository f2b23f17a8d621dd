"""Small trained parts are kept beside the record, and score what their cards say."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from rsstudy.adapters import ADAPTER, load_adapter
from rsstudy.experiments.arms import Arm
from rsstudy.experiments.queue import Slot
from rsstudy.experiments.record import RUNS, readable
from rsstudy.experiments.run import Run
from rsstudy.experiments.splits import evaluate_split
from rsstudy.experiments.sweep import run_arms
from rsstudy.training.recipe import Recipe
from study import kept
from study.cli import cli
from study.kept import ADAPTERS, CARD, LARGEST, keep_trained
from study.suites import front_page_arms

KEPT = Path(__file__).parents[1] / "results" / ADAPTERS
CARDS = sorted(KEPT.glob(f"*/{CARD}"))


def told(card: str) -> list[str]:
    """The seven test scores of a card."""
    [row] = re.findall(r"^\| test \(fold 3\) \|(.*)\|$", card, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


def scored(folder: Path, data: str, root: Path | None = None) -> list[str]:
    found = evaluate_split(load_adapter(folder, device="cpu"), data, "test", root, adapter=folder)
    columns = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    return [f"{found['scores'][name]:.2f}" for name in (*columns, "mean_recall")]


@pytest.fixture
def done(own_cache, tmp_path, monkeypatch):
    """Two arms of the front page in fold 3, one of them too large, and an arm that is not on it."""
    run = Run(
        "scenes?images=40",
        "tiny@random",
        recipe=Recipe(epochs=1, batch=8, precision="fp32", learning_rate=1e-3),
    )
    runs = [run, replace(run, method="full"), replace(run, objective="hmmc")]
    rows = [Arm(of, (1e-3,), 1, folds=(3,)) for of in runs]
    records = run_arms(rows, tmp_path / "runs", progress=False, say=lambda _: None)
    monkeypatch.setattr(kept, "front_page_arms", lambda scale: rows[:2])
    small = (tmp_path / "runs" / records[0]["id"] / ADAPTER).stat().st_size
    monkeypatch.setattr(kept, "LARGEST", small)
    return tmp_path / "runs", tmp_path / "results", records


def test_the_queue_keeps_the_small_parts_of_the_front_page_with_cards_that_tell_their_scores(
    done, last_epoch_best
):
    runs, results, records = done
    Slot(0.0, results, partial(keep_trained, "bench")).publish(runs)
    [folder] = (results / ADAPTERS).iterdir()
    assert folder.name == records[0]["id"]
    assert (folder / ADAPTER).read_bytes() == (runs / folder.name / ADAPTER).read_bytes()
    card = (folder / CARD).read_text()
    assert told(card) == scored(folder, "scenes?images=40")
    assert f"--adapter results/adapters/{folder.name} --data scenes" in card
    assert "trained again" not in card and str(runs.parent) not in card
    (folder / CARD).write_text("mine")
    assert keep_trained("bench", runs, results) == []
    assert (folder / CARD).read_text() == "mine"


def test_a_card_says_where_the_record_is_of_another_training(done):
    runs, results, records = done
    other = {**records[0], "scores": {**records[0]["scores"], "mean_recall": 12.345}}
    path = results / RUNS / f"{other['id']}.json"
    path.parent.mkdir(parents=True)
    path.write_text(readable(other))
    [folder] = keep_trained("bench", runs, results)
    assert "trained again: the record has 12.35" in (folder / CARD).read_text()


def test_the_commands_of_the_queue_and_of_other_runs_keep_by_one_rule(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("study.kept.keep_trained", lambda *given: asked.append(given) or [])
    monkeypatch.setattr("rsstudy.experiments.queue.yield_to_others", lambda: None)
    monkeypatch.setattr("study.suites.run_suite", lambda *_, **__: [])
    folders = [tmp_path / "runs", tmp_path / "results"]
    where = [f"--{folder.name}={folder}" for folder in folders]
    cli.main(["queue", "--hours", "1", *where], standalone_mode=False)
    cli.main(["adapters", *where], standalone_mode=False)
    assert asked == [("bench", *folders)] * 2


def test_kept_are_the_arms_of_the_front_page_in_the_first_test_fold():
    rows = front_page_arms()
    assert {row.folds for row in rows} == {(3,)}
    asked = [(r.run.data, r.run.method, r.run.objective, r.run.train_heads) for r in rows]
    assert len(asked) == len({*asked}) == 9
    assert {data for data, *_ in asked} == {"ucm", "rsicd"}


def test_what_is_kept_stays_small():
    sizes = [path.stat().st_size for path in KEPT.glob(f"*/{ADAPTER}")]
    assert max(sizes) <= LARGEST and sum(sizes) <= 12_000_000


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_a_kept_adapter_scores_on_the_real_set_what_its_card_says(card, real_data):
    text = card.read_text()
    [data] = re.findall(r"--data (\w+) --fold 3 --split test", text)
    for told_, found in zip(told(text), scored(card.parent, data, real_data), strict=True):
        assert float(found) == pytest.approx(float(told_), abs=0.3)  # another processor rounds
