"""Where a transformer block can be adapted: one small map per kind of block.

A *place* names the tensor that an added branch reads and the tensor that it is added to, each as
the input or output of a sub-module of the block. With ``h`` the residual stream after attention:

==================  ==========================  =====================================
place               the branch reads            and is added to
==================  ==========================  =====================================
before              the block's input           the block's input
parallel-attention  the block's input           the attention's output, in the residual sum
beside-attention    what the attention reads    the same
after-attention     the attention's output      the attention's output
parallel-mlp        ``h``                       the MLP's output, in the residual sum
beside-mlp          what the MLP reads          the same
after-mlp           the MLP's output            the MLP's output
behind-block        ``h``                       the block's output
==================  ==========================  =====================================

In pre-norm blocks attention and MLP read what their normalisation gives, and the outputs are taken
behind LayerScale, which therefore never scales a branch; in post-norm BERT blocks ``h`` is the
attention sub-layer's output after its LayerNorm, and the sum is the one that enters the next
LayerNorm. Behind the block that LayerNorm is past: there alone a BERT branch is not normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from rsstudy.errors import StudyError, unknown

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "text")


class Spot(NamedTuple):
    """The input or the output of a sub-module of a block ("" is the block itself)."""

    module: str
    side: Literal["input", "output"]


class Place(NamedTuple):
    """Where a branch reads and where it is added."""

    read: Spot
    add: Spot


class Matrix(NamedTuple):
    """A matrix of a block with its bias: some rows of a stored one.

    Rows ``part`` of ``parts`` equal parts: 1 of 3 is the keys' matrix where q, k and v are stored
    as one.
    """

    module: str
    weight: str = "weight"
    bias: str = "bias"
    part: int = 0
    parts: int = 1


class Kind(NamedTuple):
    """A kind of block: the sub-modules that give it away, and where its things are.

    ``attention`` names the sub-module that takes tokens (B, L, width) and returns as many.
    """

    signs: tuple[str, ...]
    places: dict[str, Place]
    matrices: dict[str, Matrix]
    attention: str


def _places(
    attention: str, mlp: str, stream: str, h: str, attended: str, transformed: str
) -> dict[str, Place]:
    """The places from names of sub-modules.

    Args:
        attention, mlp: of the input of each, after a normalisation, if there is one.
        stream, h: of an input that is the residual stream before and after attention.
        attended, transformed: of an output that is added to the stream.
    """

    def at(spot: Spot) -> Place:
        return Place(spot, spot)

    after_attention, after_mlp = Spot(attended, "output"), Spot(transformed, "output")
    return {
        "before": at(Spot("", "input")),
        "parallel-attention": Place(Spot(stream, "input"), after_attention),
        "beside-attention": Place(Spot(attention, "input"), after_attention),
        "after-attention": at(after_attention),
        "parallel-mlp": Place(Spot(h, "input"), after_mlp),
        "beside-mlp": Place(Spot(mlp, "input"), after_mlp),
        "after-mlp": at(after_mlp),
        "behind-block": Place(Spot(h, "input"), Spot("", "output")),
    }


_BERT = _places(
    "attention", "intermediate", "", "intermediate", "attention.output.dropout", "output.dropout"
)


def _fused(module: str, prefix: str = "") -> dict[str, Matrix]:
    names = f"{prefix}weight", f"{prefix}bias"
    return {name: Matrix(module, *names, part, 3) for part, name in enumerate("qkv")}


BLOCK_KINDS: dict[str, Kind] = {
    "open_clip": Kind(
        ("ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"),
        _places("attn", "mlp", "ln_1", "ln_2", "ls_1", "ls_2"),
        {
            **_fused("attn", "in_proj_"),
            "o": Matrix("attn.out_proj"),
            "fc1": Matrix("mlp.c_fc"),
            "fc2": Matrix("mlp.c_proj"),
        },
        "attn",
    ),
    "timm": Kind(
        ("norm1", "attn", "drop_path1", "norm2", "mlp", "drop_path2"),
        _places("attn", "mlp", "norm1", "norm2", "drop_path1", "drop_path2"),
        {
            **_fused("attn.qkv"),
            "o": Matrix("attn.proj"),
            "fc1": Matrix("mlp.fc1"),
            "fc2": Matrix("mlp.fc2"),
        },
        "attn",
    ),
    "bert": Kind(
        ("attention", "intermediate", "output"),
        _BERT,
        {
            "q": Matrix("attention.self.query"),
            "k": Matrix("attention.self.key"),
            "v": Matrix("attention.self.value"),
            "o": Matrix("attention.output.dense"),
            "fc1": Matrix("intermediate.dense"),
            "fc2": Matrix("output.dense"),
        },
        "attention.self",
    ),
}
MATRICES = ("q", "k", "v", "o", "fc1", "fc2")
PLACES = tuple(name for name in _BERT if name != "behind-block")
"""The places within a block."""


@dataclass(frozen=True)
class Block:
    """One transformer block of a tower: its modality, its index from the input, its width."""

    modality: Modality
    index: int
    module: nn.Module
    kind: str
    width: int

    def place(self, name: str) -> Place:
        """The place of that name in this block.

        Raises:
            StudyError: no such place.
        """
        places = BLOCK_KINDS[self.kind].places
        if name not in places:
            raise unknown("place", name, places)
        return places[name]

    def matrix(self, name: str) -> Matrix:
        """One of the block's matrices: q, k, v, o, fc1 or fc2.

        Raises:
            StudyError: no such matrix.
        """
        matrices = BLOCK_KINDS[self.kind].matrices
        if name not in matrices:
            raise unknown("matrix", name, matrices)
        return matrices[name]

    @property
    def attention(self) -> nn.Module:
        """The sub-module that mixes the tokens."""
        return self.module.get_submodule(BLOCK_KINDS[self.kind].attention)


def find_blocks(tower: nn.Module, modality: Modality) -> list[Block]:
    """The transformer blocks of a tower, from the input on, whatever library built them.

    Raises:
        StudyError: the tower has no block of a known kind (a CNN, say).
    """
    blocks: list[Block] = []
    for module in tower.modules():
        for kind, (signs, *_) in BLOCK_KINDS.items():
            if all(hasattr(module, sign) for sign in signs):
                norm = next(m for m in module.modules() if isinstance(m, nn.LayerNorm))
                width = norm.normalized_shape[0]
                blocks.append(Block(modality, len(blocks), module, kind, width))
                break
    if not blocks:
        raise StudyError(f"the {modality} tower has no transformer blocks that can be adapted")
    return blocks
