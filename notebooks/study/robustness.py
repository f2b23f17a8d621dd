"""Altered test pictures and captions: which training loses least.

The front page's arms are scored on the altered test splits of ``study.perturbed``, and their losses
are compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.adapters import ADAPTER, load_adapter
from rsstudy.data.folds import Fold
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, evaluate_vectors, prepare
from rsstudy.experiments.arms import Arm, recorded
from rsstudy.experiments.compare import Contrast, compare_factor
from rsstudy.experiments.names import slug
from rsstudy.experiments.record import fold_name, read_records, write_readable
from rsstudy.experiments.run import made_with
from rsstudy.experiments.splits import open_splits, query_counts
from rsstudy.files import note, sha256_of
from rsstudy.training.recipe import Recipe
from study.comparison import judged
from study.perturbed import CLEAN, PERTURBATIONS, PICTURES, SYNONYMS, perturbed

FOLDER = "robustness"  # below the folder of results
ROUNDING = 0.5  # points that another processor may move a score by
MEAN = "mean of all"
# What the files name by method, objective and whether heads are trained, too.
UNTRAINED, FULL = "not trained", "full fine-tuning, InfoNCE"
ARMS = {
    ("zero-shot", "infonce", False): UNTRAINED,
    ("linear-probe", "infonce", False): "linear probe, InfoNCE",
    ("mrs-adapter", "infonce", False): "adapter, InfoNCE",
    ("mrs-adapter", "hmmc", False): "adapter, HMMC",
    ("mrs-adapter", "infonce", True): "adapter and heads, InfoNCE",
    ("full", "infonce", False): FULL,
    ("full", "hmmc", False): "full fine-tuning, HMMC",
}
# What the configuration of the untouched encoder has from that of a run.
OF_BASE = ("data", "manifest_digest", "fold", "seed", "encoder", "image_size", "weights")
Facts = dict[str, Any]


def score_runs(
    rows: Sequence[Arm],
    runs: Path,
    out: Path,
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> None:
    """Score finished runs on every perturbation, and the encoder as it is.

    Only a finished run counts: its choices are on record, and its test split has been opened.

    Args:
        rows: arms of one set and fold.
        runs: the folder of runs, each with its record and its adapter; it is only read.
        out: gets a file a run; what is in one already is not scored again.

    Raises:
        StudyError: no run of the arms is finished; the set here is not the one that they were
            tested on; a file of ``out`` is of other weights than the run's; unaltered pictures
            give another score than the run's record has.
    """
    records = [*recorded(rows, read_records(runs))["record"]]
    if not records:
        raise StudyError(f"no run of these arms in {runs} is finished: name another --runs")
    config = records[0]["config"]
    fold = Fold(**{name: value for name, value in config["fold"].items() if name != "digest"})
    opened = open_splits(config["data"], Recipe(), config["seed"], data_root, fold)
    for record in records:
        asked = record["config"]
        if (opened.manifest_digest, opened.fold) != (asked["manifest_digest"], asked["fold"]):
            raise StudyError(f"{record['id']} was tested on another {config['data']} than is here")
    split = opened.whole.split("test")
    altered = cache(lambda name: perturbed(split, name))
    parts = config["data"], fold_name(fold), config["encoder"], "zero-shot"
    own = {"method": "zero-shot", "objective": "infonce", "train_heads": False}
    own |= {name: config[name] for name in OF_BASE}
    untouched: Facts = {"id": "-".join(map(slug, parts)), "config": own}
    untouched |= {"trained_parameters": {"total": 0}, "adapter_sha256": None}
    base = partial(create, config["encoder"], config["image_size"])
    _score(untouched, lambda: base().to(pick_device(device)), altered, out, say)
    for record in records:
        folder = Path(runs) / record["id"]
        if not (folder / ADAPTER).exists():
            say(f"{record['id']}: its weights are not in {runs}")
            continue
        about = {name: record[name] for name in ("id", "config", "trained_parameters")}
        about |= {"adapter_sha256": sha256_of(folder / ADAPTER), "recorded": record["scores"]}
        _score(about, partial(load_adapter, folder, device=device), altered, out, say)


def _score(
    about: Facts,
    make: Callable[[], DualEncoder],
    altered: Callable[[str], ImageTextSet],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Score what ``make`` gives on what its file has not; the file is written after each."""
    path = out / f"{about['id']}.json"
    there = json.loads(path.read_text("utf-8")) if path.exists() else about
    if any(there[name] != about[name] for name in ("adapter_sha256", "config")):
        raise StudyError(f"{path} is of other weights or data: delete it to score these")
    done = dict(there.get("perturbed", {}))
    left = [name for name in (CLEAN, *PERTURBATIONS) if name not in done]
    if not left:
        return
    encoder = make()
    clean = embed(encoder, prepare(encoder, altered(CLEAN)))
    for name in left:
        split = altered(name)
        pairs, (images, texts) = prepare(encoder, split), clean
        if name in PICTURES:  # the captions are those of before, and the reverse
            one = replace(pairs, tokens=pairs.tokens[:1], lengths=pairs.lengths[:1])
            images, _ = embed(encoder, one)
        elif name == SYNONYMS:
            _, texts = embed(encoder, replace(pairs, images=pairs.images[:1], first_of=None))
        result = evaluate_vectors(images, texts, pairs)
        score = result.scores["mean_recall"]
        on_record = about["recorded"]["mean_recall"] if "recorded" in about else score
        if name == CLEAN and abs(score - on_record) > ROUNDING:
            raise StudyError(
                f"{about['id']} scores {score:.1f} unaltered, and its record says {on_record:.1f}: "
                "these are not its weights, or not its pictures"
            )
        queries = query_counts(result, pairs.image_of, split.classes, relaxed=False)
        done[name] = {"scores": result.scores, "test_queries": queries}
        say(f"{about['id']}, {name}: {score:.1f}")
        write_readable(path, {**about, **made_with(encoder), "perturbed": done})


def robustness_table(results: Path, data: str = "ucm") -> pd.DataFrame:
    """A row for each arm on a set and perturbation, and for the mean of all perturbations.

    Columns: arm, perturbation, score (mean recall, percent), kept (that score over the unaltered
    one, percent); the change against unaltered (``change``, ``change_low``, ``change_high``, 95 %;
    ``change_word``); and the change less that of ``FULL``: estimate, low, high (95 %),
    low_corrected, high_corrected (over all arms and perturbations) and word, of None for ``FULL``.
    Positive: the arm loses less. In points; intervals are over test pictures, for the trained
    models that there are. A low score has less to lose: see ``kept``.

    Raises:
        StudyError: a file lacks a perturbation, or there is none of ``FULL``.
    """
    found: dict[str, Facts] = {}
    for path in sorted((Path(results) / FOLDER).glob("*.json")):
        facts = json.loads(path.read_text("utf-8"))
        config = facts.get("config", {})  # fuzz and kills lie here, too
        if config.get("data") == data:
            note(path)
            key = config["method"], config["objective"], config["train_heads"]
            found[ARMS[key]] = facts
    if FULL not in found:
        raise StudyError(
            f"{results}/{FOLDER} has no {FULL} on {data}: run `python -m study robustness`"
        )
    changes, against = {}, {}
    for arm in (name for name in ARMS.values() if name in found):
        for name in (*PERTURBATIONS, MEAN):
            mine, full = (_changes(found[of], name) for of in (arm, FULL))
            changes[arm, name] = compare_factor([([after], [before]) for before, after in mine])
            if arm != FULL:
                pairs = [([one], [other]) for one, other in zip(mine, full, strict=True)]
                against[arm, name] = compare_factor(pairs)
    changes, against = judged(changes), judged(against)
    return pd.DataFrame(
        _row(found[arm], arm, name, change, against.get((arm, name)))
        for (arm, name), change in changes.items()
    )


def _changes(facts: Facts, name: str) -> list[tuple[Facts, Facts]]:
    """The record before and after a perturbation, or before and after each."""
    names = PERTURBATIONS if name == MEAN else (name,)
    missing = {CLEAN, *names} - {*facts["perturbed"]}
    if missing:
        raise StudyError(f"{facts['id']} is not scored on {', '.join(sorted(missing))} yet")
    clean = {**facts, **facts["perturbed"][CLEAN]}
    return [(clean, {**facts, **facts["perturbed"][name]}) for name in names]


def _row(
    facts: Facts, arm: str, name: str, change: Contrast, against: Contrast | None
) -> Mapping[str, Any]:
    clean = facts["perturbed"][CLEAN]["scores"]["mean_recall"]
    score = clean + change.estimate
    shown = ("estimate", "low", "high", "low_corrected", "high_corrected", "word")
    return {
        "arm": arm,
        "perturbation": name,
        "score": score,
        "kept": 100 * score / clean,
        "change": change.estimate,
        "change_low": change.low,
        "change_high": change.high,
        "change_word": change.word,
        **{of: getattr(against, of, None) for of in shown},
    }
