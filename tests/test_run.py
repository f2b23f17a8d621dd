"""One run from end to end, by the library and by the command, and how it fails."""

import contextlib
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import Fork, command, here, wait_until, with_small_files

import rsstudy.experiments.run as room
from rsstudy.adapters import load_adapter
from rsstudy.data.folds import Fold, as_fold, assign, assignment_digest
from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.experiments.cli import cli
from rsstudy.experiments.names import public_name
from rsstudy.experiments.protocol import Sealed
from rsstudy.experiments.record import RECORD, read_record, read_records
from rsstudy.experiments.run import Run, execute
from rsstudy.experiments.splits import evaluate_split
from rsstudy.methods import METHODS
from rsstudy.objectives import Objective
from rsstudy.registry import OBJECTIVES
from rsstudy.retrieval import counts_of, scores
from rsstudy.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch=3, precision="fp32")


@pytest.fixture
def data(rows, write_parquet, own_cache):
    return str(write_parquet(rows))


def train_arguments(data, out, *more):
    asked = f"train --data {data} --encoder tiny@random --method mrs-adapter --batch 3 --out {out}"
    return (*asked.split(), *more)


@pytest.fixture
def do(data, tmp_path):
    """``do(out=None, **settings)``: a run on the small set, in a folder; its record and folder."""

    def do(out: str | None = None, **settings):
        run = Run(data, "tiny@random", **{"recipe": RECIPE, **settings})
        return execute(run, out and tmp_path / out, runs=tmp_path, progress=False)

    return do


@pytest.mark.parametrize("method", ["mrs-adapter", "linear-probe", "full", "zero-shot", "lora"])
def test_a_saved_adapter_scores_the_same_when_loaded(data, do, method, last_epoch_best):
    record, folder = do(method=method, objective="hmmc")
    assert record["status"] == "finished" and not (folder / "checkpoint.pt").exists()
    found = evaluate_split(load_adapter(folder), data, "test")
    assert found["scores"] == record["scores"] and found["queries"] == record["test_queries"]


def test_the_command_evaluates_to_the_record_of_training(data, tmp_path):
    run, file = tmp_path / "run", tmp_path / "scores.json"
    done = here(cli, *train_arguments(data, run, "--epochs", "1", "--json"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = f"evaluate --adapter {run} --data {data} --json {file}"
    again = here(cli, *asked.split(), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    scores = json.loads(file.read_text())["scores"]
    assert scores == json.loads(done.stdout)["scores"]
    assert scores == read_record(tmp_path / "run" / RECORD)["scores"]


def test_the_same_run_is_not_done_twice_and_another_gets_another_id(do, tmp_path, monkeypatch):
    first, folder = do()
    other, _ = do(seed=1)
    assert first["id"] != other["id"] and len(read_records(tmp_path)) == 2
    with pytest.raises(StudyError, match="holds another run"):
        do(folder, seed=2)
    monkeypatch.setattr(room, "train", lambda *_, **__: pytest.fail("trained again"))
    assert do()[0] == first
    for versions, name in ((METHODS.versions, "mrs-adapter"), (OBJECTIVES.versions, "infonce")):
        with monkeypatch.context() as raised:
            raised.setitem(versions, name, versions[name] + 1)
            with pytest.raises(pytest.fail.Exception, match="trained again"):
                do()
    monkeypatch.setattr(room, "RECIPE_VERSION", room.RECIPE_VERSION + 1)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        do()


def test_a_set_made_in_python_is_the_run_of_the_folder_that_has_the_same(data, do, tmp_path):
    by_path, _ = do()
    run = Run(load(data), "tiny@random", recipe=RECIPE)
    by_set, folder = execute(run, None, tmp_path / "sets", progress=False)
    assert by_set["identity"] == by_path["identity"] and folder.name == by_path["id"]
    assert by_set["scores"] == by_path["scores"]
    named = replace(load(data), name="rsicd")
    assert Run(named, "vits14-minilm").recipe == Run("rsicd", "vits14-minilm").recipe


def test_identity_is_of_versions_and_of_the_settings_that_differ_from_their_defaults(do):
    """The adapter's start was too wide in version 1, with equal settings."""
    record, _ = do()
    config, identity = record["config"], record["identity"]
    assert config["method_version"] == METHODS.versions["mrs-adapter"] == 2
    assert room.identity_of(config) == identity
    assert room.identity_of({**config, "method_version": 1}) != identity
    parts = {
        "recipe": Recipe(),
        "method_settings": METHODS["mrs-adapter"](),
        "objective_settings": Objective(),
    }
    for part, default in parts.items():
        assert len(config[part]) > 5  # a record names all of them
        for name, value in config[part].items():
            fewer = {n: v for n, v in config[part].items() if n != name}
            same = room.identity_of({**config, part: fewer}) == identity
            assert same == (value == getattr(default, name)), name


@pytest.mark.parametrize(
    "more",
    [
        {"recipe": {"schedule": "linear"}},
        {"recipe": {"epochs": -3}},
        {"recipe": {"batch": "many"}},
        {"recipe": {"weight_decay": 0.1}},
        {"recipe": {"schedule": "cosine", "step_factor": 0.5}},
        {"method_settings": {"bottleneck": 0}},
        {"method_settings": {"dropout": "much"}},
        {"objective_settings": {"margin": 0.3}},
        {"objective_settings": {"token_dropout": 0.1}},
        {"recipe": {"epochs": 5, "step_factor": 0.5}},
        {"method": "full", "train_heads": True},
        {"method": "text-tower", "method_settings": {"heads": True}, "train_heads": True},
        {"seed": -1},
        {"seed": 0.5},
        {"method": "mrs-adaptor"},
        {"objective": "infonse"},
        {"recipe": {"validation": "random"}, "fold": Fold(3)},
    ],
)
def test_settings_made_in_python_are_checked_as_those_of_the_command_are(more):
    with pytest.raises(StudyError) as problem:
        recipe = Recipe(**more.pop("recipe", {}))
        Run("scenes", "tiny", recipe=recipe, **more)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("encoder", ["tiny", "vits14-minilm"])
@pytest.mark.parametrize("method", ["mrs-adapter", "full"])
@pytest.mark.parametrize("name", ["ucm", "rsicd"])
def test_python_and_the_command_have_one_set_of_defaults(encoder, method, name, monkeypatch):
    asked = []
    monkeypatch.setattr(room, "execute", lambda run, *_, **__: asked.append(run) or exit())
    with contextlib.suppress(SystemExit):
        cli.main(["train", "--data", name, "--encoder", encoder, "--method", method])
    assert asked == [Run(name, encoder, method)]


def test_a_run_in_a_fold_is_tested_there_and_its_test_part_is_sealed_until_then(
    own_cache, tmp_path, monkeypatch
):
    data, choice = "scenes?images=20", tmp_path / "choice.json"
    run = Run(data, "tiny@random", recipe=RECIPE, seed=3, fold=Fold(3))
    with pytest.raises(StudyError, match="sealed until .*choice.json is written"):
        execute(run, runs=tmp_path, progress=False, until=(choice,))
    [path] = tmp_path.glob("*/record.json")
    assert read_record(path)["status"] == "validated" and "-f3-" in path.parent.name
    whole = load(data)
    with pytest.raises(StudyError, match="sealed until"):
        Sealed(as_fold(whole, Fold(3)), (choice,)).open()
    choice.touch()
    record, folder = execute(run, runs=tmp_path, progress=False, until=(choice,))
    own = whole.take([i for i, of in enumerate(assign(whole)) if of == 3])
    assert record["config"]["fold"] == {
        "number": 3,
        "assignment": "first",
        "grouped": False,
        "digest": assignment_digest(whole),
    }
    assert len(record["test_queries"]["captions_of_image"]) == len(own) == 2
    found = evaluate_split(load_adapter(folder), data, "test", adapter=folder)
    test = replace(own, splits=("test",) * len(own))
    assert found["split_manifest_digest"] == test.manifest_digest()
    assert found["scores"] == record["scores"]
    ids = {record["id"]}
    for fold in (Fold(4), Fold(3, "second"), None):
        ids.add(execute(replace(run, fold=fold), runs=tmp_path, progress=False)[0]["id"])
    assert len(ids) == 4


def test_a_record_keeps_the_counts_that_its_scores_come_from(do, monkeypatch):
    first, _ = do()
    queries = first["test_queries"]
    assert first["scores_relaxed"] == scores(*counts_of(queries, "relaxed"))
    assert first["scores"] == scores(*counts_of(queries))
    assert len(queries["text_of_caption"]) == sum(queries["captions_of_image"])
    assert len(queries["classes"]) == len(queries["captions_of_image"]) and all(queries["classes"])
    for work in ("train", "evaluate"):
        monkeypatch.setattr(room, work, lambda *_, **__: pytest.fail("done again"))
    assert do()[0] == first


def test_the_test_split_is_not_opened_before_the_choice_is_made(do, monkeypatch):
    order = []
    prepare, train = room.prepare, room.train

    def watched_prepare(encoder, split):
        order.append(split.splits[0])
        return prepare(encoder, split)

    def watched_train(*arguments, **more):
        training = train(*arguments, **more)
        order.append("chosen")
        return training

    monkeypatch.setattr(room, "prepare", watched_prepare)
    monkeypatch.setattr(room, "train", watched_train)
    do()
    assert order == ["val", "train", "chosen", "test"]


def test_a_record_tells_how_it_was_made(do, data, tmp_path):
    record, folder = do()
    assert record == read_record(folder / RECORD)
    assert record["config"]["data"] == "set" and data not in (folder / RECORD).read_text()
    counts = {"method": 24_864, "heads": 0, "total": 24_864, "temperature": 1}
    assert record["trained_parameters"] == counts
    assert [row["epoch"] for row in record["history"]] == [0, 1, 2]
    assert set(record["pixel_digests"]) == {"train", "val", "test"}
    assert set(record["environment"]) >= {
        "versions",
        "commit",
        "dirty",
        "device",
        "device_name",
        "bf16_hardware",
    }
    queries = record["test_queries"]
    assert [len(queries["image_to_text"][n]) for n in ("above", "tie", "own")] == [2, 2, 2]
    assert [len(queries["text_to_image"][n]) for n in ("above", "tie")] == [10, 10]
    row = read_records(tmp_path).iloc[0]
    assert row["method"] == "mrs-adapter" and row["mean_recall"] == record["scores"]["mean_recall"]


def test_a_records_names_hold_no_path_of_the_machine():
    assert public_name("ViT-B-32@/home/me/w.pt+/data/x/delta.safetensors") == (
        "ViT-B-32@w.pt+delta.safetensors"
    )
    assert public_name("ViT-B-32@openai") == "ViT-B-32@openai"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", {"tiny": "0" * 64}, "trained on other weights"),
        # the same weights fit it and the plain one
        ("architecture", "ViT-B-32-quickgelu", "trained on ViT-B-32-quickgelu"),
        ("method", None, "not an adapter's configuration"),
        ("", {}, "not an adapter's configuration"),
    ],
)
def test_an_adapter_is_refused_on_another_base(do, name, value, message):
    _, folder = do()
    config = json.loads((folder / "adapter.json").read_text())
    config = config | {name: value} if name else value
    (folder / "adapter.json").write_text(json.dumps(config))
    with pytest.raises(StudyError, match=message):
        load_adapter(folder)


def test_a_validation_split_drawn_at_random_is_drawn_again(do, data):
    record, folder = do(recipe=replace(RECIPE, validation="random"), seed=5)
    found = evaluate_split(load_adapter(folder), data, "val", adapter=folder)
    assert found["scores"] == record["validation_scores"]


def test_blank_training_captions_do_not_stop_a_random_validation_split(
    changed, write_parquet, own_cache, tmp_path
):
    data = write_parquet(changed(0, captions=["", " "]), "blanks")
    for seed in range(4):
        recipe = replace(RECIPE, epochs=1, batch=2, validation="random")
        run = Run(str(data), "tiny@random", recipe=recipe, seed=seed)
        record, _ = execute(run, tmp_path / f"run{seed}", progress=False)
        assert record["dropped_empty_captions"] == 2


def test_a_run_is_charged_for_its_own_memory_alone(do):
    before = do()[0]["cost"]["peak_memory_bytes"]
    if before is None:
        pytest.skip("this system cannot tell one run's memory")
    hog = torch.ones(400, 1024, 1024, dtype=torch.uint8)
    del hog
    assert do(seed=1)[0]["cost"]["peak_memory_bytes"] < before + 200 * 2**20


def test_a_damaged_adapter_is_refused(do):
    _, folder = do()
    file = folder / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(StudyError, match="not a whole safetensors file"):
        load_adapter(folder)


def test_a_full_disk_leaves_no_half_record(data, tmp_path):
    """The limit on a file's size stands in for the disk: the adapter fits, the record does not."""
    out = tmp_path / "run"
    words = [str(word) for word in train_arguments(data, out, "--epochs", "1")]
    words[words.index("mrs-adapter")] = "zero-shot"
    done = Fork(with_small_files, 1200, command, "rsstudy", *words).end()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: could not write {out / RECORD}")
    assert not (out / RECORD).exists()
    assert not [file for file in out.iterdir() if file.suffix == ".tmp"]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(data, tmp_path):
    out = tmp_path / "run"
    arguments = train_arguments(data, out, "--epochs", 20, "--json")
    running = Fork(command, "rsstudy", *arguments)
    wait_until(lambda: (out / "checkpoint.pt").exists() or not running.process.is_alive())
    running.send(signal.SIGINT)
    done = running.end()
    said = done.stderr
    assert done.returncode == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1].startswith("interrupted; the same command goes on")
    assert not (out / RECORD).exists()
    assert {file.name for file in out.iterdir()} == {".lock", "checkpoint.pt", "history.jsonl"}
    resumed = here(cli, *arguments)
    assert resumed.returncode == 0, resumed.stderr
    whole = here(cli, *train_arguments(data, tmp_path / "whole", "--epochs", 20, "--json"))
    assert json.loads(resumed.stdout)["scores"] == json.loads(whole.stdout)["scores"]
    adapters = [load_adapter(folder) for folder in (out, tmp_path / "whole")]
    for one, other in zip(*(a.method.parameters() for a in adapters), strict=True):
        assert torch.equal(one, other)


TRAIN = "train --data SET --encoder tiny@random"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("train --data no/such/folder --encoder tiny@random", "does not exist"),
        ("train --data rsicdd --encoder tiny@random", "did you mean rsicd"),
        ("train --data SET --encoder tinny", "did you mean tiny"),
        (f"{TRAIN} --method mrs", "mrs-adapter"),
        (f"{TRAIN} --objective hmc", "hmmc"),
        (f"{TRAIN} --set method.x=1", "x"),
        (f"{TRAIN} --set x=1", "PART.NAME=VALUE"),
        (f"{TRAIN} --device cuba", "no device"),
        ("evaluate --adapter nowhere --data SET", "no adapter's configuration at nowhere"),
        ("evaluate --data SET", "give --adapter DIR, or --encoder NAME"),
        ("evaluate --encoder tiny@random --data SET --split tst", "has no tst split"),
        (f"{TRAIN} --batch 1", "batch is 1"),
        (f"{TRAIN} --epochs -1", "epochs is -1"),
        (f"{TRAIN} --learning-rate nan", "learning_rate is nan"),
        (f"{TRAIN} --image-size 3", "32..2048"),
        (f"{TRAIN} --set method.dropout=2", "dropout is '2'"),
        ("train --data ~no-such-user/x --encoder tiny@random", "cannot look at ~no"),
        (f"data check {'x' * 300}", "cannot look at"),
        ("data check ucmm", "did you mean ucm"),
    ],
)
def test_bad_input_is_answered_in_one_line(data, tmp_path, asked, message):
    before = sorted(Path(data).parent.iterdir())
    answer = here(cli, *[data if a == "SET" else a for a in asked.split()], cwd=tmp_path)
    assert answer.returncode == 1, answer
    assert answer.stderr.count("\n") == 1 and answer.stderr.startswith("error: ")
    assert message in answer.stderr
    assert sorted(Path(data).parent.iterdir()) == before


def test_broken_pictures_and_absent_splits_stop_a_run_in_one_line(
    changed, rows, write_parquet, own_cache, tmp_path
):
    for number, (damaged, message) in enumerate(
        [
            (changed(0, content=b"no picture"), "beach_0.png"),
            ([row for row in rows if row.split != "test"], "has no test split"),
            (changed(9, captions=["a beach .", " "]), "1 empty caption"),
        ]
    ):
        run = Run(str(write_parquet(damaged, f"set{number}")), "tiny@random", recipe=RECIPE)
        with pytest.raises(StudyError, match=message):
            execute(run, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_data_check_exits_1_when_broken_and_0_with_findings(
    changed, rows, write_parquet, tmp_path, own_cache
):
    fine = here(cli, "data", "check", str(write_parquet(rows, "fine")), cwd=tmp_path)
    assert fine.returncode == 0 and "manifest digest" in fine.stdout
    alike = changed(1, captions=rows[3].captions, content=rows[0].content)
    found = here(cli, "data", "check", str(write_parquet(alike, "alike")), "--json", cwd=tmp_path)
    report = json.loads(found.stdout)
    assert found.returncode == 0 and report["ok"] and len(report["duplicate_pictures"]) == 1
    broken = write_parquet(changed(2, content=rows[2].content[:60]), "broken")
    answer = here(cli, "data", "check", str(broken), cwd=tmp_path)
    assert answer.returncode == 1 and "beach_2.png" in answer.stdout


def test_methods_are_counted_without_any_weights(tmp_path):
    done = here(cli, "list", "methods", "--encoder", "ViT-B-32", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = {row["name"]: row["trainable_parameters"] for row in json.loads(done.stdout)}
    assert counts["mrs-adapter"] == 161_088 and counts["full"] == 151_277_313


@pytest.mark.parametrize("kind", ["data", "encoders", "methods", "objectives", "recipe"])
def test_every_list_prints_a_table_and_json(kind, tmp_path):
    rows = json.loads(here(cli, "list", kind, "--json", cwd=tmp_path).stdout)
    table = here(cli, "list", kind, cwd=tmp_path)
    assert table.returncode == 0 and rows[0]["name"] in table.stdout
