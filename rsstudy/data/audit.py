"""What is in a set, what makes it unusable, and what a reader of its scores should know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from rsstudy.data.imagetext import BrokenImage, ImageTextSet
from rsstudy.data.pixels import each_picture, picture_digest, pixel_digest
from rsstudy.data.sources import about

BATCHES = (16, 100)  # the paper's, and one that later methods use


@dataclass(frozen=True)
class Audit:
    """The counts of one set. Captions are compared as exact texts: case and spaces count.

    Attributes:
        name, images: the set's name and its number of images.
        splits: for each split, its number of images and captions.
        classes: images of each scene class; empty where the set has none.
        captions_per_image: number of captions -> images that have so many.
        caption_words: least, median, mean and most words a caption, split at white space.
        empty_captions: images with a blank caption, once for each such caption.
        images_without_captions: images that have none at all.
        shared_captions: captions whose text also labels another image of the set.
        shared_test_captions: test captions whose text also labels another test image.
        distinct_test_captions: different texts among the test captions.
        test_images_with_own_caption: test images with a caption that labels no other test image.
            On the others even a perfect model's R@1 image to text hangs on how ties are broken.
        test_captions_in_train, test_captions_in_train_or_val: test captions that stand word for
            word in the train split, or in train or val.
        test_images_below_five_captions: test images with fewer than 5 distinct captions.
        batches_with_repeats: batch size -> the share of random batches of training captions, in
            percent, in which an image or a text stands twice: false negatives of a contrastive
            loss. Counted over 20 shuffled epochs; for the sizes that the train split fills.
        broken_images: what is wrong with each image that cannot be decoded.
        duplicate_pictures: groups of images within a split whose decoded pictures are identical.
        leaks: groups of images with identical decoded pictures that lie in several splits.
        manifest_digest, pixel_digest: of names, splits and captions; of the decoded pictures.
        errors: why the set cannot be used; findings: what to know when using it.

    The last picture counts are None where the pictures were not decoded (the pixel digest also
    where one is broken).
    """

    name: str
    images: int
    splits: dict[str, dict[str, int]]
    classes: dict[str, int]
    captions_per_image: dict[int, int]
    caption_words: dict[str, float]
    empty_captions: list[str]
    images_without_captions: list[str]
    shared_captions: int
    shared_test_captions: int
    distinct_test_captions: int
    test_images_with_own_caption: int
    test_captions_in_train: int
    test_captions_in_train_or_val: int
    test_images_below_five_captions: int
    batches_with_repeats: dict[int, float]
    broken_images: list[str] | None
    duplicate_pictures: list[list[str]] | None
    leaks: list[list[str]] | None
    manifest_digest: str
    pixel_digest: str | None
    errors: list[str]
    findings: list[str]

    @property
    def ok(self) -> bool:
        """Whether the set can be used."""
        return not self.errors

    def as_dict(self) -> dict:
        """Everything, ready for JSON."""
        return asdict(self) | {"ok": self.ok}


def audit(set: ImageTextSet, decode: bool = True, progress: bool = True) -> Audit:
    """Count what the set holds; with ``decode``, look at every picture too (in parallel)."""
    errors: list[str] = []
    findings: list[str] = []
    rows = list(zip(set.filenames, set.splits, set.captions, strict=True))
    texts: dict[str, list[str]] = defaultdict(list)
    for _, split, captions in rows:
        texts[split].extend(captions)
    every = [text for captions in set.captions for text in captions]
    test = texts["test"]
    in_test = [captions for _, split, captions in rows if split == "test"]
    train, known = frozenset(texts["train"]), frozenset(texts["train"] + texts["val"])

    empty = [(name, split) for name, split, captions in rows for c in captions if not c.strip()]
    without = [(name, split) for name, split, captions in rows if not captions]
    for what, found in (("empty caption(s)", empty), ("image(s) without a caption", without)):
        fatal = [name for name, split in found if split != "train"]
        mild = [name for name, split in found if split == "train"]
        if fatal:
            errors.append(f"{len(fatal)} {what} outside train: {_some(fatal)}")
        if mild:
            findings.append(f"{len(mild)} {what} in train, left out of training: {_some(mild)}")

    broken = duplicates = leaks = digest = None
    if decode:
        broken, duplicates, leaks, digest = _pictures(set, progress)
        if broken:
            errors.append(f"{len(broken)} broken image(s): {_some(broken, 1)}")
        if duplicates:
            findings.append(
                f"{len(duplicates)} group(s) of identical pictures within a split: "
                f"{_some(' = '.join(group) for group in duplicates)}"
            )
        if leaks:
            findings.append(
                f"{len(leaks)} picture(s) in several splits: "
                f"{_some(' = '.join(group) for group in leaks)}"
            )
    if not rows:
        errors.append("the set holds no images")
    findings += [
        f"no {split} split: {use}"
        for split, use in (
            ("train", "nothing to train on"),
            ("val", "choose the epoch on a random part: --set recipe.validation=random"),
            ("test", "nothing to score"),
        )
        if rows and split not in set.splits
    ]

    if about(set.name).get("manifest") not in (None, set.manifest_digest()):
        findings.append(f"names, splits or captions differ from the {set.name} this study knows")

    def of_test(count: int, what: str, of: Sequence) -> int:
        if count:
            share = f"{count} of {len(of)} ({100 * count / len(of):.1f} %)"
            findings.append(f"{share} test {what}")
        return count

    shared_in_test = _shared_texts(in_test)
    words = [len(text.split()) for text in every]
    return Audit(
        name=set.name,
        images=len(set),
        splits={
            split: {"images": set.splits.count(split), "captions": len(texts[split])}
            for split in ("train", "val", "test")
            if split in set.splits
        },
        classes=dict(sorted(Counter(c for c in set.classes if c is not None).items())),
        captions_per_image=dict(sorted(Counter(map(len, set.captions)).items())),
        caption_words={
            "least": min(words, default=0),
            "median": float(np.median(words)) if words else 0.0,
            "mean": float(np.mean(words)) if words else 0.0,
            "most": max(words, default=0),
        },
        empty_captions=[name for name, _ in empty],
        images_without_captions=[name for name, _ in without],
        shared_captions=_shared(set.captions),
        shared_test_captions=of_test(
            _shared(in_test), "captions also label another test image", test
        ),
        distinct_test_captions=len(frozenset(test)),
        test_images_with_own_caption=sum(not shared_in_test.issuperset(texts) for texts in in_test),
        test_captions_in_train=of_test(
            sum(text in train for text in test), "captions stand word for word in train", test
        ),
        test_captions_in_train_or_val=of_test(
            sum(text in known for text in test),
            "captions stand word for word in train or val",
            test,
        ),
        test_images_below_five_captions=of_test(
            sum(len(frozenset(captions)) < 5 for captions in in_test),
            "images have fewer than 5 distinct captions",
            in_test,
        ),
        batches_with_repeats=_repeats(
            [captions for _, split, captions in rows if split == "train"]
        ),
        broken_images=broken,
        duplicate_pictures=duplicates,
        leaks=leaks,
        manifest_digest=set.manifest_digest(),
        pixel_digest=digest,
        errors=errors,
        findings=findings,
    )


def beside_published(published: pd.DataFrame, checks: Sequence[Mapping]) -> pd.DataFrame:
    """Published counts beside those that ``rsstudy data check --json`` finds.

    Args:
        published: columns set, count (where in the check, with dots), of (the whole it is a
            percentage of, likewise; else empty), what, published (as text, for its decimals).
        checks: the checks of some sets.

    Returns:
        set, what, published, recomputed (as text, with the decimals of the published one; missing
        for a set without a check), agree (None for such a set).
    """
    of_set = {check["name"]: check for check in checks}

    def look(check: Mapping, place: str) -> float:
        for part in place.split("."):
            check = check[part]
        return float(check)  # type: ignore[arg-type]

    rows = []
    for row in published.fillna("").astype(str).to_dict("records"):
        recomputed = None
        if row["set"] in of_set:
            check = of_set[row["set"]]
            value = look(check, row["count"])
            if row["of"]:
                value *= 100 / look(check, row["of"])
            recomputed = f"{value:.{len(row['published'].partition('.')[2])}f}"
        agree = None if recomputed is None else recomputed == row["published"]
        rows.append(
            {
                "set": row["set"],
                "what": row["what"],
                "published": row["published"],
                "recomputed": recomputed,
                "agree": agree,
            }
        )
    return pd.DataFrame(rows)


def _shared(captions: Sequence[Sequence[str]]) -> int:
    """Captions whose text labels more than one image."""
    shared = _shared_texts(captions)
    return sum(text in shared for texts in captions for text in texts)


def _shared_texts(captions: Sequence[Sequence[str]]) -> frozenset[str]:
    owners = Counter(text for texts in captions for text in frozenset(texts))
    return frozenset(text for text, images in owners.items() if images > 1)


def _repeats(captions: Sequence[Sequence[str]], epochs: int = 20) -> dict[int, float]:
    """For each batch size the percentage of random batches with a repeated image or text."""
    pairs = [(image, text) for image, texts in enumerate(captions) for text in texts]
    image_of = np.array([image for image, _ in pairs])
    text_of = np.unique([text for _, text in pairs], return_inverse=True)[1]
    random = np.random.default_rng(0)
    found = {}
    for size in BATCHES:
        batches = len(pairs) // size
        if not batches:
            continue
        repeated = 0
        for _ in range(epochs):
            drawn = random.permutation(len(pairs))[: batches * size].reshape(batches, size)
            twice = [
                (np.diff(np.sort(of[drawn], axis=1), axis=1) == 0).any(axis=1)
                for of in (image_of, text_of)
            ]
            repeated += int((twice[0] | twice[1]).sum())
        found[size] = 100 * repeated / (batches * epochs)
    return found


def _pictures(
    set: ImageTextSet, progress: bool
) -> tuple[list[str], list[list[str]], list[list[str]], str | None]:
    """(broken images, duplicates within a split, leaks between splits, pixel digest)."""

    def look(index: int) -> bytes | str:
        try:
            return picture_digest(set.images.decode(index))
        except BrokenImage as problem:
            return str(problem)

    seen = list(each_picture(set, look, progress))
    broken = [what for what in seen if isinstance(what, str)]
    whole = [(what, i) for i, what in enumerate(seen) if isinstance(what, bytes)]
    duplicates = [
        [set.filenames[i] for i in group]
        for group in _groups(((digest, set.splits[i]), i) for digest, i in whole)
    ]
    leaks = [
        [f"{set.splits[i]}/{set.filenames[i]}" for i in group]
        for group in _groups(whole)
        if len({set.splits[i] for i in group}) > 1
    ]
    digest = None if broken else pixel_digest(set, [digest for digest, _ in whole])
    return broken, duplicates, leaks, digest


def _groups(keyed: Iterable[tuple[Hashable, int]]) -> list[list[int]]:
    """The indices that have a key in common, in groups of two or more."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for key, index in keyed:
        groups[key].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
