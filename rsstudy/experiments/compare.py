"""What scores allow to say: differences with intervals, in the words clear, likely and open.

Chance has two sources: which pictures the test set has, and the seeds of training. The counts of a
record's test queries carry the first, several records the second.

Test queries are not independent. The captions of a picture describe the same content. A caption of
several pictures is asked several times, and its pictures compete. So test pictures count in
clusters: a picture with its captions, or (the default) all pictures that a chain of shared captions
joins. On RSICD and UCM-Captions the largest cluster has fewer than one picture in twenty
(tests/test_statistics.py counts them).

What the functions below have in common:

- A side is an arm's records of runs on one test set, one a seed.
- ``by`` is what is compared, ``margin`` that of equivalence, in points.
- ``pool`` is the spread over seeds of the table's arms, from ``seed_spread``; without one each arm
  has its own.
- They raise a StudyError where a side has no records, or two of one seed; where records are of
  several test sets, whose pictures form fewer than two clusters of equal size; and where the pool
  is of something else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, special, stats

from rsstudy.data.folds import components
from rsstudy.errors import StudyError
from rsstudy.retrieval import KS, counts_of

# Two methods count as comparable if their mean recalls differ by less, in points. Declared here,
# before any record it judges.
EQUIVALENCE_MARGIN = 1.0
ALPHA = 0.05
POWER = 0.8
# O'Brien-Fleming's boundary for two looks, half the folds each, with the whole error at ALPHA
# (Biometrics 35, 1979): the second look's z; the first's is larger by the root of two.
BOUNDARY = 1.9774
FOLDS = 8  # those that are tested, and those that are trained on
# Two-sided nominal level of each look, by the number of folds: 0.0052 and 0.048.
LOOKS: Mapping[int, float] = {
    folds: float(2 * stats.norm.sf(BOUNDARY * (FOLDS / folds) ** 0.5)) for folds in (4, FOLDS)
}
# Size of the test part over the training part: of ten folds one is tested, eight are trained on.
TEST_OVER_TRAIN = 1 / FOLDS

Word = Literal["clear", "likely", "open"]
Correction = Literal["simultaneous", "holm"]
Record = Mapping[str, Any]
# The records of an arm, one a seed; or pairs of records, before and after, for its changes.
Side = Sequence[Record] | Sequence[tuple[Record, Record]]


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Attributes:
        score: ``mean_recall`` or one of its six recalls, such as ``i2t_r1``.
        protocol: standard or relaxed.
        cluster: ``text`` or ``picture``; see ``clusters_of``.
    """

    score: str = "mean_recall"
    protocol: str = "standard"
    cluster: str = "text"


MEAN_RECALL = Measure()


@dataclass(frozen=True)
class SeedSpread:
    """How much one seed's score varies, over all arms of a table; see ``seed_spread``.

    Attributes:
        variance: of one seed's score, in points squared.
        freedom: degrees of freedom that it counts as a prior.
        noise: the part of that variance that is luck with single pictures.
        arms: with two seeds or more, from which it was estimated.
        of: what it may moderate: test set and measure.
    """

    variance: float
    freedom: float
    noise: float
    arms: int
    of: str


@dataclass(frozen=True)
class Contrast:
    """A less B, in points; positive where A scores higher.

    Attributes:
        estimate, error: the difference and its standard error.
        freedom: degrees of freedom of ``error``.
        low, high: the 95 % interval.
        low_corrected, high_corrected: the interval corrected for its table; see ``corrected``.
        p: two-sided, of no difference; corrected with the interval.
        p_equivalence: of a difference of ``margin`` or more, the larger of two one-sided ones;
            corrected likewise.
        seeds: of A and of B. One seed shows no spread over seeds: the contrast then speaks of that
            trained model, unless a pool gives the spread.
        clusters: of test pictures; 0 where folds are compared.
        folds: 0 where seeds are compared.
        alpha: two-sided level of the corrected interval before correction for the table.
    """

    estimate: float
    error: float
    freedom: float
    low: float
    high: float
    low_corrected: float
    high_corrected: float
    p: float
    p_equivalence: float
    margin: float
    seeds: tuple[int, int]
    clusters: int
    folds: int = 0
    alpha: float = ALPHA

    @property
    def word(self) -> Word:
        """Clear: the corrected interval excludes zero. Likely: the 95 % one does. Else open."""
        if self.low_corrected > 0 or self.high_corrected < 0:
            return "clear"
        return "likely" if self.low > 0 or self.high < 0 else "open"

    @property
    def comparable(self) -> bool:
        """Whether a difference of the margin or more is excluded: never for lack of evidence."""
        return self.p_equivalence <= self.alpha

    def said(self, more: str = "better", less: str = "worse") -> str:
        """The word with its direction: clearly better, likely worse, open."""
        way = more if self.estimate > 0 else less
        return {"clear": f"clearly {way}", "likely": f"likely {way}", "open": "open"}[self.word]


@dataclass(frozen=True)
class FromBest:
    """An arm less the best of all others, in points, with Hsu's simultaneous interval.

    ``high`` is 0 where the arm is shown to be below the best, ``low`` 0 where it is the best.
    """

    estimate: float
    low: float
    high: float

    @property
    def in_best_group(self) -> bool:
        """Whether the arm cannot be told from the best."""
        return self.high > 0


def clusters_of(queries: Mapping[str, Any], cluster: str = "text") -> np.ndarray:
    """The cluster of each test picture, numbered from 0.

    Args:
        queries: the per-query counts of a record (``test_queries``).
        cluster: ``picture``, each its own; or ``text``, the connected components of the pictures
            that are joined by an identical caption.

    Raises:
        StudyError: another name, or a record that does not say which captions are alike.
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
    component = components(image_of, text_of, len(captions))
    return np.unique(component, return_inverse=True)[1]


def compare(
    a: Side,
    b: Side | None = None,
    by: Measure = MEAN_RECALL,
    margin: float = EQUIVALENCE_MARGIN,
    pool: SeedSpread | None = None,
) -> Contrast:
    """A less B on one test set, with a standard error over test pictures and over seeds.

    Without B it is A itself. A side of pairs, before and after, each pair of one seed, counts by
    its changes: what a seed did before the step cancels. The pool is then of such sides, too.

    The variance is V = V_clusters + V_seeds, with influences in points:

        V_clusters = g / (g - 1) * sum over clusters of (influence on the difference)^2
        V_seeds    = sum over both arms of max(S2 - noise, 0) / n
        noise      = g / (g - 1) * sum over seeds and clusters of
                     (influence less its mean over seeds)^2 / (n - 1)

    A cluster's influence is its part of the difference of the means over seeds; A and B answer the
    same queries, so what is hard for both cancels. g is the effective number of clusters, S2 the
    variance of an arm's n scores. What a seed does to single pictures is in S2 and, divided by n,
    in V_clusters: it is taken out of S2 once. Equal seeds of two arms are not paired: their scores
    hardly correlate, and pairing halves the degrees of freedom.

    With a pool, S2 is moderated as (d0 s0 + (n - 1) S2) / (d0 + n - 1) (limma; Smyth, Statistical
    Applications in Genetics and Molecular Biology 3, 2004). The interval is that of a t with the
    degrees of freedom of Satterthwaite: g - 1 for the clusters, n - 1 (+ d0) for an arm's seeds.

    Raises:
        StudyError: a side is empty, only one is of pairs, seeds of a pair differ, a run is not
            finished, or the runs do not share their test queries.
    """
    if b is not None and len(_columns(a)) != len(_columns(b)):
        raise StudyError("give pairs on either side, or on none: a change is not a score")
    return _weighted([(1.0, a)] + ([] if b is None else [(-1.0, b)]), by, margin, pool)


def compare_factor(
    pairs: Sequence[tuple[Side, Side]],
    by: Measure = MEAN_RECALL,
    margin: float = EQUIVALENCE_MARGIN,
    pool: SeedSpread | None = None,
) -> Contrast:
    """One question over many methods: the mean of the pairs' differences, first less second.

    It speaks of these methods, not of a population of methods. ``seeds`` are those of all sides.

    Args:
        pairs: of two arms that differ in the factor alone.
    """
    weight = 1 / len(pairs)
    terms = [term for one, other in pairs for term in ((weight, one), (-weight, other))]
    return _weighted(terms, by, margin, pool)


def compare_folds(
    a: Sequence[Record],
    b: Sequence[Record],
    by: Measure = MEAN_RECALL,
    margin: float = EQUIVALENCE_MARGIN,
) -> Contrast:
    """A less B over folds of one assignment, paired by fold: each fold has pictures of its own.

    The standard error is that of Nadeau and Bengio (Machine Learning 52, 2003): the variance of the
    F differences times 1/F + 1/8, by t with F - 1 degrees of freedom. The second part, test over
    training size, is for training sets that overlap. Each difference has other pictures and another
    seed, so their variance has both, and nothing is added for clusters within a fold.

    Args:
        a, b: records of the same folds, one a fold.

    Raises:
        StudyError: a record of no fold, two of one fold, fewer than two folds, or sides that differ
            in folds, assignments or digests.
    """
    for side in (a, b):
        if len({_arm_of(record) for record in side}) > 1:
            raise StudyError(
                "a side holds several arms: give records of one method, objective, "
                "recipe and learning rate, made on one kind of device"
            )
    one, other = _by_fold(a), _by_fold(b)
    if list(one) != list(other):
        raise StudyError(
            "the sides differ in their folds, assignments or digests: give records of the same "
            "folds on either side"
        )
    if len({key[1:3] for key in one}) > 1:
        raise StudyError("the folds are of several assignments: give those of one")
    folds = len(one)
    if folds < 2:
        raise StudyError(f"{folds} fold: give two or more")
    differences = [compare([one[fold]], [other[fold]], by).estimate for fold in one]
    error = float(np.std(differences, ddof=1)) * (1 / folds + TEST_OVER_TRAIN) ** 0.5
    return _judged(float(np.mean(differences)), error, folds - 1, margin, (folds, folds), 0, folds)


def at_look(contrast: Contrast) -> Contrast:
    """A contrast over folds at a planned look: the corrected interval at its nominal level.

    Raises:
        StudyError: no look is planned after this number of folds.
    """
    if contrast.low_corrected != contrast.low:
        raise StudyError("this contrast is corrected already: take the look first, then correct")
    if contrast.folds not in LOOKS:
        planned = " and ".join(map(str, LOOKS))
        raise StudyError(f"{contrast.folds} folds: looks are planned after {planned}")
    return _at(dataclasses.replace(contrast, alpha=LOOKS[contrast.folds]))


def seed_spread(arms: Sequence[Side], by: Measure = MEAN_RECALL) -> SeedSpread:
    """The variance of one seed's score that the arms of a table share, and how far they share it.

    ``variance`` is the pooled one. ``freedom``, how closely arms share it, is fitted by moments to
    the logarithms of their variances (limma's fitFDist), and is at most the arms' own. limma's own
    prior variance is a quantile-like one, below the mean; the pooled one is on the scale of the
    noise, which is taken off it.

    Args:
        arms: of records, or of pairs of records, before and after; those with one seed are
            passed over.

    Raises:
        StudyError: fewer than two arms with two seeds.
    """
    several = [arm for arm in arms if len(arm) > 1]
    if len(several) < 2:
        raise StudyError("a pool needs two arms or more with two seeds or more")
    of = _TestSet.of(several, by)
    found = [of.arm(arm) for arm in several]
    freedom = np.array([len(arm.scores) - 1 for arm in found])
    variance, shared = _shared(np.array([arm.scores.var(ddof=1) for arm in found]), freedom)
    noise = float(freedom @ [of.noise(arm) for arm in found] / freedom.sum())
    return SeedSpread(variance, shared, noise, len(found), of.name)


def _shared(variance: np.ndarray, freedom: np.ndarray) -> tuple[float, float]:
    """The pooled variance of some arms, and the degrees of freedom that a prior around it has."""
    # An arm without any spread would have a logarithm of minus infinity; limma bounds it so, too.
    logs = np.log(np.maximum(variance, 1e-5 * np.median(variance)) + np.finfo(float).tiny)
    centred = logs - special.digamma(freedom / 2) + np.log(freedom / 2)
    beyond = float(centred.var(ddof=1) - special.polygamma(1, freedom / 2).mean())
    shared = float(freedom.sum())
    if beyond > 0:  # trigamma of half the prior's degrees of freedom, to be inverted
        half = optimize.brentq(lambda x: float(special.polygamma(1, np.exp(x))) - beyond, -20, 40)
        shared = min(2 * float(np.exp(half)), shared)
    return float(freedom @ variance / freedom.sum()), shared


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction: p-values that may be compared with alpha all at once.

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


def corrected(
    table: Sequence[Contrast], by: Correction = "simultaneous", absent: int = 0
) -> list[Contrast]:
    """The contrasts of one table, their corrected intervals, p-values and words for all at once.

    ``simultaneous`` (the default) is Bonferroni's: each corrected interval has level
    1 - alpha / m. With a chance of 95 % all of them have their true differences within, however
    they depend on each other. ``holm`` is for a few primary contrasts: each corrected interval has
    the level at which Holm's procedure judges it, alpha * p / p corrected. It excludes zero exactly
    where Holm rejects, so a false *clear* in the table stays within alpha; its ends, unlike
    Bonferroni's, are no simultaneous bounds. In both a contrast is *clear* exactly if its corrected
    p is at most alpha. The 95 % intervals stay as they are.

    Equivalence is a family of its own, corrected by the same rule.

    Args:
        absent: contrasts of the family whose runs are not there yet, each with a p-value of 1.
            Whatever they turn out to be, no corrected p-value of the others rises.
    """
    size = len(table) + absent
    families = [
        [getattr(c, name) for c in table] + absent * [1.0] for name in ("p", "p_equivalence")
    ]
    if by == "holm":
        p, p_equivalence = (holm(own)[: len(table)] for own in families)
    else:
        p, p_equivalence = (np.minimum(1, np.multiply(size, own[: len(table)])) for own in families)
    found = []
    for contrast, one, other in zip(table, map(float, p), map(float, p_equivalence), strict=True):
        # Holm multiplies a p-value by the number of contrasts that its level is shared among.
        holms = one / contrast.p if contrast.p else 1.0
        at = _at(contrast, holms if by == "holm" else size)
        found.append(dataclasses.replace(at, p=one, p_equivalence=other))
    return found


def best_group(
    arms: Mapping[str, Side], by: Measure = MEAN_RECALL, pool: SeedSpread | None = None
) -> dict[str, FromBest]:
    """Hsu's multiple comparisons with the best: which arms cannot be told from the best of all.

    For each arm its mean less the highest mean among all others, with simultaneous 95 % intervals
    (Hsu, Journal of the American Statistical Association 79, 1984). The one-sided level of each of
    an arm's k - 1 contrasts is (1 - alpha)^(1 / (k - 1)): contrasts with one arm in common
    correlate positively, so their joint level is at least as high (Slepian).

    Returns:
        by name, the highest mean first.

    Raises:
        StudyError: one arm alone.
    """
    if len(arms) < 2:
        raise StudyError("one arm has no best among others: give two or more")
    of = _TestSet.of(list(arms.values()), by)
    made = {name: of.arm(side) for name, side in arms.items()}
    level = (1 - ALPHA) ** (1 / (len(made) - 1))
    found = {}
    for name, own in made.items():
        ends = []
        for other in (arm for rival, arm in made.items() if rival != name):
            estimate, error, freedom = of.moments([(1.0, own), (-1.0, other)], pool)
            half = float(special.stdtrit(freedom, level)) * error
            ends.append((estimate, estimate - half, estimate + half))
        estimate, low, high = (min(column) for column in zip(*ends, strict=True))
        found[name] = FromBest(estimate, min(low, 0.0), max(high, 0.0))
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate))


def smallest_gap(
    a: Side, b: Side, by: Measure = MEAN_RECALL, pool: SeedSpread | None = None
) -> float:
    """The smallest true difference, in points, that such runs show four times in five.

    (t(1 - alpha/2) + t(0.8)) times the standard error of ``compare``, before correction for a
    table: how much two such methods differ from query to query decides, and, with several seeds or
    a pool, how much seeds do. The sides are of methods that differ as those to come.
    """
    found = compare(a, b, by, pool=pool)
    return float(stats.t.ppf([1 - ALPHA / 2, POWER], found.freedom).sum() * found.error)


@dataclass(frozen=True)
class _Arm:
    """The scores of an arm's seeds (n,), and what each cluster adds to them, centred (n, G)."""

    scores: np.ndarray
    influence: np.ndarray
    trained: bool = True


@dataclass(frozen=True)
class _TestSet:
    """One measure on one test set: clusters, and how records become arms."""

    by: Measure
    label: np.ndarray
    size: np.ndarray  # pictures and captions of each cluster (2, G)
    name: str

    @classmethod
    def of(cls, sides: Sequence[Side], by: Measure) -> _TestSet:
        """The test set that all records of some sides share."""
        records = [r for side in sides for column in _columns(side) for r in column]
        if not records:
            raise StudyError("give one record a seed, and at least one, on either side")
        for record in records:
            if "test_queries" not in record:
                name = record.get("id", "a run")
                raise StudyError(f"{name} is not finished: it has no test queries")
            if _asked(record) != _asked(records[0]):
                raise StudyError(
                    f"{record.get('id')} and {records[0].get('id')} do not share their test "
                    "queries: compare runs on one set, all scored by one version"
                )
        queries = records[0]["test_queries"]
        label = clusters_of(queries, by.cluster)
        size = np.stack([np.bincount(label), np.bincount(label, queries["captions_of_image"])])
        asked = hashlib.sha256(json.dumps(_asked(records[0]), default=int).encode()).hexdigest()
        found = cls(by, label, size, f"{asked[:12]}-{by.score}-{by.protocol}-{by.cluster}")
        if found.effective < 2:
            raise StudyError(
                "shared captions join nearly all test pictures into one cluster: too few say "
                "anything of chance"
            )
        return found

    @property
    def effective(self) -> float:
        """The number of clusters of equal size that would be as uneven."""
        return float(self.size[0].sum() ** 2 / (self.size[0] ** 2).sum())

    @property
    def few(self) -> float:
        """What makes up for few and unequal clusters."""
        return self.effective / (self.effective - 1)

    def arm(self, side: Side) -> _Arm:
        """Of records, or of the changes from the first to the second record of each pair."""
        columns = _columns(side)
        if _seeds(columns[0]) != _seeds(columns[-1]):
            raise StudyError("before and after are of different seeds: give pairs of one run each")
        sums = self.sums(columns[-1])
        if len(columns) > 1:
            return self.weigh(sums - self.sums(columns[0]))
        totals = [r.get("trained_parameters", {}).get("total", 1) for r in columns[0]]
        return self.weigh(sums, any(totals))

    def sums(self, records: Sequence[Record]) -> np.ndarray:
        """What each cluster adds to the score, in percent: records x (images, captions) x G."""
        names = [f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in KS]
        score = self.by.score
        if score not in ("mean_recall", *names):
            raise StudyError(f"no score {score!r}: give mean_recall or one of {', '.join(names)}")
        taken = names if score == "mean_recall" else [score]
        of_caption = np.repeat(self.label, records[0]["test_queries"]["captions_of_image"])
        found = np.zeros((len(records), *self.size.shape))
        for record, own in zip(records, found, strict=True):
            i2t, t2i = counts_of(record["test_queries"], self.by.protocol)
            for k in KS:
                if f"i2t_r{k}" in taken:
                    own[0] += np.bincount(self.label, i2t.recall(k))
                if f"t2i_r{k}" in taken:
                    own[1] += np.bincount(of_caption, t2i.recall(k))
        return 100 / len(taken) * found

    def weigh(self, sums: np.ndarray, trained: bool = True) -> _Arm:
        """From sums over clusters (n, 2, G); an influence is the derivative of the ratio."""
        whole = self.size.sum(axis=1)
        ratio = sums.sum(axis=2) / whole
        influence = ((sums - ratio[:, :, None] * self.size) / whole[:, None]).sum(axis=1)
        return _Arm(ratio.sum(axis=1), influence, trained)

    def noise(self, arm: _Arm) -> float:
        """The part of an arm's variance over seeds that is luck with single pictures."""
        apart = arm.influence - arm.influence.mean(axis=0)
        return float(self.few * (apart**2).sum() / (len(arm.scores) - 1))

    def moments(
        self, terms: Sequence[tuple[float, _Arm]], pool: SeedSpread | None
    ) -> tuple[float, float, float]:
        """Estimate, standard error, degrees of freedom of a weighted sum; see ``compare``."""
        if pool and pool.of != self.name:
            raise StudyError(
                "the pool is of another test set, score, protocol or clusters than the contrast"
            )
        weights: dict[bytes, tuple[float, _Arm]] = {}
        for weight, arm in terms:  # an arm that is on both sides cancels
            key = arm.scores.tobytes() + arm.influence.tobytes()
            weights[key] = (weight + weights.get(key, (0.0, arm))[0], arm)
        merged = list(weights.values())
        estimate = float(sum(weight * arm.scores.mean() for weight, arm in merged))
        influence = sum(weight * arm.influence.mean(axis=0) for weight, arm in merged)
        variance = float(self.few * np.square(influence).sum())
        uncertain = variance**2 / (self.effective - 1)
        for weight, arm in merged:
            n = len(arm.scores)
            prior = pool if arm.trained else None
            freedom = n - 1 + (prior.freedom if prior else 0)
            if not freedom:
                continue
            total = float(np.square(arm.scores - arm.scores.mean()).sum())
            total += prior.freedom * prior.variance if prior else 0
            noise = self.noise(arm) if n > 1 else prior.noise if prior else 0.0
            part = weight**2 * max(total / freedom - noise, 0.0) / n
            variance += part
            uncertain += part**2 / freedom
        return estimate, variance**0.5, variance**2 / uncertain if uncertain else self.effective - 1


def _columns(side: Side) -> list[list[Record]]:
    """The records of a side; of pairs, those before and those after."""
    pairs = [one for one in side if isinstance(one, tuple)]
    if pairs:
        return [list(column) for column in zip(*pairs, strict=True)]
    return [[one for one in side if not isinstance(one, tuple)]]


def _asked(record: Record) -> tuple:
    queries, config = record["test_queries"], record["config"]
    names = ("captions_of_image", "text_of_caption")
    return (config.get("manifest_digest"), config.get("fold"), *(queries.get(n) for n in names))


def _seeds(side: Sequence[Record]) -> list[int]:
    """The seeds of a side's records, each once."""
    seeds = [record["config"]["seed"] for record in side]
    if not seeds or len(set(seeds)) < len(seeds):
        raise StudyError(f"seeds {seeds}: give one record a seed, and at least one, on either side")
    return seeds


def _arm_of(record: Record) -> str:
    """What the records of one arm have in common: all but fold, seed and digests of pictures."""
    config = {k: v for k, v in record["config"].items() if k not in ("fold", "seed")}
    return repr((sorted(config.items(), key=str), record.get("environment", {}).get("device")))


def _by_fold(side: Sequence[Record]) -> dict[tuple, Record]:
    """A side's records by number, assignment, grouping and digest of their fold."""
    found = {}
    for record in side:
        fold = record["config"].get("fold")
        if not fold:
            name = record.get("id", "a run")
            raise StudyError(f"{name} is of the published split: give records of folds")
        key = tuple(fold[name] for name in ("number", "assignment", "grouped", "digest"))
        found[key] = record
    if len({number for number, *_ in found}) < len(side):
        raise StudyError("give one record a fold on either side")
    return dict(sorted(found.items()))


def _weighted(
    terms: Sequence[tuple[float, Side]], by: Measure, margin: float, pool: SeedSpread | None
) -> Contrast:
    """The contrast that is a weighted sum of arms."""
    of = _TestSet.of([side for _, side in terms], by)
    seeds = [sum(len(s) for weight, s in terms if sign * weight > 0) for sign in (1, -1)]
    moments = of.moments([(weight, of.arm(side)) for weight, side in terms], pool)
    return _judged(*moments, margin, (seeds[0], seeds[1]), of.size.shape[1])


def _judged(
    estimate: float,
    error: float,
    freedom: float,
    margin: float,
    seeds: tuple[int, int],
    clusters: int,
    folds: int = 0,
) -> Contrast:
    """A contrast with its intervals and p-values by t, corrected for nothing yet."""
    half = float(special.stdtrit(freedom, 1 - ALPHA / 2)) * error
    ends = (estimate - half, estimate + half)

    def beyond(distance: float) -> float:
        """The chance of an estimate this far above the truth, or farther."""
        return float(special.stdtr(freedom, -distance / error)) if error else float(distance <= 0)

    p = min(1.0, 2 * beyond(abs(estimate)))
    tests = (p, beyond(margin - abs(estimate)), margin)
    return Contrast(estimate, error, freedom, *ends, *ends, *tests, seeds, clusters, folds)


def _at(contrast: Contrast, among: float = 1) -> Contrast:
    """The corrected interval at the contrast's level over ``among``."""
    level = contrast.alpha / among
    half = float(special.stdtrit(contrast.freedom, 1 - level / 2)) * contrast.error
    return dataclasses.replace(
        contrast, low_corrected=contrast.estimate - half, high_corrected=contrast.estimate + half
    )
