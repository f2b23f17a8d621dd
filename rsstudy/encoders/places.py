"""Where a transformer block can be adapted: one small map per kind of block.

A *place* names the tensor that an added branch reads and the tensor that it is added to, each as
the input or output of a sub-module of the block. With ``h`` the residual stream after attention:

==================  ==========================  =====================================
place               the branch reads            and is added to
==================  ==========================  =====================================
before              the block's input           the block's input
parallel-attention  the block's input           the attention's output, in the residual sum
after-attention     the attention's output      the same
parallel-mlp        ``h``                       the MLP's output, in the residual sum
after-mlp           the MLP's output            the same
==================  ==========================  =====================================

In pre-norm blocks the outputs are taken behind LayerScale, which therefore never scales a branch;
in post-norm BERT blocks ``h`` is the attention sub-layer's output after its LayerNorm, and the sum
is the one that enters the next LayerNorm.
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


def _pre_norm(norm1: str, attention: str, norm2: str, mlp: str) -> dict[str, Place]:
    def at(spot: Spot) -> Place:
        return Place(spot, spot)

    return {
        "before": at(Spot("", "input")),
        "parallel-attention": Place(Spot(norm1, "input"), Spot(attention, "output")),
        "after-attention": at(Spot(attention, "output")),
        "parallel-mlp": Place(Spot(norm2, "input"), Spot(mlp, "output")),
        "after-mlp": at(Spot(mlp, "output")),
    }


_BERT = _pre_norm("", "attention.output.dropout", "intermediate", "output.dropout")

# The sub-modules that give a kind of block away, and its places.
BLOCK_KINDS: dict[str, tuple[tuple[str, ...], dict[str, Place]]] = {
    "open_clip": (("ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"),
                  _pre_norm("ln_1", "ls_1", "ln_2", "ls_2")),
    "timm": (("norm1", "attn", "drop_path1", "norm2", "mlp", "drop_path2"),
             _pre_norm("norm1", "drop_path1", "norm2", "drop_path2")),
    "bert": (("attention", "intermediate", "output"), _BERT),
}  # fmt: skip
PLACES = tuple(_BERT)


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
        places = BLOCK_KINDS[self.kind][1]
        if name not in places:
            raise unknown("place", name, places)
        return places[name]


def find_blocks(tower: nn.Module, modality: Modality) -> list[Block]:
    """The transformer blocks of a tower, from the input on, whatever library built them.

    Raises:
        StudyError: the tower has no block of a known kind (a CNN, say).
    """
    blocks: list[Block] = []
    for module in tower.modules():
        for kind, (parts, _) in BLOCK_KINDS.items():
            if all(hasattr(module, part) for part in parts):
                norm = next(m for m in module.modules() if isinstance(m, nn.LayerNorm))
                width = norm.normalized_shape[0]
                blocks.append(Block(modality, len(blocks), module, kind, width))
                break
    if not blocks:
        raise StudyError(f"the {modality} tower has no transformer blocks that can be adapted")
    return blocks
