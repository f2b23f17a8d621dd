"""Worlds in which the true difference of two methods is known: size and coverage of contrasts.

    python tests/worlds.py

prints both for each world and number of seeds, as shares of the repetitions, in percent.

A query is right if a sum of normal parts is below a threshold: of the cluster and the picture (for
both arms), of the arm with the cluster and with the picture, of the seed, and of the seed with the
query. The last is the luck that one seed has with single pictures. Worlds are set to the noise,
spread over seeds and spread over clusters of the arms on record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rsstudy.experiments.compare import Contrast, Measure, SeedSpread, _judged, _shared, _TestSet

CAPTIONS = 2  # of each picture


@dataclass(frozen=True)
class World:
    """Test pictures and methods, like those of one set.

    Attributes:
        sizes: pictures of each cluster.
        recall: of a method, as a share.
        cluster, picture: variances that both arms share, of all queries' variance 1.
        arm_cluster, arm_picture: variances that each arm has for itself.
        seed: standard deviation of a seed, on the scale of the thresholds.
        arms: of the pool.
        unlike: degrees of freedom of the scaled chi-square that their seeds' variances come from.
    """

    sizes: tuple[int, ...]
    recall: float
    cluster: float
    picture: float
    arm_cluster: float
    arm_picture: float
    seed: float
    arms: int
    unlike: int = 10

    @property
    def noise(self) -> float:
        """The variance of a seed with a picture's query: what is left of 1."""
        shared = self.cluster + self.picture + self.arm_cluster + self.arm_picture
        return 1 - shared

    def measure(self) -> _TestSet:
        sizes = np.array(self.sizes)
        size = np.stack([sizes, CAPTIONS * sizes])
        label = np.repeat(np.arange(len(sizes)), sizes)
        return _TestSet(Measure(), label, size, "world")

    def truth(self, gap: float) -> float:
        """Points between two arms whose thresholds are ``gap`` apart, half to either side."""
        whole = (1 + self.seed**2) ** 0.5
        middle = stats.norm.ppf(self.recall)
        return float(100 * np.diff(stats.norm.cdf((middle + np.array([-gap, gap]) / 2) / whole))[0])

    def sums(
        self, seeds: int, gap: float, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """What each cluster adds to each arm's score, in percent: (n, 2, G) for A and for B."""
        sizes = np.array(self.sizes)
        label = np.repeat(np.arange(len(sizes)), sizes)
        pictures, queries = len(label), 1 + CAPTIONS

        def drawn(variance: float, *shape: int) -> np.ndarray:
            return variance**0.5 * random.standard_normal(shape, dtype=np.float32)

        # Half of a picture's parts are its own, half its query's: captions of a picture are alike.
        both = drawn(self.cluster, len(sizes))[label, None] + _halves(drawn, self.picture, pictures)
        starts = np.concatenate([[0], sizes.cumsum()[:-1]])
        sides = []
        for sign in (1, -1):
            own = drawn(self.arm_cluster, len(sizes))[label, None]
            own = both + own + _halves(drawn, self.arm_picture, pictures)
            threshold = stats.norm.ppf(self.recall) + sign * gap / 2 + self.seed * drawn(1, seeds)
            found = own + drawn(self.noise, seeds, pictures, queries) < threshold[:, None, None]
            asked = np.stack([found[:, :, 0], found[:, :, 1:].sum(axis=2)], axis=1)
            # A score is the sum of both directions' means: each counts a half.
            sides.append(50 * np.add.reduceat(asked, starts, axis=2, dtype=float))
        return sides[0], sides[1]

    def pool(
        self, seeds: int, variance: float, noise: float, random: np.random.Generator
    ) -> SeedSpread:
        """What the other arms of a table say of the spread over seeds."""
        true = variance * random.chisquare(self.unlike, self.arms) / self.unlike
        freedom = np.full(self.arms, seeds - 1)
        seen = true * random.chisquare(seeds - 1, self.arms) / (seeds - 1)
        return SeedSpread(*_shared(seen, freedom), noise, self.arms, "world")


def _halves(drawn: Callable[..., np.ndarray], variance: float, pictures: int) -> np.ndarray:
    return drawn(variance / 2, pictures, 1) + drawn(variance / 2, pictures, 1 + CAPTIONS)


WORLDS = {
    "UCM-like": World(
        (1,) * 18 + (2,) * 8 + (3,) * 3 + (4,) * 3 + (5,) * 3 + (6, 7, 8, 9) + (10,) * 11,
        recall=0.49,
        cluster=0.02,
        picture=0.6,
        arm_cluster=0.003,
        arm_picture=0.06,
        seed=0.023,
        arms=60,
    ),
    "RSICD-like": World(
        (1,) * 683
        + (2,) * 70
        + (3,) * 26
        + (4,) * 15
        + (5,) * 7
        + (6, 6, 7, 7, 9, 9, 11, 11, 14, 17),
        recall=0.2,
        cluster=0.02,
        picture=0.5,
        arm_cluster=0.01,
        arm_picture=0.17,
        seed=0.013,
        arms=8,
    ),
}


def pairs(
    world: World, seeds: int, repetitions: int, gap: float = 0.0, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The sums of A and of B, each repetition with pictures and seeds of its own."""
    random = np.random.default_rng(seed)
    for _ in range(repetitions):
        yield world.sums(seeds, gap, random)


def contrasts(
    world: World, seeds: int, repetitions: int, gap: float = 0.0, seed: int = 0
) -> tuple[list[Contrast], list[Contrast]]:
    """One contrast a repetition: by each arm's own spread, and by that of a table of other arms."""
    of, random = world.measure(), np.random.default_rng(seed + 1)
    drawn = pairs(world, seeds, repetitions, gap, seed)
    seen = [[of.weigh(sums) for sums in both] for both in drawn]
    flat = [arm for both in seen for arm in both]
    variance = float(np.mean([arm.scores.var(ddof=1) for arm in flat]))
    noise = float(np.mean([of.noise(arm) for arm in flat]))
    found: tuple[list[Contrast], list[Contrast]] = ([], [])
    for a, b in seen:
        pool = world.pool(seeds, variance, noise, random)
        for listed, prior in zip(found, (None, pool), strict=True):
            moments = of.moments([(1.0, a), (-1.0, b)], prior)
            listed.append(_judged(*moments, 1.0, (seeds, seeds), len(world.sizes)))
    return found


def size_and_coverage(
    world: World, seeds: int, repetitions: int, gap: float = 0.1
) -> dict[str, tuple[float, float, float]]:
    """Of the 95 % interval, by whose spread: size at no difference, coverage of a true one, width.

    Size and coverage in percent of the repetitions, width in points.
    """
    truth = world.truth(gap)
    null = contrasts(world, seeds, repetitions)
    true = contrasts(world, seeds, repetitions, gap, seed=1000)
    return {
        name: (
            float(100 * np.mean([c.p <= 0.05 for c in none])),
            float(100 * np.mean([c.low <= truth <= c.high for c in some])),
            float(np.mean([c.high - c.low for c in some])),
        )
        for name, none, some in zip(("own", "pool"), null, true, strict=True)
    }


if __name__ == "__main__":
    print("| world | seeds | spread over seeds | size, % | coverage, % | width, points |")
    print("|---|---|---|---|---|---|")
    for name, world in WORLDS.items():
        for seeds in (3, 5):
            for spread, found in size_and_coverage(world, seeds, 4000).items():
                shown = " | ".join(f"{value:.1f}" for value in found)
                print(f"| {name} | {seeds} | {spread} | {shown} |")
