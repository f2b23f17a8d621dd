"""One run from end to end: train, choose the epoch on validation, open the test split, record."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rsstudy import __version__
from rsstudy.adapters import ADAPTER, read_adapter, read_adapter_config, save_adapter
from rsstudy.data.folds import Fold, as_fold, assignment_digest
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import hold_out_validation, load, some_of, usable
from rsstudy.devices import pick_device
from rsstudy.encoders import ENCODER_VERSIONS, DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.evaluation import Evaluation, Pairs, evaluate, prepare
from rsstudy.experiments.cost import reset_peak_memory, training_cost
from rsstudy.experiments.protocol import Sealed
from rsstudy.experiments.record import (
    RECORD,
    environment,
    fold_name,
    identity,
    read_record,
    write_record,
)
from rsstudy.files import hold
from rsstudy.methods import (
    METHOD_VERSIONS,
    PRESETS,
    attach,
    base_name,
    count_trained,
    create_method,
    detach,
    load_trained,
    trained,
)
from rsstudy.objectives import OBJECTIVE_VERSIONS, Objective, named_objective
from rsstudy.retrieval import Ranks
from rsstudy.settings import no_effect, settings_from, settings_of
from rsstudy.training.checkpoint import Diverged
from rsstudy.training.loop import train
from rsstudy.training.parallel import together
from rsstudy.training.recipe import Recipe, default_recipe, recipe_name

# Raised on purpose when the same settings of a recipe come to mean another run.
RECIPE_VERSION = 2

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        data: a name or path for ``rsstudy.data.load``.
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

    data: str
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
        recipe = self.recipe or default_recipe(self.encoder, self.method, self.data)
        object.__setattr__(self, "recipe", recipe)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise StudyError(f"the seed is {self.seed!r}: give a whole number, 0 or more")
        if self.fold is not None and self.recipe.validation != "published":
            raise no_effect("recipe", "validation", "a fold, which has its own validation part")
        method = create_method(self.method, self.method_settings)
        if self.train_heads and getattr(method, "trains_heads", False):
            raise no_effect("run", "train_heads", f"{self.method}, which trains the heads itself")
        self.resolved_objective()

    def resolved_objective(self) -> Objective:
        """The named objective with its settings overridden."""
        default = settings_of(named_objective(self.objective))
        objective: Objective = settings_from(
            self.objective, Objective, {**default, **self.objective_settings}
        )
        return objective


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
    """Do a run, unless its record is there already.

    Once the epoch is chosen the record is written, with status ``validated``; only then is the test
    split opened, and the record written again, with status ``finished``. A finished record from
    before the relaxed protocol is scored once more, where its adapter lies beside it.

    Args:
        out: the run's own folder; ``runs/ID`` when left out.
        data_root: where known sets lie.
        test: go on to the test split; a later call does so with what this one has trained.
        until: files with further choices (a search's) that the test split is sealed behind.
        deadline: when to stop training, on the clock of ``time.monotonic``.

    Returns:
        the record, and the folder that holds it beside the trained adapter.

    Raises:
        StudyError: anything in the run that does not exist or fit; ``out`` holds another run; the
            test split is sealed still; a finished run, scored once more, has other scores; the run
            before it trained something else, or its adapter is gone.
        OutOfTime: the deadline passed while it was training; its checkpoint is kept.
        Diverged: the loss stopped being finite, now or when the run was done before; its record
            has that status.
    """
    before, before_folder = _before(run, runs, data_root, device, progress, test)
    started = time.monotonic()
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise StudyError(f"{out} is a file: give a folder")
    method = create_method(run.method, run.method_settings)
    objective = run.resolved_objective()
    opened = open_splits(run.data, run.recipe, run.seed, data_root, run.fold)
    for split in ("train", "val", "test"):
        opened.whole.require(split)
    also = _also(run, opened.whole, data_root)
    encoder = create(run.encoder, run.recipe.image_size or None).to(pick_device(device))
    reset_peak_memory(encoder.device)
    config = {
        "data": data_label(run.data, opened.whole),
        "encoder": public_name(run.encoder),
        "method": base_name(run.method),
        "method_version": METHOD_VERSIONS[base_name(run.method)],
        "objective": run.objective,
        "objective_version": OBJECTIVE_VERSIONS[run.objective],
        "seed": run.seed,
        "train_heads": run.train_heads,
        "image_size": encoder.image_size,
        "fold": opened.fold,
        **_encoder_version(run.encoder),
        "method_settings": settings_of(method),
        "objective_settings": settings_of(objective),
        # the size is above, resolved: however it was asked for, it is the same run
        "recipe": {**settings_of(run.recipe), "image_size": 0},
        "recipe_version": RECIPE_VERSION,
        "manifest_digest": opened.manifest_digest,
        "pictures_digest": opened.whole.fingerprint(),
        "weights": encoder.weights,
        **_chain(before, also),
    }
    if before is not None and (odd := _unlike(config, before["config"])):
        raise StudyError(f"a run cannot start from {before['id']}: not the same {odd}")
    key = identity_of(config)
    name = "-".join(
        [
            slug(str(config["data"])),
            *filter(None, [fold_name(run.fold)]),
            slug(str(config["encoder"])),
            str(config["method"]),
            run.objective,
            f"s{run.seed}",
            key[:8],
        ]
    )
    folder = Path(out) if out is not None else Path(runs) / name
    processes = together()
    if processes.first(lambda: key) != key:
        raise StudyError(
            f"process {processes.rank} would run another run than process 0: give every machine "
            "the same data, weights and version of rsstudy"
        )
    record, done = processes.first(lambda: _on_record(folder, key, test))
    if done:
        if processes.leads and (folder / CHECKPOINT).exists():  # a kill came right before this
            with suppress(StudyError), hold(folder):
                (folder / CHECKPOINT).unlink(missing_ok=True)
        return record, folder
    with ExitStack() as stack:

        def take() -> tuple[dict[str, Any], bool]:
            stack.enter_context(hold(folder))
            return _on_record(folder, key, test)  # another process may have done it meanwhile

        record, done = processes.first(take)
        if done:
            return record, folder
        later = bool(record)
        untouched = _digest_of(encoder) if also and not later else ""
        attach(encoder, method, run.train_heads, run.seed)
        if later:
            adapter = read_adapter(folder)
            load_trained(encoder, adapter, str(folder / ADAPTER))
            encoder.eval()
        else:
            if before_folder is not None:
                start = read_adapter(before_folder)
                load_trained(encoder, start, str(before_folder / ADAPTER))
            record = {
                "id": name,
                "label": label_of(run),
                "objective_label": objective_label(run),
                "identity": key,
                "status": "validated",
                "recipe": recipe_name(run.recipe),
                "config": config,
                "trained_parameters": _trained_parameters(encoder, objective),
                "dropped_empty_captions": opened.dropped,
                "rsstudy": __version__,
                "environment": environment(encoder.device),
            }
            try:
                chosen = _train_and_choose(
                    encoder, run, objective, opened.whole, folder, key, progress, deadline
                )
            except Diverged as problem:
                if processes.leads:
                    reason = {"status": "diverged", "reason": str(problem)}
                    write_record(folder, {**record, **reason})
                raise
            record.update(chosen)
            seconds = round(time.monotonic() - started, 2)
            record["cost"] = {"wall_seconds": seconds, **record["cost"]}
            processes.first(lambda: write_record(folder, record))
        if processes.leads:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        if test:
            record = processes.first(
                lambda: _test(
                    encoder,
                    opened.whole,
                    record,
                    folder,
                    until,
                    later,
                    started,
                    progress,
                    also,
                    untouched,
                )
            )
    return record, folder


def _before(
    run: Run, runs: Path, data_root: Path | None, device: str, progress: bool, test: bool
) -> tuple[dict[str, Any] | None, Path | None]:
    """The run that this one comes after, done if need be: its record and its folder.

    Raises:
        StudyError: there is no such run, or its loss stopped being finite.
    """
    if run.after is None:
        return None, None
    if isinstance(run.after, Run):
        return execute(run.after, None, runs, data_root, device, progress, test)
    record = read_record(Path(run.after) / RECORD)
    if record["status"] not in ("validated", "finished"):
        raise StudyError(f"{run.after} holds a run that is {record['status']}: name another")
    return record, Path(run.after)


def _also(run: Run, own: ImageTextSet, data_root: Path | None) -> dict[str, Opened]:
    """The sets that a run is scored on beside its own, by the names that its record gives them.

    Raises:
        StudyError: one is not there, has no test split, or has the name of another.
    """
    published = dataclasses.replace(run.recipe, validation="published")
    found: dict[str, Opened] = {}
    for name in run.also:
        # pictures are grouped for training; other sets are only scored
        fold = run.fold and dataclasses.replace(run.fold, grouped=False)
        opened = open_splits(name, published, run.seed, data_root, fold)
        opened.whole.require("test")
        label = data_label(name, opened.whole)
        if label == data_label(run.data, own):
            raise StudyError(f"{label} is the set that is trained on, and scored as it is")
        if label in found:
            raise StudyError(f"{label} is named twice among the sets to score")
        found[label] = opened
    return found


def _chain(
    before: Mapping[str, Any] | None, also: Mapping[str, Opened]
) -> dict[str, dict[str, str]]:
    """What a run's configuration says of the run before it and of sets scored beside its own."""
    found = {}
    if before is not None:
        found["after"] = {"data": before["config"]["data"], "identity": before["identity"]}
    if also:
        found["also"] = {name: other.manifest_digest for name, other in also.items()}
    return found


def _encoder_version(name: str) -> dict[str, int]:
    """The version of an encoder's mathematics, where it is not the first."""
    version = ENCODER_VERSIONS.get(re.split("[@+]", name)[0], 1)
    return {} if version == 1 else {"encoder_version": version}


def _unlike(config: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The first of what two runs must have in common for one to start from the other; or none."""
    names = ("encoder", "image_size", "weights", "method", "method_settings", "train_heads")
    return next((n.replace("_", " ") for n in names if config[n] != before[n]), "")


def _digest_of(encoder: DualEncoder) -> str:
    """sha256 over the base's parameters, without the temperature, which ranks nothing."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.model.named_parameters()):
        if value is encoder.logit_scale:
            continue
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _elsewhere(
    encoder: DualEncoder, also: Mapping[str, Opened], untouched: str, progress: bool
) -> dict[str, Any]:
    """Scores on the test splits of other sets, and what is left once the method is taken off.

    The encoder comes back as its base: the method is taken off. ``base_equal`` says whether that is
    bit for bit what it was before training (in a run that was resumed, before it was resumed; None
    where the training was another call's); ``reread`` counts the base's tensors that the method had
    trained, and that only the base's own files could bring back.
    """
    scored = {}
    for name, other in also.items():
        test_split = other.whole.split("test")
        pairs = prepare(encoder, test_split)
        result = evaluate(encoder, pairs, progress)
        i2t, t2i = result.standard
        scored[name] = {
            "scores": result.scores,
            "scores_relaxed": result.scores_relaxed,
            "pixel_digest": pairs.pixel_digest,
            "test_queries": query_counts(result, pairs.image_of, test_split.classes, False),
        }
    reread = detach(encoder)
    equal = _digest_of(encoder) == untouched if untouched else None
    return {"elsewhere": scored, "removed": {"base_equal": equal, "reread": len(reread)}}


def _on_record(folder: Path, key: str, test: bool) -> tuple[dict[str, Any], bool]:
    """A run's record, empty if it has none, and whether nothing is left to do.

    A record of a run that is to be tested, and whose adapter is gone, is none: it is trained again.

    Raises:
        StudyError: the folder holds another run.
        Diverged: this run has been done, and its loss stopped being finite.
    """
    if not (folder / RECORD).exists():
        return {}, False
    record = read_record(folder / RECORD)
    if record.get("identity") != key:
        raise StudyError(f"{folder} holds another run ({record['id']}): choose another --out")
    if record["status"] == "diverged":
        raise Diverged(f"{record['reason']} (on record; delete {folder} to try again)")
    if record["status"] not in ("validated", "finished"):
        raise StudyError(f"{folder / RECORD} is not a record (status {record['status']!r})")
    if record["status"] == "validated" and test and not (folder / ADAPTER).exists():
        return {}, False
    adapter, size = folder / ADAPTER, record.get("cost", {}).get("adapter_bytes")
    if size is not None and adapter.exists() and adapter.stat().st_size != size:
        raise StudyError(
            f"{adapter} is damaged: {adapter.stat().st_size} bytes, on record {size}; "
            f"delete {folder} and run again"
        )
    queries = record.get("test_queries", {})
    current = {"relaxed", "classes"} <= set(queries) or not (folder / ADAPTER).exists()
    return record, (current or not test) if record["status"] == "finished" else not test


def _test(
    encoder: DualEncoder,
    whole: ImageTextSet,
    record: dict[str, Any],
    folder: Path,
    until: tuple[Path, ...],
    later: bool,
    started: float,
    progress: bool,
    also: Mapping[str, Opened],
    untouched: str,
) -> dict[str, Any]:
    """Open the test split, and write the record with its scores.

    Args:
        also: sets whose test splits are scored, too; ``untouched`` is the base's digest then.
        later: the record is from an earlier call; a finished one's scores must come again.

    Raises:
        StudyError: a choice is not on record yet; a finished run has other scores now.
    """
    finished = record["status"] == "finished"
    test_split = Sealed(whole, (folder / RECORD, *until)).open()
    pairs = prepare(encoder, test_split)
    result = evaluate(encoder, pairs, progress)
    if finished and (
        result.scores != record["scores"] or pairs.pixel_digest != record["pixel_digests"]["test"]
    ):
        raise StudyError(
            f"the adapter in {folder} no longer gives its record's scores (mean recall "
            f"{result.scores['mean_recall']:.3f}, on record "
            f"{record['scores']['mean_recall']:.3f}): score it on the device and with the "
            "pictures of the record, or delete the folder and run again"
        )
    if later:
        now = {"rsstudy": __version__, "environment": environment(encoder.device)}
        record["rescored" if finished else "tested"] = now
    if not finished:  # else its cost stays what making it cost
        before = record["cost"]["wall_seconds"] if later else 0.0
        record["cost"]["wall_seconds"] = round(before + time.monotonic() - started, 2)
    record["pixel_digests"]["test"] = pairs.pixel_digest
    queries = query_counts(result, pairs.image_of, test_split.classes)
    record.update(
        status="finished",
        scores=result.scores,
        scores_relaxed=result.scores_relaxed,
        test_queries=queries,
    )
    if also:
        record.update(_elsewhere(encoder, also, untouched, progress))
    write_record(folder, record)
    return record


def _trained_parameters(encoder: DualEncoder, objective: Objective) -> dict[str, int]:
    """What is trained, of method and heads apart; the temperature is counted beside the total."""
    counts = count_trained(encoder)
    temperature = (
        objective.trains_temperature
        and counts.total > 0
        and "model.logit_scale" not in trained(encoder)
    )
    return {**dataclasses.asdict(counts), "temperature": int(temperature)}


def _train_and_choose(
    encoder: DualEncoder,
    run: Run,
    objective: Objective,
    whole: ImageTextSet,
    folder: Path,
    key: str,
    progress: bool,
    deadline: float,
) -> dict[str, Any]:
    """Train, leave the encoder at the epoch that validation prefers, keep it, and say how it went.

    Raises:
        Diverged: the loss stopped being finite.
    """
    validation = prepare(encoder, whole.split("val"))
    saved = trained(encoder)
    shown = some_of(whole.split("train"), run.recipe.fraction, run.seed)
    pairs = prepare(encoder, shown) if saved else validation
    training = train(
        encoder,
        pairs,
        objective,
        run.recipe,
        validate=lambda e: evaluate(e, validation).scores["mean_recall"],
        seed=run.seed,
        checkpoint=folder / CHECKPOINT,
        identity=key,
        label=f"{run.method} {run.objective} s{run.seed}",
        progress=progress,
        deadline=deadline,
    )

    def keep() -> dict[str, Any]:
        chosen = evaluate(encoder, validation).scores  # before the memory taken is asked for
        save_adapter(folder, encoder, saved, adapter_config(run, key))
        cost = training_cost(training.history, training.steps, encoder.device, folder / ADAPTER)
        return {
            "best_epoch": training.best_epoch,
            "validation_scores": chosen,
            "pixel_digests": {
                **({"train": pairs.pixel_digest} if saved else {}),
                "val": validation.pixel_digest,
            },
            "cost": cost,
            "history": training.history,
        }

    return together().first(keep)


def adapter_config(run: Run, key: str) -> dict[str, Any]:
    """What an adapter's configuration says of the run that trained it."""
    return {
        "encoder": run.encoder,
        "method": run.method,
        "method_settings": settings_of(create_method(run.method, run.method_settings)),
        "method_version": METHOD_VERSIONS[base_name(run.method)],
        "train_heads": run.train_heads,
        "validation": run.recipe.validation,
        "seed": run.seed,
        "fold": None if run.fold is None else dataclasses.asdict(run.fold),
        "run": key,
    }


def query_counts(
    evaluation: Evaluation,
    image_of: np.ndarray,
    classes: Sequence[str | None],
    relaxed: bool = True,
) -> dict[str, Any]:
    """For every query the counts its recalls come from, which captions are alike, and the classes.

    By the standard protocol a caption query owns one image; ``relaxed`` holds the counts of that
    protocol. The captions stand image by image; ``image_of`` gives the image of each. Captions with
    one text have one number in ``text_of_caption``. ``classes`` has one name an image, or none.
    """

    def counts(ranks: Ranks, *names: str) -> dict[str, list[int]]:
        return {name: getattr(ranks, name).tolist() for name in names}

    i2t, t2i = evaluation.standard
    i2t_relaxed, t2i_relaxed = evaluation.relaxed
    found = {
        "image_to_text": counts(i2t, "above", "tie", "own"),
        "text_to_image": counts(t2i, "above", "tie"),
        "captions_of_image": np.bincount(image_of, minlength=len(i2t.above)).tolist(),
        "text_of_caption": evaluation.text_of.tolist(),
        "classes": list(classes),
    }
    if relaxed:
        found["relaxed"] = {
            "image_to_text": counts(i2t_relaxed, "above", "tie", "own"),
            "text_to_image": counts(t2i_relaxed, "above", "tie", "own"),
        }
    return found


# Settings are told by their preset's name where telling them takes more letters than this.
LONG_LABEL = 44


def label_of(run: Run) -> str:
    """What tells a run's method apart: its name, and the settings that are not its defaults."""
    heads = ["trained heads"] if run.train_heads else []
    chosen = create_method(run.method, run.method_settings)
    changed = _changed(chosen, create_method(run.method))
    label = ", ".join([run.method, *changed]).replace("share layers False", "one a layer")
    if len(label) > LONG_LABEL:
        label = next((name for name in PRESETS if create_method(name) == chosen), label)
    return ", ".join([label, *heads])


def objective_label(run: Run) -> str:
    """The same for a run's objective."""
    changed = _changed(run.resolved_objective(), named_objective(run.objective))
    return ", ".join([run.objective, *changed])


def _changed(settings: Any, default: Any) -> list[str]:
    """The settings that are not at their default, in words."""
    usual = dataclasses.asdict(default)
    return [
        name.replace("_", " ") + ("" if value is True else f" {value}")
        for name, value in dataclasses.asdict(settings).items()
        if value != usual[name]
    ]


def evaluate_split(
    encoder: DualEncoder,
    data: str,
    split: str,
    data_root: Path | None = None,
    progress: bool = False,
    adapter: Path | None = None,
    fold: Fold | None = None,
    published: bool = False,
) -> tuple[Evaluation, Pairs, ImageTextSet]:
    """Score an encoder on one split of a set.

    Args:
        adapter: the folder the encoder was loaded from; where its run drew splits of its own, they
            are drawn again.
        fold: the fold that the split is of; else the adapter's.
        published: take the published splits, whatever the adapter's fold.

    Raises:
        StudyError: the set or the split is not there, or a caption of it is empty.
    """
    recipe, seed = Recipe(), 0
    if adapter is not None:
        config = read_adapter_config(adapter)
        if config["fold"] and not published:
            fold = fold or Fold(**config["fold"])
        if split != "test" and fold is None:
            recipe, seed = Recipe(validation=config["validation"]), config["seed"]
    chosen = open_splits(data, recipe, seed, data_root, fold).whole.split(split)
    pairs = prepare(encoder, chosen)
    return evaluate(encoder, pairs, progress), pairs, chosen


@dataclass(frozen=True)
class Opened:
    """A set ready to train on: usable captions, splits as the recipe wants them.

    ``manifest_digest`` is of the set as it was read, so that it can be held against the public one.
    """

    whole: ImageTextSet
    manifest_digest: str
    dropped: int
    fold: dict[str, Any] | None = None


def open_splits(
    data: str, recipe: Recipe, seed: int, data_root: Path | None, fold: Fold | None = None
) -> Opened:
    """Load a set, leave out blank training captions, and draw its splits anew if asked to.

    Raises:
        StudyError: the set is not there or cannot be cut into folds, or a caption of val or test is
            blank.
    """
    as_read = load(data, data_root)
    digest = as_read.manifest_digest()
    if fold is not None:
        whole, dropped = usable(as_fold(as_read, fold))
        of = assignment_digest(as_read, fold.assignment, fold.grouped)
        return Opened(whole, digest, dropped, {**dataclasses.asdict(fold), "digest": of})
    whole, dropped = usable(as_read)
    if recipe.validation == "random":
        whole = hold_out_validation(whole, seed=seed)
    return Opened(whole, digest, dropped)


def identity_of(config: Mapping[str, Any]) -> str:
    """The identity of a run's configuration.

    What is at its default is left out, so that new settings change no identity. The versions of
    method, objective and recipe are in it: they are raised when equal settings come to mean another
    run.
    """
    method = create_method(config["method"])
    objective = named_objective(config["objective"])
    defaults = {
        "method_settings": settings_of(method),
        "objective_settings": settings_of(objective),
        "recipe": settings_of(Recipe()),
    }
    own = {
        part: {name: value for name, value in config[part].items() if value != default[name]}
        for part, default in defaults.items()
    }
    whole = {**config, **own}
    return identity({name: value for name, value in whole.items() if value})


def data_label(name: str, whole: ImageTextSet) -> str:
    """The name of a set in a record: never a path of one machine."""
    return name if not Path(name).expanduser().exists() else whole.name


def public_name(encoder: str) -> str:
    """An encoder's name with paths cut to their last part; the weights are named by digest."""
    return re.sub(r"(?<=[@+])[^@+]*[/\\](?=[^/\\@+]+)", "", encoder)


def slug(text: str) -> str:
    """A name for a folder: lower-case letters, digits and underscores; settings are left out."""
    return "".join(c if c.isalnum() else "_" for c in text.partition("?")[0]).strip("_").lower()
