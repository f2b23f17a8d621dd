"""What a reader sees for a program's name: the name in words, the colour, the line and the mark.

Colours are those of seaborn's colour-blind palette. Vermilion belongs to HMMC alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import NamedTuple


class Look(NamedTuple):
    """How one thing is named and drawn; colour, line and mark as matplotlib names them."""

    name: str
    color: str
    line: str = "-"
    mark: str = "o"
    hollow: bool = False


HMMC = "C3"

SETS = {
    "rsicd": Look("RSICD", "C0", "-", "o"),
    "ucm": Look("UCM-Captions", "C1", "--", "s"),
    "flickr8k": Look("Flickr8k (everyday)", "C2", "-.", "D"),
    "rsitmd": Look("RSITMD", "C5", ":", "v"),
}
FAMILIES = {
    "a branch": Look("a branch", "C0", mark="o"),
    "a weight": Look("a weight", "C4", mark="D"),
    "none": Look("none", "0.4", mark="P"),
    "the base's own weights": Look("the base's own weights", "C1", mark="s"),
    "tokens": Look("tokens", "C2", mark="v"),
    "traditional": Look("traditional", "C5", mark="^"),
}
OBJECTIVES = {
    "infonce": Look("InfoNCE", "C0"),
    "infonce-two-views": Look("InfoNCE on two views", "C0", "--", "s"),
    "hinge": Look("hinge", "C1", "-", "D"),
    "hinge-two-views": Look("hinge on two views", "C1", "--", "v"),
    "hmmc": Look("HMMC", HMMC),
    "hmmc-infonce": Look("HMMC, InfoNCE form", HMMC, "--", "s"),
}
UNTRAINED = Look("not trained", "0.4", mark="P")
METHODS = {
    "adapter": "Houlsby adapter",
    "adaptformer": "AdaptFormer",
    "bitfit": "BitFit",
    "clip-adapter": "CLIP-Adapter",
    "convpass": "Convpass",
    "coop": "CoOp",
    "cross-modal-adapter": "Cross-Modal Adapter",
    "dora": "DoRA",
    "full": "full fine-tuning",
    "harma": "HARMA",
    "head-mlp": "head MLP",
    "ia3": "IA3",
    "layernorm": "LayerNorm",
    "linear-probe": "linear probe",
    "lora": "LoRA",
    "maple": "MaPLe",
    "mrs-adapter": "MRS adapter",
    "prefix": "prefix tuning",
    "slim-adapter": "slim adapter",
    "ssf": "SSF",
    "text-tower": "text tower",
    "uniadapter": "UniAdapter",
    "vl-prompt": "VL-Prompt",
    "vpt": "VPT",
}
ENCODERS = {"vits14-minilm": "bench encoder", "cnn-gru": "CNN and GRU", "tiny": "tiny encoder"}
RECIPES = {
    "paper": "the paper's",
    "paper-captions": "the paper's, every caption",
    "search": "search of a rate",
    "short": "short",
    "ten-epochs": "ten epochs",
    "vsepp": "VSE++'s",
}
DEVICES = {"cpu": "CPU", "cuda": "GPU"}
# The looks of what has none of its own, in the order in which they are given out.
FREE = [
    Look("", color, line, mark)
    for color, line, mark in zip(
        ("C0", "C1", "C2", "C4", "C5", "C7", "C9"), cycle(("-", "--", "-.", ":")), "osDv^PX"
    )
]
NAMES = METHODS | {key: look.name for key, look in (SETS | OBJECTIVES).items()}


def named(label: str) -> str:
    """A label of an arm, or of two with "less" between them, in a reader's words.

    Only whole parts are replaced: "adapter, rank 8" names the Houlsby adapter, "adapter with
    trained heads" is left as it was written.
    """
    parts = re.split(r"(,\s|:\s?|\s\(|\)|\s+less\s+)", label)
    return "".join(NAMES.get(part, part) for part in parts)


def looks(names: Iterable[str], known: Mapping[str, Look] | None = None) -> dict[str, Look]:
    """A look for each name: its own where ``known`` has one, else a free one; HMMC's in vermilion.

    A look that was free is a name's within one figure only.
    """
    known = known or {}
    taken = {look.color for look in known.values()}
    free = cycle([look for look in FREE if look.color not in taken])
    found = {}
    for name in dict.fromkeys(names):
        look = known.get(name) or next(free)._replace(name=named(name))
        found[name] = look._replace(color=HMMC) if "hmmc" in name.lower() else look
    return found
