"""An alignment is a small file that rebuilds the very encoder its record scored."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import aligned_delta, create, tiny_delta
from rsstudy.errors import StudyError
from rsstudy.evaluation import evaluate, prepare
from rsstudy.experiments.pretrain import Pretraining, pretrain, usual
from rsstudy.files import sha256_of
from rsstudy.settings import settings_of
from rsstudy.training.recipe import Recipe

RECIPE = Recipe(epochs=3, batch=3, learning_rate=5e-3, precision="fp32")


def pretraining(data, method="full", encoder="tiny", **more):
    return Pretraining(str(data), encoder, method, recipe=RECIPE, **more)


@pytest.fixture
def data(rows, write_parquet, own_cache):
    return write_parquet(rows)


@pytest.mark.parametrize(
    ("method", "settings"),
    [("full", {}), ("lora", {"rank": 2, "alpha": 4.0, "norms_and_biases": True})],
)
def test_the_stored_delta_rebuilds_the_scored_encoder(
    data, tmp_path, method, settings, last_epoch_best
):
    what = pretraining(data, method, method_settings=settings)
    record, delta = pretrain(what, tmp_path / "aligned", progress=False)
    rebuilt = create(f"tiny@random+{delta}")
    test = prepare(rebuilt, read_parquet(data).split("test"))
    assert evaluate(rebuilt, test).scores == record["scores"]
    assert record["delta_sha256"] == sha256_of(delta)
    start = dict(create("tiny@random").model.named_parameters())
    moved = [n for n, p in rebuilt.model.named_parameters() if not torch.equal(p, start[n])]
    assert any("mlp.c_fc.weight" in name for name in moved) and "visual.proj" in moved
    assert not (delta.parent / "checkpoint.pt").exists()


def test_an_aligned_encoder_can_be_aligned_again(data, tmp_path):
    first = pretraining(data, "lora", encoder="tiny@random", method_settings={"rank": 2})
    _, one = pretrain(first, tmp_path / "one", progress=False)
    again = dataclasses.replace(first, encoder=f"tiny@random+{one}")
    record, two = pretrain(again, tmp_path / "two", progress=False)
    rebuilt = create(f"tiny@random+{one}+{two}")
    assert len(rebuilt.weights) == 3  # the random start and both deltas
    test = prepare(rebuilt, read_parquet(data).split("test"))
    assert evaluate(rebuilt, test).scores == record["scores"]


def test_a_low_rank_delta_is_small(data, tmp_path):
    sizes = {}
    for method, settings in (("full", {}), ("lora", {"rank": 2})):
        what = pretraining(data, method, method_settings=settings)
        _, delta = pretrain(what, tmp_path / method, progress=False)
        sizes[method] = delta.stat().st_size
    assert sizes["lora"] < sizes["full"] / 8


def test_tiny_is_found_once_pretrained_and_not_made_twice(data, tmp_path, monkeypatch):
    what = pretraining(data)
    monkeypatch.setattr("rsstudy.experiments.pretrain.usual", lambda _: what)
    record, delta = pretrain(what, progress=False)
    assert delta == tiny_delta()
    assert create("tiny").weights == {"delta/delta.safetensors": sha256_of(delta)}
    monkeypatch.setattr(
        "rsstudy.experiments.run.train", lambda *_, **__: pytest.fail("trained again")
    )
    assert pretrain(what, progress=False)[0] == record
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        pretrain(dataclasses.replace(what, seed=1), tmp_path / "other", progress=False)


def test_another_pretraining_does_not_take_the_name_tiny(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, delta = pretrain(pretraining(data), progress=False)
    assert not tiny_delta().exists() and delta.is_relative_to(Path("runs/pretrained"))
    with pytest.raises(StudyError, match="holds another run"):
        pretrain(pretraining(data, seed=1), delta.parent)
    with pytest.raises(StudyError, match="leaves no delta"):
        pretrain(pretraining(data, "mrs-adapter"))


def test_the_committed_alignment_is_what_its_record_says():
    record = json.loads(aligned_delta().with_name("record.json").read_text())
    assert record["delta_sha256"] == sha256_of(aligned_delta())
    assert record["config"]["data"] == "flickr8k" and record["status"] == "finished"
    assert aligned_delta().stat().st_size <= 10_000_000
    parameters = dict(create("vits14-minilm", meta=True).model.named_parameters())
    names = {
        n.removesuffix(".low_rank_up").removesuffix(".low_rank_down")
        for n in load_file(aligned_delta())
    }
    assert names <= set(parameters)
    usual_one = usual("vits14-minilm", device="cpu")
    if record["environment"]["device"] == "cpu":  # the command makes the committed file
        assert settings_of(usual_one.recipe).items() >= record["config"]["recipe"].items()


def test_the_aligned_encoder_meets_remote_sensing_above_chance(real_data):
    pytest.importorskip("onnx", reason="the extra `towers` is not installed")
    encoder = create("vits14-minilm")
    pictures = read_parquet(real_data / "ucm").split("test").take(range(0, 210, 3))
    found = evaluate(encoder, prepare(encoder, pictures)).scores
    # 70 pictures of 5 captions: a random ranking finds about 7 % on average over the six recalls.
    assert found["mean_recall"] > 14
