"""The training loop: one for every method, objective, encoder and device.

What is frozen costs nothing it need not: autograd is asked for no gradient of frozen weights, walks
back no further than the first trained place, and the optimizer holds trained parameters alone.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from rsstudy.encoders import DualEncoder
from rsstudy.encoders.attention import fast_attention
from rsstudy.errors import StudyError
from rsstudy.evaluation import Pairs, take
from rsstudy.files import whole_file
from rsstudy.methods import trained
from rsstudy.objectives import Objective, Share, false_negatives
from rsstudy.settings import checked, no_effect
from rsstudy.training.parallel import together

CHECKPOINT_SECONDS = 120.0
LARGEST_LOGIT_SCALE = math.log(100)  # as CLIP clips it


Samples = Literal["images", "captions"]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Diverged(StudyError):
    """The loss stopped being a finite number."""


class OutOfTime(StudyError):
    """The time that was given is over; the checkpoint holds what has been done."""


@checked
@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the paper's, with one caption of each picture an epoch.

    Attributes:
        epochs: passes over the training split.
        batch: pairs a step.
        samples: an epoch shows each image once with one of its captions drawn at random, or each
            caption once with its image (the paper: five times as many steps).
        optimizer: Adam, or AdamW.
        weight_decay: of AdamW, on matrices alone.
        learning_rate: at its height.
        schedule: ``constant``, ``cosine`` to zero, or ``step``.
        step_epoch, step_factor: the schedule ``step`` multiplies the learning rate by this factor
            from this epoch on, the first being 1 (the paper: by 0.7 from the 20th).
        warmup: share of all steps over which the learning rate rises from zero.
        clip_norm: largest norm of the gradient; 0 for no clipping.
        precision: of the forward pass: ``bf16`` autocast or ``fp32``.
        image_size: pixels a side; 0 for the encoder's own.
        validation: the published split, or a random 20 % of train and val (the paper).
        fraction: share of the training pictures that is shown, drawn with the seed.
    """

    kind: ClassVar[str] = "recipe"

    epochs: Annotated[int, Field(ge=0)] = 30
    batch: Annotated[int, Field(ge=2)] = 16
    samples: Samples = "images"
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: NotNegative = 2e-4
    weight_decay: NotNegative = 0.0
    schedule: Literal["constant", "cosine", "step"] = "step"
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.0
    step_epoch: Annotated[int, Field(ge=1)] = 20
    step_factor: NotNegative = 0.7
    clip_norm: NotNegative = 0.0
    precision: Literal["fp32", "bf16"] = "bf16"
    image_size: Annotated[int, Field(ge=0)] = 0
    validation: Literal["published", "random"] = "published"
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    def check(self) -> None:
        """Refuse what has no effect.

        Raises:
            StudyError: naming it.
        """
        if self.optimizer == "adam" and self.weight_decay:
            raise no_effect("recipe", "weight_decay", "optimizer adam (adamw decays)")
        given = self.step_factor != Recipe.step_factor
        if given and self.schedule == "step" and self.step_epoch > self.epochs:
            raise no_effect("recipe", "step_factor", f"{self.epochs} epochs, before the step")
        if self.schedule != "step":
            for name in ("step_epoch", "step_factor"):
                if getattr(self, name) != getattr(Recipe, name):
                    raise no_effect("recipe", name, f"schedule {self.schedule}")


@dataclass(frozen=True)
class Training:
    """What a training run leaves; the encoder holds the weights of the best epoch.

    Attributes:
        history: one row an epoch: loss (mean over steps), learning_rate (last), mean_recall on
            validation (percent), seconds (training alone), images (shown). Epoch 0 is the encoder
            as it was before the first step: it has no loss and no learning rate (None).
        best_epoch: the epoch whose weights are kept; 0 where training made nothing better.
        steps: optimizer steps in all.
        seconds: of training, validation left out.
    """

    history: list[dict[str, float]]
    best_epoch: int
    steps: int
    seconds: float


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else Apple's MPS, else the CPU.

    Raises:
        StudyError: the named device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("it must be auto, cpu, cuda, cuda:1 (and so on) or mps")
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as problem:
        raise StudyError(f"no device {name!r} here: {str(problem).splitlines()[0]}") from None
    return torch.device(name)


def batches(
    pairs: Pairs, recipe: Recipe, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch as (image rows, text rows); a single pair at the end is left out.

    They depend on seed and epoch alone, so that a resumed run sees the same ones.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(pairs.text_of))
    if recipe.samples == "images":  # of each image, the caption that the shuffle brings first
        _, first = np.unique(pairs.image_of[order], return_index=True)
        order = order[np.sort(first)]
    for start in range(0, len(order), recipe.batch):
        captions = order[start : start + recipe.batch]
        if len(captions) > 1:
            yield pairs.image_of[captions], pairs.text_of[captions]


def count_batches(pairs: Pairs, recipe: Recipe) -> int:
    """How many batches of two pairs or more ``batches`` yields."""
    items = pairs.image_of if recipe.samples == "captions" else np.unique(pairs.image_of)
    full, rest = divmod(len(items), recipe.batch)
    return full + (rest > 1)


def learning_rate(recipe: Recipe, step: int, steps_an_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole run."""
    total = recipe.epochs * steps_an_epoch
    warm = int(recipe.warmup * total)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
    if recipe.schedule == "step" and step // steps_an_epoch + 1 >= recipe.step_epoch:
        return recipe.learning_rate * recipe.step_factor
    return recipe.learning_rate


def batch_loss(
    encoder: DualEncoder,
    objective: Objective,
    recipe: Recipe,
    images: Tensor,
    tokens: Tensor,
    second_tokens: Tensor | None = None,
    not_negative: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """The loss of one batch: images (B, 3, S, S) uint8 and their captions' tokens (B, L).

    Where the objective wants two views, both go through the towers in one pass.

    Args:
        second_tokens: the second view's captions, if they are others.
        not_negative: (B, B) pairs that are no negatives; see ``objectives.false_negatives``.
        share: which rows of the batch these are, if other processes have the rest.
    """
    views = objective.views
    dropping = (
        encoder.token_dropout(
            objective.token_dropout, len(images), objective.token_dropout_of == "tokens"
        )
        if views == 2
        else nullcontext()
    )
    autocast = torch.autocast(
        encoder.device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"
    )
    if views == 2:
        again = augmented(images) if objective.augment_images else images
        images = torch.cat([images, again])
        tokens = torch.cat([tokens, tokens if second_tokens is None else second_tokens])
    with autocast, dropping, fast_attention(encoder.device):
        seen = encoder.embed_images(images)
        read = encoder.embed_texts(tokens)
    return objective.loss(seen, read, encoder.logit_scale, not_negative, share)


def augmented(images: Tensor) -> Tensor:
    """Each picture cropped (half of its area at least), flipped and turned by quarters at random.

    uint8 (B, 3, S, S) in and out. A picture from above has no upright: all eight orientations are
    its own.
    """
    from torchvision.transforms import v2  # with the other imports of torchvision: see compat

    crop = v2.RandomResizedCrop(images.shape[-1], scale=(0.5, 1.0), antialias=True)
    turned = []
    for image in images:
        quarters, mirror = torch.randint(4, ()).item(), torch.rand(()).item() < 0.5
        image = torch.rot90(crop(image), int(quarters), (1, 2))
        turned.append(image.flip(2) if mirror else image)
    return torch.stack(turned)


def siblings(pairs: Pairs, images: np.ndarray, texts: np.ndarray, seed: list[int]) -> np.ndarray:
    """For each caption of a batch another of its image, drawn at random; itself if there is none.

    Args:
        images, texts: rows of the batch's images and texts.

    Returns:
        rows of texts, one for each of ``texts``.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for image, text in zip(images, texts, strict=True):
        first, last = np.searchsorted(pairs.image_of, [image, image + 1])
        others = pairs.text_of[first:last]
        others = others[others != text]
        drawn.append(random.choice(others) if len(others) else text)
    return np.array(drawn)


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
) -> Training:
    """Train what an attached method declared, and leave the encoder at its best epoch.

    Where torchrun has started several processes, each embeds its rows of every batch; batches and
    their gradients are those of one process, and dropout is drawn by each for its rows.

    Args:
        encoder: with a method attached.
        pairs: the training split.
        validate: the score of the encoder on validation, higher is better, asked for once an epoch.
        seed: draws the batches and the dropout.
        checkpoint: a file to resume from if it is there; kept up to date during the run. The
            resumed run ends in the weights of an uninterrupted one (bit-equal on the CPU).
        identity: of the run; a checkpoint of another is refused.
        after_step: called with the number of steps done, after each.
        deadline: on the clock of ``time.monotonic``; when it has passed, training stops behind a
            step, once the checkpoint is written.

    Raises:
        OutOfTime: the deadline has passed.
        Diverged: the loss is no finite number; the message names the step.
        StudyError: the checkpoint belongs to another run or is damaged.
    """
    parameters = trained(encoder)
    if recipe.epochs == 0 or not parameters:
        return Training([], 0, 0, 0.0)
    learns_temperature = objective.trains_temperature and not encoder.logit_scale.requires_grad
    if learns_temperature:
        encoder.logit_scale.requires_grad_(True)
        parameters["model.logit_scale"] = encoder.logit_scale
    steps_an_epoch = count_batches(pairs, recipe)
    if steps_an_epoch == 0:
        raise StudyError("the training split has fewer than two pairs: nothing to contrast")
    optimizer = make_optimizer(parameters, recipe)
    processes = together()
    state: dict[str, Any] = {
        "identity": identity,
        "epoch": 0,
        "step": 0,
        "losses": 0.0,
        "epoch_seconds": 0.0,
        "images": 0,
        "history": [],
        "best_epoch": 0,
        "best_score": -math.inf,
        "best": {},
    }

    def judge(loss: float | None, rate: float | None) -> None:
        """Validate, add the epoch to the history, and keep its weights if they are the best."""
        epoch, score = state["epoch"], processes.first(lambda: validate(encoder))
        if not math.isfinite(score):
            raise Diverged(f"the score on validation is {score} after epoch {epoch}")
        state["history"].append(
            {
                "epoch": epoch,
                "loss": loss,
                "learning_rate": rate,
                "mean_recall": score,
                "seconds": state["epoch_seconds"],
                "images": state["images"],
            }
        )
        bar.set_postfix(epoch=epoch, validation=f"{score:.2f}")
        if score > state["best_score"]:
            state["best_epoch"], state["best_score"] = epoch, score
            state["best"] = {n: p.detach().cpu().clone() for n, p in parameters.items()}
        state.update(step=0, losses=0.0, epoch_seconds=0.0, images=0)

    def settle(pending: list[Tensor], began: float) -> None:
        """Read the losses back, which waits for the device, and look at each."""
        first = state["step"] - len(pending)
        losses = processes.add(torch.stack(pending)).tolist() if pending else []
        for at, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} at step {first + at + 1} of epoch "
                    f"{state['epoch'] + 1}: try a lower learning rate or fp32 precision"
                )
            state["losses"] += loss
        state["epoch_seconds"] += time.monotonic() - began

    devices = [encoder.device] if encoder.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_own_seed(seed, processes.rank))
        if checkpoint is not None:
            stored = processes.first(lambda: _read(checkpoint, identity, parameters, optimizer))
            if stored is not None:
                state = _resume(stored, parameters, optimizer, encoder.device, processes.rank)
        with tqdm(
            total=recipe.epochs * steps_an_epoch,
            unit="step",
            desc=label,
            disable=not (progress and processes.leads),
            initial=state["epoch"] * steps_an_epoch + state["step"],
            mininterval=1,
        ) as bar:
            saved = time.monotonic()

            def due() -> bool:
                now = time.monotonic()
                late = now - saved > CHECKPOINT_SECONDS or now > deadline
                return checkpoint is not None and late

            if not state["history"]:
                judge(None, None)
            while state["epoch"] < recipe.epochs:
                encoder.eval()  # what is frozen stays as it was
                encoder.method.train()  # only the method's own dropout is on
                pending, began = [], time.monotonic()
                storing = (
                    encoder.frozen_as(torch.bfloat16)
                    if recipe.precision == "bf16"
                    else nullcontext()
                )
                with storing:
                    for number, (rows, texts) in enumerate(
                        batches(pairs, recipe, seed, state["epoch"])
                    ):
                        if number < state["step"]:
                            continue  # done before the interruption
                        done = state["epoch"] * steps_an_epoch + number
                        rate = learning_rate(recipe, done, steps_an_epoch)
                        for group in optimizer.param_groups:
                            group["lr"] = rate
                        others = texts
                        if objective.sibling_captions:
                            others = siblings(pairs, rows, texts, [seed, state["epoch"], number])
                        share = processes.share(len(rows))
                        mine = slice(None)
                        if share is not None:  # one without rows embeds one that does not count
                            first = share.first if share.rows else 0
                            mine = slice(first, first + max(share.rows, 1))
                        images = take(pairs.images, rows[mine])
                        images = images.to(encoder.device, non_blocking=True)
                        tokens, other_tokens = pairs.words(texts[mine], others[mine])
                        loss = batch_loss(
                            encoder,
                            objective,
                            recipe,
                            images,
                            tokens,
                            other_tokens if objective.sibling_captions else None,
                            _shared(rows, texts, others, encoder.device)
                            if objective.mask_false_negatives
                            else None,
                            share,
                        )
                        optimizer.zero_grad(set_to_none=True)
                        loss.backward()
                        processes.add_gradients(parameters.values())
                        if recipe.clip_norm:
                            nn.utils.clip_grad_norm_(parameters.values(), recipe.clip_norm)
                        optimizer.step()
                        if encoder.logit_scale.requires_grad:
                            with torch.no_grad():
                                encoder.logit_scale.clamp_(max=LARGEST_LOGIT_SCALE)
                        pending.append(loss.detach())
                        state["images"] += len(rows)
                        state["step"] = number + 1
                        bar.update()
                        # clocks differ: several processes agree on when to save here alone
                        if len(pending) == 20 or (processes.size == 1 and due()):
                            settle(pending, began)
                            pending, began = [], time.monotonic()
                            bar.set_postfix(epoch=state["epoch"] + 1, loss=f"{loss.item():.3f}")
                            if processes.first(due):
                                _save(checkpoint, state, parameters, optimizer, devices)
                                saved = time.monotonic()
                                if time.monotonic() > deadline:
                                    raise OutOfTime(
                                        f"{label}: out of time in epoch {state['epoch'] + 1}"
                                    )
                        after_step(done + 1)
                settle(pending, began)
                last = (state["epoch"] + 1) * steps_an_epoch - 1
                state["epoch"] += 1
                judge(state["losses"] / steps_an_epoch, learning_rate(recipe, last, steps_an_epoch))
                if checkpoint is not None:
                    _save(checkpoint, state, parameters, optimizer, devices)
                    saved = time.monotonic()
    with torch.no_grad():
        for name, value in state["best"].items():
            parameters[name].copy_(value)
    if learns_temperature:
        encoder.logit_scale.requires_grad_(False)
    encoder.eval()
    return Training(
        history=state["history"],
        best_epoch=state["best_epoch"],
        steps=recipe.epochs * steps_an_epoch,
        seconds=sum(row["seconds"] for row in state["history"]),
    )


def _shared(
    images: np.ndarray, texts: np.ndarray, others: np.ndarray, device: torch.device
) -> Tensor:
    ids = (torch.as_tensor(rows, device=device) for rows in (images, texts, others))
    return false_negatives(*ids)


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


def _own_seed(seed: int, rank: int) -> int:
    """Of a process's dropout: the first draws what one process alone would."""
    return int(np.random.default_rng([seed, rank]).integers(2**62)) if rank else seed


def _save(path, state, parameters, optimizer, devices) -> None:
    """Write a checkpoint, from the first process, with the random state of every one."""
    processes = together()
    everything = {
        **state,
        "trained": {name: p.detach().cpu() for name, p in parameters.items()},
        "optimizer": optimizer.state_dict(),
        "random": processes.all(torch.get_rng_state()),
        "device_random": [processes.all(torch.cuda.get_rng_state(device)) for device in devices],
    }

    def write() -> None:
        with whole_file(path) as temporary:
            try:
                torch.save(everything, temporary)
            except RuntimeError as problem:  # how torch reports a full disk
                raise OSError(str(problem).splitlines()[0]) from problem

    processes.first(write)


def _read(path: Path, identity: str, parameters, optimizer) -> dict[str, Any] | None:
    """A checkpoint, if there is one.

    Raises:
        StudyError: it is damaged or belongs to another run; nothing has been changed then.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums, and does not read them
            if archive.testzip() is not None:
                raise ValueError("a checksum differs")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["identity"] == identity:
            shapes = {name: value.shape for name, value in state["trained"].items()}
            if shapes != {name: p.shape for name, p in parameters.items()}:
                raise ValueError("it holds other parameters")
            if isinstance(state["random"], Tensor):  # from before there were several processes
                state["random"] = [state["random"]]
                state["device_random"] = [[one] for one in state["device_random"]]
            groups = state["optimizer"]["param_groups"]
            if len(groups) != len(optimizer.param_groups) or not state["random"]:
                raise ValueError("it holds another optimizer")
    except FileNotFoundError:
        return None
    except Exception as problem:  # zip, pickle and torch each report damage in their own ways
        why = str(problem) if type(problem) is ValueError else type(problem).__name__
        raise StudyError(
            f"the checkpoint {path} is damaged ({why}): delete it to start anew"
        ) from None
    if state["identity"] != identity:
        raise StudyError(f"{path} belongs to another run: choose another folder or delete it")
    return state


def _resume(state, parameters, optimizer, device, rank: int) -> dict[str, Any]:
    """Go back to a checkpoint; a process that was not there then keeps its own random state."""
    with torch.no_grad():
        for name, value in state.pop("trained").items():
            parameters[name].copy_(value)
    optimizer.load_state_dict(state.pop("optimizer"))
    random, device_random = state.pop("random"), state.pop("device_random")
    if rank < len(random):
        torch.set_rng_state(random[rank])
    for saved in device_random:
        if device.type == "cuda" and rank < len(saved):
            torch.cuda.set_rng_state(saved[rank], device)
    return state
