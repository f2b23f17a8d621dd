"""The compiled training step is the eager one, whatever the method, and one graph."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import Stopped, stop_at
from test_memory import MASKED, PLAIN, gradients, ready
from test_training import run as train_on
from test_training import same, values
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from rsstudy.encoders import create, tiny
from rsstudy.evaluation import prepare
from rsstudy.methods import METHODS, attach, create_method, detach, trained
from rsstudy.methods.primitives import after
from rsstudy.objectives import named_objective
from rsstudy.training.accumulate import add_gradients
from rsstudy.training.compiled import LossOfViews

CPU = torch.device("cpu")
HMMC = named_objective("hmmc", **MASKED)
RECIPE = replace(PLAIN, epochs=2, samples="captions")


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """``tiny`` of one block a tower: a compiler takes seconds."""
    for tower in (tiny.VISION, tiny.TEXT):
        monkeypatch.setitem(tower, "layers", 1)
    yield
    torch.compiler.reset()


def without_a_compiler(monkeypatch):
    """Let ``torch.compile`` capture and not compile; returns the list of its graphs."""
    graphs, compile = [], torch.compile

    def captured(function, fullgraph, options):
        assert fullgraph and options["fallback_random"]

        def run(graph, inputs):
            graphs.append(graph)
            return graph.forward

        return compile(function, fullgraph=True, backend=run)

    monkeypatch.setattr(torch, "compile", captured)
    return graphs


def step_by(loss_of):
    return lambda *given: add_gradients(*given, loss_of)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"zero-shot"}))
def test_the_step_is_one_graph_whatever_the_method(small, monkeypatch, method):
    graphs, loss_of = without_a_compiler(monkeypatch), LossOfViews("on", PLAIN, CPU)
    encoder, pairs = ready(small, method)
    for _ in range(2):  # a method that keeps something between steps would need another graph
        loss, captured, drawn = gradients(encoder, pairs, HMMC, PLAIN, step_by(loss_of))
    assert loss_of.compiled and len(graphs) == 1
    eager_loss, eager, eager_drawn = gradients(encoder, pairs, HMMC, PLAIN)
    assert loss == eager_loss and drawn == eager_drawn and captured.keys() == eager.keys()
    assert all(torch.equal(captured[name], value) for name, value in eager.items())


class EveryPrimitive:
    """A branch, learned tokens and a low-rank change, by one method of each."""

    kind = "every-primitive"

    def add_to(self, encoder):
        of_all = nn.Module()
        for name, settings in (("mrs-adapter", {"dropout": 0.2}), ("vpt", {}), ("lora", {})):
            encoder.method = nn.Module()
            create_method(name, settings).add_to(encoder)
            of_all.add_module(name, encoder.method)
        encoder.method = of_all


def with_every_primitive():
    encoder = create("tiny@random")
    attach(encoder, EveryPrimitive())
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trained(encoder).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return encoder


def close(found, expected):
    """Whether tensors are equal up to the rounding of sums."""
    assert found.keys() == expected.keys()
    return all(
        torch.allclose(found[name], value, rtol=1e-3, atol=1e-5 * value.abs().max())
        for name, value in expected.items()
    )


def test_the_compiled_step_is_the_eager_one_up_to_rounding(small):
    encoder, loss_of = with_every_primitive(), LossOfViews("on", PLAIN, CPU)
    encoder.eval()
    encoder.method.train()
    encoder.logit_scale.requires_grad_(True)
    pairs = prepare(encoder, small.split("train"))
    loss, compiled, drawn = gradients(encoder, pairs, HMMC, PLAIN, step_by(loss_of))
    assert loss_of.compiled
    eager_loss, eager, eager_drawn = gradients(encoder, pairs, HMMC, PLAIN)
    assert loss.item() == pytest.approx(eager_loss.item(), rel=1e-5) and drawn == eager_drawn
    assert close(compiled, eager)


def test_a_checkpoint_goes_on_with_and_without_graphs(small, tmp_path, monkeypatch):
    graphs = without_a_compiler(monkeypatch)
    recipe, file = replace(RECIPE, epochs=3), {"checkpoint": tmp_path / "checkpoint.pt"}
    whole = with_every_primitive()
    train_on(whole, small, HMMC, recipe)
    for compile, epoch in (("off", 1), ("on", 2)):  # each stops a step behind its last checkpoint
        stop = {"after_step": stop_at(5 * epoch + 1), "compile": compile}
        with pytest.raises(Stopped):
            train_on(with_every_primitive(), small, HMMC, recipe, range(epoch, 9), **file, **stop)
    resumed = with_every_primitive()
    done = train_on(resumed, small, HMMC, recipe, [4], **file, compile="off")
    assert done.best_epoch == 3 and not done.compiled and len(graphs) == 1
    assert same(resumed, values(whole))


def test_in_bf16_one_graph_serves_every_epoch(small, monkeypatch):
    """Frozen weights are cast once: a graph reads them by their addresses."""
    graphs, found = without_a_compiler(monkeypatch), []
    for place in ("devices", "training.compiled"):  # without the hardware nothing is compiled
        monkeypatch.setattr(f"rsstudy.{place}.bf16_is_native", lambda device: True)
    for how in ("on", "off"):
        encoder, cast = create("tiny@random"), set()
        attach(encoder, create_method("mrs-adapter"))
        frozen = encoder.blocks("image")[0].module.mlp.c_fc.weight

        def noted(_step, frozen=frozen, cast=cast):
            cast.add((frozen.data_ptr(), frozen.dtype))

        given = {"after_step": noted, "compile": how}
        train_on(encoder, small, HMMC, replace(RECIPE, precision="bf16"), **given)
        assert len(cast) == 1 and cast.pop()[1] == torch.bfloat16
        assert frozen.dtype == torch.float32
        found.append(values(encoder))
    assert len(graphs) == 1
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_gradients_that_cannot_be_compiled_are_computed_eagerly(small, monkeypatch, capsys):
    def no_gradients(graph, inputs):
        raise NotImplementedError("no such kernel")

    backend = aot_autograd(fw_compiler=lambda graph, _: graph.forward, bw_compiler=no_gradients)
    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **_: compile(function, fullgraph=True, backend=backend)
    )
    found = []
    for how in ("on", "off"):
        encoder = create("tiny@random")
        attach(encoder, create_method("mrs-adapter"))
        done = train_on(encoder, small, HMMC, RECIPE, compile=how)
        assert not done.compiled
        found.append(values(encoder))
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
    assert capsys.readouterr().err.count("the training step is not compiled: ") == 1


def test_a_graph_ends_with_its_training(small, monkeypatch):
    """Its hooks are those of the method that was attached then."""
    graphs, recipe = without_a_compiler(monkeypatch), replace(RECIPE, epochs=1)
    encoder, other = create("tiny@random"), create("tiny@random")
    attach(encoder, create_method("mrs-adapter"))
    train_on(encoder, small, HMMC, recipe, compile="on")
    detach(encoder)
    for bare in (encoder, other):
        attach(bare, create_method("mrs-adapter"), seed=3)
        train_on(bare, small, HMMC, recipe, compile="on" if bare is encoder else "off")
    assert len(graphs) == 2
    assert all(torch.equal(values(encoder)[name], value) for name, value in values(other).items())


def test_what_cannot_be_captured_runs_eagerly_and_is_said_once(small, monkeypatch, capsys):
    graphs = without_a_compiler(monkeypatch)

    def read(stream):
        return stream if stream.sum().item() > 1e9 else stream + 0.0

    encoders = []
    for compile in ("on", "off"):
        encoder = create("tiny@random")
        attach(encoder, create_method("mrs-adapter"))
        after(encoder.blocks("image")[0].module, read)
        done = train_on(encoder, small, HMMC, RECIPE, compile=compile)
        assert not done.compiled and not graphs
        encoders.append(values(encoder))
    assert all(torch.equal(encoders[0][name], value) for name, value in encoders[1].items())
    said = capsys.readouterr().err
    assert said.count("the training step is not compiled: ") == said.count("\n") == 1


@pytest.mark.parametrize(
    ("how", "recipe", "why"),
    [
        ("on", replace(PLAIN, accumulate=2), "the batch is embedded in parts"),
        ("on", replace(PLAIN, checkpointing=True), "activations are computed again"),
        ("auto", PLAIN, ""),
        ("off", PLAIN, ""),
    ],
)
def test_a_step_that_is_not_compiled_says_why_if_that_was_wanted(how, recipe, why, capsys):
    assert LossOfViews(how, recipe, CPU).graph is None
    assert capsys.readouterr().err == (f"the training step is not compiled: {why}\n" if why else "")


def test_a_smaller_batch_makes_no_graph(small, monkeypatch):
    graphs = without_a_compiler(monkeypatch)
    encoder = create("tiny@random")
    attach(encoder, create_method("mrs-adapter"))
    done = train_on(encoder, small, HMMC, replace(RECIPE, batch=16), compile="on")
    assert done.compiled and done.steps == 4 and len(graphs) == 1


def test_the_environment_says_whether_to_compile_and_the_record_whether_it_was(train, monkeypatch):
    monkeypatch.setenv("RSSTUDY_COMPILE", "On")
    failed = train("--no-test")
    assert failed.code == 1
    assert failed.error == "error: RSSTUDY_COMPILE is 'On': set it to off, on or auto\n"
    graphs = without_a_compiler(monkeypatch)
    ids = set()
    for how in ("on", "off"):
        monkeypatch.setenv("RSSTUDY_COMPILE", how)
        done = train("--no-test", out=how)
        assert done.code == 0 and len(graphs) == 1
        record = json.loads(Path(how, "record.json").read_text())
        assert record["environment"]["compiled"] == (how == "on")
        ids.add(record["identity"])
    assert len(ids) == 1


def test_captions_have_few_lengths_where_that_is_asked_for(small):
    encoder = create("tiny@random")
    pairs = prepare(encoder, small.split("train"))
    whole = pairs.tokens.shape[1]
    for multiple in (1, 8, 64):
        words = pairs.words(pairs.text_of[:4], multiple=multiple)[0]
        longest = int(pairs.lengths[pairs.text_of[:4]].max())
        assert words.shape[1] == min(-(-longest // multiple) * multiple, whole)
        assert words.shape[1] % multiple == 0 or words.shape[1] == whole
