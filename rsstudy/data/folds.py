"""Ten folds of a set: each in turn is test, the next one validation, the other eight train."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import about
from rsstudy.errors import StudyError, unknown

FOLDS = 10
Assignment = Literal["first", "second"]


@dataclass(frozen=True)
class Fold:
    """Which part of a set is test: fold ``number`` of ten; the next is validation, the rest train.

    Attributes:
        number: 1 to 10; the validation fold of 10 is 1.
        assignment: which of two random assignments of images to folds.
        grouped: images with an identical caption stay together.

    Raises:
        StudyError: another number or assignment.
    """

    number: int
    assignment: Assignment = "first"
    grouped: bool = False

    def __post_init__(self) -> None:
        if type(self.number) is not int or not 1 <= self.number <= FOLDS:
            raise StudyError(f"no fold {self.number!r}: give a whole number from 1 to {FOLDS}")
        _require_known(self.assignment)


def assign(
    set: ImageTextSet, assignment: Assignment = "first", grouped: bool = False
) -> np.ndarray:
    """The fold of each image, 1 to 10, in the set's order: integers of shape (images,).

    It follows from filenames, classes and the assignment's name, not from order or published split.
    Fold sizes differ by at most one, within each class and in total.

    Images with a blank caption, or none, get 0 and always train: no score can be had from them.

    With ``grouped``, images that identical texts join, directly or through others, share a fold.
    It then follows from the captions too, and sizes are as even as the groups allow.

    Raises:
        StudyError: unknown assignment; fewer than ten images or groups to assign; with ``grouped``,
            a group larger than a fold, or a class that some fold would take out of training.
    """
    _require_known(assignment)
    usable = [bool(own) and all(text.strip() for text in own) for own in set.captions]
    drawn = _drawn(set, assignment)
    groups = _groups(set, drawn) if grouped else [[image] for image in drawn]
    groups = [group for group in groups if all(usable[image] for image in group)]
    if len(groups) < FOLDS:
        kind = "groups of images" if grouped else "images"
        raise StudyError(f"{set.name}: {len(groups)} {kind} for {FOLDS} folds; use a larger set")
    fold = np.zeros(len(set), int)
    sizes = np.zeros(FOLDS, int)
    # Among equally small folds the lowest comes next: single images go round class after class.
    for group in sorted(groups, key=len, reverse=True):
        smallest = int(sizes.argmin())
        fold[group] = smallest + 1
        sizes[smallest] += len(group)
    if grouped:
        _require_room(set, fold, max(map(len, groups)))
    return fold


def as_fold(set: ImageTextSet, fold: Fold) -> ImageTextSet:
    """The set with its splits drawn anew; names, captions, pictures and their order stay.

    Draw folds from the whole set as read; leave out captions or images afterwards.

    Raises:
        StudyError: as ``assign``; or the set is one of the record, but with other classes.
    """
    which = (fold.assignment, fold.grouped)
    known = about(set.name)
    recorded = known.get("folds", {}).get(f"{fold.assignment}{'-grouped' * fold.grouped}")
    if (
        recorded not in (None, assignment_digest(set, *which))
        and set.manifest_digest() == known["manifest"]  # which no class enters
    ):
        raise StudyError(
            f"{set.name}: the folds differ from the record's, since this copy tells other scene "
            "classes; add the published ones to its Parquet as the column class"
        )
    assigned = assign(set, *which).tolist()
    split_of = {fold.number: "test", fold.number % FOLDS + 1: "val"}
    return replace(set, splits=tuple(split_of.get(of, "train") for of in assigned))


def assignment_digest(
    set: ImageTextSet, assignment: Assignment = "first", grouped: bool = False
) -> str:
    """sha256 of the sorted pairs of filename and fold, whatever the order of the images.

    Raises:
        StudyError: as ``assign``.
    """
    rows = sorted(zip(set.filenames, assign(set, assignment, grouped).tolist(), strict=True))
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def _require_known(assignment: str) -> None:
    if assignment not in get_args(Assignment):
        raise unknown("assignment to folds", str(assignment), get_args(Assignment))


def _drawn(set: ImageTextSet, assignment: str) -> list[int]:
    """All images class by class, in random order within each class."""
    classes = defaultdict(list)
    for index in sorted(range(len(set)), key=lambda i: set.filenames[i]):
        classes[set.classes[index] or ""].append(index)
    drawn: list[int] = []
    for scene, images in sorted(classes.items()):
        seed = hashlib.sha256(f"{assignment} {scene}".encode()).digest()
        drawn += np.random.default_rng(int.from_bytes(seed, "big")).permutation(images).tolist()
    return drawn


def _groups(set: ImageTextSet, images: list[int]) -> list[list[int]]:
    """The images that identical texts join, directly or through others; in the given order."""
    image_of = np.repeat(np.arange(len(set)), [len(own) for own in set.captions])
    text_of, _ = pd.factorize(np.array([*chain(*set.captions)], dtype=object))
    group_of = components(image_of, text_of, len(set))
    groups = defaultdict(list)
    for image in images:
        groups[group_of[image]].append(image)
    return list(groups.values())


def components(image_of: np.ndarray, text_of: np.ndarray, images: int) -> np.ndarray:
    """A number for each image; equal ones where texts join images, directly or through others.

    Args:
        image_of, text_of: of each caption its image and its text, as numbers from 0.
    """
    nodes = images + int(text_of.max(initial=-1)) + 1
    edges = (np.ones(len(image_of)), (image_of, images + text_of))
    joined = coo_array(edges, shape=(nodes, nodes))
    return connected_components(joined, directed=False)[1][:images]


def _require_room(set: ImageTextSet, fold: np.ndarray, largest: int) -> None:
    """Refuse groups that do not fit into a fold, or that leave no image of a class to train on."""
    room = -(-np.count_nonzero(fold) // FOLDS)
    lies_in = defaultdict(list)
    for scene, number in zip(set.classes, fold.tolist(), strict=True):
        lies_in[scene].append(number)
    absent = [
        scene
        for scene, folds in lies_in.items()
        # Grouped or not, two images can lie in folds that are held out together.
        if scene is not None and len(folds) > 2
        if any({k, k % FOLDS + 1}.issuperset(folds) for k in range(1, FOLDS + 1))
    ]
    if largest > room:
        what = f"join {largest} images, a fold takes {room}"
    elif absent:
        what = f"would leave some fold no image of {', '.join(sorted(absent)[:3])} to train on"
    else:
        return
    raise StudyError(f"{set.name}: identical captions {what}; use folds without grouping")
