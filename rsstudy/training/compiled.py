"""The training step as one graph: ``torch.compile``, and CUDA graphs on a GPU.

A small batch on a GPU waits for the launches of thousands of small operations. A graph is launched
once. Towers, method and objective are one graph, and so are their gradients; the optimizer is one
fused operation already.

Rounding apart, the compiled step is the eager one: the same random numbers are drawn in the same
order. So it is no part of a run's identity; a record says how its run was computed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from rsstudy.devices import bf16_is_native
from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError, first_line
from rsstudy.objectives import Objective
from rsstudy.progress import Progress
from rsstudy.training.batch import loss_of_views
from rsstudy.training.parallel import together
from rsstudy.training.recipe import Recipe

Compile = Literal["off", "on", "auto"]


def asked_to_compile() -> Compile:
    """RSSTUDY_COMPILE: off (where it is not set), on, or auto: on a GPU alone.

    Raises:
        StudyError: it is none of these.
    """
    how = os.environ.get("RSSTUDY_COMPILE") or "off"
    if how not in get_args(Compile):
        raise StudyError(f"RSSTUDY_COMPILE is {how!r}: set it to off, on or auto")
    return cast(Compile, how)


class LossOfViews:
    """``batch.loss_of_views``, compiled where that is wanted and possible; see ``compiling``.

    Args:
        how: ``auto`` compiles on a GPU alone: a processor has no launches to save.
        recipe: its batch is the one that is compiled; a smaller one, the last of an epoch, is not.

    Attributes:
        graph: the compiled function, or None.
        compiled: whether the last whole batch was computed by it.
    """

    def __init__(self, how: Compile, recipe: Recipe, device: torch.device) -> None:
        self.pairs, self.compiled, self.graph = recipe.batch, False, None
        if how == "off" or (how == "auto" and device.type != "cuda"):
            return
        for excluded, why in (
            (recipe.accumulate > 1, "the batch is embedded in parts"),
            (recipe.checkpointing, "activations are computed again"),
            (together().size > 1, "several processes share the batch"),
            (recipe.precision == "bf16" and not bf16_is_native(device), "bf16 is computed in fp32"),
        ):
            if excluded:
                return say_why_not(why)
        # Dropout draws by the eager kernels, and so the same numbers.
        options: dict[str, Any] = {
            "fallback_random": True,
            "triton.cudagraphs": device.type == "cuda",
        }
        self.graph = torch.compile(loss_of_views, fullgraph=True, options=options)

    def __call__(
        self, encoder: DualEncoder, objective: Objective, recipe: Recipe, *shown: Any
    ) -> Tensor:
        """The loss; the arguments are those of ``loss_of_views``."""
        given, (images, tokens) = (encoder, objective, recipe, *shown), shown[:2]
        if self.graph is None or len(images) < self.pairs * objective.views:
            return loss_of_views(*given)
        torch._dynamo.maybe_mark_dynamic(tokens, 1)  # one graph for captions of all lengths
        torch.compiler.cudagraph_mark_step_begin()
        try:
            # The gradients are compiled now, too: what fails fails before anything is computed.
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                loss = self.graph(*given)
        except (TorchDynamoException, FailOnRecompileLimitHit) as problem:
            self.graph, self.compiled = None, False
            say_why_not(first_line(problem))
            return loss_of_views(*given)
        self.compiled = True
        return loss


@contextmanager
def compiling(how: Compile, recipe: Recipe, device: torch.device) -> Iterator[LossOfViews]:
    """Within the block, a loss whose graphs are of this training alone.

    A graph has a method's hooks in it and does not notice other ones.

    Args: see ``LossOfViews``.
    """
    loss_of = LossOfViews(how, recipe, device)
    forget = torch.compiler.reset if loss_of.graph else lambda: None
    forget()
    try:
        yield loss_of
    finally:
        forget()


def say_why_not(why: str) -> None:
    """Say once that the step runs eagerly."""
    if together().leads:
        Progress.write(f"the training step is not compiled: {why}", file=sys.stderr)
