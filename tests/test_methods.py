"""Methods: what is trained, where it sits, and that all else stays as it was."""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from rsstudy.encoders import PLACES, create
from rsstudy.errors import StudyError
from rsstudy.methods import METHODS, attach, count_trained, create_method, detach, merge, trained
from rsstudy.objectives import named_objective
from rsstudy.training.batch import batch_loss
from rsstudy.training.recipe import Recipe
from study.suites import arms

# One encoder of each kind of block; the second has timm blocks and BERT blocks.
KINDS = {"open_clip": "tiny@random", "timm and bert": "vits14-minilm@random"}
every_kind = pytest.mark.parametrize("name", KINDS.values(), ids=KINDS)


def small(name: str):
    return create(name, 56 if "mini" in name else None)


def batch(encoder, pairs: int = 4):
    generator = torch.Generator().manual_seed(1)
    shape = (pairs, 3, encoder.image_size, encoder.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if "mini" in encoder.name:  # its tokenizer lies in a package that need not be installed
        return images, torch.randint(1, 30000, (pairs, 9), generator=generator)
    return images, encoder.tokenizer([f"{n} planes in a field ." for n in range(pairs)])


@torch.no_grad()
def embeddings(encoder):
    images, tokens = batch(encoder)
    return torch.cat([encoder.embed_images(images), encoder.embed_texts(tokens)])


def equation(r: int, s: int) -> int:
    """Trained parameters of one instance of the MRS adapter on ViT-B/32."""
    return sum((d + 1) * r + (r + 1) * (d - s) for d in (768, 512)) + (r + 1) * s


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 161_088),
        ({"share_layers": False}, 1_933_056),
        ({"bottleneck": 32}, equation(32, 64)),
        ({"shared": 16}, equation(64, 16)),
    ],
)
def test_mrs_adapter_on_vit_b_32_trains_what_its_equation_says(settings, count):
    encoder = create("ViT-B-32", meta=True)
    attach(encoder, create_method("mrs-adapter", settings))
    assert count_trained(encoder).total == count and count_trained(encoder).heads == 0
    assert equation(64, 64) == 161_088 and 12 * equation(64, 64) == 1_933_056


@dataclass(frozen=True)
class Spread:
    """A distribution at the start, with a scale that may follow from the inputs and outputs of a
    tensor's layer.

    Attributes:
        kind: uniform within the scale, or normal with it as deviation.
        centre: its mean.
    """

    kind: str
    scale: Callable[[int, int], float]
    centre: float = 0.0

    def holds(self, tensors: list[tuple[Tensor, int, int]]) -> bool:
        """Whether tensors, each with the inputs and outputs of its layer, may be drawn from it.

        The deviation of n draws varies by less than 1 / sqrt(n); four of that is granted. The
        farthest draw tells a normal from a uniform.
        """
        unit = torch.cat([((t - self.centre) / self.scale(i, o)).flatten() for t, i, o in tensors])
        assert len(unit) > 100
        deviation, farthest = unit.pow(2).mean().sqrt().item(), unit.abs().max().item()
        if self.kind == "uniform":
            return farthest <= 1 and abs(deviation * 3**0.5 - 1) < 4 / len(unit) ** 0.5
        return farthest > 1.8 and abs(deviation - 1) < 4 / len(unit) ** 0.5


@dataclass(frozen=True)
class Constant:
    """Every element is this number."""

    value: float

    def holds(self, tensors: list[tuple[Tensor, int, int]]) -> bool:
        return all((tensor == self.value).all() for tensor, *_ in tensors)


class Identity:
    """A convolution that gives what it reads."""

    def holds(self, tensors: list[tuple[Tensor, int, int]]) -> bool:
        return all(torch.equal(t, nn.init.dirac_(torch.empty_like(t))) for t, *_ in tensors)


ZERO, ONE, GATE = Constant(0.0), Constant(1.0), Constant(torch.tensor(0.6).item())
BY_INPUTS = Spread("uniform", lambda inputs, _: inputs**-0.5)  # kaiming_uniform_(a=sqrt(5))
XAVIER = Spread("uniform", lambda inputs, outputs: (6 / (inputs + outputs)) ** 0.5)
BOTTLENECK = {r".*down\.weight": BY_INPUTS, r".*(down\.bias|up\.\w+)": ZERO}
LOW_RANK = {r".*down": BY_INPUTS, r".*up": ZERO}


def normal(deviation: float, centre: float = 0.0) -> Spread:
    return Spread("normal", lambda *_: deviation, centre)


# How every new tensor of a method is drawn, by a pattern of its name. Each was read in the source
# that the method's file names; where ours differs, the file says so. A row that is None has tensors
# that are computed from the base and that the test of equal starts holds.
STARTS: dict[str, dict[str, Spread | Constant | Identity | None]] = {
    "adapter": {r".*down\.weight": normal(0.01), r".*(down\.bias|up\.\w+)": ZERO},
    "adaptformer": BOTTLENECK,
    "clip-adapter": {r".*": BY_INPUTS},
    "convpass": {
        r".*down\.weight": XAVIER,
        r".*convolution\.weight": Identity(),
        r".*(bias|up\.weight)": ZERO,
    },
    "coop": {r".*": normal(0.02)},
    "cross-modal-adapter": {r".*weight": normal(0.01), r".*bias": ZERO},
    "dora": {**LOW_RANK, r".*magnitude": None},
    "harma": {
        r".*qkv\.weight": XAVIER,
        r".*(qkv|out)\.bias": ZERO,
        r".*up\.\w+": ZERO,
        r".*(out|down)\.weight": BY_INPUTS,
        r".*down\.bias": BY_INPUTS,
        r".*(alpha|beta|gamma)": GATE,
    },
    "head-mlp": BOTTLENECK,
    "ia3": {r".*": ONE},
    "linear-probe:printed": {r".*": BY_INPUTS},
    "lora": LOW_RANK,
    "maple": {r"prompts.*": normal(0.02), r"functions.*": BY_INPUTS},
    "mrs-adapter": {**BOTTLENECK, r".*share\.\w+": ZERO},
    "prefix": {r".*": normal(0.02)},
    "slim-adapter": BOTTLENECK,
    "ssf": {r"scales.*": normal(0.02, 1.0), r"shifts.*": normal(0.02)},
    "uniadapter": {**BOTTLENECK, r".*more\.weight": BY_INPUTS},
    "uniadapter:released": {
        r".*(down|more)\.weight": BY_INPUTS,
        r".*image\.up\.weight": normal(0.02),
        r".*text\.up\.weight": ZERO,
        r".*(down|up|norm)\.bias": ZERO,
        r".*norm\.weight": ONE,
    },
    "vl-prompt": {r".*": normal(0.02)},
    "vpt": {r".*": normal(0.02)},
}


@pytest.mark.parametrize("method", [*METHODS, "linear-probe:printed", "uniadapter:released"])
def test_every_new_tensor_starts_with_the_spread_of_its_source(method):
    encoder = create("tiny@random")
    attach(encoder, create_method(method))
    drawn = defaultdict(list)
    for path, parameter in encoder.method.named_parameters():
        (pattern,) = [p for p in STARTS[method] if re.fullmatch(p, path)]
        layer = encoder.method.get_submodule(path.rpartition(".")[0])
        weight = getattr(layer, "weight", parameter)
        fan = (weight.shape[1], len(weight)) if weight.dim() == 2 else (0, 0)
        drawn[pattern].append((parameter.detach(), *fan))
    assert set(drawn) == set(STARTS.get(method, {}))
    for pattern, tensors in drawn.items():
        spread = STARTS[method][pattern]
        assert spread is None or spread.holds(tensors), pattern


def test_the_adapter_starts_as_released_on_vit_b_32():
    """The deviation of W_down in PE-RSITR's layers/MRS_Adapter.py."""
    encoder = create("ViT-B-32@random")
    attach(encoder, create_method("mrs-adapter"))
    for modality, released in (("image", 0.0208), ("text", 0.0256)):
        down = encoder.method.layers[0][modality].down.weight
        assert down.std().item() == pytest.approx(released, abs=2e-4)
        assert 0.99 < down.abs().max().item() * down.shape[1] ** 0.5 <= 1


@pytest.mark.parametrize(
    ("name", "place"), [*product(KINDS.values(), PLACES), ("ViT-B-32@random", "parallel-mlp")]
)
def test_an_adapter_starts_bit_equal_to_the_frozen_encoder(name, place):
    encoder = small(name)
    before = embeddings(encoder)
    attach(encoder, create_method("mrs-adapter", {"place": place, "share_layers": False}))
    assert torch.equal(embeddings(encoder), before)


def test_new_weights_are_drawn_from_the_seed_alone():
    values = []
    for seed in (0, 0, 1):
        torch.rand(7)  # whatever was drawn before
        encoder = create("tiny@random")
        attach(encoder, create_method("mrs-adapter"), seed=seed)
        values.append(encoder.method.layers[0]["image"].down.weight.detach())
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


def test_a_text_tower_with_heads_is_vse_as_released_all_but_the_cnn():
    encoder = create("cnn-gru@random", 32)
    attach(encoder, create_method("text-tower", {"heads": True}))
    cnn = {f"model.visual.{name}" for name, _ in encoder.model.visual.named_parameters()}
    everything = {name for name, _ in encoder.named_parameters()}
    assert everything - set(trained(encoder)) == cnn | {"model.logit_scale"}


@every_kind
def test_only_the_chosen_half_of_the_blocks_is_adapted(name):
    for blocks in ("lower", "upper"):
        encoder = small(name)
        whole = {m: encoder.blocks(m) for m in ("image", "text")}
        attach(encoder, create_method("mrs-adapter", {"blocks": blocks}))
        for found in whole.values():
            half = len(found) // 2
            adapted = [bool(_hooks(block)) for block in found]
            assert adapted == [(n < half) == (blocks == "lower") for n in range(len(found))]
    with pytest.raises(StudyError, match="lower"):
        create_method("mrs-adapter", {"blocks": "middle"})


def _hooks(block):
    return [
        hook
        for part in block.module.modules()
        for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    ]


@every_kind
def test_a_probe_of_an_earlier_block_does_not_depend_on_those_behind_it(name):
    last = {"image_block": 2, "text_block": 1}
    plain, cut = small(name), small(name)
    attach(plain, create_method("linear-probe", {}))
    attach(cut, create_method("linear-probe", last))
    before = embeddings(cut)
    assert not torch.equal(before, embeddings(plain))
    with torch.no_grad():
        for modality, kept in (("image", 2), ("text", 1)):
            for block in cut.blocks(modality)[kept:]:
                for parameter in block.module.parameters():
                    parameter.fill_(7.0)
        assert torch.equal(embeddings(cut), before)
        for parameter in cut.blocks("image")[1].module.parameters():
            parameter.add_(0.5)
        assert not torch.equal(embeddings(cut), before)
    with pytest.raises(StudyError, match="image_block must lie in 0"):
        attach(small(name), create_method("linear-probe", {"image_block": 99}))


def test_the_mlps_behind_the_heads_have_as_many_parameters_as_the_adapter():
    for scale in ("smoke", "bench", "paper"):
        counts = []
        for arm in arms("adapter", scale):
            if arm.factor == "base" or arm.level.startswith("MLP behind"):
                encoder = create(arm.run.encoder, meta=True)
                attach(encoder, create_method(arm.run.method, arm.run.method_settings))
                counts.append(count_trained(encoder).total)
        assert abs(counts[0] / counts[1] - 1) < 0.02


@every_kind
@torch.no_grad()
def test_the_parallel_place_computes_the_papers_equation(name):
    """out = h + MLP(LN(h)) + A(h), by hand from the block's own parts."""
    encoder = small(name)
    attach(encoder, create_method("mrs-adapter", {"dropout": 0.0}))
    for parameter in encoder.method.parameters():
        parameter.copy_(torch.randn(parameter.shape) / 10)
    encoder.eval()
    for modality in ("image", "text"):
        block = encoder.blocks(modality)[0]
        adapter = encoder.method.layers[0][modality]
        x = torch.randn(2, 5, block.width)
        module = block.module
        if block.kind == "open_clip":
            h = x + module.attention(module.ln_1(x))
            out = h + module.mlp(module.ln_2(h)) + adapter(h)
        elif block.kind == "timm":
            h = x + module.ls1(module.attn(module.norm1(x)))
            out = h + module.ls2(module.mlp(module.norm2(h))) + adapter(h)
        else:
            h = module.attention(x)[0]
            dense = module.output.dense(module.intermediate(h))
            out = module.output.LayerNorm(dense + adapter(h) + h)
        found = module(x)
        found = found[0] if isinstance(found, tuple) else found
        assert torch.allclose(found, out, atol=1e-4)


@torch.no_grad()
def test_the_adapters_output_is_its_two_parts_side_by_side():
    encoder = create("tiny@random")
    attach(encoder, create_method("mrs-adapter", {"bottleneck": 8, "shared": 16, "dropout": 0.0}))
    image, text = (encoder.method.layers[0][m] for m in ("image", "text"))
    for parameter in encoder.method.parameters():
        parameter.copy_(torch.randn(parameter.shape))
    assert image.share is text.share
    h = torch.randn(1, 3, 128)
    z = torch.relu(h @ image.down.weight.T + image.down.bias)
    up = z @ image.up.weight.T + image.up.bias
    share = z @ image.share.weight.T + image.share.bias
    assert up.shape[-1] == 112 and share.shape[-1] == 16
    assert torch.allclose(image(h), torch.cat([up, share], dim=-1), atol=1e-4)


@every_kind
def test_backward_ends_at_the_first_trained_place(name):
    encoder = small(name)
    attach(encoder, create_method("linear-probe"))
    features = []
    for modality in ("image", "text"):
        last = encoder.blocks(modality)[-1].module
        last.register_forward_hook(
            lambda _, __, out: features.append(out[0] if isinstance(out, tuple) else out)
        )
    images, tokens = batch(encoder)
    loss = batch_loss(encoder, named_objective("infonce"), Recipe(precision="fp32"), images, tokens)
    assert loss.requires_grad and len(features) == 2
    assert not any(feature.requires_grad for feature in features)


def test_heads_stay_frozen_unless_asked_for():
    for train_heads, heads in ((False, 0), (True, 28_672)):
        encoder = create("tiny@random")
        attach(encoder, create_method("mrs-adapter"), train_heads)
        counts = count_trained(encoder)
        assert (counts.heads, counts.total) == (heads, counts.method + heads)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("mrs-adaptor", {}, "did you mean mrs-adapter"),
        ("mrs-adapter", {"botleneck": "3"}, "did you mean bottleneck"),
        ("mrs-adapter", {"bottleneck": "wide"}, "bottleneck is 'wide'"),
        ("mrs-adapter", {"place": "parallel-mpl"}, "did you mean parallel-mlp"),
        ("mrs-adapter", {"shared": "1000"}, "shared must lie in 0..96"),
        ("lora", {"rank": "0"}, "rank is '0': .* greater than or equal to 1"),
        ("mrs-adapter", {"dropout": "2"}, "dropout is '2'"),
    ],
)
def test_unknown_names_and_settings_are_answered_in_one_line(method, settings, message):
    with pytest.raises(StudyError, match=message) as problem:
        attach(create("tiny@random"), create_method(method, settings))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("mrs-adapter", {}),
        ("linear-probe", {"image_block": 1}),
        ("full", {}),
        ("bitfit", {}),
        ("layernorm", {}),
        ("text-tower", {}),
        ("zero-shot", {}),
    ],
)
def test_a_second_method_on_one_encoder_is_refused(method, settings):
    encoder = create("tiny@random")
    attach(encoder, create_method(method, settings))
    with pytest.raises(StudyError, match="carries a method already"):
        attach(encoder, create_method("adapter"))
    detach(encoder)
    attach(encoder, create_method("adapter"))
    merged = create("tiny@random")
    attach(merged, create_method("lora"))
    merge(merged)
    attach(merged, create_method("adapter"))


def test_a_method_that_finds_nothing_to_train_says_so():
    with pytest.raises(StudyError, match="layernorm would train nothing of cnn-gru") as problem:
        attach(create("cnn-gru", meta=True), create_method("layernorm"))
    assert "\n" not in str(problem.value)


def test_bitfit_trains_the_biases_of_a_gru():
    encoder = create("cnn-gru", meta=True)
    attach(encoder, create_method("bitfit", {"towers": "text"}))
    assert set(trained(encoder)) == {"model.text.gru.bias_ih_l0", "model.text.gru.bias_hh_l0"}


@pytest.mark.parametrize("shared", [0, 96])
def test_a_shared_part_of_no_width_or_of_all_of_it_is_built_without_a_warning(shared):
    encoder = create("tiny@random")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(encoder, create_method("mrs-adapter", {"shared": shared}))
    assert count_trained(encoder).total > 0
