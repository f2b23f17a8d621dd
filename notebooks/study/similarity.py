"""How alike the pictures of a set are, and its captions: the paper's "intra-modal similarity".

Every measure is of n pictures drawn from a set, with one caption drawn for each. Nearest neighbours
and effective numbers grow with n, so sets are compared at the same n. All measures are of cosines
under one encoder: only sets under the same encoder are compared. ``along_the_dials`` needs none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist
from scipy.special import entr
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from torch import nn

from rsstudy import __version__
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import load, usable
from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, prepare
from rsstudy.experiments.environment import environment
from rsstudy.experiments.names import public_name
from rsstudy.experiments.splits import data_label
from rsstudy.scenes import scenes
from study.near import thumbnails

CELLS = 20_000
BARS = 100
"""A histogram has 100 bars from cosine -1 to 1, counted in 20,000 cells."""
HALVES = 100
"""Random halves of a sample, for standard errors."""
NO_ENCODER, PIXELS = "none", 32
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 4  # pictures, so that each half has a pair


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
        StudyError: a set, a split or the encoder is absent, or a set has too few pictures.
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
    model = None
    if encoder != NO_ENCODER:
        model = create(encoder, image_size).to(pick_device(device))
    samples = {
        label: embedded(model, chosen, towers) if model else pixels_and_words(chosen)
        for label, chosen in drawn.items()
    }
    command = ["python -m study similarity", *map(shlex.quote, drawn)]
    command += [f"--encoder {public_name(encoder)}", *["--towers"] * towers]
    command += [f"--image-size {image_size}"] * bool(image_size)
    command += [f"--split {split}" for split in splits]
    return {
        "command": " ".join([*command, f"--pictures {pictures} --seed {seed}"]),
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


def draw(whole: ImageTextSet, pictures: int, seed: int = 0) -> ImageTextSet:
    """``pictures`` pictures of a set with one caption each, drawn at random, in random order.

    The draw depends on the filenames and the seed, not on the order of the images.

    Raises:
        StudyError: the set has fewer.
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
        texts: (n, e) float32; row i belongs to picture i.
        captions: an integer each, the same for identical texts.
        classes: a scene class each, or None.
        joint: both are in one space, so that pictures and captions have cosines.
    """

    images: np.ndarray
    texts: np.ndarray
    captions: np.ndarray
    classes: tuple[str | None, ...]
    joint: bool = True

    def take(self, rows: np.ndarray) -> Sample:
        """The sample of some of its pictures."""
        classes = tuple(self.classes[i] for i in rows)
        return Sample(self.images[rows], self.texts[rows], self.captions[rows], classes, self.joint)

    def vectors(self, modality: str) -> np.ndarray:
        """``images`` or ``texts``, of the modality ``image`` or ``text``."""
        return {"image": self.images, "text": self.texts}[modality]


def embedded(encoder: DualEncoder, drawn: ImageTextSet, towers: bool = False) -> Sample:
    """A drawn set under an encoder; with ``towers``, the towers' features before the heads.

    Heads that nobody trained are random projections and say nothing of the towers.
    """
    pairs = prepare(encoder, drawn)
    with without_heads(encoder) if towers else nullcontext():
        images, texts = (part.cpu().numpy() for part in embed(encoder, pairs, progress=True))
    return Sample(images, texts[pairs.text_of], pairs.text_of, drawn.classes, joint=not towers)


def pixels_and_words(drawn: ImageTextSet, size: int = PIXELS) -> Sample:
    """A drawn set without any encoder, that is without anything learned from other data.

    A picture is its pixels at ``size`` pixels a side, as differences from the middle grey; a
    caption is the set of its words.
    """
    pixels = thumbnails(drawn, size, progress=False).reshape(len(drawn), -1)
    images = pixels.astype(np.float32) - 127.5
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
    with ExitStack() as undo:
        for head in encoder.heads:
            owner, _, name = head.rpartition(".")
            module = encoder.get_submodule(owner)
            without: nn.Module | None = None
            if isinstance(module, nn.Linear):
                owner, _, name = owner.rpartition(".")
                module, without = encoder.get_submodule(owner), nn.Identity()
            elif name not in ("proj", "text_projection"):  # open_clip skips these where None
                raise StudyError(f"{encoder.name} cannot do without its head {head}")
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, without)
        yield


def mean(cosines: np.ndarray) -> float:
    """The mean, summed in double precision."""
    return float(cosines.mean(dtype=np.float64))


def counted(cosines: np.ndarray) -> np.ndarray:
    """How many cosines are in each of the cells from -1 to 1: (CELLS,)."""
    cells = np.clip((cosines + 1) * (CELLS / 2), 0, CELLS - 1).astype(np.int64)
    return np.bincount(cells, minlength=CELLS)


def summary(cosines: np.ndarray) -> dict[str, Any]:
    """Number, mean, quantiles (middles of cells) and the 100 bars, for JSON."""
    counts = counted(cosines)
    reached = np.searchsorted(np.cumsum(counts), np.array(QUANTILES) * len(cosines))
    return {
        "pairs": len(cosines),
        "mean": round(mean(cosines), 5),
        "quantiles": {
            f"{100 * part:.0f} %": round(float((cell + 0.5) * 2 / CELLS - 1), 4)
            for part, cell in zip(QUANTILES, reached, strict=True)
        },
        "histogram": counts.reshape(BARS, -1).sum(axis=1).tolist(),
    }


def ordered(lower: np.ndarray, higher: np.ndarray) -> float:
    """The chance that one of ``higher`` is above one of ``lower`` (the AUC).

    Cosines of one cell are ties, which count half.
    """
    counts = counted(lower)
    below = np.cumsum(counts) - counts / 2
    return float(below @ counted(higher) / (len(lower) * len(higher)))


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
    return float(np.exp(entr(eigenvalues.clip(0)).sum()))


def effective_texts(captions: np.ndarray) -> float:
    """The exponential of the Shannon entropy of how often each exact text occurs: 1 to n."""
    return float(np.exp(entropy(np.unique(captions, return_counts=True)[1])))


def within(vectors: np.ndarray, classes: Sequence[str | None]) -> dict[str, np.ndarray]:
    """The cosines within one modality.

    Args:
        vectors: unit vectors (n, d).

    Returns:
        ``all`` pairs and each vector's ``nearest`` other one; where there are classes, and pairs of
        both kinds, those of the ``same_class`` and of ``different_classes``.
    """
    cosines = vectors @ vectors.T
    once = np.triu(np.ones_like(cosines, bool), 1)
    _, kinds = np.unique([str(c) for c in classes], return_inverse=True)
    same = (kinds == kinds[:, None])[once]
    others = np.where(np.eye(len(vectors), dtype=bool), -1, cosines)
    found = {"all": cosines[once], "nearest": others.max(axis=1)}
    if all(classes) and same.any() and not same.all():
        found |= {"same_class": found["all"][same], "different_classes": found["all"][~same]}
    return found


def across(sample: Sample) -> dict[str, np.ndarray]:
    """Cosines of pictures and captions: ``own``, and ``other`` pictures' captions of another text.

    Identical captions of other pictures are in neither.
    """
    others = sample.captions != sample.captions[:, None]
    return {
        "own": (sample.images * sample.texts).sum(axis=1),
        "other": (sample.images @ sample.texts.T)[others],
    }


def headline(sample: Sample, modality: str) -> dict[str, float]:
    """The few numbers of a sample's pictures or captions by which sets are compared."""
    vectors = sample.vectors(modality)
    cosines = within(vectors, sample.classes)
    found = {
        "mean": mean(cosines["all"]),
        "nearest": mean(cosines["nearest"]),
        "effective_number": effective_number(vectors),
    }
    if "same_class" in cosines:
        same, different = cosines["same_class"], cosines["different_classes"]
        found["same_class"], found["different_classes"] = mean(same), mean(different)
        found["class_separation"] = ordered(different, same)
    if modality == "text":
        found["effective_texts"] = effective_texts(sample.captions)
    return found


def similarity(sample: Sample, halves: int = HALVES, seed: int = 0) -> dict[str, Any]:
    """Every measure of one sample, for JSON.

    The standard error of a headline number is the standard deviation of the number over ``halves``
    random halves of the sample (drawn without replacement: repeated pictures would count as near
    neighbours). For a mean this is the delete-half jackknife. The mean over the halves shows how
    much a number owes to the size of the sample. A number that some half lacks (a pair of one class
    may be missing) is left out.
    """
    random, n = np.random.default_rng(seed), len(sample.images)
    drawn = [random.permutation(n)[: n // 2] for _ in range(halves)]
    found: dict[str, Any] = {"pictures": n, "distinct_captions": len(np.unique(sample.captions))}
    for modality in ("image", "text"):
        of_halves = pd.DataFrame([headline(sample.take(rows), modality) for rows in drawn])
        complete = of_halves.dropna(axis="columns")
        cosines = within(sample.vectors(modality), sample.classes)
        found[modality] = {
            "headline": {
                name: {
                    "value": round(value, 5),
                    "standard_error": round(float(complete[name].std()), 5),
                    "of_half_the_pictures": round(float(complete[name].mean()), 5),
                }
                for name, value in headline(sample, modality).items()
                if name in complete
            },
            **{
                name: summary(cosines[name]) if name in cosines else None
                for name in ("all", "nearest", "same_class", "different_classes")
            },
        }
    pairs = across(sample) if sample.joint else {}
    found["image_text"] = {name: summary(part) for name, part in pairs.items()} or None
    return found


def shared_map(samples: Mapping[str, Sample], points: int = 900) -> dict[str, Any]:
    """The first pictures and captions of each sample on two axes that all samples share.

    The axes are the first two principal components of all samples together, for pictures and for
    captions apart. Distances on it are projected, not warped as by t-SNE: a set that spreads less
    looks smaller.

    Args:
        points: of all samples together, as many of each.
    """
    found: dict[str, Any] = {}
    for modality in ("image", "text"):
        vectors = [s.vectors(modality)[: points // len(samples)] for s in samples.values()]
        if len({v.shape[1] for v in vectors}) > 1:  # sets of words: each has its own axes
            continue
        axes = PCA(2, svd_solver="full").fit(np.concatenate(vectors))
        placed = (axes.transform(v).round(3).tolist() for v in vectors)
        found[modality] = {
            "variance_shown": [round(float(v), 4) for v in axes.explained_variance_ratio_],
            "points": dict(zip(samples, placed, strict=True)),
        }
    return found


def headlines(found: Mapping[str, Any]) -> pd.DataFrame:
    """The headline numbers of ``compare``: set, modality, measure, value, standard_error, half."""
    rows = [
        {"set": name, "modality": modality, "measure": measure, **number}
        for name, measured in found["sets"].items()
        for modality in ("image", "text")
        for measure, number in measured[modality]["headline"].items()
    ]
    return pd.DataFrame(rows).rename(columns={"of_half_the_pictures": "half"})


def against(found: Mapping[str, Any], reference: str) -> pd.DataFrame:
    """Each set's headline numbers less those of the ``reference`` set, with 95 % intervals.

    Columns: set, modality, measure, difference, low, high, ratio, ratio_low, ratio_high. The
    samples are independent: the variances add, for the ratio those of the logarithms.
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
    parts = (both[f"standard_error{side}"] / both[f"value{side}"] for side in ("", "_base"))
    factor = np.exp(1.96 * np.hypot(*parts))
    both["ratio_low"], both["ratio_high"] = both["ratio"] / factor, both["ratio"] * factor
    ratios = ["ratio", "ratio_low", "ratio_high"]
    return both[["set", "modality", "measure", "difference", "low", "high", *ratios]]


def by_dial(found: Mapping[str, Any]) -> pd.DataFrame:
    """The headline numbers of generated scenes by the dials in their names.

    Columns: raised (pictures, captions or both), position, and those of ``headlines``. The scenes
    with both dials at 0 are in all three.
    """
    table = headlines(found)
    dials = pd.DataFrame([dict(parse_qsl(name.partition("?")[2])) for name in table["set"]])
    table["pictures"] = pictures = dials["alike_images"].astype(float)
    table["captions"] = captions = dials["alike_captions"].astype(float)
    parts = [
        table[captions == 0].assign(position=pictures, raised="pictures"),
        table[pictures == 0].assign(position=captions, raised="captions"),
        table[pictures == captions].assign(position=pictures, raised="both"),
    ]
    return pd.concat(parts)


def picture_distance(pictures: ImageTextSet, size: int = PIXELS) -> float:
    """The mean distance of two different pictures, in grey levels of 255.

    The distance is the root mean square over the pixels and channels at ``size`` pixels a side.
    """
    pixels = thumbnails(pictures, size, progress=False).reshape(len(pictures), -1)
    return float(pdist(pixels).mean() / np.sqrt(pixels.shape[1]))


def distinct_captions(pictures: ImageTextSet) -> float:
    """The distinct captions of a set, in percent of all its captions."""
    captions = [caption for own in pictures.captions for caption in own]
    return 100 * len(set(captions)) / len(captions)


def along_the_dials(positions: Sequence[float], pictures: int = 120) -> pd.DataFrame:
    """Both measures on 800 generated aerial scenes, with both dials at each position.

    Args:
        pictures: how many of the scenes are drawn, for the distance of pictures.

    Returns:
        columns dial, picture_distance, distinct_captions.
    """
    rows = []
    for position in positions:
        made = scenes(alike_images=position, alike_captions=position)
        distance = picture_distance(made.take(range(pictures)))
        rows.append((position, distance, distinct_captions(made)))
    return pd.DataFrame(rows, columns=["dial", "picture_distance", "distinct_captions"])
