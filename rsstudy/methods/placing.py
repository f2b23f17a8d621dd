"""Which towers and layers a method serves: the loops that many methods have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from rsstudy.encoders import MODALITIES, Block, DualEncoder, Modality
from rsstudy.errors import StudyError
from rsstudy.methods.primitives import add_branch, add_tokens

Towers = Literal["both", "image", "text"]


def modalities(towers: Towers) -> tuple[Modality, ...]:
    """The modalities whose towers are meant."""
    return MODALITIES if towers == "both" else (towers,)


def blocks_of(encoder: DualEncoder, towers: Towers) -> Iterator[Block]:
    """All blocks of the towers that are meant."""
    for modality in modalities(towers):
        yield from encoder.blocks(modality)


def place_branches(
    encoder: DualEncoder,
    make: Callable[[Block], nn.Module],
    places: str,
    towers: Towers,
    share_layers: bool,
) -> None:
    """Add the branch that ``make`` builds for a block at each place of each block.

    With ``share_layers``, a tower has one branch a place, built for its first block.
    """
    encoder.method.branches = nn.ModuleList()
    for modality in modalities(towers):
        blocks = encoder.blocks(modality)
        for place in places.split(","):
            for served in [blocks] if share_layers else [[block] for block in blocks]:
                branch = make(served[0])
                encoder.method.branches.append(branch)
                for block in served:
                    add_branch(block, place.strip(), branch)


def place_pairs(
    encoder: DualEncoder,
    make: Callable[[dict[Modality, int]], Mapping[Modality, nn.Module]],
    places: str,
    share_layers: bool,
    chosen: Callable[[list[Block]], list[Block]] = lambda blocks: blocks,
) -> None:
    """Add branches that the two towers have together: one instance in all layers, or one a layer.

    Args:
        make: an instance, a branch for each tower, from the towers' widths. Where one tower is
            deeper, the instances of its last layers are for it alone.
        places: where, with commas; see ``rsstudy.encoders.places``.
        chosen: the blocks of a tower that take part.
    """
    blocks = {m: chosen(encoder.blocks(m)) for m in MODALITIES}
    encoder.method.layers = nn.ModuleList()
    for layer in range(1 if share_layers else max(len(b) for b in blocks.values())):
        members = {m: b if share_layers else b[layer : layer + 1] for m, b in blocks.items()}
        for place in places.split(","):
            branches = make({m: served[0].width for m, served in members.items() if served})
            encoder.method.layers.append(nn.ModuleDict({str(m): b for m, b in branches.items()}))
            for m, branch in branches.items():
                for block in members[m]:
                    add_branch(block, place.strip(), branch)


def place_behind_heads(
    encoder: DualEncoder, make: Callable[[], nn.Module], towers: Towers = "both"
) -> nn.ModuleDict:
    """Add a module of (B, d) behind the head of each tower; returns them by modality."""
    added = nn.ModuleDict()
    for modality in modalities(towers):
        added[modality] = make()
        encoder.after_heads[modality].append(added[modality])
    return added


def check_shared(encoder: DualEncoder, name: str, shared: int) -> None:
    """Refuse a shared width that a tower does not have.

    Raises:
        StudyError: naming the method and the largest width.
    """
    narrowest = min(encoder.blocks(m)[0].width for m in MODALITIES)
    if not 0 <= shared <= narrowest:
        raise StudyError(f"{name}: shared must lie in 0..{narrowest}, not {shared}")


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that may have no outputs, without PyTorch's warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(inputs, outputs)


def place_tokens(
    blocks: Sequence[Block], depth: int, count: int, tokens: Callable[[int], Tensor]
) -> None:
    """Add ``count`` learned tokens to the first ``depth`` blocks of a tower, new ones in each.

    Each block's tokens leave the stream behind it; the last ones stay in to the tower's end. With
    a depth of 1 they are prompts at the input; 0 means every block.

    Args:
        tokens: gives a block's tokens by its number; no closure, see ``primitives``.
    """
    depth = min(depth or len(blocks), len(blocks))
    for layer in range(depth):
        until = layer + 1 if layer + 1 < depth else len(blocks)
        add_tokens(blocks[layer:until], count, partial(tokens, layer))


def place_prompts(
    encoder: DualEncoder, modality: Modality, count: int, depth: int
) -> nn.ParameterList:
    """Add ``count`` free tokens to each of the first blocks of a tower; see ``place_tokens``."""
    blocks = encoder.blocks(modality)
    prompts = nn.ParameterList(learned(count, block.width) for block in blocks[: depth or None])
    place_tokens(blocks, depth, count, partial(own_tokens, prompts))
    return prompts


def own_tokens(prompts: nn.ParameterList, layer: int) -> Tensor:
    """The tokens of a block that has its own."""
    return prompts[layer]


def learned(*shape: int) -> nn.Parameter:
    """A learned tensor, normal at the start, with deviation 0.02."""
    return nn.Parameter(torch.randn(*shape) * 0.02)
