"""Methods under other people's machinery: peft, torch.compile, DistributedDataParallel."""

import pytest
import torch
import torch.distributed as dist
from processes import as_torchrun

from rsstudy.encoders import MODALITIES, create
from rsstudy.methods import attach, create_method, trained
from rsstudy.methods.primitives import LowRank, remove_all, reparameterise

# One method of each primitive: a residual branch, learned tokens, keys and values, a weight.
EACH_PRIMITIVE = {
    "mrs-adapter": {"shared": 32, "dropout": 0.0},
    "vl-prompt": {},
    "prefix": {},
    "lora": {},
}


def with_method(name: str):
    """The tiny encoder with a method that no longer is at its start."""
    encoder = create("tiny@random")
    attach(encoder, create_method(name, EACH_PRIMITIVE[name]))
    disturb(trained(encoder).values())
    return encoder


@torch.no_grad()
def disturb(parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for parameter in parameters:
            parameter.copy_(0.1 * torch.randn(parameter.shape))


def batch(encoder, pairs: int = 4):
    generator = torch.Generator().manual_seed(1)
    size = (pairs, 3, encoder.image_size, encoder.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    return images, encoder.tokenizer([f"{n} planes in a field ." for n in range(pairs)])


def alignment(encoder, images, tokens):
    """A mean over pairs, so that the halves of a batch have its gradient on average."""
    return (encoder.embed_images(images) * encoder.embed_texts(tokens)).sum(dim=-1).mean()


def gradients(encoder):
    return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


# peft 0.21.2 is right for linear layers and, through target_parameters, for in_proj_weight; on
# nn.MultiheadAttention itself it is not, and there is nothing to compare with.
@pytest.mark.parametrize(
    ("target", "stored"),
    [
        ({"target_modules": ["c_fc", "c_proj"]}, ("mlp.c_fc.weight", "mlp.c_proj.weight")),
        (
            {"target_modules": [], "target_parameters": ["attn.in_proj_weight"]},
            ("attn.in_proj_weight",),
        ),
    ],
    ids=["linear layers", "in_proj_weight"],
)
def test_lora_is_what_peft_makes_of_it(target, stored):
    peft = pytest.importorskip("peft", reason="the extra `test` is not installed")
    ours, theirs = create("tiny@random"), create("tiny@random")
    model = peft.get_peft_model(
        theirs.model, peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, **target)
    )
    blocks = [block for m in MODALITIES for block in theirs.blocks(m)]
    mirrored = [block for m in MODALITIES for block in ours.blocks(m)]
    pairs = []
    for block, mirror in zip(blocks, mirrored, strict=True):
        for path in stored:
            owner, _, name = path.rpartition(".")
            module = mirror.module.get_submodule(owner)
            weight = getattr(module, name)
            change = LowRank(weight, rank=4, scale=8 / 4)
            disturb(change.parameters())
            reparameterise(module, name, change)
            lora = block.module.get_submodule(owner)
            down, up = lora.lora_A["default"].weight, lora.lora_B["default"].weight
            with torch.no_grad():
                down.copy_(change.down)
                up.copy_(change.up)
            pairs += [(change.down, down), (change.up, up)]
    for encoder in (ours, theirs):
        alignment(encoder.eval(), *batch(encoder)).backward()
    assert len(pairs) == 2 * len(stored) * len(blocks)
    for own, other in pairs:
        assert torch.allclose(own.grad, other.grad, atol=1e-7) and own.grad.abs().sum() > 0
    model.merge_and_unload()
    remove_all(ours.model, keep_weights=True)
    merged, base = theirs.model.state_dict(), create("tiny@random").model.state_dict()
    assert merged.keys() == ours.model.state_dict().keys() == base.keys()
    for key, weight in ours.model.state_dict().items():
        assert torch.allclose(weight, merged[key], atol=1e-6), key
        assert torch.equal(weight, base[key]) == (not key.endswith(stored)), key


@pytest.mark.parametrize("name", EACH_PRIMITIVE)
def test_a_compiled_encoder_gives_the_same_embeddings_and_gradients(name):
    torch.compiler.reset()
    plain, compiled = with_method(name), with_method(name)
    images, tokens = batch(plain)
    loss = alignment(plain, images, tokens)
    loss.backward()
    # aot_eager traces forward and backward as the full compiler does and needs no C++ compiler.
    step = torch.compile(alignment, backend="aot_eager")
    again = step(compiled, images, tokens)
    again.backward()
    assert torch.allclose(loss, again, atol=1e-6)
    expected = gradients(plain)
    assert gradients(compiled).keys() == expected.keys() == trained(plain).keys()
    for name, gradient in gradients(compiled).items():
        assert torch.allclose(gradient, expected[name], atol=1e-6), name


class Loss(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images, tokens):
        return alignment(self.encoder, images, tokens)


def one_of_two():
    dist.init_process_group("gloo")
    for name in EACH_PRIMITIVE:
        encoder = with_method(name)
        parallel = torch.nn.parallel.DistributedDataParallel(Loss(encoder))
        images, tokens = (part.chunk(2)[dist.get_rank()] for part in batch(encoder))
        parallel(images, tokens).backward()
        single = with_method(name)
        alignment(single, *batch(single)).backward()
        found, expected = gradients(encoder), gradients(single)
        assert found.keys() == expected.keys() == trained(single).keys(), name
        for key in found:
            assert torch.allclose(found[key], expected[key], atol=1e-6), (name, key)
    dist.destroy_process_group()


def test_two_data_parallel_processes_have_one_processs_gradients():
    for done in as_torchrun(2, one_of_two):
        assert done.returncode == 0, done.stderr[-2000:]
