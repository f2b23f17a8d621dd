"""Activations that are not kept for the backward pass but computed again: memory for time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from rsstudy.encoders import MODALITIES, DualEncoder


@contextmanager
def recomputed(
    encoder: DualEncoder, around: Callable[[], AbstractContextManager[Any]]
) -> Iterator[None]:
    """Within the block, each transformer block keeps its input alone for the backward pass.

    The hooks of a method and of ``token_dropout``, on a block and in it, are computed again with
    it, and what they draw is drawn again.

    Args:
        around: what must be around a block when it is computed again, behind this block.

    Raises:
        StudyError: a tower has no transformer blocks.
    """
    blocks = [block.module for modality in MODALITIES for block in encoder.blocks(modality)]
    how: dict[str, Any] = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), around())}
    for block in blocks:  # where ``torch.compile`` puts its own: a call that takes the hooks along
        block._compiled_call_impl = partial(checkpoint, block._call_impl, **how)
    try:
        # A hook that keeps a tensor for the next to take must not be the last that is called.
        with set_checkpoint_early_stop(False):
            yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None
