"""What every method must hold, on every kind of block: one table, one row a method.

A new method is one file under ``rsstudy/methods`` and one row here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from rsstudy.encoders import MODALITIES, DualEncoder, create
from rsstudy.encoders.vits14_minilm import JoinedTowers
from rsstudy.errors import StudyError
from rsstudy.experiments.record import project_folder
from rsstudy.methods import (
    METHODS,
    PRESETS,
    attach,
    count_trained,
    create_method,
    detach,
    load_trained,
    merge,
    trained,
)
from rsstudy.objectives import named_objective
from rsstudy.training.batch import batch_loss
from rsstudy.training.recipe import Recipe
from study.benchmark import BENCHMARK
from study.published import read_reported


@dataclass(frozen=True)
class Row:
    """Attributes:
    trains: how many parameters, of an encoder with its blocks by modality.
    starts_equal: whether the form has no effect before the first step.
    merges: whether it can be written into the base's weights.
    adds: whether there are parameters that the base does not have.
    rate: learning rate at which 8 pairs are learnt.
    learnt: to what share of the first loss. Tokens alone steer these small random towers less.
    """

    trains: Callable[[DualEncoder], int]
    starts_equal: bool = True
    merges: bool = False
    adds: bool = True
    rate: float = 1e-2
    learnt: float = 0.05
    settings: tuple[tuple[str, Any], ...] = ()


def blocks(encoder: DualEncoder, *modalities: str):
    return [b for m in MODALITIES if not modalities or m in modalities for b in encoder.blocks(m)]


def biases(module: nn.Module) -> int:
    return sum(p.numel() for n, p in module.named_parameters() if n.endswith("bias"))


def total(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def heads(encoder: DualEncoder) -> int:
    return sum(dict(encoder.named_parameters())[name].numel() for name in encoder.heads)


def bottlenecks(encoder: DualEncoder, r: int, *modalities: str) -> int:
    return sum(2 * b.width * r + r + b.width for b in blocks(encoder, *modalities))


def pairs(encoder: DualEncoder, count: Callable[[int, int], int]) -> int:
    """The sum over layers, from the widths of image and text tower; 0 where one has ended."""
    widths = ([b.width for b in encoder.blocks(m)] for m in MODALITIES)
    return sum(count(image, text) for image, text in zip_longest(*widths, fillvalue=0))


def rank(encoder: DualEncoder, r: int, shapes: Callable[[int], list[tuple[int, int]]]) -> int:
    return sum(r * (o + i) for b in blocks(encoder) for o, i in shapes(b.width))


def every_matrix(d: int) -> list[tuple[int, int]]:
    return [(d, d)] * 4 + [(4 * d, d), (d, 4 * d)]


def maple(encoder: DualEncoder) -> int:
    image, text = (encoder.blocks(m) for m in MODALITIES)
    depth = min(len(image), len(text), 9)
    return depth * (2 * text[0].width + (text[0].width + 1) * image[0].width)


TABLE = {
    "zero-shot": Row(lambda e: 0, merges=True, adds=False),
    "linear-probe": Row(heads, merges=True, adds=False, rate=2e-3),
    "full": Row(lambda e: total(e.model), merges=True, adds=False, rate=1e-3),
    "text-tower": Row(
        lambda e: (
            total(e.model)
            - total(e.tower("image"))
            - 1
            - sum(
                p.numel()
                for n, p in e.named_parameters()
                if n in e.heads and all(p is not q for q in e.tower("image").parameters())
            )
        ),
        merges=True,
        adds=False,
        rate=2e-3,
    ),
    "head-mlp": Row(lambda e: 2 * (2 * e.joint_width * 78 + 78 + e.joint_width)),
    "clip-adapter": Row(lambda e: e.joint_width**2 // 2, starts_equal=False, rate=3e-2),
    "mrs-adapter": Row(
        lambda e: (
            sum((w + 1) * 64 + 65 * (w - 32) for w in (e.blocks(m)[0].width for m in MODALITIES))
            + 65 * 32
        ),
        rate=3e-3,
        settings=(("shared", 32), ("dropout", 0.0)),
    ),
    "cross-modal-adapter": Row(
        lambda e: (
            2
            * pairs(
                e,
                lambda image, text: (
                    sum((w + 1) * 8 + 9 * (w - 16) for w in (image, text) if w) + 9 * 16
                ),
            )
        ),
        starts_equal=False,
        rate=5e-3,
    ),
    "uniadapter": Row(
        lambda e: pairs(e, lambda image, text: max(image, text) * 128 + 128 + 129 * (image + text))
    ),
    "harma": Row(
        lambda e: (
            sum(2 * w * 128 + 128 + w + 4 * 128 * 129 + 2 for w in (b.width for b in blocks(e)))
            + pairs(e, lambda *_: 2 * 64 * 128 + 192 + 4 * 64 * 65 + 1)
        ),
        rate=3e-3,
    ),
    "adapter": Row(lambda e: 2 * bottlenecks(e, 64)),
    "adaptformer": Row(lambda e: bottlenecks(e, 64, "image"), settings=(("dropout", 0.0),)),
    "slim-adapter": Row(
        lambda e: (
            sum(6 * b.width for b in blocks(e))
            + sum(total(m) for m in e.modules() if isinstance(m, nn.LayerNorm))
        )
    ),
    "convpass": Row(
        lambda e: 2 * (bottlenecks(e, 8, "image") + len(blocks(e, "image")) * (9 * 8 * 8 + 8)),
        rate=2e-3,
    ),
    "coop": Row(lambda e: 16 * e.blocks("text")[0].width, starts_equal=False, rate=3e-2),
    "vpt": Row(
        lambda e: 50 * sum(b.width for b in blocks(e, "image")),
        starts_equal=False,
        rate=3e-3,
        learnt=0.6,
    ),
    "vl-prompt": Row(lambda e: sum(2 * b.width for b in blocks(e)), starts_equal=False, rate=3e-2),
    "maple": Row(maple, starts_equal=False, rate=3e-2),
    "prefix": Row(lambda e: sum(20 * b.width for b in blocks(e)), starts_equal=False, rate=5e-2),
    "lora": Row(
        lambda e: rank(e, 16, every_matrix),
        merges=True,
        rate=3e-3,
        settings=(("matrices", "q,k,v,o,fc1,fc2"),),
    ),
    "dora": Row(
        lambda e: sum(
            16 * (o + i) + o
            for b in blocks(e)
            for o, i in [(b.width, b.width)] * 3 + every_matrix(b.width)[4:]
        ),
        merges=True,
        rate=3e-3,
    ),
    "ia3": Row(lambda e: sum(6 * b.width for b in blocks(e)), merges=True, rate=5e-2),
    "ssf": Row(
        lambda e: (
            2 * biases(e.model)
            + sum(
                m.out_channels for m in e.modules() if isinstance(m, nn.Conv2d) and m.bias is None
            )
        ),
        merges=True,
        starts_equal=False,
    ),
    "bitfit": Row(lambda e: biases(e.model), merges=True, adds=False, rate=3e-3),
    "layernorm": Row(
        lambda e: sum(total(m) for m in e.modules() if isinstance(m, nn.LayerNorm)),
        merges=True,
        adds=False,
    ),
}


class SmallTowers(JoinedTowers):
    """The packaged towers' architectures, small."""

    def __init__(self):
        nn.Module.__init__(self)
        self.visual = timm.models.VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=48,
            depth=3,
            num_heads=2,
            num_classes=0,
            init_values=1.0,
        )
        self.text = BertModel(
            BertConfig(
                vocab_size=500,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=128,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                initializer_range=0.3,
            ),
            add_pooling_layer=False,
        )
        self.image_head = nn.Linear(96, 64, bias=False)
        self.text_head = nn.Linear(32, 64, bias=False)
        self.logit_scale = nn.Parameter(torch.log(torch.tensor(1 / 0.07)))


def joined() -> DualEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallTowers()
    towers = {"image": model.visual, "text": model.text}
    encoder = DualEncoder(
        "small",
        model,
        towers,
        ["image_head.weight", "text_head.weight"],
        64,
        lambda texts: torch.zeros(len(texts), 1),
        32,
        (0.5,) * 3,
        (0.5,) * 3,
    )
    return encoder.requires_grad_(False).eval()


def sharp(encoder: DualEncoder) -> DualEncoder:
    """With the temperature that CLIP ends at: random towers tell little apart."""
    encoder.logit_scale.fill_(math.log(100))
    return encoder


KINDS = {
    "open_clip": lambda: sharp(create("tiny@random", 32)),
    "timm and bert": lambda: sharp(joined()),
}
every_kind = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
every_method = pytest.mark.parametrize("name", TABLE)


def batch(encoder: DualEncoder, pairs: int = 8):
    generator = torch.Generator().manual_seed(1)
    patches = torch.randint(0, 256, (pairs, 3, 4, 4), dtype=torch.uint8, generator=generator)
    times = encoder.image_size // 4
    images = patches.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    if encoder.name == "small":
        tokens = torch.randint(1, 500, (pairs, 7), generator=generator)
        tokens[: pairs // 2, 5:] = 0  # some captions are shorter: BERT's mask has something to do
        return images, tokens
    captions = (
        "planes parked near a terminal",
        "dense green forest",
        "waves on yellow sand",
        "a winding river",
        "many small houses in rows",
        "an oval playground",
        "white storage tanks",
        "one bridge over dark water",
    )
    return images, encoder.tokenizer(list(captions[:pairs]))


@torch.no_grad()
def embeddings(encoder: DualEncoder) -> torch.Tensor:
    images, tokens = batch(encoder)
    joint = [encoder.embed_images(images), encoder.embed_texts(tokens)]
    return torch.cat([vectors.float() for vectors in joint], dim=-1)


def with_method(build, name: str) -> DualEncoder:
    encoder = build()
    attach(encoder, create_method(name, dict(TABLE[name].settings)))
    return encoder


def fit(
    encoder: DualEncoder, steps: int, rate: float, precision: str = "fp32", enough: float = 0.0
) -> float:
    optimizer = torch.optim.AdamW(trained(encoder).values(), lr=rate, weight_decay=0.0)
    images, tokens = batch(encoder)
    if encoder.cuts:  # as the loop does
        tokens = tokens[:, : int(encoder.lengths(tokens).max())]
    for _ in range(steps):
        loss = batch_loss(
            encoder, named_objective("infonce"), Recipe(precision=precision), images, tokens
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < enough:
            break
    return loss.item()


def base_of(encoder: DualEncoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


def test_the_table_has_a_row_for_every_method():
    assert set(TABLE) == set(METHODS)


@every_kind
@every_method
def test_it_trains_as_many_parameters_as_its_formula_says(build, name):
    assert count_trained(with_method(build, name)).total == TABLE[name].trains(build())


@every_kind
@every_method
def test_before_the_first_step_it_changes_nothing(build, name):
    before, after = embeddings(build()), embeddings(with_method(build, name))
    assert torch.equal(before, after) == TABLE[name].starts_equal


@every_kind
@every_method
def test_only_declared_parameters_get_gradients_and_change(build, name):
    encoder = with_method(build, name)
    ours = set(trained(encoder))
    before = {n: p.detach().clone() for n, p in encoder.named_parameters()}
    if not ours:
        assert name == "zero-shot"
        return
    fit(encoder, 2, 1e-2)
    for parameter_name, parameter in encoder.named_parameters():
        if parameter_name in ours:
            continue
        assert parameter.grad is None
        assert torch.equal(parameter, before[parameter_name]), parameter_name
    assert any(not torch.equal(p, before[n]) for n, p in trained(encoder).items())
    idle = [n for n, p in trained(encoder).items() if p.grad is None]
    assert not [n for n in idle if "logit_scale" not in n and "pooler" not in n], idle


@every_kind
@every_method
def test_8_pairs_are_learnt_to_a_small_loss(build, name):
    if name == "zero-shot":
        return
    encoder = with_method(build, name)
    first = fit(encoder, 1, TABLE[name].rate)
    little = TABLE[name].learnt * first
    assert fit(encoder, 300, TABLE[name].rate, enough=little) < little


@every_kind
@every_method
def test_saved_values_give_equal_embeddings_and_take_their_bytes(build, name):
    encoder, other = with_method(build, name), with_method(build, name)
    if name == "zero-shot":
        return
    fit(encoder, 2, 1e-2)
    assert not torch.equal(embeddings(encoder), embeddings(other))
    tensors = {n: p.detach().clone() for n, p in trained(encoder).items()}
    size = len(save(tensors))
    assert 0 <= size - 4 * count_trained(encoder).total <= 200 * len(tensors) + 64
    load_trained(other, tensors, "there")
    assert torch.equal(embeddings(encoder), embeddings(other))


@every_kind
@every_method
def test_taken_off_it_leaves_the_base_as_it_was(build, name, monkeypatch):
    # An encoder that has no name to be created by is created here.
    monkeypatch.setattr("rsstudy.methods.attaching.create", lambda *_: build())
    encoder = with_method(build, name)
    if name != "zero-shot":
        fit(encoder, 2, 1e-2)
    detach(encoder)
    base = build()
    assert torch.equal(embeddings(encoder), embeddings(base))
    now, then = encoder.state_dict(), base.state_dict()
    assert set(now) == set(then) and all(torch.equal(now[key], then[key]) for key in then)
    assert not trained(encoder)
    attach(encoder, create_method(name, dict(TABLE[name].settings)))  # and it takes another


@every_kind
@every_method
def test_merged_it_is_the_base_with_other_weights(build, name):
    encoder = with_method(build, name)
    if name != "zero-shot":
        fit(encoder, 3, 1e-2)
    before = embeddings(encoder)
    if not TABLE[name].merges:
        with pytest.raises(StudyError, match="cannot be merged"):
            merge(encoder)
        assert torch.equal(embeddings(encoder), before)
        return
    merge(encoder)
    assert torch.allclose(embeddings(encoder), before, atol=1e-5)
    assert set(encoder.state_dict()) == set(build().state_dict())
    plain = build()
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(embeddings(plain), embeddings(encoder))


@every_kind
@every_method
def test_bf16_autocast_trains_it(build, name):
    if name == "zero-shot":
        return
    encoder = with_method(build, name)
    before = {n: p.detach().clone() for n, p in trained(encoder).items()}
    assert fit(encoder, 2, 1e-2, "bf16") < 20
    assert all(p.dtype == torch.float32 for p in trained(encoder).values())
    assert any(not torch.equal(p, before[n]) for n, p in trained(encoder).items())


@pytest.mark.parametrize("name", [*sorted(METHODS), *sorted(PRESETS)])
def test_the_size_on_vit_b_32_that_a_method_states_is_the_one_it_has(name):
    base = name.partition(":")[0]
    assert base in TABLE, "add its row to TABLE"
    text = " ".join((METHODS[base].__doc__ or "").split())
    stated = re.findall(r"\d[\d,]*\d", text)
    encoder = create("ViT-B-32", meta=True)
    attach(encoder, create_method(name))
    size = count_trained(encoder).total
    assert size == 0 or f"{size:,}" in stated or (name in PRESETS and not PRESETS[name])


# The rows of Yuan, Zhan and Xiong (2023) that a preset reproduces, and its size to the digit: each
# is the one arithmetic found for what they print in hundredths of a million.
ROWS = {
    "adapter": ("Adapter", 165_248),
    "adaptformer": ("AdaptFormer", 165_248),
    "clip-adapter": ("CLIP-Adapter", 524_288),
    "convpass": ("Convpass", 136_064),
    "coop": ("CoOp", 98_304),
    "cross-modal-adapter": ("Cross-Modal Adapter", 161_088),
    "linear-probe": ("Linear probe", 1_050_624),
    "mrs-adapter": ("Ours", 161_088),
    "vl-prompt": ("VL-Prompt", 468_992),
    "vpt": ("VPT", 460_800),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_printed_preset_has_the_papers_size_to_the_digit(name):
    row, size = ROWS[name]
    encoder = create("ViT-B-32", meta=True)
    attach(encoder, create_method(f"{name}:printed"))
    assert count_trained(encoder).total == size
    reported = read_reported(project_folder() / "results")
    printed = set(reported[reported["method"] == row]["trainable_params_millions"])
    assert printed == {round(size / 1e6, 2)}
    assert {f"{method}:printed" for method in ROWS} == {p for p in PRESETS if "printed" in p}


@pytest.mark.parametrize("name", ROWS)
def test_every_printed_size_is_a_row_of_the_benchmark(name):
    wanted = create_method(f"{name}:printed")
    assert wanted in [create_method(row.method, row.settings) for row in BENCHMARK]


def test_every_method_has_a_version():
    assert set(METHODS.versions) == set(METHODS) and min(METHODS.versions.values()) >= 1


@every_kind
@torch.no_grad()
def test_prompts_are_seen_by_every_word_and_gone_behind_the_tower(build):
    encoder, base = with_method(build, "coop"), build()
    lengths = {"with": [], "without": []}
    for one, name in ((encoder, "with"), (base, "without")):
        for block in one.blocks("text"):
            block.attention.register_forward_hook(
                lambda _, args, out, seen=lengths[name]: seen.append(
                    (out[0] if isinstance(out, tuple) else out).shape[1]
                )
            )
    before = embeddings(encoder)
    embeddings(base)
    assert [n + 16 for n in lengths["without"]] == lengths["with"]
    encoder.method.text[0][3] += 1.0
    images, captions = (embeddings(encoder) - before).abs().split(encoder.joint_width, dim=1)
    assert (images == 0).all() and (captions.amax(dim=1) > 0).all()


def disturbed(build, name: str) -> DualEncoder:
    """With a method that no longer is at its start."""
    encoder = with_method(build, name)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for parameter in trained(encoder).values():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return encoder


@pytest.mark.parametrize("name", ["coop", "prefix", "vl-prompt", "maple", "harma"])
@torch.no_grad()
def test_a_caption_embeds_alike_whatever_follows_it(name):
    encoder, base = disturbed(joined, name), joined()
    _, tokens = batch(encoder)
    alone = encoder.embed_texts(tokens[:2, :5])  # without its padding
    assert torch.allclose(encoder.embed_texts(tokens)[:2], alone, atol=1e-5)
    assert not torch.allclose(base.embed_texts(tokens)[:2], alone, atol=1e-2)
    encoder = disturbed(
        KINDS["open_clip"], name
    )  # a causal tower, which reads a caption off its last word
    _, tokens = batch(encoder)
    others = tokens.clone()
    for row, end in enumerate(tokens.argmax(dim=-1)):
        others[row, end + 1 :] = 7
    assert not torch.equal(others, tokens)
    assert torch.allclose(encoder.embed_texts(others), encoder.embed_texts(tokens), atol=1e-5)


@torch.no_grad()
def test_prefixes_are_keys_and_values_of_the_attention():
    """softmax(Q [K; P_k]^T / sqrt(d)) [V; P_v] by hand, in a timm block."""
    encoder = with_method(joined, "prefix")
    block, (keys, values) = encoder.blocks("image")[0], encoder.method.prefixes[:2]
    attention, x = block.attention, torch.randn(2, 17, block.width)
    found = attention(x)
    q, k, v = functional.linear(x, attention.qkv.weight, attention.qkv.bias).chunk(3, dim=-1)
    k, v = (torch.cat([a, p.expand(2, -1, -1)], dim=1) for a, p in ((k, keys), (v, values)))
    heads = [t.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for t in (q, k, v)]
    mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    by_hand = functional.linear(mixed, attention.proj.weight, attention.proj.bias)
    assert torch.allclose(found, by_hand, atol=1e-5)


def stirred(name: str | None = None) -> DualEncoder:
    """Small towers in which nothing is zero or one, under a method that is not at its start."""
    encoder = joined()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        for parameter in encoder.model.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return disturbed(lambda: encoder, name) if name else encoder


def first_block(encoder: DualEncoder) -> nn.Module:
    return encoder.blocks("image")[0].module


def stream() -> torch.Tensor:
    return torch.randn(2, 17, 48, generator=torch.Generator().manual_seed(5))


def same(found: torch.Tensor, by_hand: torch.Tensor) -> bool:
    assert not torch.allclose(by_hand, torch.zeros(()), atol=1e-2)
    return torch.allclose(found, by_hand, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_convpass_is_a_scaled_convolution_beside_what_attention_and_mlp_read():
    encoder, base, x = stirred("convpass"), first_block(stirred()), stream()

    def branch(place: int, read: torch.Tensor) -> torch.Tensor:
        """s (W_up a(Conv3x3(a(W_down x + b_down))) + b_up), the first token a grid of one."""
        of = encoder.method.branches[3 * place]
        z = of.down(read)
        z = z * torch.sigmoid(1.702 * z)
        kernel, shift = of.convolution.weight, of.convolution.bias
        alone = z[:, :1] @ kernel[:, :, 1, 1].T + shift
        grid = z[:, 1:].transpose(1, 2).reshape(2, 8, 4, 4)
        grid = functional.conv2d(grid, kernel, shift, padding=1).flatten(2).transpose(1, 2)
        z = torch.cat([alone, grid], dim=1)
        return 10 * of.up(z * torch.sigmoid(1.702 * z))

    h = x + base.ls1(base.attn(base.norm1(x))) + branch(0, base.norm1(x))
    by_hand = h + base.ls2(base.mlp(base.norm2(h))) + branch(1, base.norm2(h))
    assert same(first_block(encoder)(x), by_hand)


@torch.no_grad()
def test_the_cross_modal_adapter_joins_its_own_and_the_shared_output():
    encoder, f = disturbed(joined, "cross-modal-adapter"), stream()
    of = encoder.method.layers[0]["image"]
    assert of.share is encoder.method.layers[0]["text"].share and of.share.out_features == 16
    z = of.down(f)
    z = z * torch.sigmoid(1.702 * z)
    assert same(of(f), torch.cat([of.up(z), of.share(z)], dim=-1))


@torch.no_grad()
def test_adaptformer_is_a_scaled_bottleneck_on_the_stream_beside_the_mlp():
    encoder, base, x = stirred("adaptformer"), first_block(stirred()), stream()
    of = encoder.method.branches[0]
    h = x + base.ls1(base.attn(base.norm1(x)))
    by_hand = h + base.ls2(base.mlp(base.norm2(h))) + 0.1 * of.up(torch.relu(of.down(h)))
    assert same(first_block(encoder)(x), by_hand)


@torch.no_grad()
def test_ia3_scales_keys_values_and_hidden_units():
    encoder, base, x = stirred("ia3"), first_block(stirred()), stream()
    l_k, l_v, l_ff = encoder.method.scales[:3]
    # Scaled queries would give the same attention, so look at what it is made of.
    q, k, v = base.attn.qkv(x).chunk(3, dim=-1)
    found = first_block(encoder)
    assert same(found.attn.qkv(x), torch.cat([q, l_k * k, l_v * v], dim=-1))
    assert same(found.mlp(x), base.mlp.fc2(l_ff * functional.gelu(base.mlp.fc1(x))))


@torch.no_grad()
def test_ssf_scales_and_shifts_what_every_layer_gives():
    encoder, base = stirred("ssf"), stirred()
    layers = {
        n: m
        for n, m in base.model.named_modules()
        if {"weight", "bias"} <= set(dict(m.named_parameters(recurse=False)))
    }
    assert {"visual.patch_embed.proj", "visual.norm", "visual.blocks.0.mlp.fc1"} < set(layers)
    left = {id(p) for p in encoder.method.parameters()}
    for name, layer in layers.items():
        found = encoder.model.get_submodule(name)
        gamma = found.parametrizations.weight[0].scale
        beta = found.parametrizations.bias[0].shift
        left -= {id(gamma), id(beta)}
        x = torch.randn(2, 17, layer.weight.shape[-1])
        if isinstance(layer, nn.Conv2d):
            x, gamma, beta = torch.randn(2, 3, 32, 32), gamma[:, None, None], beta[:, None, None]
        assert same(found(x), gamma * layer(x) + beta), name
    assert not left


@torch.no_grad()
def test_ssf_scales_a_convolution_that_has_no_bias():
    encoder, base = disturbed(KINDS["open_clip"], "ssf"), KINDS["open_clip"]()
    found, layer, x = encoder.model.visual.conv1, base.model.visual.conv1, torch.randn(2, 3, 32, 32)
    gamma = found.parametrizations.weight[0].scale
    assert layer.bias is None and same(found(x), gamma[:, None, None] * layer(x))


@pytest.mark.parametrize("modality", MODALITIES)
@torch.no_grad()
def test_uniadapter_as_released_normalises_what_it_reads_and_is_added_behind_the_block(modality):
    """LN behind BERT's MLP does not see the branch; a pre-norm block's output is a sum anyway."""
    base, x = stirred(), torch.randn(2, 9, 48 if modality == "image" else 32)
    encoder = joined()
    encoder.model.load_state_dict(base.model.state_dict())
    attach(encoder, create_method("uniadapter:released"))
    for parameter in encoder.method.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape))
    of, block = encoder.method.layers[0][modality], base.blocks(modality)[0].module
    if modality == "image":
        h = x + block.ls1(block.attn(block.norm1(x)))
        out = h + block.ls2(block.mlp(block.norm2(h)))
    else:
        h = block.attention(x)[0]
        out = block.output(block.intermediate(h), h)
    read = functional.layer_norm(h, h.shape[-1:], of.norm.weight, of.norm.bias)
    down = of.down.weight if of.more is None else torch.cat([of.down.weight, of.more.weight], dim=1)
    branch = 0.1 * of.up(torch.relu(read @ down.T + of.down.bias))
    found = encoder.blocks(modality)[0].module(x)
    assert same(found[0] if isinstance(found, tuple) else found, out + branch)


def test_uniadapter_as_released_trains_the_projections_and_starts_at_the_base_in_the_text_tower():
    encoder, base = joined(), joined()
    attach(encoder, create_method("uniadapter:released"))
    assert set(encoder.heads) < set(trained(encoder))
    images, captions = (embeddings(encoder) - embeddings(base)).abs().split(64, dim=1)
    assert images.max() > 1e-3 and captions.max() < 1e-6


def test_the_printed_linear_probe_is_a_linear_layer_behind_each_frozen_head():
    encoder, base = joined(), joined()
    attach(encoder, create_method("linear-probe:printed"))
    assert all(name.startswith("method.") for name in trained(encoder))
    images, tokens = batch(encoder)
    layer = encoder.method.layers["text"]
    captions = base.model.encode_text(tokens) @ layer.weight.T + layer.bias
    assert torch.allclose(encoder.embed_texts(tokens), functional.normalize(captions), atol=1e-5)
    assert encoder.embed_images(images).shape == (8, 1024)


@torch.no_grad()
def test_maple_gives_each_image_block_a_function_of_its_own_text_prompts():
    encoder = stirred("maple")
    seen = {m: [] for m in MODALITIES}
    for modality in MODALITIES:
        for block in encoder.blocks(modality):
            block.module.register_forward_pre_hook(
                lambda _, args, into=seen[modality]: into.append(args[0][0, :2])
            )
    embeddings(encoder)
    prompts, functions = encoder.method.prompts, encoder.method.functions
    assert len(prompts) == len(functions) == len(seen["text"]) == 2
    for layer, (p, f) in enumerate(zip(prompts, functions, strict=True)):
        assert same(seen["text"][layer], p)
        assert same(seen["image"][layer], p @ f.weight.T + f.bias)


def test_dora_learns_magnitudes_and_directions_with_no_gradient_through_the_norm():
    encoder, base = stirred("dora"), first_block(stirred())
    change, queries = encoder.method.changes[0], slice(0, 48)
    w, pull = base.attn.qkv.weight[queries].detach(), torch.randn(48, 48)
    found = first_block(encoder).attn.qkv.weight[queries]
    (found * pull).sum().backward()
    own = [change.magnitude, change.direction.up, change.direction.down]
    m, up, down = (p.detach().clone().requires_grad_() for p in own)
    v = w + 32 / 16 * up @ down
    by_hand = m[:, None] * v / v.detach().norm(dim=1, keepdim=True)
    (by_hand * pull).sum().backward()
    assert same(found.detach(), by_hand.detach())
    assert all(same(p.grad, q.grad) for p, q in zip(own, (m, up, down), strict=True))
