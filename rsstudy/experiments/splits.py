"""The splits that a run trains on, chooses by and tests on, and scores on one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsstudy.adapters import ADAPTER, read_adapter_config
from rsstudy.classification import classify
from rsstudy.data.folds import Fold, as_fold, assignment_digest
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import hold_out_validation, load, usable
from rsstudy.encoders import DualEncoder
from rsstudy.errors import StudyError
from rsstudy.evaluation import Evaluation, embed, evaluate_vectors, prepare
from rsstudy.experiments.names import public_name
from rsstudy.files import sha256_of
from rsstudy.registry import located
from rsstudy.retrieval import Ranks
from rsstudy.training.recipe import Recipe


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
    data: str | ImageTextSet,
    recipe: Recipe,
    seed: int,
    data_root: Path | None,
    fold: Fold | None = None,
) -> Opened:
    """Load a set, leave out blank training captions, and draw its splits anew if asked to.

    Raises:
        StudyError: the set is not there or cannot be cut into folds, or a caption of val or test is
            blank.
    """
    as_read = data if isinstance(data, ImageTextSet) else load(data, data_root)
    digest = as_read.manifest_digest()
    if fold is not None:
        whole, dropped = usable(as_fold(as_read, fold))
        of = assignment_digest(as_read, fold.assignment, fold.grouped)
        return Opened(whole, digest, dropped, {**dataclasses.asdict(fold), "digest": of})
    whole, dropped = usable(as_read)
    if recipe.validation == "random":
        whole = hold_out_validation(whole, seed=seed)
    return Opened(whole, digest, dropped)


def evaluate_split(
    encoder: DualEncoder,
    data: str | ImageTextSet,
    split: str,
    data_root: Path | None = None,
    progress: bool = False,
    adapter: Path | None = None,
    fold: Fold | None = None,
    published: bool = False,
    ks: Iterable[int] = (),
    templates: Sequence[str] = (),
) -> dict[str, Any]:
    """Score an encoder on one split of a set.

    Args:
        ks: ranks whose recalls are scored beside those at 1, 5 and 10.
        templates: classify the pictures, too, by these prompts of the set's classes.
        adapter: the folder the encoder was loaded from; where its run drew splits of its own, they
            are drawn again.
        fold: the fold that the split is of; else the adapter's.
        published: take the published splits, whatever the adapter's fold.

    Returns:
        the scores, what they are of, and the counts that they come from.

    Raises:
        StudyError: the set or the split is not there, a caption of it is empty, or a picture that
            is to be classified has no class.
    """
    recipe, seed, scored = Recipe(), 0, None
    if adapter is not None:
        config = read_adapter_config(adapter)
        scored = {name: config[name] for name in ("run", "method", "method_settings", "seed")}
        scored["adapter_sha256"] = sha256_of(adapter / ADAPTER)
        if config["fold"] and not published:
            fold = fold or Fold(**config["fold"])
        if split != "test" and fold is None:
            recipe, seed = Recipe(validation=config["validation"]), config["seed"]
    whole = open_splits(data, recipe, seed, data_root, fold).whole
    chosen = whole.split(split)
    if templates and None in chosen.classes:
        raise StudyError(f"{chosen.name}: pictures have no scene class; leave --classes out")
    pairs = prepare(encoder, chosen)
    images, texts = embed(encoder, pairs, progress=progress)
    result = evaluate_vectors(images, texts, pairs, ks)
    more = {}
    if templates:
        truth, known = (filter(None, of.classes) for of in (chosen, whole))
        more["classification"] = classify(encoder, images, [*truth], known, templates)
    return {
        "adapter": scored,
        "data": data_label(data, chosen),
        "split": split,
        "images": len(chosen),
        "captions": len(pairs.text_of),
        "encoder": public_name(encoder.name),
        "image_size": encoder.image_size,
        "weights": encoder.weights,
        "scores": result.scores,
        **more,
        "split_manifest_digest": chosen.manifest_digest(),
        "split_pixel_digest": pairs.pixel_digest,
        "queries": query_counts(result, pairs.image_of, chosen.classes),
    }


def data_label(data: str | ImageTextSet, whole: ImageTextSet) -> str:
    """The name of a set in a record: never a path of one machine."""
    known = isinstance(data, str) and not located(data)[0].exists()
    return str(data) if known else whole.name


def query_counts(
    evaluation: Evaluation, image_of: np.ndarray, classes: Sequence[str | None], relaxed=True
) -> dict[str, Any]:
    """For every query the counts its recalls come from, which captions are alike, and the classes.

    By the standard protocol a caption query owns one image, so its ``own`` is left out.

    Args:
        image_of: the image of each caption, image by image.
        classes: one name an image, or none.
        relaxed: add the counts of the relaxed protocol.
    """

    def counts(both: tuple[Ranks, Ranks]) -> dict[str, dict[str, list[int]]]:
        return {
            direction: {name: getattr(ranks, name).tolist() for name in ("above", "tie", "own")}
            for direction, ranks in zip(("image_to_text", "text_to_image"), both, strict=True)
        }

    found: dict[str, Any] = counts(evaluation.standard)
    del found["text_to_image"]["own"]
    found["captions_of_image"] = np.bincount(image_of, minlength=len(classes)).tolist()
    found |= {"text_of_caption": evaluation.text_of.tolist(), "classes": list(classes)}
    if relaxed:
        found["relaxed"] = counts(evaluation.relaxed)
    return found
