"""Any open_clip model: by name with a tag or a file, or as a folder or the hub describes it."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import _find_checkpoint_in_dir
from open_clip.pretrained import download_pretrained_from_hf
from open_clip.transformer import text_global_pool
from pydantic import BaseModel, StrictFloat
from torch import Tensor, nn
from torch.nn import functional

from rsstudy.encoders.attention import attend_as_they_lie
from rsstudy.encoders.dual import DualEncoder, seeded
from rsstudy.encoders.given import given_weights
from rsstudy.errors import StudyError, first_line, unknown
from rsstudy.files import read_json, sha256_of
from rsstudy.registry import ELSEWHERE, encoder_names
from rsstudy.tensors import state_sha256


class CLIP(open_clip.CLIP):
    """open_clip's CLIP, whose text tower also takes captions cut behind their last word.

    What follows the end of text is never read: the mask is causal, and the feature is the end's.
    """

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Token ids (B, L) of any L up to the context's length -> (B, d)."""
        length = text.shape[1]
        x = self.token_embedding(text) + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask[:length, :length]))
        x = text_global_pool(x, text, self.text_pool_type, getattr(self, "text_eos_id", None))
        if isinstance(self.text_projection, nn.Linear):
            x = self.text_projection(x)
        elif self.text_projection is not None:
            x = x @ self.text_projection
        return functional.normalize(x, dim=-1) if normalize else x


Channels = tuple[StrictFloat, StrictFloat, StrictFloat]


class Seen(BaseModel):
    """What is read of the preprocessing in it."""

    mean: Channels | None = None
    std: Channels | None = None
    resize_mode: str = "shortest"


class Written(BaseModel):
    """What open_clip writes beside weights, into ``open_clip_config.json``."""

    model_cfg: dict[str, Any]
    preprocess_cfg: Seen | None = None


def openclip(
    name: str, weights: str = "", image_size: int | None = None, meta: bool = False
) -> DualEncoder:
    """The open_clip model ``name``, which open_clip ships or a folder describes.

    Some weights, OpenAI's among them, were trained with a quick GELU: for a tag, the form that
    open_clip lists it with is chosen; for a file, name it yourself (``ViT-B-32-quickgelu``).

    Args:
        name: one of open_clip's, or ``local-dir:/path`` or ``hf-hub:ORG/NAME``, which hold an
            ``open_clip_config.json`` and weights.
        weights: a pretrained tag, ``random``, or a file, known by its suffix or a separator; else
            ``openai``, or those in the folder.

    Raises:
        StudyError: unknown model or tag, weights absent, out of reach or of another shape.
    """
    described = name.startswith(ELSEWHERE)
    if described:
        build, form, config, seen = _described(name)
    elif name in open_clip.list_models():
        build, form, config, seen = name, "", open_clip.get_model_config(name), {}
        weights = weights or "openai"
    else:
        raise unknown("encoder", name, encoder_names())
    file, tag = _weights(name, weights, meta)
    if tag:
        seen = open_clip.get_pretrained_cfg(name, tag) or {}
    quick_gelu = bool(config.get("quick_gelu") or seen.get("quick_gelu"))
    forced = {"force_quick_gelu": quick_gelu, "force_image_size": image_size}
    bare = {"load_weights": False, "pretrained_text": False}
    device = "meta" if meta else "cpu"
    try:
        with seeded(meta), _quiet():
            model = open_clip.create_model(build, device=device, **bare, **forced)
    except Exception as problem:  # whatever open_clip meets in a configuration from elsewhere
        if not described:
            raise
        raise StudyError(f"open_clip cannot build {name}: {first_line(problem)}") from None
    _set_preprocessing(model, f"{name}@{tag}" if tag else name, seen)
    form = form or f"{name.removesuffix('-quickgelu')}{'-quickgelu' if quick_gelu else ''}"
    sources = {}
    if file is not None:
        _load(model, file, name)
        sources[f"{form}/{tag or file.name}"] = sha256_of(file)
    elif not meta:
        sources[f"{form}/random"] = state_sha256(model)
    tokens = partial(_tokens, build if name.startswith("local-dir:") else name)
    return wrap(f"{name}@{weights}", model, tokens, config["embed_dim"], sources, form)


def _described(name: str) -> tuple[str, str, dict[str, Any], Mapping[str, Any]]:
    """Of a folder or the hub: open_clip's name of it, its form, its model, its preprocessing."""
    file = _held(name, "open_clip_config.json")
    read = read_json(file, Written, "a configuration of open_clip")
    if "trust_remote_code" in json.dumps(read):
        raise StudyError(f"{file} asks to run code of its own (trust_remote_code): not done here")
    form = f"open_clip-{sha256_of(file)[:12]}"
    return f"local-dir:{file.parent}", form, read["model_cfg"], read.get("preprocess_cfg") or {}


def _weights(name: str, weights: str, meta: bool) -> tuple[Path | None, str]:
    """The file of weights, fetched if need be, and their tag; on the meta device no file."""
    path, suffixes = Path(weights).expanduser(), (".pt", ".pth", ".bin", ".safetensors")
    if path.suffix in suffixes or "/" in weights or os.sep in weights:
        if not path.is_file():
            raise StudyError(f"no weights file at {path}")
        return None if meta else path, ""
    if weights == "random":
        return None, ""
    if weights and name.startswith(ELSEWHERE):
        raise StudyError(f"{name} has one set of weights: leave @{weights} out")
    if meta:
        return None, weights
    return (_download(name, weights) if weights else _held(name)), weights


def _held(name: str, file: str | None = None) -> Path:
    """A file of a ``local-dir:`` or a ``hf-hub:`` model, fetched if need be; else its weights."""
    kind, _, place = name.partition(":")
    if kind == "hf-hub":
        cure = "; with a network try again, without one give its folder: local-dir:/path"
        with _fetching(f"{file or 'the weights'} of {name}", cure):
            return Path(download_pretrained_from_hf(place, file))
    folder = Path(place).expanduser()
    with _quiet():
        found = folder / file if file else _find_checkpoint_in_dir(folder)
    if found is None:
        raise StudyError(f"no weights in {folder}: put open_clip_model.safetensors there")
    return Path(found)


def given(model) -> DualEncoder:
    """A ``DualEncoder`` around a user's own open_clip model, whose classes and types stay his.

    Its tokenizer is unknown until one is set: ``encoder.tokenizer = open_clip.get_tokenizer(...)``.

    Raises:
        StudyError: no CLIP of open_clip, or one whose weights are not stored in float32.
    """
    if not isinstance(model, (open_clip.CLIP, open_clip.CustomTextCLIP)):
        raise StudyError(
            f"a {type(model).__name__} is no CLIP or CustomTextCLIP of open_clip: give the model "
            "itself, before it is compiled, scripted or wrapped"
        )
    if low := {p.dtype for p in model.parameters()} - {torch.float32}:
        raise StudyError(
            f"this model's weights are stored in {low.pop()}: make it with precision='fp32' or "
            "'amp' (for the rest, train under autocast)"
        )
    weights = given_weights(model)
    return wrap(next(iter(weights)), model, _no_tokens, _joint_width(model), weights, own=True)


def _no_tokens(texts: list[str]) -> Tensor:
    raise StudyError(
        "this model came without its tokenizer: encoder.tokenizer = open_clip.get_tokenizer(NAME)"
    )


def _joint_width(model) -> int:
    if hasattr(model, "text"):
        return model.text.output_dim
    head = model.ln_final.weight if model.text_projection is None else model.text_projection
    return getattr(head, "out_features", None) or head.shape[-1]


def wrap(
    name: str,
    model,
    tokenizer,
    joint_width: int,
    weights: dict[str, str],
    architecture: str = "",
    own: bool = False,
) -> DualEncoder:
    """A ``DualEncoder`` around an open_clip model; nothing of a user's ``own`` model is changed."""
    text, length_of = getattr(model, "text", model), None if own else _adapted(model)
    heads = [
        key
        for key, _ in model.named_parameters()
        if key in ("visual.proj", "text_projection", "text.text_projection")
        or key.startswith(("visual.head.", "visual.attnpool.c_proj.", "text.proj."))
        or key.endswith("text_projection.weight")
    ]
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = model.visual.image_size
    encoder = DualEncoder(
        name=name,
        model=model,
        towers={"image": model.visual, "text": text.transformer},
        heads=heads,
        joint_width=joint_width,
        tokenizer=tokenizer,
        image_size=size[0] if isinstance(size, (tuple, list)) else size,
        mean=preprocess.get("mean") or open_clip.OPENAI_DATASET_MEAN,
        std=preprocess.get("std") or open_clip.OPENAI_DATASET_STD,
        weights=weights,
        architecture=architecture,
        length_of=length_of,
    )
    encoder.own = own
    return encoder


def _adapted(model) -> Callable[[Tensor], Tensor] | None:
    """Let a model attend fast, keep its stream in fp32, take short texts; its ``length_of``."""
    attend_as_they_lie(model)
    for module in model.modules():
        if hasattr(module, "get_cast_dtype"):  # however weights are stored, the stream is in fp32
            module.get_cast_dtype = lambda: torch.float32
    causal = getattr(model, "attn_mask", None) is not None
    if not (type(model) is open_clip.CLIP and causal and model.text_pool_type == "argmax"):
        return None
    model.__class__ = CLIP
    return lambda tokens: tokens.argmax(dim=1) + 1  # the end of text has the highest id


def _tokens(name: str, texts: list[str]) -> Tensor:
    return _tokenizer(name)(texts)  # fetched when it is first asked


@cache
def _tokenizer(name: str):
    with _fetching(f"the tokenizer of {name}"):
        return open_clip.get_tokenizer(name)


def _set_preprocessing(model, what: str, config: Mapping[str, Any]) -> None:
    """What the weights were trained to see; only CLIP's geometry is decoded here."""
    resize = config.get("resize_mode", "shortest")
    if resize != "shortest":
        raise StudyError(f"{what} wants pictures resized by {resize!r}: not done here")
    now = open_clip.get_model_preprocess_cfg(model)
    chosen = {key: config[key] for key in ("mean", "std") if key in config}
    open_clip.set_model_preprocess_cfg(model, {**now, **chosen})


def _download(name: str, tag: str) -> Path:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise unknown(f"weights tag of {name}", tag, [*tags, "random"])
    cure = f"with a network try again, without one give a file: {name}@/path/to/weights.safetensors"
    with _fetching(f"the {tag} weights of {name}", f"; {cure}"):
        return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag)))


def _load(model, path: Path, name: str) -> None:
    try:
        open_clip.load_checkpoint(model, str(path), weights_only=True)
    except Exception as problem:  # torch, pickle, zip and safetensors each report in their own way
        lines = [" ".join(line.split()) for line in str(problem).splitlines()]
        misfit = [line for line in lines if re.match("size mismatch|Missing key|Unexpected", line)]
        if misfit:
            raise StudyError(f"{path} does not hold weights of {name}: {misfit[0][:160]}") from None
        raise StudyError(
            f"{path} is not a weights file that can be read safely ({type(problem).__name__}); "
            "give a safetensors file or a plain state dict"
        ) from None


@contextmanager
def _fetching(what: str, cure: str = "") -> Iterator[None]:
    try:
        with _quiet():
            yield
    except Exception as problem:  # any of the hub's and the network's many errors
        raise StudyError(f"could not fetch {what} ({type(problem).__name__}){cure}") from problem


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of random weights (ours come later) and of each retry of a download."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
