"""Pretraining and alignment: make an encoder's towers meet on a set, and keep what changed.

A pretraining is a run with InfoNCE whose result is a delta (see ``rsstudy.encoders.delta``) in half
precision. Its record has the scores of the encoder rebuilt from the stored file.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create, tiny_delta
from rsstudy.encoders.delta import DOWN, UP
from rsstudy.errors import StudyError
from rsstudy.evaluation import evaluate, prepare
from rsstudy.experiments.cost import reset_peak_memory, training_cost
from rsstudy.experiments.names import identity_of, slug
from rsstudy.experiments.record import RECORD, read_record, write_record
from rsstudy.experiments.run import CHECKPOINT, Job, Run, config_of, fit, made_with
from rsstudy.experiments.splits import open_splits
from rsstudy.files import hold, sha256_of
from rsstudy.methods import attach, count_trained, trained
from rsstudy.settings import no_effect, settings_of
from rsstudy.tensors import save_tensors
from rsstudy.training.recipe import SHORT

DELTA = "delta.safetensors"

# Where the encoders that this study makes itself start from.
STARTS = {"tiny": "tiny@random", "vits14-minilm": "vits14-minilm@unaligned"}


@dataclass(frozen=True)
class Pretraining(Run):
    """A run that makes a delta. ``lora`` keeps it small; ``full`` is for small encoders."""

    train_heads: bool = True

    def __post_init__(self) -> None:
        """``full`` trains the heads in any case: here that is no reason to refuse ``train_heads``.

        Raises:
            StudyError: no such method or setting, no recipe, or a field that has no effect here.
        """
        _ = self.built_method, self.built_objective
        if self.recipe is None:
            raise StudyError("a pretraining needs a recipe: give one, or start from ``usual``")
        for name in ("after", "also", "fold"):
            if getattr(self, name):
                raise no_effect("pretraining", name, "a delta of the encoder")


def usual(encoder: str, data: str | None = None, device: str = "auto") -> Pretraining:
    """The pretraining this study uses for an encoder: full for ``tiny``, low-rank for others.

    ``tiny`` meets generated ground-level scenes, all others Flickr8k, unless ``data`` says else;
    224 px on a GPU, 112 px elsewhere.
    """
    if encoder == "tiny":
        recipe = replace(SHORT, epochs=9, learning_rate=1.5e-3, precision="fp32")
        return Pretraining(data or "scenes-ground?images=2000", encoder, "full", recipe=recipe)
    size = 224 if pick_device(device).type == "cuda" else 112
    recipe = replace(SHORT, epochs=4, batch=128, learning_rate=1e-3, image_size=size)
    settings = {"rank": 16, "norms_and_biases": True}
    data = data or "flickr8k"
    return Pretraining(data, encoder, "lora", recipe=recipe, method_settings=settings)


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
    run = replace(what, encoder=STARTS.get(what.encoder, what.encoder))
    size = run.recipe.image_size or None
    create(run.encoder, size, meta=True)  # an unknown name ends here
    opened = open_splits(run.data, run.recipe, run.seed, data_root)
    encoder = create(run.encoder, size).to(pick_device(device))
    reset_peak_memory(encoder.device)
    # The configuration of a pretraining has no fold, and the size as it was asked for.
    config = {**config_of(run, opened, encoder), "recipe": settings_of(run.recipe)}
    del config["fold"]
    key = identity_of(config)
    name = f"{slug(what.encoder)}-{slug(opened.whole.name)}-{key[:8]}"
    if out is None:
        # only the usual one is what the name `tiny` stands for
        ours = what.encoder == "tiny" and what == usual("tiny")
        out = tiny_delta().parent if ours else Path("runs/pretrained") / name
    job = Job(run, opened, {}, encoder, config, key, f"pretrain-{name}", out, progress, None)
    record = _found(out, key)
    if record is None:
        with hold(out, wait=True):
            # another process may have made it meanwhile
            record = _found(out, key) or _align(job, f"pretraining {what.encoder}", started)
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


def _align(job: Job, label: str, started: float) -> dict[str, Any]:
    """Train, write the delta, score what it makes, and write its record."""
    run, encoder, out = job.run, job.encoder, job.folder
    attach(encoder, run.built_method, run.train_heads, run.seed)
    outside = [name for name in trained(encoder) if not name.startswith("model.")]
    if outside or not trained(encoder):
        raise StudyError(f"{run.method} leaves no delta of the encoder: use full or lora")
    counts = count_trained(encoder)
    checkpoint = out / f"{job.key[:8]}.{CHECKPOINT}"
    training, _, validation = fit(job, checkpoint, label)
    _write_delta(out / DELTA, encoder)
    rebuilt = create(f"{run.encoder}+{out / DELTA}", encoder.image_size).to(encoder.device)
    test = prepare(rebuilt, job.opened.whole.split("test"))
    record = {
        "id": job.name,
        "identity": job.key,
        "status": "finished",
        "config": job.config,
        "trained_parameters": {**dataclasses.asdict(counts), "temperature": 1},
        "dropped_empty_captions": job.opened.dropped,
        **made_with(encoder),
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
