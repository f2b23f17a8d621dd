"""One run from end to end: train, choose the epoch on validation, open the test split, record."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rsstudy import __version__
from rsstudy.adapters import ADAPTER, read_adapter, save_adapter
from rsstudy.data.folds import Fold
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import some_of
from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create, encoder_version
from rsstudy.errors import StudyError
from rsstudy.evaluation import Pairs, evaluate, prepare
from rsstudy.experiments.cost import reset_peak_memory, training_cost
from rsstudy.experiments.environment import environment
from rsstudy.experiments.names import identity_of, label_of, objective_label, public_name, slug
from rsstudy.experiments.protocol import Sealed
from rsstudy.experiments.record import RECORD, fold_name, read_record, write_record
from rsstudy.experiments.splits import Opened, data_label, open_splits, query_counts
from rsstudy.files import hold
from rsstudy.methods import (
    Method,
    attach,
    base_name,
    count_trained,
    create_method,
    detach,
    load_trained,
    trained,
)
from rsstudy.objectives import Objective, named_objective
from rsstudy.registry import METHODS, OBJECTIVES
from rsstudy.settings import no_effect, settings_of
from rsstudy.tensors import state_sha256
from rsstudy.training.checkpoint import Diverged
from rsstudy.training.loop import Training, train
from rsstudy.training.parallel import together
from rsstudy.training.recipe import Recipe, default_recipe, recipe_name

# Raised on purpose when the same settings of a recipe come to mean another run.
RECIPE_VERSION = 2
CHECKPOINT = "checkpoint.pt"
# What two runs have in common where one starts from the other.
ALIKE = ("encoder", "image_size", "weights", "method", "method_settings", "train_heads")


@dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        data: a name or path for ``rsstudy.load``, or a set.
        encoder: a name for ``rsstudy.encoders.create``.
        method, objective: names; the settings beside them override their defaults.
        recipe: how to train; where none is given, ``rsstudy.training.recipe.default_recipe``'s.
        train_heads: train the heads beside whatever the method trains.
        seed: draws the method's new weights, the batches and the dropout.
        fold: which part of the set is test, in place of the published splits.
        after: a run, or the folder of a finished one, whose trained weights this one starts from;
            of the same encoder, image size, method and heads.
        also: sets whose test splits are scored, too, once this run's own is.
    """

    data: str | ImageTextSet
    encoder: str
    method: str = "mrs-adapter"
    objective: str = "infonce"
    recipe: Recipe = None  # type: ignore[assignment]
    seed: int = 0
    train_heads: bool = False
    method_settings: Mapping[str, Any] = field(default_factory=dict)
    objective_settings: Mapping[str, Any] = field(default_factory=dict)
    after: Run | Path | None = None
    also: tuple[str, ...] = ()
    fold: Fold | None = None

    def __post_init__(self) -> None:
        """Give the default recipe, and refuse what does not exist or fit.

        Raises:
            StudyError: a method, objective or setting that does not exist or has no effect.
        """
        recipe = self.recipe or default_recipe(self.encoder, self.method, self.data_name)
        object.__setattr__(self, "recipe", recipe)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise StudyError(f"the seed is {self.seed!r}: give a whole number, 0 or more")
        if self.fold is not None and self.recipe.validation != "published":
            raise no_effect("recipe", "validation", "a fold, which has its own validation part")
        _ = self.built_method, self.built_objective  # what does not exist is refused here
        if self.train_heads and getattr(self.built_method, "trains_heads", False):
            raise no_effect("run", "train_heads", f"{self.method}, which trains the heads itself")

    @property
    def data_name(self) -> str:
        """By which the set is found, or of a set that was made by somebody."""
        return self.data if isinstance(self.data, str) else self.data.name

    @cached_property
    def built_method(self) -> Method:
        """The named method with its settings overridden."""
        return create_method(self.method, self.method_settings)

    @cached_property
    def built_objective(self) -> Objective:
        """The named objective with its settings overridden."""
        return named_objective(self.objective, **self.objective_settings)


@dataclass(frozen=True)
class Job:
    """A run and what it is done with.

    Attributes:
        also: the sets that are scored, too, by the names that the record gives them.
        config: what the record says of the run; ``key`` is its identity.
        start: the folder of the run whose trained tensors it starts from.
    """

    run: Run
    opened: Opened
    also: Mapping[str, Opened]
    encoder: DualEncoder
    config: Mapping[str, Any]
    key: str
    name: str
    folder: Path
    progress: bool
    start: Path | None


def execute(
    run: Run,
    out: Path | None = None,
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    progress: bool = True,
    test: bool = True,
    until: tuple[Path, ...] = (),
    deadline: float = math.inf,
) -> tuple[dict[str, Any], Path]:
    """Do a run, unless its record exists already.

    Once the epoch is chosen the record is written, with status ``validated``. Only then is the test
    split opened, and the record written again, with status ``finished``.

    Args:
        out: the run's own folder; ``runs/ID`` when left out.
        data_root: the folder of known sets.
        test: go on to the test split; a later call does so with what this one has trained.
        until: files with further choices (a search's) that the test split is sealed behind.
        deadline: when to stop training, on the clock of ``time.monotonic``.

    Returns:
        the record, and the folder of the record and the trained adapter.

    Raises:
        StudyError: anything in the run that does not exist or fit; ``out`` contains another run;
            the test split is still sealed; the run before it trained something else, or its adapter
            is absent.
        OutOfTime: the deadline passed during training; its checkpoint is kept.
        Diverged: the loss stopped being finite, now or when the run was done before; its record
            has that status.
    """
    started, processes = time.monotonic(), together()
    job = _prepare(run, out, Path(runs), data_root, device, progress, test)
    if processes.first(lambda: job.key) != job.key:
        raise StudyError(
            f"process {processes.rank} would run another run than process 0: give every machine "
            "the same data, weights and version of rsstudy"
        )
    record, done = processes.first(lambda: _on_record(job, test))
    if done:
        if processes.leads and (job.folder / CHECKPOINT).exists():  # a kill came right before this
            with suppress(StudyError), hold(job.folder):
                (job.folder / CHECKPOINT).unlink(missing_ok=True)
        return record, job.folder
    with ExitStack() as stack:

        def take() -> tuple[dict[str, Any], bool]:
            stack.enter_context(hold(job.folder))
            return _on_record(job, test)  # another process may have done it meanwhile

        record, done = processes.first(take)
        if done:
            return record, job.folder
        later = bool(record)  # it has been trained by an earlier call
        untouched = _digest_of(job.encoder) if job.also and not later else ""
        attach(job.encoder, run.built_method, run.train_heads, run.seed)
        if later:
            load_trained(job.encoder, read_adapter(job.folder), str(job.folder / ADAPTER))
            job.encoder.eval()
        else:
            record = _train(job, started, deadline)
        if processes.leads:
            (job.folder / CHECKPOINT).unlink(missing_ok=True)
        if test:
            if later:
                record["tested"] = made_with(job.encoder)
                started -= record["cost"]["wall_seconds"]
            record = processes.first(lambda: _test(job, record, until, started, untouched))
    return record, job.folder


def _prepare(
    run: Run,
    out: Path | None,
    runs: Path,
    data_root: Path | None,
    device: str,
    progress: bool,
    test: bool,
) -> Job:
    """Open the sets, build the encoder, and name the run; do the run before it, if need be."""
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise StudyError(f"{out} is a file: give a folder")
    before, start = None, None
    if isinstance(run.after, Run):
        before, start = execute(run.after, None, runs, data_root, device, progress, test)
    elif run.after is not None:
        start = Path(run.after)
        before = read_record(start / RECORD)
        if before["status"] not in ("validated", "finished"):
            raise StudyError(f"{start} holds a run that is {before['status']}: name another")
    opened = open_splits(run.data, run.recipe, run.seed, data_root, run.fold)
    for split in ("train", "val", "test") if test else ("train", "val"):
        opened.whole.require(split)
    also = _also(run, opened.whole, data_root)
    encoder = create(run.encoder, run.recipe.image_size or None).to(pick_device(device))
    reset_peak_memory(encoder.device)
    config = config_of(run, opened, encoder)
    if before is not None:
        config["after"] = {"data": before["config"]["data"], "identity": before["identity"]}
        if odd := [name for name in ALIKE if config[name] != before["config"][name]]:
            odd_one = odd[0].replace("_", " ")
            raise StudyError(f"a run cannot start from {before['id']}: not the same {odd_one}")
    if also:
        config["also"] = {name: other.manifest_digest for name, other in also.items()}
    key = identity_of(config)
    data, base = slug(str(config["data"])), slug(str(config["encoder"]))
    parts = [data, fold_name(run.fold), base, str(config["method"]), run.objective]
    name = "-".join([*filter(None, parts), f"s{run.seed}", key[:8]])
    folder = runs / name if out is None else Path(out)
    return Job(run, opened, also, encoder, config, key, name, folder, progress, start)


def config_of(run: Run, opened: Opened, encoder: DualEncoder) -> dict[str, Any]:
    """What a record says of its run."""
    version = encoder_version(run.encoder)
    return {
        "data": data_label(run.data, opened.whole),
        "encoder": public_name(run.encoder),
        "method": base_name(run.method),
        "method_version": METHODS.versions[base_name(run.method)],
        "objective": run.objective,
        "objective_version": OBJECTIVES.versions[run.objective],
        "seed": run.seed,
        "train_heads": run.train_heads,
        "image_size": encoder.image_size,
        "fold": opened.fold,
        **({"encoder_version": version} if version > 1 else {}),
        "method_settings": settings_of(run.built_method),
        "objective_settings": settings_of(run.built_objective),
        # The size is above, resolved: however it was asked for, it is the same run.
        "recipe": {**settings_of(run.recipe), "image_size": 0},
        "recipe_version": RECIPE_VERSION,
        "manifest_digest": opened.manifest_digest,
        "pictures_digest": opened.whole.fingerprint(),
        "weights": encoder.weights,
    }


def _also(run: Run, own: ImageTextSet, data_root: Path | None) -> dict[str, Opened]:
    """The sets that a run is scored on beside its own, by the names that its record gives them."""
    published = replace(run.recipe, validation="published")
    found: dict[str, Opened] = {}
    for name in run.also:
        # pictures are grouped for training; other sets are only scored
        fold = run.fold and replace(run.fold, grouped=False)
        opened = open_splits(name, published, run.seed, data_root, fold)
        opened.whole.require("test")
        label = data_label(name, opened.whole)
        if label == data_label(run.data, own):
            raise StudyError(f"{label} is the set that is trained on, and scored as it is")
        if label in found:
            raise StudyError(f"{label} is named twice among the sets to score")
        found[label] = opened
    return found


def _digest_of(encoder: DualEncoder) -> str:
    """sha256 over the base's tensors, without the temperature, which ranks nothing."""
    return state_sha256(encoder.model, but="logit_scale")


def _on_record(job: Job, test: bool) -> tuple[dict[str, Any], bool]:
    """A run's record, empty if it has none, and whether nothing is left to do.

    A record of a run that is to be tested, and whose adapter is absent, does not count: the run is
    trained again.
    """
    folder, adapter = job.folder, job.folder / ADAPTER
    if not (folder / RECORD).exists():
        return {}, False
    record = read_record(folder / RECORD)
    status = record["status"]
    if record.get("identity") != job.key:
        raise StudyError(f"{folder} holds another run ({record['id']}): choose another --out")
    if status == "diverged":
        raise Diverged(f"{record['reason']} (on record; delete {folder} to try again)")
    if status not in ("validated", "finished"):
        raise StudyError(f"{folder / RECORD} is not a record (status {status!r})")
    if status == "validated" and test and not adapter.exists():
        return {}, False
    size = record.get("cost", {}).get("adapter_bytes")
    if size is not None and adapter.exists() and adapter.stat().st_size != size:
        raise StudyError(
            f"{adapter} is damaged: {adapter.stat().st_size} bytes, on record {size}; "
            f"delete {folder} and run again"
        )
    return record, status == "finished" or not test


def made_with(encoder: DualEncoder) -> dict[str, Any]:
    """What a record says of the program and the machine."""
    return {"rsstudy": __version__, "environment": environment(encoder.device)}


def fit(
    job: Job, checkpoint: Path, label: str, deadline: float = math.inf
) -> tuple[Training, Pairs, Pairs]:
    """Train, and leave the encoder at the epoch that validation prefers.

    Returns:
        the training, and the prepared pairs of training and of validation.
    """
    run, encoder, whole = job.run, job.encoder, job.opened.whole
    validation = prepare(encoder, whole.split("val"))
    shown = some_of(whole.split("train"), run.recipe.fraction, run.seed)
    pairs = prepare(encoder, shown) if trained(encoder) else validation
    training = train(
        encoder,
        pairs,
        run.built_objective,
        run.recipe,
        validate=lambda e: evaluate(e, validation).scores["mean_recall"],
        seed=run.seed,
        checkpoint=checkpoint,
        identity=job.key,
        label=label,
        progress=job.progress,
        deadline=deadline,
    )
    return training, pairs, validation


def _train(job: Job, started: float, deadline: float) -> dict[str, Any]:
    """Train, keep what was trained, and record it; that the loss diverged is recorded, too."""
    run, encoder, processes = job.run, job.encoder, together()
    if job.start is not None:
        load_trained(encoder, read_adapter(job.start), str(job.start / ADAPTER))
    record = {
        "id": job.name,
        "label": label_of(run),
        "objective_label": objective_label(run),
        "identity": job.key,
        "status": "validated",
        "recipe": recipe_name(run.recipe),
        "config": job.config,
        "trained_parameters": _trained_parameters(encoder, run.built_objective),
        "dropped_empty_captions": job.opened.dropped,
        **made_with(encoder),
    }
    saved, label = trained(encoder), f"{run.method} {run.objective} s{run.seed}"
    try:
        training, pairs, validation = fit(job, job.folder / CHECKPOINT, label, deadline)
    except Diverged as problem:
        if processes.leads:
            reason = {"status": "diverged", "reason": str(problem)}
            write_record(job.folder, {**record, **reason})
        raise

    def keep() -> dict[str, Any]:
        chosen = evaluate(encoder, validation).scores  # before the memory taken is asked for
        save_adapter(encoder, job.folder, **adapter_config(run, job.key))
        adapter = job.folder / ADAPTER
        cost = training_cost(training.history, training.steps, encoder.device, adapter)
        record.update(
            best_epoch=training.best_epoch,
            validation_scores=chosen,
            pixel_digests={
                **({"train": pairs.pixel_digest} if saved else {}),
                "val": validation.pixel_digest,
            },
            cost={"wall_seconds": round(time.monotonic() - started, 2), **cost},
            history=training.history,
        )
        record["environment"] |= {"compiled": training.compiled}
        write_record(job.folder, record)
        return record

    return processes.first(keep)


def _test(
    job: Job, record: dict[str, Any], until: tuple[Path, ...], started: float, untouched: str
) -> dict[str, Any]:
    """Open the test split, and write the record with its scores.

    Args:
        untouched: the digest of the base before training, where other sets are scored, too.
    """
    split = Sealed(job.opened.whole, (job.folder / RECORD, *until)).open()
    pairs = prepare(job.encoder, split)
    result = evaluate(job.encoder, pairs, job.progress)
    record["cost"]["wall_seconds"] = round(time.monotonic() - started, 2)
    record["pixel_digests"]["test"] = pairs.pixel_digest
    record.update(
        status="finished",
        scores=result.scores,
        scores_relaxed=result.scores_relaxed,
        test_queries=query_counts(result, pairs.image_of, split.classes),
    )
    if job.also:
        record.update(_elsewhere(job, untouched))
    write_record(job.folder, record)
    return record


def _elsewhere(job: Job, untouched: str) -> dict[str, Any]:
    """Scores on the test splits of other sets, and what is left once the method is taken off.

    The encoder comes back as its base: the method is taken off. ``base_equal`` says whether the
    base is bit for bit what it was before training; in a resumed run, before it was resumed; None
    where another call trained. ``reread`` counts the base's tensors that the method had trained,
    and that were read again from the base's own files.
    """
    scored = {}
    for name, other in job.also.items():
        split = other.whole.split("test")
        pairs = prepare(job.encoder, split)
        result = evaluate(job.encoder, pairs, job.progress)
        scored[name] = {
            "scores": result.scores,
            "scores_relaxed": result.scores_relaxed,
            "pixel_digest": pairs.pixel_digest,
            "test_queries": query_counts(result, pairs.image_of, split.classes, relaxed=False),
        }
    reread = detach(job.encoder)
    equal = _digest_of(job.encoder) == untouched if untouched else None
    return {"elsewhere": scored, "removed": {"base_equal": equal, "reread": len(reread)}}


def _trained_parameters(encoder: DualEncoder, objective: Objective) -> dict[str, int]:
    """What is trained, of method and heads apart; the temperature is counted beside the total."""
    counts = count_trained(encoder)
    temperature = (
        objective.trains_temperature
        and counts.total > 0
        and "model.logit_scale" not in trained(encoder)
    )
    return {**dataclasses.asdict(counts), "temperature": int(temperature)}


def adapter_config(run: Run, key: str) -> dict[str, Any]:
    """What an adapter's configuration says of the run that trained it, beside its encoder."""
    return {
        "method": run.method,
        "validation": run.recipe.validation,
        "seed": run.seed,
        "fold": None if run.fold is None else dataclasses.asdict(run.fold),
        "run": key,
    }
