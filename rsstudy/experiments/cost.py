"""What training and using a method costs: parameters, bytes, FLOPs, memory, seconds, energy.

``analytic`` counts on the meta device, where nothing is computed: any encoder takes seconds.
What is measured comes from runs (``training_cost``) and from ``study.speed``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rsstudy.encoders import MODALITIES, DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.methods import Method, attach, trained
from rsstudy.objectives import Objective

MEASURED_MEMORY = Path("/proc/self/clear_refs"), Path("/proc/self/status")
BYTES = 4  # of a trained parameter, of its gradient and of each of Adam's two moments: fp32
T = TypeVar("T")


# --- counted -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Analytic:
    """What a method costs on an encoder, counted.

    Attributes:
        image, text, shared: trained parameters that the image embeddings alone depend on, the text
            embeddings alone, or both; the temperature is shared.
        new, own, heads: the same parameters by kind: the method's, the base's, the heads'.
        total: of them all.
        base: parameters of the encoder itself.
        stored_bytes: of a file of the trained parameters, without its header.
        gradient_bytes, optimizer_bytes: of the gradients and of Adam's moments.
        activation_bytes: kept for the backward pass for one pair, in fp32; weights left out. With
            attention written out: an upper bound, since fused attention keeps less.
        image_flops, caption_flops: of encoding one picture, one caption.
        step_flops: of a training step for one pair, forward and backward.
    """

    image: int
    text: int
    shared: int
    new: int
    own: int
    heads: int
    total: int
    base: int
    stored_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    image_flops: int
    caption_flops: int
    step_flops: int


def analytic(
    encoder: str,
    method: Method,
    train_heads: bool = False,
    image_size: int | None = None,
    words: int = 20,
    batch: int = 64,
    objective: Objective | None = None,
) -> Analytic:
    """Count what a method costs on the encoder of that name.

    A multiplication with its addition is two FLOPs, as is usual; what is no matrix product or
    convolution is not counted. Attention is written out, so that its products are.

    Args:
        words: tokens a caption, the ends included; an encoder that reads padding reads its context.
        batch: pairs of the step whose cost is shared out to each; the objective's own products
            grow with it.
        objective: InfoNCE where left out. Two views cost a pair twice the passes.

    Raises:
        StudyError: no such encoder, one that needs real data, or the method does not fit it.
    """
    objective = objective or Objective()
    counted = create(encoder, image_size, meta=True)
    base = sum(p.numel() for p in counted.parameters())
    attach(counted, method, train_heads)
    size = counted.image_size
    images = torch.empty(batch, 3, size, size, dtype=torch.uint8, device="meta")
    text = getattr(counted.model, "text", counted.model)
    context = getattr(text, "context_length", 0) or counted.tokenizer(["a " * 400]).shape[1]
    words = min(words, context) if counted.cuts else context
    tokens = torch.ones(batch, words, dtype=torch.long, device="meta")
    parameters = trained(counted)
    try:
        towers, flops = _towers_and_flops(counted, parameters, images, tokens)
    except NotImplementedError:
        raise StudyError(f"{encoder} cannot be counted: a part of it needs real data") from None
    numbers = {name: p.numel() for name, p in parameters.items()}
    heads = sum(n for name, n in numbers.items() if name in counted.heads)
    base_names = {n for n in numbers if n.startswith("model.") and ".parametrizations." not in n}
    own = sum(numbers[name] for name in base_names) - heads
    total = sum(numbers.values())
    counted.method.train()

    def step() -> None:
        seen = counted.embed_images(images.repeat(objective.views, 1, 1, 1))
        read = counted.embed_texts(tokens.repeat(objective.views, 1))
        loss = objective.loss(seen, read, counted.logit_scale)
        if loss.requires_grad:
            loss.backward()

    with kept_for_backward(counted) as kept:
        _, step_flops = _flops(step)
    by_tower = {kind: 0 for kind in ("image", "text", "shared")}
    for name, kind in towers.items():
        by_tower[kind] += numbers[name]
    return Analytic(
        **by_tower,
        new=total - own - heads,
        own=own,
        heads=heads,
        total=total,
        base=base,
        stored_bytes=BYTES * total,
        gradient_bytes=BYTES * total,
        optimizer_bytes=2 * BYTES * total,
        activation_bytes=bytes_of(kept) // batch,
        image_flops=flops["image"] // batch,
        caption_flops=flops["text"] // batch,
        step_flops=step_flops // batch,
    )


def _towers_and_flops(
    encoder: DualEncoder,
    parameters: Mapping[str, torch.nn.Parameter],
    images: Tensor,
    tokens: Tensor,
) -> tuple[dict[str, str], dict[str, int]]:
    """The embeddings that each trained parameter has a part in (image, text or shared), by name,
    and the FLOPs of each tower; one forward pass of a tower gives both.
    """
    reached: dict[str, set[str]] = {}
    flops: dict[str, int] = {}
    encode = encoder.embed_images, encoder.embed_texts
    for modality, embed, inputs in zip(MODALITIES, encode, (images, tokens), strict=True):
        vectors, flops[modality] = _flops(partial(embed, inputs))
        found: Sequence[Tensor | None] = [None] * len(parameters)
        if vectors.requires_grad:
            found = torch.autograd.grad(vectors.sum(), list(parameters.values()), allow_unused=True)
        reached[modality] = {n for n, g in zip(parameters, found, strict=True) if g is not None}
    both = reached["image"] & reached["text"]
    apart = {name: "shared" for name in (*both, "model.logit_scale")}
    apart |= {n: of for of in ("image", "text") for n in reached[of] - both}
    return {name: apart[name] for name in parameters}, flops


def _flops(work: Callable[[], T]) -> tuple[T, int]:
    """What some work returns, and its FLOPs."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = work()
    return result, counter.get_total_flops()


@contextmanager
def kept_for_backward(encoder: DualEncoder) -> Iterator[dict[int, torch.UntypedStorage]]:
    """Collect what autograd keeps of the forward passes in the block, the weights left out.

    Each piece of memory is collected once; ``bytes_of`` adds them up.
    """
    own = {p.untyped_storage()._cdata for p in encoder.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # kept alive, so that its address stays its own
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def bytes_of(kept: Mapping[int, torch.UntypedStorage]) -> int:
    """The bytes of collected pieces of memory."""
    return sum(storage.nbytes() for storage in kept.values())


# --- measured ----------------------------------------------------------------------------------


def reset_peak_memory(device: torch.device) -> None:
    """Begin anew to measure the peak memory, so that a run is not charged for the ones before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        MEASURED_MEMORY[0].write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Bytes at the peak since the reset: of CUDA's allocator, else resident in the process.

    None where the system cannot tell for one run (only Linux can, of processors).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = MEASURED_MEMORY[1].read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


@dataclass(frozen=True)
class Power:
    """What energy is reckoned with where no counter measures it. Stated, not measured.

    Attributes:
        watts_a_core: of a processor's core at work with its memory; a server processor of 360 W has
            96 cores, to which the memory adds about a third.
        overhead: a computing centre's consumption over its machines' (PUE).
        grams_a_kwh: CO2 equivalent of a kilowatt-hour; about the world's average in 2024.
    """

    watts_a_core: float = 5.0
    overhead: float = 1.2
    grams_a_kwh: float = 445.0


def energy_counter(device: torch.device) -> float | None:
    """Joules that a GPU has used since its driver was loaded, by NVML; None where none counts."""
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(
            f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        )
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except Exception:  # the package is absent, the driver refuses, the card does not count
        return None


def reckoned_energy(seconds: float, cores: int, power: Power | None = None) -> float:
    """Joules of some seconds on so many cores of a processor, by the power model."""
    return seconds * cores * (power or Power()).watts_a_core


def carbon(joules: float, power: Power | None = None) -> float:
    """Grams of CO2 equivalent of some joules at the machine."""
    power = power or Power()
    return joules / 3.6e6 * power.overhead * power.grams_a_kwh


class Meter:
    """Seconds, peak memory and energy of a block: a context manager.

    Attributes:
        seconds, peak_bytes, joules: once the block is over.
        measured: whether a counter gave the joules; else the power model did.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> Meter:
        reset_peak_memory(self.device)
        self.before, self.began = energy_counter(self.device), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds = time.monotonic() - self.began
        self.peak_bytes = peak_memory(self.device)
        after = energy_counter(self.device)
        self.measured = self.before is not None and after is not None
        self.joules = reckoned_energy(self.seconds, torch.get_num_threads())
        if self.before is not None and after is not None:
            self.joules = after - self.before


def training_cost(
    history: Sequence[Mapping[str, float]], steps: int, device: torch.device, stored: Path
) -> dict[str, float | int | None]:
    """The cost entries of a record.

    Args:
        history: of ``rsstudy.training.loop.Training``.
        stored: the file that holds what was trained.
    """
    seconds = sum(row["seconds"] for row in history)
    images = sum(row["images"] for row in history)
    return {
        "train_seconds": round(seconds, 2),
        "seconds_an_epoch": round(seconds / max(sum(row["images"] > 0 for row in history), 1), 3),
        "images_per_second": round(images / seconds, 2) if seconds else 0.0,
        "steps": steps,
        "peak_memory_bytes": peak_memory(device),
        "adapter_bytes": stored.stat().st_size,
    }


# --- when it pays ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """How an adapted model is used: the reader's own numbers.

    Attributes:
        tasks: adapted models kept at a time (data sets, regions, customers).
        updates: how often each is trained anew.
        users: machines that each update is sent to.
    """

    tasks: int = 10
    updates: int = 12
    users: int = 100


def pays_from(base: float, each: float, other: float) -> int | None:
    """The smallest n for which ``base + n * each < n * other``; None if there is none."""
    return None if each >= other else int(base // (other - each)) + 1
