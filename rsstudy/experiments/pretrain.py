"""Pretraining and alignment: make an encoder's towers meet on a set, and keep what changed.

The result is a delta (see ``rsstudy.encoders.delta``) in half precision with its record beside it;
the scores in the record are those of the encoder rebuilt from the stored file.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsstudy import __version__
from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create, tiny_delta
from rsstudy.encoders.delta import DOWN, UP
from rsstudy.errors import StudyError
from rsstudy.evaluation import evaluate, prepare
from rsstudy.experiments.cost import reset_peak_memory, training_cost
from rsstudy.experiments.environment import environment
from rsstudy.experiments.names import identity_of, public_name, slug
from rsstudy.experiments.record import RECORD, read_record, write_record
from rsstudy.experiments.run import CHECKPOINT, RECIPE_VERSION
from rsstudy.experiments.splits import Opened, data_label, open_splits
from rsstudy.files import hold, sha256_of
from rsstudy.methods import attach, count_trained, create_method, trained
from rsstudy.objectives import named_objective
from rsstudy.registry import METHODS, OBJECTIVES
from rsstudy.settings import settings_of
from rsstudy.tensors import save_tensors
from rsstudy.training.loop import train
from rsstudy.training.recipe import SHORT, Recipe

DELTA = "delta.safetensors"

# Where the encoders that this study makes itself start from.
STARTS = {"tiny": "tiny@random", "vits14-minilm": "vits14-minilm@unaligned"}


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """What to pretrain: an encoder, on a set, by a method, with InfoNCE.

    Attributes:
        method: ``lora`` keeps the delta small; ``full`` for small encoders.
        train_heads: train the heads, too (``full`` does anyway).
    """

    encoder: str
    data: str
    method: str
    recipe: Recipe
    method_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    train_heads: bool = True
    seed: int = 0


def usual(encoder: str, data: str | None = None, device: str = "auto") -> Pretraining:
    """The pretraining this study uses for an encoder: full for ``tiny``, low-rank for others.

    ``tiny`` meets generated ground-level scenes, all others Flickr8k, unless ``data`` says else;
    224 px on a GPU, 112 px elsewhere.
    """
    if encoder == "tiny":
        recipe = replace(SHORT, epochs=9, learning_rate=1.5e-3, precision="fp32")
        return Pretraining(encoder, data or "scenes-ground?images=2000", "full", recipe)
    size = 224 if pick_device(device).type == "cuda" else 112
    recipe = replace(SHORT, epochs=4, batch=128, learning_rate=1e-3, image_size=size)
    settings = {"rank": 16, "norms_and_biases": True}
    return Pretraining(encoder, data or "flickr8k", "lora", recipe, settings)


def pretrain(
    what: Pretraining,
    out: Path | None = None,
    data_root: Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> tuple[dict[str, Any], Path]:
    """Make an encoder's delta, unless it is there already.

    Args:
        out: the folder of delta and record; ``tiny`` has its own place in the cache, all others
            ``runs/pretrained/...``.

    Returns:
        the record, and the path of the delta: ``ENCODER+PATH`` names the encoder it makes.

    Raises:
        StudyError: anything named that does not exist or fit.
    """
    started = time.monotonic()
    if "+" in str(out or ""):
        raise StudyError(f"{out}: a + in the folder's name would read as a second delta")
    start = STARTS.get(what.encoder, what.encoder)
    create(start, what.recipe.image_size or None, meta=True)  # an unknown name ends here
    opened = open_splits(what.data, what.recipe, what.seed, data_root)
    whole = opened.whole
    encoder = create(start, what.recipe.image_size or None).to(pick_device(device))
    method = create_method(what.method, what.method_settings)
    objective = named_objective("infonce")
    reset_peak_memory(encoder.device)
    config = {
        "data": data_label(what.data, whole),
        "encoder": public_name(start),
        "method": what.method,
        "method_version": METHODS.versions[what.method],
        "objective": "infonce",
        "objective_version": OBJECTIVES.versions["infonce"],
        "seed": what.seed,
        "train_heads": what.train_heads,
        "image_size": encoder.image_size,
        "method_settings": settings_of(method),
        "objective_settings": settings_of(objective),
        "recipe": settings_of(what.recipe),
        "recipe_version": RECIPE_VERSION,
        "manifest_digest": opened.manifest_digest,
        "pictures_digest": whole.fingerprint(),
        "weights": encoder.weights,
    }
    key = identity_of(config)
    if out is None:
        name = f"{slug(what.encoder)}-{slug(whole.name)}-{key[:8]}"
        # only the usual one is what the name `tiny` stands for
        ours = what.encoder == "tiny" and what == usual("tiny")
        out = tiny_delta().parent if ours else Path("runs/pretrained") / name
    record = _found(out, key)
    if record is None:
        with hold(out, wait=True):
            record = _found(out, key)  # another process may have made it meanwhile
            if record is None:
                record = _align(what, encoder, opened, config, out, started, progress)
    return record, out / DELTA


def _found(out: Path, key: str) -> dict[str, Any] | None:
    """The record of a delta that is there already.

    Raises:
        StudyError: the folder holds another one, and is not the cache's.
    """
    if not (out / RECORD).exists():
        return None
    record = read_record(out / RECORD)
    if record.get("identity") == key and (out / DELTA).exists():
        if record["delta_sha256"] == sha256_of(out / DELTA):
            return record
    elif out != tiny_delta().parent:
        raise StudyError(f"{out} holds another run ({record['id']}): choose another --out")
    return None


def _align(
    what: Pretraining,
    encoder: DualEncoder,
    opened: Opened,
    config: dict[str, Any],
    out: Path,
    started: float,
    progress: bool,
) -> dict[str, Any]:
    """Train, write the delta, score what it makes, and write its record."""
    key, whole = identity_of(config), opened.whole
    method = create_method(what.method, what.method_settings)
    attach(encoder, method, what.train_heads, what.seed)
    outside = [name for name in trained(encoder) if not name.startswith("model.")]
    if outside or not trained(encoder):
        raise StudyError(f"{what.method} leaves no delta of the encoder: use full or lora")
    checkpoint = out / f"{key[:8]}.{CHECKPOINT}"
    counts = count_trained(encoder)
    validation = prepare(encoder, whole.split("val"))
    pairs = prepare(encoder, whole.split("train"))
    training = train(
        encoder,
        pairs,
        named_objective("infonce"),
        what.recipe,
        validate=lambda e: evaluate(e, validation).scores["mean_recall"],
        seed=what.seed,
        checkpoint=checkpoint,
        identity=key,
        label=f"pretraining {what.encoder}",
        progress=progress,
    )
    _write_delta(out / DELTA, encoder)
    start = STARTS.get(what.encoder, what.encoder)
    rebuilt = create(f"{start}+{out / DELTA}", encoder.image_size).to(encoder.device)
    test = prepare(rebuilt, whole.split("test"))
    record = {
        "id": f"pretrain-{slug(what.encoder)}-{slug(whole.name)}-{key[:8]}",
        "identity": key,
        "status": "finished",
        "config": config,
        "trained_parameters": {**dataclasses.asdict(counts), "temperature": 1},
        "dropped_empty_captions": opened.dropped,
        "rsstudy": __version__,
        "environment": environment(encoder.device),
        "best_epoch": training.best_epoch,
        "validation_scores": evaluate(rebuilt, validation).scores,
        "scores": evaluate(rebuilt, test).scores,
        "delta_sha256": sha256_of(out / DELTA),
        "cost": {
            "wall_seconds": round(time.monotonic() - started, 2),
            **training_cost(training.history, training.steps, encoder.device, out / DELTA),
        },
        "history": training.history,
    }
    write_record(out, record)
    checkpoint.unlink(missing_ok=True)
    return record


def _write_delta(path: Path, encoder: DualEncoder) -> None:
    scales = {
        name: module.scale for name, module in encoder.named_modules() if hasattr(module, "scale")
    }
    tensors: dict[str, Tensor] = {"logit_scale": encoder.logit_scale.detach().cpu()}
    for name, parameter in trained(encoder).items():
        value = parameter.detach().cpu()
        low_rank = re.fullmatch(r"model\.(.+)\.parametrizations\.(\w+)\.0\.(up|down)", name)
        if low_rank:
            module, weight, side = low_rank.groups()
            if side == "up":
                value = value * scales[name.rpartition(".")[0]]
            key = f"{module}.{weight}{UP if side == 'up' else DOWN}"
        else:
            key = name.removeprefix("model.")
        tensors[key] = value.to(torch.float16)
    save_tensors(path, tensors)
