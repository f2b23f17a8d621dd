"""Encoders: from a name to a ``DualEncoder``, and where its blocks can be adapted.

A name is ``MODEL``, ``MODEL@WEIGHTS`` or ``MODEL@WEIGHTS+DELTA``:

- ``ViT-B-32@openai``, ``ViT-B-32@/path/to/file.safetensors``, ``ViT-B-32@random``: any open_clip
  model with a pretrained tag, a local file, or random weights (``@openai`` when left out);
- ``vits14-minilm``: the packaged towers as aligned on Flickr8k, at the image size of the
  alignment; ``vits14-minilm@unaligned``: the same before it;
- ``tiny``: as pretrained by ``rsstudy pretrain tiny``; ``tiny@random``: before that;
- ``cnn-gru``: a pretrained CNN and an untrained GRU, for traditional retrieval;
- ``+/path/to/delta.safetensors`` after any of them, once or more: what ``rsstudy pretrain`` made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rsstudy.encoders.compat import import_torchvision

import_torchvision()

from rsstudy.encoders.delta import apply_delta, read_tensors  # noqa: E402
from rsstudy.encoders.dual import DualEncoder  # noqa: E402
from rsstudy.encoders.places import MODALITIES, PLACES, Block, Modality  # noqa: E402
from rsstudy.errors import StudyError, unknown  # noqa: E402
from rsstudy.files import cache_folder, sha256_of  # noqa: E402

__all__ = [
    "ENCODER_VERSIONS",
    "MODALITIES",
    "PLACES",
    "Block",
    "DualEncoder",
    "EncoderInfo",
    "Modality",
    "aligned_delta",
    "create",
    "list_encoders",
    "tiny_delta",
]

# The version of an encoder's mathematics, by its name without weights; 1 where it is not named. It
# enters the identity of every run: raise it with every change of the form or of a random start.
ENCODER_VERSIONS: dict[str, int] = {"cnn-gru": 2}

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


def _size_of_alignment(deltas: list[Path]) -> int | None:
    """The image size of the last alignment, from the record beside its delta."""
    try:
        record = json.loads(deltas[-1].with_name("record.json").read_text("utf-8"))
        return int(record["config"]["image_size"])
    except (IndexError, OSError, ValueError, KeyError, TypeError):
        return None


def create(name: str, image_size: int | None = None, meta: bool = False) -> DualEncoder:
    """The encoder of that name, frozen.

    Args:
        name: see the module's docstring.
        image_size: pixels a side, where it differs from the encoder's own.
        meta: build on the meta device, without any weights: for counting.

    Raises:
        StudyError: unknown name, or weights absent, unreachable or of another shape.
    """
    base, *added = name.split("+")
    model, _, weights = base.partition("@")
    deltas = [Path(path).expanduser() for path in added]
    for delta in deltas:
        if delta.is_dir():
            raise StudyError(
                f"{delta} is a folder: name the file in it, +{delta / 'delta.safetensors'} "
                "(a folder that `rsstudy train` made is no part of an encoder's name: give it to "
                "`rsstudy evaluate --adapter`)"
            )
    if name in MADE_HERE:
        deltas = [MADE_HERE[name]()]
    image_size = image_size or _size_of_alignment(deltas)
    if image_size is not None and not 32 <= image_size <= 2048:
        raise StudyError(f"an image size of {image_size} pixels is outside 32..2048")
    if model == "tiny":
        from rsstudy.encoders.tiny import tiny

        if weights not in ("", "random"):
            raise StudyError(f"tiny has no weights {weights!r}; use tiny, tiny@random or tiny+FILE")
        encoder = tiny(image_size, meta)
        if name == "tiny" and not tiny_delta().exists() and not meta:
            raise StudyError("tiny is not pretrained yet: run `rsstudy pretrain tiny`")
    elif model == "vits14-minilm":
        from rsstudy.encoders.packaged import vits14_minilm

        if weights not in ("", "unaligned", "random"):
            raise unknown("weights of vits14-minilm", weights, ["unaligned", "random"])
        encoder = vits14_minilm(image_size, meta, random=weights == "random")
    elif model == "cnn-gru":
        from rsstudy.encoders.cnn_gru import cnn_gru

        if weights not in ("", "random"):
            raise unknown("weights of cnn-gru", weights, ["random"])
        encoder = cnn_gru(image_size, meta, random=weights == "random")
    else:
        import open_clip

        from rsstudy.encoders.openclip import openclip

        if model not in open_clip.list_models():
            raise unknown(
                "encoder", model, [*open_clip.list_models(), "tiny", "vits14-minilm", "cnn-gru"]
            )
        encoder = openclip(model, weights or "openai", image_size, meta)
    for number, delta in enumerate([] if meta else deltas):
        tensors = read_tensors(delta)
        apply_delta(encoder.model, tensors, str(delta))
        if {parameter for parameter, _ in encoder.model.named_parameters()} <= set(tensors):
            encoder.weights.clear()  # all was replaced: what was there before is no part of it
        encoder.weights[f"delta{number or ''}/{delta.name}"] = sha256_of(delta)
    encoder.name = name
    return encoder.requires_grad_(False).eval()


def list_encoders() -> list[EncoderInfo]:
    """Our own encoders first, then every open_clip model."""
    import open_clip

    made = "yes" if tiny_delta().exists() else "rsstudy pretrain tiny"
    ours = [
        EncoderInfo(
            "tiny",
            "open_clip CLIP of 1.6 million parameters, pretrained on generated ground-level scenes",
            made,
        ),
        EncoderInfo(
            "vits14-minilm",
            "packaged ViT-S/14 and MiniLM, aligned on Flickr8k",
            "yes, with the extra `towers`",
        ),
        EncoderInfo(
            "cnn-gru",
            "packaged EfficientNet-Lite0 and a GRU, not trained together",
            "yes, with the extra `towers`",
        ),
    ]
    first = ["ViT-B-32"]
    rest = [m for m in open_clip.list_models() if m not in first]
    return ours + [
        EncoderInfo(
            m,
            "open_clip; tags: " + (", ".join(open_clip.list_pretrained_tags_by_model(m)) or "none"),
            "fetched on first use",
        )
        for m in first + rest
    ]
