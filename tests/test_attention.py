"""What makes steps faster changes no result: attention, cut captions, weights cast once."""

from contextlib import nullcontext

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional

from rsstudy.encoders import create
from rsstudy.encoders.attention import SelfAttention, fast_attention
from rsstudy.encoders.openclip import CLIP
from rsstudy.methods import attach, create_method, trained
from rsstudy.objectives import named_objective
from rsstudy.training.batch import batch_loss
from rsstudy.training.recipe import Recipe

TEXTS = ["a plane", "there are many green trees in a piece of forest .", "some houses"]


@pytest.mark.parametrize("masked", ["none", "one mask", "a mask a head"])
def test_attention_as_tokens_lie_gives_the_librarys_results(masked):
    torch.manual_seed(0)
    library = nn.MultiheadAttention(32, 4, batch_first=True)
    nn.init.normal_(library.in_proj_bias)
    ours = SelfAttention(32, 4, batch_first=True)
    ours.load_state_dict(library.state_dict())
    mask = None if masked == "none" else torch.full((6, 6), -torch.inf).triu(1)
    if masked == "a mask a head":
        mask = mask.repeat(12, 1, 1) + torch.randn(12, 6, 6)
    results = []
    for attention in (library, ours):
        x = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
        out = attention(x, x, x, need_weights=False, attn_mask=mask)[0]
        out.square().sum().backward()
        results.append((out, x.grad, attention.in_proj_weight.grad, attention.out_proj.bias.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny@random", "vits14-minilm@random", "ViT-B-32@random"])
def test_a_caption_cut_behind_its_last_word_embeds_alike(name):
    encoder = create(name, 112 if name.startswith("vits14") else None)
    tokens = encoder.tokenizer(TEXTS)
    longest = int(encoder.lengths(tokens).max())
    padded = functional.pad(tokens, (0, max(longest + 4 - tokens.shape[1], 0)))
    assert longest < padded.shape[1]
    torch.testing.assert_close(
        encoder.embed_texts(padded[:, :longest]), encoder.embed_texts(padded), atol=1e-6, rtol=1e-5
    )
    short = encoder.embed_texts(padded[:1, : int(encoder.lengths(tokens)[0])])
    torch.testing.assert_close(short, encoder.embed_texts(padded)[:1], atol=1e-6, rtol=1e-5)


def test_the_text_tower_gives_open_clips_own_embeddings():
    encoder = create("tiny@random")
    assert type(encoder.model) is CLIP
    tokens = encoder.tokenizer(TEXTS)
    expected = open_clip.CLIP.encode_text(encoder.model, tokens, normalize=True)
    torch.testing.assert_close(encoder.model.encode_text(tokens, normalize=True), expected)


@pytest.mark.parametrize("name", ["tiny@random", "vits14-minilm@random"])
@pytest.mark.parametrize("method", ["mrs-adapter", "lora", "linear-probe"])
def test_frozen_weights_cast_once_give_the_same_gradients_to_the_bit(name, method):
    found = []
    for stored in (False, True):
        encoder = create(name, 56 if name.startswith("vits14") else 32)
        attach(encoder, create_method(method))
        torch.manual_seed(0)
        shape = (3, 3, encoder.image_size, encoder.image_size)
        images, tokens = torch.randint(0, 256, shape).byte(), encoder.tokenizer(TEXTS)
        before = {n: p.detach().clone() for n, p in encoder.named_parameters()}
        with encoder.frozen_as(torch.bfloat16) if stored else nullcontext():
            cast = [p.dtype for p in encoder.model.parameters() if not p.requires_grad]
            assert (torch.bfloat16 in cast) == stored
            loss = batch_loss(encoder, named_objective("infonce"), Recipe(), images, tokens)
            loss.backward()
        found.append([loss.detach(), *(p.grad for p in trained(encoder).values())])
        for parameter, value in encoder.named_parameters():
            torch.testing.assert_close(value.detach(), before[parameter], rtol=0, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_attention_in_bf16_is_rounded_from_fp32_on_a_processor():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 9, 8, dtype=torch.bfloat16) for _ in range(3))
    with fast_attention(torch.device("cpu")):
        found = functional.scaled_dot_product_attention(q, k, v)
    full = functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert found.dtype == torch.bfloat16 and torch.equal(found, full.to(torch.bfloat16))
