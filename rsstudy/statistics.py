"""What scores allow to say: intervals, "A beats B", "A and B are comparable", and with what power.

Two sources of chance are told apart: which pictures the test set happens to hold, and the seeds of
training. The counts of a record's test queries carry the first, several records the second.

Test queries are not independent. The captions of a picture describe the same content, and where a
caption labels several pictures its query is asked several times and its pictures compete. So test
pictures are drawn in clusters: a picture with its captions, or (the default) all pictures that a
chain of shared captions joins. On RSICD and UCM-Captions no cluster swallows the set: the largest
holds fewer than one picture in twenty (tests/test_statistics.py counts them), so no scheme with two
separate weights, of picture and of text, is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy import stats
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rsstudy.errors import StudyError
from rsstudy.retrieval import KS, counts_of

# Two methods count as comparable if their mean recalls differ by less, in points. Declared here,
# before any record it judges.
EQUIVALENCE_MARGIN = 1.0

Verdict = Literal["better", "worse", "comparable", "undecided"]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class SeedMean:
    """A mean over seeds, its t-interval, and the standard deviation of one seed."""

    mean: float
    low: float
    high: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class Contrast:
    """A against B on one test set, in points; positive where A scores higher.

    Attributes:
        estimate: the difference of the means over seeds.
        low, high: its interval, of level 1 - alpha.
        p: two-sided, of no difference.
        p_equivalence: of a difference of ``margin`` or more, the larger of two one-sided ones.
        seeds: of A and of B. With one on either side no spread over seeds is known there, and the
            contrast speaks of that trained model.
        clusters: of test pictures.
    """

    estimate: float
    low: float
    high: float
    p: float
    p_equivalence: float
    margin: float
    alpha: float
    seeds: tuple[int, int]
    clusters: int

    @property
    def verdict(self) -> Verdict:
        """Comparable where equivalence is shown, even if a difference within the margin is too.

        Otherwise better or worse where a difference is shown, and undecided where neither is: a
        difference that is not shown is no equivalence.
        """
        if self.p_equivalence <= self.alpha:
            return "comparable"
        if self.p <= self.alpha:
            return "better" if self.estimate > 0 else "worse"
        return "undecided"


def mean_over_seeds(values: Sequence[float], level: float = 0.95) -> SeedMean:
    """The mean of one score over seeds with its t-interval; of one seed without (NaN).

    Raises:
        StudyError: there are no values.
    """
    if not len(values):
        raise StudyError("no scores to take a mean of")
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return SeedMean(mean, np.nan, np.nan, np.nan, 1)
    deviation = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / n**0.5
    return SeedMean(mean, mean - half, mean + half, deviation, n)


def clusters_of(queries: Mapping[str, Any], cluster: str = "text") -> np.ndarray:
    """The cluster of each test picture, numbered from 0.

    Args:
        queries: the per-query counts of a record (``test_queries``).
        cluster: ``picture``, each its own; or ``text``, the connected components of the pictures
            that are joined by an identical caption.

    Raises:
        StudyError: another name, or a record that does not tell which captions are alike.
    """
    captions = np.array(queries["captions_of_image"])
    if cluster == "picture":
        return np.arange(len(captions))
    if cluster != "text":
        raise StudyError(f"no clusters by {cluster!r}: give picture or text")
    if "text_of_caption" not in queries:
        raise StudyError(
            "a record that does not tell which captions are alike: do its run again, or give "
            "cluster picture"
        )
    text_of = np.array(queries["text_of_caption"])
    image_of = np.repeat(np.arange(len(captions)), captions)
    nodes = len(captions) + int(text_of.max()) + 1
    joined = coo_matrix((np.ones(len(text_of)), (image_of, len(captions) + text_of)), (nodes,) * 2)
    _, component = connected_components(joined, directed=False)
    return np.unique(component[: len(captions)], return_inverse=True)[1]


def compare(
    a: Sequence[Record],
    b: Sequence[Record],
    score: str = "mean_recall",
    protocol: str = "standard",
    cluster: str = "text",
    margin: float = EQUIVALENCE_MARGIN,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> Contrast:
    """A against B by a paired bootstrap over clusters of test pictures and over seeds.

    A resample draws as many clusters as there are, with replacement, each with its pictures and
    captions, the same for all records of A and B; so what makes a query hard for both cancels. Few
    or unequal clusters make such deviations too small and too light in the tails, so they are
    widened as a t-distribution's, with the effective number of clusters less one as degrees of
    freedom. A deviation for the seeds is added. Drawing three or five
    seeds with replacement would give intervals far too narrow; instead seeds get normal weights
    around 1/n, divided by the root of a chi-square over its degrees of freedom. The deviation of a
    mean over n seeds then has exactly the t-distribution of its t-interval. A seed that A and B
    share has one weight, so they are paired by seed; the degrees of freedom are those of the side
    with fewer seeds (of those with more than one).

    What a seed does to single queries enters both parts: the interval errs on the wide side.

    The interval is between the quantiles alpha/2 and 1 - alpha/2 of the resamples. The two-sided p
    is twice the smaller share of resamples at or beyond zero, either side; the p of equivalence the
    larger of the shares at or below -margin and at or above +margin (two one-sided tests). Both
    count the observed sample as one more resample at the boundary, so neither is ever 0.

    Args:
        a, b: records of runs on one test set, one a seed.
        score: ``mean_recall`` or one of its six recalls, such as ``i2t_r1``.
        protocol: standard or relaxed.
        cluster: ``text`` or ``picture``; see ``clusters_of``.
        margin: of equivalence, in points.

    Raises:
        StudyError: a side has no records, or two of one seed; the records are of several test sets;
            they form fewer than two clusters of equal size.
    """
    seeds = [_seeds(side) for side in (a, b)]
    label, size = _clusters(_one_test_set([*a, *b]), cluster)
    sides = [
        (of, _cluster_sums(r, score, protocol, label)) for of, r in zip(seeds, (a, b), strict=True)
    ]
    return _contrast(sides, size, margin, alpha, resamples, seed)


def compare_changes(
    a: Sequence[tuple[Record, Record]],
    b: Sequence[tuple[Record, Record]],
    score: str = "mean_recall",
    margin: float = EQUIVALENCE_MARGIN,
    alpha: float = 0.05,
    resamples: int = 10_000,
) -> Contrast:
    """What a step changed a method's score by, against what it changed another's by.

    Args:
        a, b: pairs of records on one test set, before and after, each pair of one seed.
        score, margin, alpha, resamples: as ``compare``, whose standard protocol and clusters by
            text are taken.

    Returns:
        positive where A gained more, or lost less.

    Raises:
        StudyError: as ``compare``; the records of a pair are of two seeds.
    """
    changes = [tuple([pair[which] for pair in pairs] for which in (0, 1)) for pairs in (a, b)]
    for before, after in changes:
        if _seeds(before) != _seeds(after):
            raise StudyError("before and after are of different seeds: give pairs of one run each")
    label, size = _clusters(_one_test_set([r for pair in (*a, *b) for r in pair]), "text")
    sides = []
    for before, after in changes:
        then, now = (_cluster_sums(side, score, "standard", label) for side in (before, after))
        sides.append((_seeds(after), now - then))
    return _contrast(sides, size, margin, alpha, resamples)


def equivalence_over_seeds(
    a: Sequence[float], b: Sequence[float], margin: float = EQUIVALENCE_MARGIN
) -> float:
    """The p of two one-sided t-tests of equivalence, over seeds alone.

    It speaks of this very test set: the choice of its pictures does not enter.

    Args:
        a, b: scores of the same seeds in the same order.

    Raises:
        StudyError: they do not pair, or there are fewer than two.
    """
    if len(a) != len(b) or len(a) < 2:
        raise StudyError(f"{len(a)} and {len(b)} scores: give two or more seeds, the same in both")
    difference = np.subtract(a, b)
    above = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(difference, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction: p-values that may be held against alpha all at once.

    The chance of any false claim among the table's true null hypotheses stays within alpha, however
    its tests depend on each other (Holm, Scandinavian Journal of Statistics 6, 1979).

    Raises:
        StudyError: a value is no probability.
    """
    p = np.asarray(p_values, float)
    if not ((p >= 0) & (p <= 1)).all():
        raise StudyError("a p-value is not within 0..1")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def corrected(table: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts of one table with both p-values corrected by ``holm``, and so their verdicts.

    The claims of difference and those of equivalence are two families. Intervals stay as they are,
    each of its own level.
    """
    p, p_equivalence = (holm([getattr(c, n) for c in table]) for n in ("p", "p_equivalence"))
    return [
        dataclasses.replace(contrast, p=float(one), p_equivalence=float(other))
        for contrast, one, other in zip(table, p, p_equivalence, strict=True)
    ]


def smallest_gap(
    a: Sequence[Record],
    b: Sequence[Record],
    score: str = "mean_recall",
    protocol: str = "standard",
    cluster: str = "text",
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest true difference, in points, that this test set shows with the given power.

    A normal approximation, (z(1 - alpha/2) + z(power)) times the standard error of the difference
    over clusters of test pictures: how much two such methods differ from query to query decides.
    The spread over seeds does not enter, so with few seeds the gap to hope for is larger still.

    Args:
        a, b: records on one test set, one or more a side, for methods that differ as those to come.

    Raises:
        StudyError: as ``compare``.
    """
    queries = _one_test_set([*a, *b])
    _seeds(a), _seeds(b)
    label, size = _clusters(queries, cluster)
    means = [_cluster_sums(side, score, protocol, label).mean(axis=0) for side in (a, b)]
    difference, whole = means[0] - means[1], size.sum(axis=1, keepdims=True)
    ratio = difference.sum(axis=1, keepdims=True) / whole
    influence = ((difference - ratio * size) / whole).sum(axis=0)
    effective = _effective(size)
    error = (effective / (effective - 1) * (influence**2).sum()) ** 0.5
    return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * error)


def _one_test_set(records: Sequence[Record]) -> Mapping[str, Any]:
    """The test queries of the first of some records, that all must share."""

    def asked(record: Record) -> tuple:
        queries = record["test_queries"]
        names = ("captions_of_image", "text_of_caption")
        return (record["config"].get("manifest_digest"), *(queries.get(name) for name in names))

    for record in records:
        if "test_queries" not in record:
            raise StudyError(f"{record.get('id', 'a run')} is not finished: it has no test queries")
        if asked(record) != asked(records[0]):
            raise StudyError(
                f"{record.get('id')} and {records[0].get('id')} do not share their test queries: "
                "compare runs on one set, all scored by one version"
            )
    return records[0]["test_queries"] if records else {}


def _seeds(side: Sequence[Record]) -> list[int]:
    seeds = [record["config"]["seed"] for record in side]
    if not seeds or len(set(seeds)) < len(seeds):
        raise StudyError(f"seeds {seeds}: give one record a seed, and at least one, on either side")
    return seeds


def _clusters(queries: Mapping[str, Any], cluster: str) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each picture; how many pictures and how many captions each holds (2, G)."""
    label = clusters_of(queries, cluster)
    size = np.stack([np.bincount(label), np.bincount(label, queries["captions_of_image"])])
    if _effective(size) < 2:
        raise StudyError(
            "shared captions join nearly all test pictures into one cluster: too few say anything "
            "of chance"
        )
    return label, size


def _effective(size: np.ndarray) -> float:
    """How many clusters of equal size would be as uneven: (sum of sizes)^2 / sum of sizes^2."""
    pictures = size[0]
    return float(pictures.sum() ** 2 / (pictures**2).sum())


def _t_tails(freedom: float, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Factors that turn normal deviations into those of a t-distribution."""
    return 1 / np.sqrt(random.chisquare(freedom, resamples) / freedom)


def _cluster_sums(
    side: Sequence[Record], score: str, protocol: str, label: np.ndarray
) -> np.ndarray:
    """What each cluster adds to a score, in percent: records x (image, caption queries) x G."""
    names = [f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in KS]
    if score not in ("mean_recall", *names):
        raise StudyError(f"no score {score!r}: give mean_recall or one of {', '.join(names)}")
    taken = names if score == "mean_recall" else [score]
    of_caption = np.repeat(label, side[0]["test_queries"]["captions_of_image"])
    sums = np.zeros((len(side), 2, label.max() + 1))
    for record, found in zip(side, sums, strict=True):
        i2t, t2i = counts_of(record["test_queries"], protocol)
        for k in KS:
            if f"i2t_r{k}" in taken:
                found[0] += np.bincount(label, i2t.recall(k))
            if f"t2i_r{k}" in taken:
                found[1] += np.bincount(of_caption, t2i.recall(k))
    return 100 / len(taken) * sums


def _contrast(
    sides: Sequence[tuple[list[int], np.ndarray]], size: np.ndarray, margin: float, alpha: float,
    resamples: int, seed: int = 0,
) -> Contrast:  # fmt: skip
    """The bootstrap of ``compare``, from the seeds of each side and its sums over clusters."""
    (seeds_a, sums_a), (seeds_b, sums_b) = sides
    difference = sums_a.mean(axis=0) - sums_b.mean(axis=0)
    estimate = float(_score(difference.sum(axis=1), size.sum(axis=1)))
    clusters = size.shape[1]
    parts, state = _draws(clusters, resamples, seed)
    both = np.concatenate([difference, size])  # as floats, whose products are the fast ones
    sums = np.concatenate([both @ times.T.astype(float) for times in parts], axis=1)
    drawn = _score(sums[:2], sums[2:])
    random = np.random.default_rng()
    random.bit_generator.state = state
    effective = _effective(size)
    widened = (effective / (effective - 1)) ** 0.5 * _t_tails(effective - 1, resamples, random)
    drawn = estimate + widened * (drawn - estimate)
    whole = size.sum(axis=1)
    drawn += _seed_deviations(
        seeds_a, _score(sums_a.sum(axis=2).T, whole[:, None]),
        seeds_b, _score(sums_b.sum(axis=2).T, whole[:, None]), resamples, random,
    )  # fmt: skip
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])

    def chance(beyond: np.ndarray) -> float:
        return (1 + int(beyond.sum())) / (resamples + 1)

    return Contrast(
        estimate, float(low), float(high),
        p=min(1.0, 2 * min(chance(drawn <= 0), chance(drawn >= 0))),
        p_equivalence=max(chance(drawn <= -margin), chance(drawn >= margin)),
        margin=margin, alpha=alpha, seeds=(len(seeds_a), len(seeds_b)), clusters=clusters,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _draws(clusters: int, resamples: int, seed: int) -> tuple[list[np.ndarray], Mapping[str, Any]]:
    """How often each resample draws each cluster, in parts (small, as int16); how to draw on.

    Drawing is most of a contrast's time, and the contrasts of one test set take the same draws.
    """
    random = np.random.default_rng(seed)
    even = np.full(clusters, 1 / clusters)
    sizes = [min(1000, resamples - start) for start in range(0, resamples, 1000)]
    parts = [random.multinomial(clusters, even, size).astype(np.int16) for size in sizes]
    return parts, random.bit_generator.state


def _score(sums: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The score from the sums and the number of queries, each by direction first."""
    return sums[0] / size[0] + sums[1] / size[1]


def _seed_deviations(
    seeds_a: list[int], scores_a: np.ndarray, seeds_b: list[int], scores_b: np.ndarray,
    resamples: int, random: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Deviations of the difference of two means over seeds; see ``compare``."""
    union = sorted({*seeds_a, *seeds_b})
    normal = random.standard_normal((resamples, len(union)))
    spread = [n - 1 for n in (len(seeds_a), len(seeds_b)) if n > 1]
    total = np.zeros(resamples)
    if not spread:
        return total
    for sign, seeds, scored in ((1, seeds_a, scores_a), (-1, seeds_b, scores_b)):
        n = len(seeds)
        if n > 1:
            weights = normal[:, [union.index(s) for s in seeds]]
            total += sign * (weights @ (scored - scored.mean())) / (n * (n - 1)) ** 0.5
    return total * _t_tails(min(spread), resamples, random)
