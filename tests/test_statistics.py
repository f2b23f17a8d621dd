"""Intervals cover, error rates hold, and corrections correct: by formula and by simulation."""

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rsstudy import statistics
from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.retrieval import counts_of, distinct, scores
from rsstudy.statistics import (
    EQUIVALENCE_MARGIN,
    Contrast,
    clusters_of,
    compare,
    compare_changes,
    corrected,
    equivalence_over_seeds,
    holm,
    mean_over_seeds,
    smallest_gap,
)


def record(seed, of_image, of_caption, captions, text_of):
    """A run's record, from the counts (above, tie) of its queries, one right candidate each."""

    def counts(pairs):
        above, tie = np.transpose(pairs)
        return {"above": above.tolist(), "tie": tie.tolist(), "own": [1] * len(above)}

    queries = {"image_to_text": counts(of_image), "text_to_image": counts(of_caption)}
    return {"id": f"s{seed}", "config": {"seed": seed},
            "test_queries": {**queries, "captions_of_image": list(captions),
                             "text_of_caption": list(text_of), "relaxed": queries}}  # fmt: skip


def random_record(seed, text_of=tuple(range(24)), captions=(1, 2, 3, 2) * 3):
    random = np.random.default_rng(seed)
    of_image, of_caption = (
        np.stack([random.integers(0, 9, n), random.integers(1, 6, n)], axis=1)
        for n in (len(captions), sum(captions))
    )
    return record(seed, of_image, of_caption, captions, text_of)


class World:
    """Methods A and B whose mean recalls differ by a given gap, on clustered test pictures.

    A cluster of one to nine pictures shares a caption, is easy or hard for both methods and easier
    for one of them; pictures share the luck of their captions. Queries are right at every k or at
    none, so that each of the six recalls has the same true value.
    """

    SIZES = np.array([1, 1, 1, 1, 2, 2, 3, 5, 9] * 5)

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)

    def records(self, gap: float, seeds: int = 1, seed_spread: float = 0.0):
        sizes = self.random.permutation(self.SIZES)
        cluster = np.repeat(np.arange(len(sizes)), sizes)
        captions = np.full(len(cluster), 2)
        text_of = np.stack([cluster, len(sizes) + np.arange(len(cluster))], axis=1).ravel()
        of_caption = np.repeat(cluster, 2)
        level = self.random.uniform(0.4, 0.6, len(sizes))
        tilt = gap / 100 + self.random.uniform(-0.35, 0.35, len(sizes))
        luck, caption_luck = self.random.random(len(cluster)), self.random.random(len(of_caption))
        sides = []
        for half in (0.5, -0.5):
            chance = level + half * tilt
            of_seed = self.random.normal(0, seed_spread, seeds)
            sides.append([
                record(seed, hits(luck < chance[cluster] + shift),
                       hits(caption_luck < chance[of_caption] + shift), captions, text_of)
                for seed, shift in enumerate(of_seed)
            ])  # fmt: skip
        return sides


def hits(found):
    return np.stack([np.where(found, 0, 99), np.ones(len(found), int)], axis=1)


def at_most(rate: float, experiments: int) -> float:
    """What a share with this expectation exceeds once in a thousand times."""
    return float(stats.binom.ppf(0.999, experiments, rate)) / experiments


def test_a_mean_over_seeds_has_its_t_interval():
    values = [50.2, 51.9, 49.4, 50.8]
    found = mean_over_seeds(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert found.deviation == pytest.approx(np.std(values, ddof=1)) and found.seeds == 4
    one = mean_over_seeds([50.2])
    assert one.mean == 50.2 and np.isnan(one.low) and np.isnan(one.high)
    with pytest.raises(StudyError, match="no scores"):
        mean_over_seeds([])


def test_pictures_that_a_chain_of_shared_captions_joins_are_one_cluster():
    queries = {"captions_of_image": [2, 1, 2, 1, 1], "text_of_caption": [0, 1, 2, 1, 3, 3, 4]}
    assert clusters_of(queries).tolist() == [0, 1, 0, 0, 2]
    assert clusters_of(queries, "picture").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["rsicd", "ucm"])
def test_no_cluster_swallows_a_real_test_set(name, real_data):
    captions = load(name, real_data).split("test").captions
    _, text_of, _ = distinct(captions)
    queries = {"captions_of_image": [len(own) for own in captions], "text_of_caption": text_of}
    sizes = np.bincount(clusters_of(queries))
    assert len(sizes) >= 50 and sizes.max() < len(captions) / 20


def test_estimates_are_the_differences_of_the_records_scores():
    a, b = [random_record(s) for s in (0, 1, 2)], [random_record(s) for s in (10, 11)]

    def score(side, name):
        return np.mean([scores(*counts_of(r["test_queries"]))[name] for r in side])

    for name in ("mean_recall", "i2t_r1", "i2t_r10", "t2i_r5"):
        found = compare(a, b, name, resamples=10)
        assert found.estimate == pytest.approx(score(a, name) - score(b, name))
    assert found.seeds == (3, 2) and found.clusters == 12


def test_the_protocol_decides_which_counts_are_compared():
    a, b = [random_record(0)], [random_record(1)]
    strict = compare(a, b, resamples=10).estimate
    a[0]["test_queries"]["relaxed"] = b[0]["test_queries"]["relaxed"]
    assert compare(a, b, resamples=10).estimate == strict
    assert compare(a, b, protocol="relaxed", resamples=10).estimate == 0


def test_weights_of_clusters_do_what_drawing_clusters_one_by_one_does():
    text_of = [0, 0, 0, *range(1, 22)]  # joins the first two pictures
    a, b = [random_record(0, text_of)], [random_record(1, text_of)]
    label = clusters_of(a[0]["test_queries"])
    assert label.max() == 10
    captions = np.array(a[0]["test_queries"]["captions_of_image"])
    of_caption = np.split(np.arange(captions.sum()), captions.cumsum()[:-1])
    recalls = [
        [[ranks.recall(k) for k in (1, 5, 10)] for ranks in counts_of(side[0]["test_queries"])]
        for side in (a, b)
    ]
    random, drawn = np.random.default_rng(5), []
    for _ in range(3000):
        pictures = [
            picture for c in random.integers(0, 11, 11) for picture in np.flatnonzero(label == c)
        ]
        asked = np.concatenate([of_caption[picture] for picture in pictures])
        value = [
            np.mean([i2t[k][pictures].mean() + t2i[k][asked].mean() for k in range(3)])
            for i2t, t2i in recalls
        ]
        drawn.append(50 * (value[0] - value[1]))
    found = compare(a, b)
    clusters = 12**2 / (10 + 2**2)  # of equal size, that would be as uneven as ten and a double
    freedom = clusters - 1
    tails = (random.chisquare(freedom, 3000) / freedom) ** -0.5
    drawn = found.estimate + np.multiply(
        (clusters / freedom) ** 0.5 * tails, np.subtract(drawn, found.estimate)
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def flat_record(seed, tie):
    """A run in which every query has the same expected recall."""
    return record(seed, [(0, tie)] * 6, [(0, tie)] * 12, [2] * 6, range(12))


def test_a_contrast_is_the_same_whatever_was_compared_before_it():
    a, b = ([random_record(2 * n + side) for n in range(3)] for side in (0, 1))
    a, b = ([{**r, "config": {"seed": n}} for n, r in enumerate(side)] for side in (a, b))
    statistics._draws.cache_clear()
    alone = compare(a, b, resamples=2500)
    compare(b, a, resamples=2500)
    compare(a, b, cluster="picture", resamples=1500, seed=1)
    assert compare(a, b, resamples=2500) == alone
    assert compare(a, b, resamples=2500, seed=1) != alone


def test_where_queries_do_not_vary_the_interval_is_the_paired_t_interval_over_seeds():
    ties = [(12, 15), (14, 15), (11, 17), (20, 22)]
    a = [flat_record(s, tie) for s, (tie, _) in enumerate(ties)]
    b = [flat_record(s, tie) for s, (_, tie) in enumerate(ties)]
    found = compare(a, list(reversed(b)), resamples=100_000)
    values = [[scores(*counts_of(r["test_queries"]))["mean_recall"] for r in x] for x in (a, b)]
    test = stats.ttest_rel(*values)
    interval = test.confidence_interval(0.95)
    width = interval.high - interval.low
    assert (found.low, found.high) == pytest.approx(tuple(interval), abs=0.03 * width)
    assert found.p == pytest.approx(test.pvalue, rel=0.1)
    assert found.p_equivalence == pytest.approx(equivalence_over_seeds(*values), rel=0.1)
    others = [{**r, "config": {"seed": 10 + s}} for s, r in enumerate(b)]
    unpaired = compare(a, others, resamples=100_000)
    expected = 2 * stats.t.ppf(0.975, 3) * np.hypot(*(np.std(v, ddof=1) / 2 for v in values))
    assert unpaired.high - unpaired.low == pytest.approx(expected, rel=0.03) and expected > width


def test_equal_runs_are_comparable_and_too_few_queries_leave_it_open():
    same = compare([random_record(0)], [random_record(0)], resamples=500)
    assert same.estimate == 0 and same.p == 1 and same.verdict == "comparable"
    noisy = compare([random_record(0)], [random_record(1)], resamples=500)
    assert noisy.p > 0.05 and noisy.verdict == "undecided"


def test_changes_from_one_start_are_told_as_what_came_of_them():
    start, a, b = ([random_record(10 * kind + seed) for seed in range(3)] for kind in range(3))
    for kind in (start, a, b):
        for seed, found in enumerate(kind):
            found["config"]["seed"] = seed
    told = compare(a, b)
    pairs = [list(zip(start, side, strict=True)) for side in (a, b)]
    found = compare_changes(*pairs)
    for name in ("estimate", "low", "high", "p", "p_equivalence"):
        assert getattr(found, name) == pytest.approx(getattr(told, name)), name
    back = compare_changes(*reversed(pairs))
    assert (back.estimate, back.low) == pytest.approx((-found.estimate, -found.high))
    assert compare_changes(pairs[0], pairs[0]).estimate == 0


def test_a_change_is_after_less_before_and_pairs_runs_of_one_seed():
    records = [random_record(seed) for seed in range(4)]
    mean = [scores(*counts_of(r["test_queries"]))["mean_recall"] for r in records]
    for found in records:
        found["config"]["seed"] = 0
    (a, then), (b, later) = records[:2], records[2:]
    found = compare_changes([(a, then)], [(b, later)])
    assert found.estimate == pytest.approx(mean[1] - mean[0] - (mean[3] - mean[2]))
    other = {**then, "config": {"seed": 1}}
    with pytest.raises(StudyError, match="different seeds"):
        compare_changes([(a, other)], [(b, later)])
    for nothing in (lambda: compare_changes([], []), lambda: compare([], [])):
        with pytest.raises(StudyError, match="at least one"):
            nothing()


def test_a_verdict_is_comparable_only_within_the_margin_and_never_for_lack_of_evidence():
    base = Contrast(0.4, -3, 4, 0.8, 0.4, EQUIVALENCE_MARGIN, 0.05, (3, 3), 50)
    assert EQUIVALENCE_MARGIN == 1.0 and base.verdict == "undecided"
    assert dataclasses.replace(base, p=0.01).verdict == "better"
    assert dataclasses.replace(base, p=0.01, estimate=-2).verdict == "worse"
    assert dataclasses.replace(base, p_equivalence=0.01).verdict == "comparable"
    assert dataclasses.replace(base, p=0.01, p_equivalence=0.01).verdict == "comparable"


def test_the_protocols_page_states_the_margin_that_is_declared():
    page = (Path(__file__).parents[1] / "book" / "protocol.md").read_text()
    assert page.count(f"{EQUIVALENCE_MARGIN:g} point of mean recall") == 2


def test_false_differences_stay_at_five_percent_where_pictures_are_clustered():
    """And the clusters are needed: drawn one by one, the same pictures show what is not there."""
    world, experiments = World(0), 250
    by_text, by_picture = [], []
    for _ in range(experiments):
        a, b = world.records(gap=0)
        by_text.append(compare(a, b, resamples=300).p <= 0.05)
        by_picture.append(compare(a, b, cluster="picture", resamples=300).p <= 0.05)
    assert 0.015 <= np.mean(by_text) <= at_most(0.05, experiments)
    assert np.mean(by_picture) > at_most(0.05, experiments)


def test_intervals_cover_the_true_difference_with_few_seeds_that_matter():
    world, experiments, seeds = World(1), 120, 3
    missed = []
    for _ in range(experiments):
        a, b = world.records(gap=8, seeds=seeds, seed_spread=0.06)
        found = compare(a, b, resamples=300)
        missed.append(not found.low <= 8 <= found.high)
    assert np.mean(missed) <= at_most(0.05, experiments)


def test_methods_that_differ_by_the_margin_are_hardly_ever_called_comparable():
    world, experiments, margin = World(2), 250, 12.0
    at_margin, equal = [], []
    for _ in range(experiments):
        at_margin.append(compare(*world.records(margin), margin=margin, resamples=300))
    for _ in range(60):
        equal.append(compare(*world.records(0), margin=margin, resamples=300))
    assert np.mean([c.verdict == "comparable" for c in at_margin]) <= at_most(0.05, experiments)
    assert np.mean([c.verdict == "comparable" for c in equal]) > 0.6


def test_the_smallest_gap_is_found_four_times_in_five():
    world = World(3)
    gap = np.mean([smallest_gap(*world.records(10)) for _ in range(40)])
    found = [compare(*world.records(gap), resamples=300).p <= 0.05 for _ in range(150)]
    assert 0.7 <= np.mean(found) <= 0.9
    half = [compare(*world.records(gap / 2), resamples=300).p <= 0.05 for _ in range(80)]
    assert np.mean(half) < 0.5


def test_equivalence_over_seeds_is_an_interval_within_the_margin():
    a, b = [50.2, 51.0, 50.5, 50.9], [50.0, 51.1, 50.1, 50.6]
    p = equivalence_over_seeds(a, b)
    low, high = stats.ttest_rel(a, b).confidence_interval(1 - 2 * p)
    assert max(-low, high) == pytest.approx(EQUIVALENCE_MARGIN) and p < 0.05
    assert equivalence_over_seeds(a, b, margin=0.1) > 0.5
    with pytest.raises(StudyError, match="two or more seeds"):
        equivalence_over_seeds([50.0], [50.0])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1]) and len(holm([])) == 0
    with pytest.raises(StudyError, match="not within"):
        holm([0.1, float("nan")])


@given(st.lists(st.integers(0, 100), min_size=1, max_size=5))
def test_holm_rejects_what_the_closed_test_by_bonferroni_rejects(percents):
    """A claim stands if every set of claims that holds it falls to Bonferroni's test."""
    p = [value / 100 for value in percents]
    every = [s for n in range(1, len(p) + 1) for s in combinations(range(len(p)), n)]
    closed = [
        max(min(1, len(s) * min(p[j] for j in s)) for s in every if i in s) for i in range(len(p))
    ]
    assert holm(p) == pytest.approx(closed)


def test_a_table_is_corrected_as_a_whole():
    base = Contrast(2, 0.5, 3, 0.02, 0.9, 1.0, 0.05, (3, 3), 50)
    table = [base, dataclasses.replace(base, p=0.9, p_equivalence=0.01),
             dataclasses.replace(base, p=0.04)]  # fmt: skip
    found = corrected(table)
    assert [c.p for c in found] == pytest.approx([0.06, 0.9, 0.08])
    assert [c.verdict for c in table] == ["better", "comparable", "better"]
    assert [c.verdict for c in found] == ["undecided", "comparable", "undecided"]
    assert [(c.low, c.high) for c in found] == [(c.low, c.high) for c in table]


def test_what_cannot_be_compared_is_refused():
    a, b = random_record(0), random_record(1)
    other = random_record(2, captions=(2, 1, 3, 2) * 3)
    with pytest.raises(StudyError, match="do not share their test queries"):
        compare([a], [other])
    with pytest.raises(StudyError, match="one record a seed"):
        compare([a, a], [b])
    with pytest.raises(StudyError, match="one record a seed"):
        smallest_gap([a], [])
    with pytest.raises(StudyError, match="no score 'r1'"):
        compare([a], [b], "r1")
    with pytest.raises(StudyError, match="no clusters by 'word'"):
        compare([a], [b], cluster="word")
    with pytest.raises(StudyError, match="into one cluster"):
        compare([random_record(0, [0] * 24)], [random_record(1, [0] * 24)])
    with pytest.raises(StudyError, match="nearly all test pictures into one cluster"):
        uneven = [0] * 23 + [1]  # a cluster beside one picture: an interval would be a guess
        compare([random_record(0, uneven)], [random_record(1, uneven)])
    with pytest.raises(StudyError, match="is not finished"):
        compare([a], [{"id": "x", "config": {"seed": 0}}])
    for made in (a, b):
        del made["test_queries"]["text_of_caption"]
    with pytest.raises(StudyError, match="which captions are alike"):
        compare([a], [b])
    assert compare([a], [b], cluster="picture", resamples=10).clusters == 12
