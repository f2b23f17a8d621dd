"""Costs are what can be counted by hand, and what a real step keeps."""

import json
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import here
from torch.nn.attention import SDPBackend, sdpa_kernel

from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.experiments.cost import (
    Meter,
    Power,
    analytic,
    bytes_of,
    carbon,
    kept_for_backward,
    pays_from,
    reckoned_energy,
)
from rsstudy.methods import attach, create_method, trained
from rsstudy.objectives import named_objective
from rsstudy.training.batch import batch_loss
from rsstudy.training.recipe import Recipe
from study.cli import cli


def tower(width: int, layers: int, tokens: int) -> int:
    """FLOPs of a tower's blocks by hand: qkv, scores and mixing, output, MLP of four widths."""
    products = 2 * tokens * width * (3 * width + width + 8 * width)
    return layers * (products + 2 * 2 * tokens * tokens * width)


def test_flops_of_vit_b_32_are_those_counted_by_hand():
    counted = analytic("ViT-B-32", create_method("zero-shot"), words=20, batch=2)
    patches = 2 * 49 * (3 * 32 * 32) * 768
    assert counted.image_flops == patches + tower(768, 12, 50) + 2 * 768 * 512
    assert round(counted.image_flops / 1e9, 2) == 8.82
    assert counted.caption_flops == tower(512, 12, 20) + 2 * 512 * 512
    logits = 2 * 2 * 2 * 512 // 2  # of two pairs, shared out
    assert counted.step_flops == counted.image_flops + counted.caption_flops + logits


def test_the_paper_s_adapter_is_counted_by_tower():
    counted = analytic("ViT-B-32", create_method("mrs-adapter"), batch=2)
    by_tower = (49_216 + 45_760, 32_832 + 29_120, 4_160)
    assert (counted.image, counted.text, counted.shared) == by_tower
    assert (counted.new, counted.own, counted.heads, counted.total) == (161_088, 0, 0, 161_088)
    assert counted.stored_bytes == 4 * 161_088 and counted.optimizer_bytes == 8 * 161_088
    assert counted.base == 151_277_313


SOME = ("full", "text-tower", "linear-probe", "bitfit", "mrs-adapter", "maple", "lora")


@pytest.mark.parametrize("name", SOME)
def test_parameters_are_counted_by_tower_and_kind_as_their_names_say(name):
    """Of an encoder whose towers' parameters tell themselves apart by name."""
    counted = analytic("vits14-minilm@random", create_method(name), image_size=112, batch=2)
    encoder = create("vits14-minilm@random", 112, meta=True)
    attach(encoder, create_method(name))
    sizes = {n: p.numel() for n, p in trained(encoder).items()}
    base = {
        n: s for n, s in sizes.items() if n.startswith("model.") and "parametrizations" not in n
    }
    for tower, word in {"image": "visual", "text": "text"}.items():
        signs = f"model.{word}.", f"model.{tower}_head."
        if len(base) == len(sizes):
            expected = sum(s for n, s in base.items() if n.startswith(signs))
            assert getattr(counted, tower) == expected
    assert counted.heads == sum(s for n, s in base.items() if "_head." in n)
    assert counted.own == sum(base.values()) - counted.heads
    assert counted.total == sum(sizes.values()) == counted.new + counted.own + counted.heads
    assert counted.image + counted.text + counted.shared == counted.total


def test_a_caption_has_no_more_words_than_the_encoder_reads():
    def flops(encoder: str, words: int) -> int:
        return analytic(encoder, create_method("zero-shot"), words=words, batch=2).caption_flops

    assert flops("ViT-B-32", 77) == flops("ViT-B-32", 500)
    assert flops("ViT-B-16-SigLIP", 5) == flops("ViT-B-16-SigLIP", 64), "it reads padding"


@pytest.mark.parametrize("method", ["mrs-adapter", "full", "ia3"])
def test_a_real_step_keeps_what_was_counted(method):
    batch, words = 4, 12
    counted = analytic("tiny@random", create_method(method), batch=batch, words=words)
    encoder = create("tiny@random")
    attach(encoder, create_method(method))
    encoder.method.train()
    images = torch.zeros(batch, 3, 64, 64, dtype=torch.uint8)
    tokens = torch.ones(batch, words, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), kept_for_backward(encoder) as kept:
        batch_loss(encoder, named_objective("infonce"), Recipe(precision="fp32"), images, tokens)
    assert bytes_of(kept) // batch == pytest.approx(counted.activation_bytes, rel=0.02)
    assert counted.activation_bytes > 0


def test_two_views_cost_two_passes():
    one, two = (
        analytic("tiny@random", create_method("mrs-adapter"), objective=named_objective(name))
        for name in ("infonce", "hmmc")
    )
    assert two.step_flops / one.step_flops == pytest.approx(2, rel=0.02)
    assert two.activation_bytes / one.activation_bytes == pytest.approx(2, rel=0.05)


def test_an_encoder_that_needs_real_data_is_refused_in_one_line():
    with pytest.raises(StudyError, match="cnn-gru cannot be counted"):
        analytic("cnn-gru", create_method("full"))


@given(base=st.integers(0, 1000), each=st.integers(0, 20), other=st.integers(0, 20))
def test_it_pays_from_the_first_number_on_which_it_is_less(base, each, other):
    expected = next((n for n in range(1, 1002) if base + n * each < n * other), None)
    assert pays_from(base, each, other) == expected


def test_energy_without_a_counter_is_reckoned_and_says_so():
    with Meter(torch.device("cpu")) as meter:
        sum(range(10_000))
    assert meter.seconds > 0 and not meter.measured
    assert meter.joules == reckoned_energy(meter.seconds, torch.get_num_threads())
    assert reckoned_energy(10, 2, Power(watts_a_core=3)) == 60
    assert carbon(3.6e6, Power(overhead=1.5, grams_a_kwh=400)) == 600


def test_the_command_prints_and_records_what_is_counted(tmp_path):
    out = tmp_path / "costs.json"
    options = f"costs --encoder tiny@random --method mrs-adapter --out {out}"
    shown = here(cli, *options.split(), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    counted = asdict(analytic("tiny@random", create_method("mrs-adapter")))
    row = json.loads(out.read_text())["rows"][0]
    assert {name: row[name] for name in counted} == counted
    assert f"{counted['total']:,}" in shown.stdout
