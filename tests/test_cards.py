"""Every run has a card that says how to do it again, and a row in the table of all runs."""

import re
import shlex
from pathlib import Path

import pytest

from rsstudy.experiments import run as running
from rsstudy.experiments.cli import cli
from rsstudy.experiments.names import identity_of
from rsstudy.experiments.record import records_in
from rsstudy.settings import settings_of
from study.cards import all_runs, card, rerun, table_of, title, write_cards

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def records():
    return records_in(RESULTS / "runs")


@pytest.fixture(scope="module")
def ids(records):
    return {record["identity"]: record["id"] for record in records}


def of_kinds(records):
    """The decisive record, and of the record before one run of each suite, method and objective."""
    chosen = {}
    for record in records:
        config = record["config"]
        kind = record.get("suite"), record["label"], config["objective"], "after" in config
        chosen.setdefault(record["id"] if not record.get("record") else kind, record)
    return list(chosen.values())


def test_the_command_of_a_card_asks_for_the_same_run(records, ids, monkeypatch):
    asked = []

    class Asked(Exception):
        pass

    def execute(run, out, test=True, **_):
        asked.append((run, test))
        raise Asked

    monkeypatch.setattr(running, "execute", execute)
    for record in of_kinds(records):
        config = record["config"]
        words = shlex.split(rerun(record, ids))
        assert words.pop(0) == "rsstudy"
        with pytest.raises(Asked):
            cli.main(words, standalone_mode=False)
        run, test = asked.pop()
        assert test == ("scores" in record)
        given = {
            **config,
            **{name: getattr(run, name) for name in ("encoder", "method", "objective", "seed")},
            "train_heads": run.train_heads,
            "method_settings": settings_of(run.built_method),
            "objective_settings": settings_of(run.built_objective),
            "recipe": settings_of(run.recipe),
        }
        assert identity_of(given) == identity_of(config), record["id"]
        assert (run.data, sorted(run.also)) == (config["data"], sorted(config.get("also", ())))
        fold = config.get("fold")
        assert (run.fold and vars(run.fold)) == (
            fold and {k: v for k, v in fold.items() if k != "digest"}
        )
        if after := config.get("after"):
            assert run.after.name == ids[after["identity"]]


def test_a_card_says_what_the_record_says(records, ids):
    for record in of_kinds(records):
        text = re.sub("<[^>]+>", " ", card(record, ids, "there.json"))
        for said in (
            record["id"],
            record["identity"][:12],
            record["environment"]["commit"][:12],
            f"{record['validation_scores']['mean_recall']:.1f} %",
            f"{record['best_epoch']} of {record['config']['recipe']['epochs']}",
            f"{record['trained_parameters']['total']:,} parameters",
            f"{record['cost']['steps']:,} steps",
        ):
            assert said in text, (record["id"], said)
        if "scores" in record:
            assert f"{record['scores']['mean_recall']:.1f} %" in text
        else:
            assert "not opened" in text


def test_a_card_names_what_is_not_at_its_default(records, ids):
    record = next(r for r in records if r["config"]["method_settings"].get("bottleneck") == 4)
    text = card(record, ids, "")
    assert "<dt>method: bottleneck<dd>4" in text
    assert "recipe: schedule" in text and "recipe: precision" not in text


def test_there_is_a_small_card_for_every_run(tmp_path, monkeypatch, records):
    monkeypatch.setattr("study.cards.records_in", lambda folder: of_kinds(records))
    count = write_cards(RESULTS, tmp_path / "runs")
    written = {path.stem: path.stat().st_size for path in (tmp_path / "runs").iterdir()}
    assert written.keys() == {record["id"] for record in of_kinds(records)} and count > 20
    assert max(written.values()) < 4000 and sum(written.values()) / count < 3000


def test_the_table_has_every_run_the_decisive_record_first(records):
    runs = all_runs(RESULTS)
    assert set(runs["run"]) == {record["id"] for record in records} and runs["run"].is_unique
    assert list(runs["record"]) == sorted(runs["record"], key=["decisive", "before"].index)
    assert len(table_of(runs)) < 400_000


def test_the_table_speaks_in_words(records):
    runs = all_runs(RESULTS)
    shown = runs[["set", "method", "objective", "recipe", "device"]].drop_duplicates()
    programs = re.compile(r"mrs-adapter|infonce|hmmc|cuda|cpu\b|_|\?|ten-epochs")
    assert [row for row in shown.itertuples(index=False) if programs.search(" ".join(row))] == []


def test_the_title_names_what_is_rare(records):
    large = next(r for r in records if r["config"]["image_size"] == 224)
    assert "224 px" in title(large)
    folded = next(r for r in records if r["config"].get("fold"))
    assert f"fold {folded['config']['fold']['number']}" in title(folded)
