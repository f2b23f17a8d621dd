"""How alike the pictures of a set are, and its captions: the paper's "intra-modal similarity".

Every measure is over n pictures drawn from a set and one caption drawn for each, so that pictures
and captions are told apart by nothing but themselves. Nearest neighbours and effective numbers grow
with n: sets are compared at the same n. All are of cosines under one encoder, and another encoder
gives other cosines: only sets under the same encoder are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from torch import nn

from rsstudy import __version__
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import each_picture, fit
from rsstudy.data.sources import load, usable
from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, prepare
from rsstudy.experiments.environment import environment
from rsstudy.experiments.names import public_name
from rsstudy.experiments.splits import data_label

CELLS = 20_000
BARS = 100
"""A histogram is kept with 100 bars from cosine -1 to 1, counted in 20,000 cells."""
HALVES = 100
"""Random halves of a sample, for standard errors."""
NO_ENCODER, PIXELS = "none", 32
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def compare(
    names: Sequence[str],
    encoder: str,
    towers: bool = False,
    image_size: int | None = None,
    splits: Sequence[str] = (),
    pictures: int = 1000,
    seed: int = 0,
    data_root: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure sets under one encoder, as many pictures of each, and say how it was done; for JSON.

    Args:
        names: for ``rsstudy.data.sources.load``.
        encoder: for ``rsstudy.encoders.create``, or ``none``: pixels and words.
        towers: the towers' features before the heads.
        splits: where to draw from; from the whole set when left out. Nothing is chosen by what is
            found, so the test split need not be left out.

    Raises:
        StudyError: a set, a split or the encoder is not there, or a set holds too few pictures.
    """
    drawn, about = {}, {}
    for name in names:
        read = load(name, data_root)
        whole, _ = usable(read)
        for split in splits:
            whole.require(split)
        if splits:
            whole = whole.take([i for i, s in enumerate(whole.splits) if s in splits])
        label = data_label(name, read)
        if label in drawn:
            raise StudyError(f"two sets are called {label}: rename one's folder")
        drawn[label] = draw(whole, pictures, seed)
        about[label] = {
            "drawn_from": len(whole),
            "splits": sorted(set(whole.splits)),
            "manifest_digest": read.manifest_digest(),
        }
    if encoder == NO_ENCODER:
        samples = {label: pixels_and_words(chosen) for label, chosen in drawn.items()}
        model = None
    else:
        model = create(encoder, image_size).to(pick_device(device))
        samples = {label: embedded(model, chosen, towers) for label, chosen in drawn.items()}
    options = [
        f"--encoder {public_name(encoder)}",
        *["--towers"] * towers,
        *([f"--image-size {image_size}"] if image_size else []),
        *(f"--split {split}" for split in splits),
        f"--pictures {pictures} --seed {seed}",
    ]
    return {
        "command": " ".join(
            ["python -m study similarity", *(f"'{n}'" if "?" in n else n for n in drawn), *options]
        ),
        "encoder": public_name(encoder),
        "features": "pixels and words" if model is None else "towers" if towers else "joint space",
        "image_size": model.image_size if model else PIXELS,
        "weights": model.weights if model else {},
        "pictures": pictures,
        "captions_a_picture": 1,
        "seed": seed,
        "halves": HALVES,
        "rsstudy": __version__,
        "environment": environment(model.device if model else torch.device("cpu")),
        "sets": {
            label: about[label] | similarity(sample, seed=seed) for label, sample in samples.items()
        },
        "map": shared_map(samples) if len(samples) > 1 else {},
    }


FEWEST = 4  # whose halves hold a pair each


def draw(whole: ImageTextSet, pictures: int, seed: int = 0) -> ImageTextSet:
    """``pictures`` pictures of a set with one caption each, drawn at random, in random order.

    The draw depends on the filenames and the seed, not on the order of the images.

    Raises:
        StudyError: the set holds fewer.
    """
    if not FEWEST <= pictures <= len(whole):
        raise StudyError(
            f"{pictures} pictures cannot be drawn from the {len(whole)} of {whole.name}: "
            f"choose {FEWEST} to {len(whole)}"
        )
    by_name = sorted(range(len(whole)), key=lambda i: whole.filenames[i])
    random = np.random.default_rng(seed)
    drawn = whole.take([by_name[i] for i in random.permutation(len(whole))[:pictures]])
    places = random.random(pictures)
    captions = tuple(
        (own[int(place * len(own))],) for own, place in zip(drawn.captions, places, strict=True)
    )
    return replace(drawn, captions=captions)


@dataclass(frozen=True)
class Sample:
    """Unit vectors of n pictures and of one caption each.

    Attributes:
        images: (n, d) float32.
        texts: (n, e) float32; row i belongs to picture i. Cosines of a picture and a caption are
            counted only where ``joint``.
        captions: an integer each, the same for identical texts.
        classes: a scene class each, or None.
        joint: both lie in one space.
    """

    images: np.ndarray
    texts: np.ndarray
    captions: np.ndarray
    classes: tuple[str | None, ...]
    joint: bool = True

    def take(self, indices: np.ndarray) -> Sample:
        """The sample of some of its pictures."""
        classes = tuple(self.classes[i] for i in indices)
        return Sample(
            self.images[indices], self.texts[indices], self.captions[indices], classes, self.joint
        )


def embedded(encoder: DualEncoder, drawn: ImageTextSet, towers: bool = False) -> Sample:
    """A drawn set under an encoder; with ``towers``, as its towers see it, before the heads.

    Heads that nobody trained are random projections and say nothing of the towers.
    """
    pairs = prepare(encoder, drawn)
    if towers:
        with without_heads(encoder):
            images, texts = embed(encoder, pairs, progress=True)
    else:
        images, texts = embed(encoder, pairs, progress=True)
    return Sample(
        images.cpu().numpy(),
        texts.cpu().numpy()[pairs.text_of],
        pairs.text_of,
        drawn.classes,
        joint=not towers,
    )


def pixels_and_words(drawn: ImageTextSet, size: int = PIXELS) -> Sample:
    """A drawn set without any encoder, that is without anything learned from other data.

    A picture is its pixels at ``size`` pixels a side, as differences from the middle grey; a
    caption is the set of its words.
    """
    pictures = each_picture(drawn, lambda i: fit(drawn.images.decode(i), size), progress=False)
    images = np.stack(list(pictures)).reshape(len(drawn), -1).astype(np.float32) - 127.5
    captions = [caption for (caption,) in drawn.captions]
    words = CountVectorizer(binary=True, token_pattern=r"\w+", dtype=np.float32)
    texts = normalize(words.fit_transform(captions)).toarray()
    _, same = np.unique(captions, return_inverse=True)
    return Sample(normalize(images), texts, same, drawn.classes, joint=False)


@contextmanager
def without_heads(encoder: DualEncoder) -> Iterator[None]:
    """Within the block, the encoder embeds into the feature space of each tower.

    Raises:
        StudyError: a head is more than one matrix.
    """
    replaced: list[tuple[nn.Module, str, Any]] = []
    try:
        for head in encoder.heads:
            place, _, name = head.rpartition(".")
            owner = encoder.get_submodule(place)
            if isinstance(owner, nn.Linear):
                above, _, name = place.rpartition(".")
                above_it = encoder.get_submodule(above)
                replaced.append((above_it, name, owner))
                setattr(above_it, name, nn.Identity())
            elif name in ("proj", "text_projection"):  # open_clip leaves them out where None
                replaced.append((owner, name, getattr(owner, name)))
                setattr(owner, name, None)
            else:
                raise StudyError(f"{encoder.name} cannot do without its head {head}")
        yield
    finally:
        for owner, name, head in reversed(replaced):
            setattr(owner, name, head)


@dataclass(frozen=True)
class Cosines:
    """Cosines counted in cells of a ten-thousandth: of any number of pairs in the same memory."""

    counts: np.ndarray
    total: np.ndarray  # of one element: their sum

    @staticmethod
    def none() -> Cosines:
        return Cosines(np.zeros(CELLS, np.int64), np.zeros(1))

    def add(self, cosines: np.ndarray) -> None:
        cells = np.clip((cosines + 1) * (CELLS / 2), 0, CELLS - 1).astype(np.int64)
        self.counts[:] += np.bincount(cells.ravel(), minlength=CELLS)
        self.total[:] += cosines.sum(dtype=np.float64)

    def mean(self) -> float:
        return float(self.total[0] / self.counts.sum())

    def quantile(self, part: float) -> float:
        """The middle of the cell in which the sorted cosines reach ``part`` of their number."""
        reached = np.searchsorted(np.cumsum(self.counts), part * self.counts.sum())
        return float((reached + 0.5) * 2 / CELLS - 1)

    def summary(self) -> dict[str, Any]:
        """Mean, quantiles and the 100 bars, for JSON."""
        return {
            "pairs": int(self.counts.sum()),
            "mean": round(self.mean(), 5),
            "quantiles": {
                f"{100 * part:.0f} %": round(self.quantile(part), 4) for part in QUANTILES
            },
            "histogram": self.counts.reshape(BARS, -1).sum(axis=1).tolist(),
        }


def ordered(lower: Cosines, higher: Cosines) -> float:
    """The chance that one of ``higher`` is above one of ``lower``, ties counted half (the AUC)."""
    below = np.cumsum(lower.counts) - lower.counts / 2
    return float(below @ higher.counts / (lower.counts.sum() * higher.counts.sum()))


def effective_number(vectors: np.ndarray) -> float:
    """How many different things the vectors amount to: 1 if all are equal, n if all orthogonal.

    The Vendi score of Friedman and Dieng (TMLR 2023) with the cosine as kernel: the exponential of
    the Shannon entropy of the eigenvalues of the Gram matrix divided by n. It cannot exceed the
    dimension.

    Args:
        vectors: unit vectors (n, d).
    """
    gram = vectors @ vectors.T if len(vectors) < vectors.shape[1] else vectors.T @ vectors
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64) / len(vectors))
    return _exp_entropy(eigenvalues)


def effective_texts(captions: np.ndarray) -> float:
    """The exponential of the Shannon entropy of how often each exact text occurs: 1 to n."""
    _, counts = np.unique(captions, return_counts=True)
    return _exp_entropy(counts / counts.sum())


def _exp_entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def within(vectors: np.ndarray, classes: Sequence[str | None], rows: int = 512) -> dict[str, Any]:
    """The cosines within one modality, in blocks of ``rows`` rows.

    Args:
        vectors: unit vectors (n, d).

    Returns:
        ``all`` pairs, each vector's ``nearest`` other one, and pairs of the ``same_class`` and of
        ``different_classes`` (None where there are no classes), as ``Cosines``.
    """
    tallies = {name: Cosines.none() for name in ("all", "nearest", "same", "different")}
    kinds = np.unique([str(c) for c in classes], return_inverse=True)[1]
    number = np.arange(len(vectors))
    for start in range(0, len(vectors), rows):
        mine = number[start : start + rows, None]
        cosines = vectors[start : start + rows] @ vectors.T
        once, same = number > mine, kinds == kinds[mine]
        tallies["all"].add(cosines[once])
        tallies["same"].add(cosines[once & same])
        tallies["different"].add(cosines[once & ~same])
        tallies["nearest"].add(np.where(number == mine, -1, cosines).max(axis=1))
    known = all(classes) and tallies["same"].counts.any() and tallies["different"].counts.any()
    return {
        "all": tallies["all"],
        "nearest": tallies["nearest"],
        "same_class": tallies["same"] if known else None,
        "different_classes": tallies["different"] if known else None,
    }


def across(sample: Sample, rows: int = 512) -> dict[str, Cosines]:
    """Cosines of pictures and captions: ``own``, and ``other`` pictures' captions of another text.

    Identical captions of other pictures are in neither.
    """
    own, other = Cosines.none(), Cosines.none()
    own.add((sample.images * sample.texts).sum(axis=1))
    for start in range(0, len(sample.images), rows):
        mine = slice(start, start + rows)
        cosines = sample.images[mine] @ sample.texts.T
        other.add(cosines[sample.captions != sample.captions[mine, None]])
    return {"own": own, "other": other}


def headline(sample: Sample) -> dict[str, dict[str, float]]:
    """The few numbers of a sample that sets are compared by, for pictures and for captions."""
    found = {}
    for modality, vectors in (("image", sample.images), ("text", sample.texts)):
        tallies = within(vectors, sample.classes)
        found[modality] = {
            "mean": tallies["all"].mean(),
            "nearest": tallies["nearest"].mean(),
            "effective_number": effective_number(vectors),
        }
        if tallies["same_class"]:
            same, different = tallies["same_class"], tallies["different_classes"]
            found[modality]["same_class"] = same.mean()
            found[modality]["different_classes"] = different.mean()
            found[modality]["class_separation"] = ordered(different, same)
    found["text"]["effective_texts"] = effective_texts(sample.captions)
    return found


def similarity(sample: Sample, halves: int = HALVES, seed: int = 0) -> dict[str, Any]:
    """Every measure of one sample, for JSON.

    The standard error of a headline number is the standard deviation of the number over ``halves``
    random halves of the sample (drawn without replacement: repeated pictures would count as near
    neighbours). For a mean this is the delete-half jackknife. Beside it stands the mean over the
    halves, which shows how much a number owes to the size of the sample. A number that not every
    half has (a pair of one class may be missing) is left out.
    """
    whole = headline(sample)
    random = np.random.default_rng(seed)
    n = len(sample.images)
    parts = [headline(sample.take(random.permutation(n)[: n // 2])) for _ in range(halves)]
    found: dict[str, Any] = {"pictures": n, "distinct_captions": len(np.unique(sample.captions))}
    for modality, vectors in (("image", sample.images), ("text", sample.texts)):
        of_halves = {
            name: np.array([part[modality].get(name, np.nan) for part in parts])
            for name in whole[modality]
        }
        tallies = within(vectors, sample.classes)
        found[modality] = {
            "headline": {
                name: {
                    "value": round(value, 5),
                    "standard_error": round(float(of_halves[name].std(ddof=1)), 5),
                    "of_half_the_pictures": round(float(of_halves[name].mean()), 5),
                }
                for name, value in whole[modality].items()
                if np.isfinite(of_halves[name]).all()
            },
            **{name: tally and tally.summary() for name, tally in tallies.items()},
        }
    found["image_text"] = (
        {name: tally.summary() for name, tally in across(sample).items()} if sample.joint else None
    )
    return found


def shared_map(samples: Mapping[str, Sample], points: int = 900) -> dict[str, Any]:
    """Where the first pictures and captions of each sample lie on two axes that all share.

    The axes are the first two principal components of all samples together, for pictures and for
    captions apart. Distances on it are projected, not warped as by t-SNE: a set that spreads less
    looks smaller.

    Args:
        points: of all samples together, as many of each.
    """
    found: dict[str, Any] = {}
    each = points // len(samples)
    for modality in ("image", "text"):
        vectors = [getattr(sample, f"{modality}s")[:each] for sample in samples.values()]
        if len({v.shape[1] for v in vectors}) > 1:  # sets of words: each has its own axes
            continue
        axes = PCA(2, svd_solver="full").fit(np.concatenate(vectors))
        found[modality] = {
            "variance_shown": [round(float(v), 4) for v in axes.explained_variance_ratio_],
            "points": {
                name: axes.transform(v).round(3).tolist()
                for name, v in zip(samples, vectors, strict=True)
            },
        }
    return found


def headlines(found: Mapping[str, Any]) -> pd.DataFrame:
    """The headline numbers of ``compare``: set, modality, measure, value, standard_error, half."""
    return pd.DataFrame(
        [
            {
                "set": name,
                "modality": modality,
                "measure": measure,
                "value": number["value"],
                "standard_error": number["standard_error"],
                "half": number["of_half_the_pictures"],
            }
            for name, measured in found["sets"].items()
            for modality in ("image", "text")
            for measure, number in measured[modality]["headline"].items()
        ]
    )


def against(found: Mapping[str, Any], reference: str) -> pd.DataFrame:
    """Each set's headline numbers less those of the ``reference`` set, with 95 % intervals.

    Columns: set, modality, measure, difference, low, high, ratio. The samples are independent: the
    variances add.
    """
    table = headlines(found)
    base = table[table["set"] == reference].drop(columns="set")
    both = table[table["set"] != reference].merge(
        base, on=["modality", "measure"], suffixes=("", "_base")
    )
    both["difference"] = both["value"] - both["value_base"]
    spread = 1.96 * np.hypot(both["standard_error"], both["standard_error_base"])
    both["low"], both["high"] = both["difference"] - spread, both["difference"] + spread
    both["ratio"] = both["value"] / both["value_base"]
    return both[["set", "modality", "measure", "difference", "low", "high", "ratio"]]


def by_dial(found: Mapping[str, Any]) -> pd.DataFrame:
    """The headline numbers of generated scenes by the dials in their names.

    Columns: raised (pictures, captions or both), position, and those of ``headlines``. The scenes
    with both dials at 0 stand in all three.
    """
    table = headlines(found)
    dials = [dict(parse_qsl(name.partition("?")[2])) for name in table["set"]]
    table["pictures"] = [float(d["alike_images"]) for d in dials]
    table["captions"] = [float(d["alike_captions"]) for d in dials]
    parts = {
        "pictures": table[table["captions"] == 0].assign(position=lambda t: t["pictures"]),
        "captions": table[table["pictures"] == 0].assign(position=lambda t: t["captions"]),
        "both": table[table["pictures"] == table["captions"]].assign(
            position=lambda t: t["pictures"]
        ),
    }
    return pd.concat([part.assign(raised=raised) for raised, part in parts.items()])
