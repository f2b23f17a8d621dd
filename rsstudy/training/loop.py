"""The training loop: one for every method, objective, encoder and device.

Autograd computes no gradient of frozen weights and stops at the first trained place. The optimizer
has trained parameters alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rsstudy.devices import bf16_products
from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError
from rsstudy.evaluation import Pairs
from rsstudy.methods import trained
from rsstudy.objectives import Objective
from rsstudy.progress import Progress
from rsstudy.training.accumulate import add_gradients
from rsstudy.training.batch import batches, count_batches, inputs
from rsstudy.training.checkpoint import State
from rsstudy.training.compiled import Compile, LossOfViews, asked_to_compile, compiling
from rsstudy.training.curve import Curve
from rsstudy.training.parallel import together
from rsstudy.training.recipe import Recipe, learning_rate

LARGEST_LOGIT_SCALE = math.log(100)  # as CLIP clips it


@dataclass(frozen=True)
class Training:
    """What a training run leaves; the encoder has the weights of the best epoch.

    Attributes:
        history: one row an epoch: loss (mean over steps), learning_rate (last), mean_recall on
            validation (percent), seconds (training alone), images (shown). Epoch 0 is the encoder
            before the first step: it has no loss and no learning rate (None).
        best_epoch: the epoch whose weights are kept; 0 where training made nothing better.
        steps: optimizer steps in all.
        seconds: of training, validation left out.
        compiled: whether the step ran as one graph; see ``compiled``.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    steps: int
    seconds: float
    compiled: bool = False


@dataclass(frozen=True)
class Task:
    """What is trained on what, and how; see ``train``."""

    encoder: DualEncoder
    pairs: Pairs
    objective: Objective
    recipe: Recipe
    validate: Callable[[DualEncoder], float]
    seed: int
    after_step: Callable[[int], None]
    loss_of: LossOfViews


def train(
    encoder: DualEncoder,
    pairs: Pairs,
    objective: Objective,
    recipe: Recipe,
    validate: Callable[[DualEncoder], float],
    seed: int = 0,
    checkpoint: Path | None = None,
    identity: str = "",
    label: str = "training",
    progress: bool = True,
    after_step: Callable[[int], None] = lambda step: None,
    deadline: float = math.inf,
    compile: Compile | None = None,
) -> Training:
    """Train what an attached method declared, and leave the encoder at its best epoch.

    Where torchrun has started several processes, each embeds its rows of every batch. Batches and
    their gradients are those of one process; each process draws the dropout of its rows.

    Args:
        encoder: with a method attached.
        pairs: the training split.
        validate: the score of the encoder on validation, once an epoch; higher is better.
        seed: draws the batches and the dropout.
        checkpoint: a file to resume from if it exists, kept up to date during the run. The resumed
            run ends in the weights of an uninterrupted one (bit-equal on the CPU). The curve is
            written beside it; see ``Curve``.
        identity: of the run; a checkpoint of another is refused.
        after_step: called with the number of steps done, after each.
        deadline: on the clock of ``time.monotonic``; training stops after the step at which it has
            passed, and after the checkpoint is written.
        compile: ``off``, ``on`` or ``auto``; else what RSSTUDY_COMPILE says.

    Raises:
        OutOfTime: the deadline has passed.
        Diverged: the loss is no finite number; the message names the step.
        StudyError: the checkpoint belongs to another run or is damaged.
    """
    parameters, steps = trained(encoder), count_batches(pairs, recipe)
    if recipe.epochs == 0 or not parameters:
        return Training([], 0, 0, 0.0)
    if steps == 0:
        raise StudyError("the training split has fewer than two pairs: nothing to contrast")
    how = compile or asked_to_compile()
    with (
        temperature(encoder, objective, parameters),
        own_random(encoder.device, seed),
        compiling(how, recipe, encoder.device) as loss_of,
    ):
        task = Task(encoder, pairs, objective, recipe, validate, seed, after_step, loss_of)
        optimizer = make_optimizer(parameters, recipe)
        leads, total = together().leads, recipe.epochs * steps
        with closing(Curve(checkpoint.parent if checkpoint and leads else None, steps)) as curve:
            state = State(parameters, optimizer, checkpoint, identity, deadline, curve)
            state.resume()
            style: dict[str, Any] = {"unit": "step", "desc": label, "mininterval": 1}
            style |= {"initial": state.epoch * steps + state.step, "total": total}
            with Progress(**style, disable=not (progress and leads)) as bar:
                _epochs(task, state, steps, bar)
        optimizer.zero_grad(set_to_none=True)  # gradients that a graph wrote lie in its memory
        state.take(state.best)
    encoder.eval()
    seconds = sum(row["seconds"] for row in state.history)
    return Training(state.history, state.best_epoch, total, seconds, loss_of.compiled)


def _epochs(task: Task, state: State, steps: int, bar: Progress) -> None:
    """The loop itself, from where the state is; ``steps`` are those of an epoch."""
    encoder, recipe, processes = task.encoder, task.recipe, together()
    bf16 = recipe.precision == "bf16"
    precision = encoder.frozen_as(torch.bfloat16) if bf16 else nullcontext()
    products = bf16_products(encoder.device) if bf16 else nullcontext()
    # The encoder before the first step is a candidate, too.
    if not state.history:
        _judge(task, state, bar)
    for epoch in range(state.epoch, recipe.epochs):
        # Frozen parts stay as they were: only the method's own dropout is on.
        encoder.eval()
        encoder.method.train()
        state.start_clock()
        with precision, products:
            # Show every pair once, but for the steps done before an interruption.
            order = batches(task.pairs, recipe, task.seed, epoch)
            for rows, texts in islice(order, state.step, None):
                done = epoch * steps + state.step
                rate = learning_rate(recipe, done, steps)
                for group in state.optimizer.param_groups:
                    group["lr"] = rate
                # Embed the batch by both towers, compare, and compute the gradients.
                drawn = [task.seed, epoch, state.step]
                shown = inputs(encoder, task.pairs, task.objective, rows, texts, drawn)
                state.optimizer.zero_grad(set_to_none=True)
                loss = add_gradients(encoder, task.objective, recipe, shown, task.loss_of)
                # Add those of other processes, and step.
                processes.add_gradients(state.parameters.values())
                if recipe.clip_norm:
                    nn.utils.clip_grad_norm_(state.parameters.values(), recipe.clip_norm)
                state.optimizer.step()
                if encoder.logit_scale.requires_grad:  # a trained temperature is bounded
                    encoder.logit_scale.data.clamp_(max=LARGEST_LOGIT_SCALE)
                # Count the step; now and then read the losses and write a checkpoint.
                bar.update()
                if state.took(loss, len(rows)):
                    bar.note(epoch=f"{epoch + 1}/{recipe.epochs}", loss=f"{loss.item():.3f}")
                task.after_step(done + 1)
        # Validate, keep the weights if they are the best so far, and write a checkpoint.
        state.read_losses()
        state.epoch += 1
        rate = learning_rate(recipe, state.epoch * steps - 1, steps)
        _judge(task, state, bar, state.losses / steps, rate)
        state.save()


def _judge(
    task: Task, state: State, bar: Progress, loss: float | None = None, rate: float | None = None
) -> None:
    """Validate, and end the epoch with its mean loss and its last learning rate."""
    score = together().first(lambda: task.validate(task.encoder))
    state.end_epoch(score, loss, rate)
    facts = {} if loss is None else {"loss": f"{loss:.3f}"}
    bar.note(epoch=f"{state.epoch}/{task.recipe.epochs}", **facts, validation=f"{score:.2f}")


@contextmanager
def temperature(
    encoder: DualEncoder, objective: Objective, parameters: dict[str, nn.Parameter]
) -> Iterator[None]:
    """Within the block, the temperature is trained if the objective trains it."""
    learned = objective.trains_temperature and not encoder.logit_scale.requires_grad
    if learned:
        encoder.logit_scale.requires_grad_(True)
        parameters["model.logit_scale"] = encoder.logit_scale
    try:
        yield
    finally:
        if learned:
            encoder.logit_scale.requires_grad_(False)


@contextmanager
def own_random(device: torch.device, seed: int) -> Iterator[None]:
    """Within the block, torch draws from this process's own seed.

    The first process draws what one process alone would draw.
    """
    rank = together().rank
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        own = int(np.random.default_rng([seed, rank]).integers(2**62)) if rank else seed
        torch.manual_seed(own)
        yield


def make_optimizer(parameters: dict[str, nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over some parameters; matrices alone decay."""
    matrices = [p for p in parameters.values() if p.dim() > 1]
    vectors = [p for p in parameters.values() if p.dim() <= 1]
    if recipe.optimizer == "adam":
        return torch.optim.Adam([*matrices, *vectors], lr=recipe.learning_rate, fused=True)
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
