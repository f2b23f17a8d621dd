"""Encoders: from a name to a ``DualEncoder``, and where its blocks can be adapted.

A name is ``MODEL``, ``MODEL@WEIGHTS`` or ``MODEL@WEIGHTS+DELTA``:

- ``ViT-B-32@openai``, ``ViT-B-32@/path/to/file.safetensors``, ``ViT-B-32@random``: any open_clip
  model with a pretrained tag, a local file, or random weights (``@openai`` when left out);
- ``local-dir:/path/to/folder``, ``hf-hub:ORG/NAME``: an open_clip model as its folder holds it, an
  ``open_clip_config.json`` beside weights;
- ``vits14-minilm``: the packaged towers as aligned on Flickr8k, at the image size of the
  alignment; ``vits14-minilm@unaligned``: the same before it;
- ``tiny``: as pretrained by ``rsstudy pretrain tiny``; ``tiny@random``: before that;
- ``cnn-gru``: a pretrained CNN and an untrained GRU, for traditional retrieval;
- ``+/path/to/delta.safetensors`` after any of them, once or more: what ``rsstudy pretrain`` made.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from rsstudy.encoders import compat  # noqa: F401 (the first of all: see there)
from rsstudy.encoders.delta import apply_delta
from rsstudy.encoders.dual import DualEncoder
from rsstudy.encoders.places import MODALITIES, PLACES, Block, Modality  # noqa: F401
from rsstudy.errors import StudyError, unknown
from rsstudy.files import cache_folder, sha256_of
from rsstudy.registry import ENCODERS, encoder_names
from rsstudy.tensors import read_tensors, state_sha256

register = ENCODERS.register
# Raised when what `rsstudy pretrain tiny` makes changes its meaning.
TINY_VERSION = 1


@dataclass(frozen=True)
class EncoderInfo:
    """A row of ``rsstudy list encoders``."""

    name: str
    what: str
    ready: str


def tiny_delta() -> Path:
    """Where the pretrained weights of ``tiny`` are kept."""
    return cache_folder() / "encoders" / f"tiny-{TINY_VERSION}" / "delta.safetensors"


def aligned_delta() -> Path:
    """The committed alignment of ``vits14-minilm`` on Flickr8k; its record lies beside it."""
    return Path(__file__).parent / "vits14-minilm" / "delta.safetensors"


# The encoders that this study pretrains itself, and where their deltas lie.
MADE_HERE = {"tiny": tiny_delta, "vits14-minilm": aligned_delta}


def create(name: str, image_size: int | None = None, meta: bool = False) -> DualEncoder:
    """The encoder of that name, frozen.

    Args:
        name: see the module's docstring.
        image_size: pixels a side, where it differs from the encoder's own.
        meta: build on the meta device, without any weights: for counting.

    Raises:
        StudyError: unknown name, or weights absent, unreachable or of another shape.
    """
    folder = name.removeprefix("local-dir:")
    if re.search("[@+]", name) and folder != name and Path(folder).expanduser().is_dir():
        raise StudyError(f"{folder}: what follows + or @ is no part of a path here; rename it")
    base, *added = name.split("+")
    model, _, weights = base.partition("@")
    deltas = [MADE_HERE[name]()] if name in MADE_HERE else [Path(d).expanduser() for d in added]
    for delta in deltas:
        if delta.is_dir():
            raise StudyError(
                f"{delta} is a folder: name the file in it, +{delta / 'delta.safetensors'} "
                "(a folder that `rsstudy train` made is no part of an encoder's name: give it to "
                "`rsstudy evaluate --adapter`)"
            )
    image_size = image_size or _size_of_alignment(deltas)
    if image_size is not None and not 32 <= image_size <= 2048:
        raise StudyError(f"an image size of {image_size} pixels is outside 32..2048")
    if model in ENCODERS:
        build = ENCODERS[model]
        known = ENCODERS.about[model].get("weights", ())
        if weights and not known:
            raise StudyError(f"{model} has one set of weights: leave @{weights} out")
        if weights and weights not in known:
            raise unknown(f"weights of {model}", weights, known)
        encoder: DualEncoder = build(weights, image_size, meta)
        if not (encoder.weights or meta):  # drawn, not read: what was drawn is a part of a run
            encoder.weights[f"{model}/random"] = state_sha256(encoder.model)
        if name == "tiny" and not tiny_delta().exists() and not meta:
            raise StudyError("tiny is not pretrained yet: run `rsstudy pretrain tiny`")
    else:
        from rsstudy.encoders.openclip import openclip

        encoder = openclip(model, weights, image_size, meta)
    for number, delta in enumerate([] if meta else deltas):
        tensors = read_tensors(delta)
        apply_delta(encoder.model, tensors, str(delta))
        if {parameter for parameter, _ in encoder.model.named_parameters()} <= set(tensors):
            encoder.weights.clear()  # all was replaced: what was there before is no part of it
        encoder.weights[f"delta{number or ''}/{delta.name}"] = sha256_of(delta)
    encoder.name = name
    return encoder.requires_grad_(False).eval()


def encoder_version(name: str) -> int:
    """The version of an encoder's mathematics; 1 for open_clip's models."""
    model = re.split("[@+]", name)[0]
    return ENCODERS.versions[model] if model in ENCODERS and ENCODERS[model] else 1


def list_encoders() -> list[EncoderInfo]:
    """Our own encoders first, then every open_clip model."""
    import open_clip

    ENCODERS.load()
    absent = {} if tiny_delta().exists() else {"tiny": "rsstudy pretrain tiny"}
    rows = []
    for name in encoder_names():
        if about := ENCODERS.about.get(name):
            ready = absent.get(name, about.get("ready", "yes"))
            rows.append(EncoderInfo(name, about["what"], ready))
        else:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
            rows.append(EncoderInfo(name, f"open_clip; tags: {tags}", "fetched on first use"))
    return rows


def _size_of_alignment(deltas: list[Path]) -> int | None:
    """The image size of the last alignment, from the record beside its delta."""
    try:
        record = json.loads(deltas[-1].with_name("record.json").read_text("utf-8"))
        return int(record["config"]["image_size"])
    except (IndexError, OSError, ValueError, KeyError, TypeError):
        return None
