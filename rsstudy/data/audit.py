"""The audit of a set: its counts, what makes it unusable, and what affects its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from rsstudy.data.imagetext import PICTURES, BrokenImage, ImageTextSet
from rsstudy.data.pixels import each_picture, picture_digest, pixel_digest
from rsstudy.data.sources import about

BATCHES = (16, 100)  # the paper's, and one that later methods use
TRAPS = {  # counts on the test split that affect scores
    "shared_test_captions": "captions also label another test image",
    "test_captions_in_train": "captions stand word for word in train",
    "test_captions_in_train_or_val": "captions stand word for word in train or val",
    "test_images_below_five_captions": "images have fewer than 5 distinct captions",
}
REPEATED = {
    "duplicate_pictures": "group(s) of identical pictures within a split",
    "leaks": "picture(s) in several splits",
}
DARK = 32
"""Of 255: a picture whose values nearly all lie below was perhaps scaled from another range."""
PLAIN = {
    "dark_pictures": "nearly black picture(s)",
    "constant_pictures": "picture(s) of a single colour",
}
USES = {
    "train": "nothing to train on",
    "val": "choose the epoch on a random part: --set recipe.validation=random",
    "test": "nothing to score",
}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The counts of one set. Captions are compared as exact texts: case and spaces count.

    Attributes:
        splits: the number of images and of captions of each split.
        classes: images of each scene class; empty if the set has none.
        captions_per_image: the number of images for each number of captions.
        caption_words: the least, median, mean and largest number of words, split at white space.
        empty_captions: images with a blank caption, once for each such caption.
        shared_captions: captions with the same text as a caption of another image.
        test_images_with_own_caption: test images with a caption that no other test image has.
            For the others, ties decide the R@1 image to text even of a perfect model.
        test_images_below_five_captions: test images with fewer than 5 distinct captions.
        batches_with_repeats: for each batch size, the percentage of random batches of training
            captions with a repeated image or text: false negatives of a contrastive loss. Of 20
            shuffled epochs, for the sizes that the train split fills.
        broken_images: the error of each image that cannot be decoded.
        dark_pictures, constant_pictures: names of images of which 99 % of the values lie below
            ``DARK``, and of images of a single colour.
        duplicate_pictures: groups of images of one split with identical decoded pictures.
        leaks: groups of images of several splits with identical decoded pictures.
        manifest_digest, pixel_digest: of names, splits and captions; of the decoded pictures.
        errors: reasons why the set cannot be used.
        findings: what a user of the set must know.

    Counts of pictures are None if these were not decoded; ``pixel_digest`` also if one is broken.
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
    broken_images: list[str] | None = None
    dark_pictures: list[str] | None = None
    constant_pictures: list[str] | None = None
    duplicate_pictures: list[list[str]] | None = None
    leaks: list[list[str]] | None = None
    manifest_digest: str
    pixel_digest: str | None = None
    errors: list[str]
    findings: list[str]

    @property
    def ok(self) -> bool:
        """Whether the set can be used."""
        return not self.errors

    def as_dict(self) -> dict:
        """All counts and ``ok``, ready for JSON."""
        return asdict(self) | {"ok": self.ok}


def audit(set: ImageTextSet, decode: bool = True, progress: bool = True) -> Audit:
    """Count what the set contains; with ``decode``, check every picture, too (in parallel)."""
    rows = [(i, set.splits[i], text) for i, texts in enumerate(set.captions) for text in texts]
    every = pd.DataFrame(rows, columns=["image", "split", "text"], dtype=object)
    train, test = (every[every["split"] == split] for split in ("train", "test"))
    known, shared = every[every["split"].isin(["train", "val"])], _shared(test)
    words = np.array([len(text.split()) for text in every["text"]] or [0])
    empty = [i for i, _, text in rows if not text.strip()]
    without = [i for i, texts in enumerate(set.captions) if not texts]
    in_test = [texts for i, texts in enumerate(set.captions) if set.splits[i] == "test"]
    counts = {
        "shared_captions": int(_shared(every).sum()),
        "shared_test_captions": int(shared.sum()),
        "distinct_test_captions": test["text"].nunique(),
        "test_images_with_own_caption": test["image"][~shared].nunique(),
        "test_captions_in_train": int(test["text"].isin(train["text"]).sum()),
        "test_captions_in_train_or_val": int(test["text"].isin(known["text"]).sum()),
        "test_images_below_five_captions": sum(len({*texts}) < 5 for texts in in_test),
    }
    pictures = _pictures(set, progress) if decode else {}
    errors, findings = _problems(set, empty, without, pictures)
    for name, what in TRAPS.items():
        whole = len(in_test if name.startswith("test_images") else test)
        if counts[name]:
            share = 100 * counts[name] / whole
            findings.append(f"{counts[name]} of {whole} ({share:.1f} %) test {what}")
    captions, pictured = Counter(every["split"]), Counter(set.splits)
    present = [split for split in (*USES, PICTURES) if pictured[split]]
    spread = {"least": min, "median": np.median, "mean": np.mean, "most": max}
    return Audit(
        name=set.name,
        images=len(set),
        splits={s: {"images": pictured[s], "captions": captions[s]} for s in present},
        classes=dict(sorted(Counter(c for c in set.classes if c is not None).items())),
        captions_per_image=dict(sorted(Counter(map(len, set.captions)).items())),
        caption_words={name: of(words).item() for name, of in spread.items()},
        empty_captions=[set.filenames[i] for i in empty],
        images_without_captions=[set.filenames[i] for i in without],
        batches_with_repeats=_repeats(train),
        manifest_digest=set.manifest_digest(),
        errors=errors,
        findings=findings,
        **counts,
        **pictures,
    )


def _problems(
    set: ImageTextSet, empty: list[int], without: list[int], pictures: Mapping
) -> tuple[list[str], list[str]]:
    """Errors and findings, except the traps of the test split."""
    errors, findings, plain = [], [], PICTURES in set.splits
    if plain:
        findings.append(
            "no captions were found: `rsstudy search` can use the pictures, no other; a table of "
            "captions is read if it is called metadata.csv or metadata.jsonl"
        )
        without = []
    for what, found in (("empty caption(s)", empty), ("image(s) without a caption", without)):
        fatal = [set.filenames[i] for i in found if set.splits[i] != "train"]
        mild = [set.filenames[i] for i in found if set.splits[i] == "train"]
        if fatal:
            errors.append(f"{len(fatal)} {what} outside train: {_some(fatal)}")
        if mild:
            findings.append(f"{len(mild)} {what} in train, left out of training: {_some(mild)}")
    if broken := pictures.get("broken_images"):
        left_out = " (left out of the search)" if plain else ""
        said = f"{len(broken)} broken image(s){left_out}: {_some(broken, 1)}"
        (findings if plain and len(broken) < len(set) else errors).append(said)
    for name, what in PLAIN.items():
        if names := pictures.get(name):
            findings.append(f"{len(names)} {what}: {_some(names)}")
    for name, what in REPEATED.items():
        if groups := pictures.get(name):
            findings.append(f"{len(groups)} {what}: {_some(map(' = '.join, groups))}")
    if len(set):
        absent = [split for split in USES if split not in set.splits and not plain]
        findings += [f"no {split} split: {USES[split]}" for split in absent]
    else:
        errors.append("the set holds no images")
    if about(set.name).get("manifest") not in (None, set.manifest_digest()):
        findings.append(f"names, splits or captions differ from the {set.name} this study knows")
    return errors, findings


def beside_published(published: pd.DataFrame, checks: Sequence[Mapping]) -> pd.DataFrame:
    """Published counts beside those that ``rsstudy data check --json`` finds.

    Args:
        published: columns set, count (the dotted path in the check), of (the path of the whole of
            a percentage; else empty), what, published (as text, for its decimals).
        checks: the checks of some sets.

    Returns:
        set, what, published, recomputed (as text, with the decimals of the published one; missing
        for a set without a check), agree (None for such a set).
    """
    of_set = {check["name"]: pd.json_normalize(dict(check)).iloc[0] for check in checks}

    def recomputed(row: Mapping[str, str]) -> str | None:
        if row["set"] not in of_set:
            return None
        counts = of_set[row["set"]]
        value = float(counts[row["count"]])
        if row["of"]:
            value *= 100 / float(counts[row["of"]])
        return f"{value:.{len(row['published'].partition('.')[2])}f}"

    table = published.fillna("").astype(str)
    found = [recomputed(row) for row in table.to_dict("records")]
    agree = [n if n is None else n == p for n, p in zip(found, table["published"], strict=True)]
    return table[["set", "what", "published"]].assign(recomputed=found, agree=agree)


def _shared(captions: pd.DataFrame) -> pd.Series:
    """For each caption whether its text belongs to more than one image."""
    owners = captions.groupby("text")["image"].nunique()
    return captions["text"].isin(owners.index[owners > 1])


def _repeats(captions: pd.DataFrame) -> dict[int, float]:
    """For each batch size the percentage of random batches with a repeated image or text."""
    columns = [pd.factorize(captions[name])[0] for name in ("image", "text")]
    random = np.random.default_rng(0)
    found, epochs = {}, 20
    for size in BATCHES:
        batches, repeated = len(captions) // size, 0
        if not batches:
            continue
        for _ in range(epochs):
            drawn = random.permutation(len(captions))[: batches * size].reshape(batches, size)
            image, text = (np.diff(np.sort(of[drawn], axis=1), axis=1) == 0 for of in columns)
            repeated += int((image | text).any(axis=1).sum())
        found[size] = 100 * repeated / (batches * epochs)
    return found


def _pictures(set: ImageTextSet, progress: bool) -> dict[str, Any]:
    def look(index: int) -> tuple[bytes | str, bool, bool]:
        try:
            picture = set.images.decode(index)
        except BrokenImage as problem:
            return str(problem), False, False
        dark = bool(np.percentile(picture, 99) < DARK)
        return picture_digest(picture), dark, bool(np.ptp(picture, axis=(0, 1)).max() == 0)

    seen, dark, constant = [*zip(*each_picture(set, look, progress), strict=True)] or [()] * 3
    broken = [what for what in seen if isinstance(what, str)]
    facts = {"digest": seen, "split": set.splits, "name": set.filenames}
    whole = pd.DataFrame(facts, dtype=object).loc[[isinstance(what, bytes) for what in seen]]
    whole["place"] = whole["split"] + "/" + whole["name"]
    same = whole[whole.duplicated("digest", keep=False)]
    within = same.groupby(["digest", "split"], sort=False)["name"].agg(list)
    across = same.groupby("digest", sort=False).agg({"split": "nunique", "place": list})
    return {
        "broken_images": broken,
        "dark_pictures": [n for n, is_dark in zip(set.filenames, dark, strict=True) if is_dark],
        "constant_pictures": [n for n, of in zip(set.filenames, constant, strict=True) if of],
        "duplicate_pictures": [names for names in within if len(names) > 1],
        "leaks": across["place"][across["split"] > 1].tolist(),
        "pixel_digest": None if broken else pixel_digest(set, list(whole["digest"])),
    }


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
