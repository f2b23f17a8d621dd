"""Intervals cover, error rates hold, and corrections correct: by formula and by simulation."""

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from worlds import WORLDS, size_and_coverage

from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.experiments.compare import (
    EQUIVALENCE_MARGIN,
    LOOKS,
    Measure,
    at_look,
    best_group,
    clusters_of,
    compare,
    compare_factor,
    compare_folds,
    corrected,
    holm,
    seed_spread,
    smallest_gap,
)
from rsstudy.retrieval import counts_of, distinct, scores


def record(seed, of_image, of_caption, captions, text_of):
    """A run's record, from the counts (above, tie) of its queries, one right candidate each."""

    def counts(pairs):
        above, tie = np.transpose(pairs)
        return {"above": above.tolist(), "tie": tie.tolist(), "own": [1] * len(above)}

    queries = {"image_to_text": counts(of_image), "text_to_image": counts(of_caption)}
    return {
        "id": f"s{seed}",
        "config": {"seed": seed},
        "test_queries": {
            **queries,
            "captions_of_image": list(captions),
            "text_of_caption": list(text_of),
            "relaxed": queries,
        },
    }


def random_record(seed, text_of=tuple(range(24)), captions=(1, 2, 3, 2) * 3, worse=0):
    random = np.random.default_rng(seed)
    of_image, of_caption = (
        np.stack([worse + random.integers(0, 9, n), random.integers(1, 6, n)], axis=1)
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
            sides.append(
                [
                    record(
                        seed,
                        hits(luck < chance[cluster] + shift),
                        hits(caption_luck < chance[of_caption] + shift),
                        captions,
                        text_of,
                    )
                    for seed, shift in enumerate(of_seed)
                ]
            )
        return sides


def hits(found):
    return np.stack([np.where(found, 0, 99), np.ones(len(found), int)], axis=1)


def at_most(rate: float, experiments: int) -> float:
    """What a share with this expectation exceeds once in a thousand times."""
    return float(stats.binom.ppf(0.999, experiments, rate)) / experiments


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
        found = compare(a, b, Measure(name))
        assert found.estimate == pytest.approx(score(a, name) - score(b, name))
    assert found.seeds == (3, 2) and found.clusters == 12


def test_the_protocol_decides_which_counts_are_compared():
    a, b = [random_record(0)], [random_record(1)]
    strict = compare(a, b).estimate
    a[0]["test_queries"]["relaxed"] = b[0]["test_queries"]["relaxed"]
    assert compare(a, b).estimate == strict
    assert compare(a, b, Measure(protocol="relaxed")).estimate == 0


def test_with_equal_clusters_the_error_is_the_standard_error_of_the_mean():
    random = np.random.default_rng(0)
    captions, found = np.ones(20, int), random.random((2, 20)) < 0.5
    a, b = ([record(0, hits(one), hits(one), captions, range(20))] for one in found)
    each = 100 * np.subtract(*found.astype(float))
    assert compare(a, b).error == pytest.approx(stats.sem(each))
    assert compare(a, b).p == pytest.approx(stats.ttest_1samp(each, 0).pvalue)


def flat_record(seed, tie):
    """A run in which every query has the same expected recall."""
    return record(seed, [(0, tie)] * 6, [(0, tie)] * 12, [2] * 6, range(12))


def test_a_change_is_after_less_before_and_pairs_runs_of_one_seed():
    records = [random_record(seed) for seed in range(4)]
    mean = [scores(*counts_of(r["test_queries"]))["mean_recall"] for r in records]
    for found in records:
        found["config"]["seed"] = 0
    (a, then), (b, later) = records[:2], records[2:]
    found = compare([(a, then)], [(b, later)])
    assert found.estimate == pytest.approx(mean[1] - mean[0] - (mean[3] - mean[2]))
    other = {**then, "config": {"seed": 1}}
    with pytest.raises(StudyError, match="different seeds"):
        compare([(a, other)], [(b, later)])
    with pytest.raises(StudyError, match="at least one"):
        compare([], [])


def test_the_protocols_page_states_the_margin_that_is_declared():
    page = (Path(__file__).parents[1] / "book" / "09_protocol.md").read_text()
    assert f"{EQUIVALENCE_MARGIN:g} point of mean recall" in page


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


def test_what_cannot_be_compared_is_refused():
    a, b = random_record(0), random_record(1)
    other = random_record(2, captions=(2, 1, 3, 2) * 3)
    joined, uneven = [0] * 24, [0] * 23 + [1]  # one cluster; one beside a single picture
    unsaid = [{**one, "test_queries": {**one["test_queries"]}} for one in (a, b)]
    for one in unsaid:
        del one["test_queries"]["text_of_caption"]
    for first, second, by, message in (
        ([a], [other], Measure(), "do not share their test queries"),
        ([a, a], [b], Measure(), "one record a seed"),
        ([a], [], Measure(), "one record a seed"),
        ([a], [b], Measure("r1"), "no score 'r1'"),
        ([a], [b], Measure(cluster="word"), "no clusters by 'word'"),
        *(
            ([random_record(0, of)], [random_record(1, of)], Measure(), "into one cluster")
            for of in (joined, uneven)
        ),
        ([a], [{"id": "x", "config": {"seed": 0}}], Measure(), "is not finished"),
        (unsaid[:1], unsaid[1:], Measure(), "which captions are alike"),
    ):
        for ask in (compare, smallest_gap):
            with pytest.raises(StudyError, match=message):
                ask(first, second, by)
    assert compare(unsaid[:1], unsaid[1:], Measure(cluster="picture")).clusters == 12


def shifted(runs, seeds):
    """The same records as those of other seeds."""
    return [
        {**run, "id": f"s{seed}", "config": {**run["config"], "seed": seed}}
        for run, seed in zip(runs, seeds, strict=True)
    ]


def side(first, seeds=3, **keys):
    return shifted([random_record(first + n, **keys) for n in range(seeds)], range(seeds))


def test_the_error_over_pictures_is_that_of_drawing_clusters_one_by_one():
    text_of = [0, 0, 0, *range(1, 22)]  # joins the first two pictures
    a, b = [random_record(0, text_of)], [random_record(1, text_of)]
    label = clusters_of(a[0]["test_queries"])
    assert label.max() == 10
    captions = np.array(a[0]["test_queries"]["captions_of_image"])
    of_caption = np.split(np.arange(captions.sum()), captions.cumsum()[:-1])
    recalls = [
        [[ranks.recall(k) for k in (1, 5, 10)] for ranks in counts_of(one[0]["test_queries"])]
        for one in (a, b)
    ]
    random, drawn = np.random.default_rng(5), []
    for _ in range(4000):
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
    expected = np.std(drawn) * (clusters / (clusters - 1)) ** 0.5
    assert found.error == pytest.approx(expected, rel=0.05)
    half = stats.t.ppf(0.975, clusters - 1) * found.error
    assert found.high - found.estimate == pytest.approx(half)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.estimate) / found.error, clusters - 1))


def test_where_queries_do_not_vary_the_interval_is_welchs_over_seeds():
    """So seeds are not paired: equal numbers or others make no difference."""
    ties = [(12, 15), (14, 15), (11, 17), (20, 22)]
    a = [flat_record(s, tie) for s, (tie, _) in enumerate(ties)]
    b = [flat_record(s, tie) for s, (_, tie) in enumerate(ties)]
    values = [[scores(*counts_of(r["test_queries"]))["mean_recall"] for r in x] for x in (a, b)]
    test = stats.ttest_ind(*values, equal_var=False)
    for other in (b, list(reversed(b)), shifted(b, range(10, 14))):
        found = compare(a, other)
        assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert found.p == pytest.approx(test.pvalue)
        assert found.freedom == pytest.approx(test.df)


def test_luck_of_a_seed_with_single_pictures_is_counted_once():
    """Seeds that differ in which pictures they find alone have no spread of their own."""
    found = hits(np.arange(12) < 7)  # their scores differ by two pictures
    missed = hits(np.arange(12) >= 7)
    captions, nothing = np.ones(12, int), hits(np.zeros(12, bool))
    a = [record(s, one, one, captions, range(12)) for s, one in enumerate([found, missed])]
    b = [record(s, nothing, nothing, captions, range(12)) for s in range(2)]
    assert compare(a, b).error == 0, "the mean of both seeds is half of every picture"
    third = record(2, hits(np.ones(12, bool)), hits(np.ones(12, bool)), captions, range(12))
    assert compare([*a, third], b).error > 5, "a seed that finds all has a spread of its own"


def test_a_pool_steadies_the_spread_over_seeds_and_counts_its_degrees_of_freedom():
    arms = [
        shifted([random_record(10 * n + s, worse=(3 * s + n) % 8) for s in range(3)], range(3))
        for n in range(8)
    ]
    pool = seed_spread(arms)
    own = [
        np.var([scores(*counts_of(r["test_queries"]))["mean_recall"] for r in arm], ddof=1)
        for arm in arms
    ]
    assert pool.arms == 8 and pool.variance == pytest.approx(np.mean(own))
    assert 0 < pool.freedom <= 16 and pool.noise > 0
    alone, moderated = compare(arms[0], arms[1]), compare(arms[0], arms[1], pool=pool)
    assert alone.estimate == moderated.estimate and moderated.freedom > alone.freedom
    one = compare(arms[0][:1], arms[1], pool=pool)
    assert one.error > compare(arms[0][:1], arms[1]).error, "one seed borrows the table's spread"
    untrained = [{**arms[0][0], "trained_parameters": {"total": 0}}]
    assert compare(untrained, arms[1], pool=pool).error < one.error, "nothing trained has no seeds"
    with pytest.raises(StudyError, match="pool is of another test set, score"):
        compare(arms[0], arms[1], Measure("i2t_r1"), pool=pool)
    with pytest.raises(StudyError, match="two arms or more"):
        seed_spread(arms[:1])


@pytest.mark.parametrize("unlike", [6, 20])
def test_how_closely_arms_share_a_spread_is_found_back(unlike):
    from rsstudy.experiments.compare import _shared

    random = np.random.default_rng(0)
    true = 1.5 * unlike / random.chisquare(unlike, 4000)  # the prior that limma assumes
    seen = true * random.chisquare(4, 4000) / 4
    variance, freedom = _shared(seen, np.full(4000, 4))
    assert freedom == pytest.approx(unlike, rel=0.2)
    assert variance == pytest.approx(true.mean(), rel=0.05)
    alike, shared = _shared(random.chisquare(4, 50) / 4, np.full(50, 4))
    assert shared > 40 and alike == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("world", WORLDS)
def test_size_and_coverage_hold_from_both_sides(world, seeds):
    """In worlds with clusters, seeds and seed-by-picture noise, as on the sets on record."""
    for spread, (size, coverage, _) in size_and_coverage(WORLDS[world], seeds, 2000).items():
        assert 3.5 <= size <= 6.5, spread
        assert 93.5 <= coverage <= 96.5, spread


def test_pictures_that_share_captions_must_not_count_one_by_one():
    world, experiments = World(0), 250
    by_text, by_picture = [], []
    for _ in range(experiments):
        a, b = world.records(gap=0)
        by_text.append(compare(a, b).p <= 0.05)
        by_picture.append(compare(a, b, Measure(cluster="picture")).p <= 0.05)
    assert 0.015 <= np.mean(by_text) <= at_most(0.05, experiments)
    assert np.mean(by_picture) > at_most(0.05, experiments)


def test_methods_that_differ_by_the_margin_are_hardly_ever_called_comparable():
    world, experiments, margin = World(2), 250, 12.0
    at_margin = [compare(*world.records(margin), margin=margin) for _ in range(experiments)]
    equal = [compare(*world.records(0), margin=margin) for _ in range(60)]
    assert np.mean([c.comparable for c in at_margin]) <= at_most(0.05, experiments)
    assert np.mean([c.comparable for c in equal]) > 0.6


def test_the_smallest_gap_is_found_four_times_in_five():
    for seeds, spread in ((1, 0.0), (3, 0.04)):
        world = World(3)
        gap = np.mean([smallest_gap(*world.records(10, seeds, spread)) for _ in range(40)])
        found = [compare(*world.records(gap, seeds, spread)).p <= 0.05 for _ in range(150)]
        assert 0.7 <= np.mean(found) <= 0.9
        half = [compare(*world.records(gap / 2, seeds, spread)).p <= 0.05 for _ in range(80)]
        assert np.mean(half) < 0.5


def test_a_run_less_itself_is_nothing_and_too_few_queries_leave_it_open():
    same = compare([random_record(0)], [random_record(0)])
    assert (same.estimate, same.error, same.p) == (0, 0, 1) and same.comparable
    noisy = compare([random_record(0)], [random_record(1)])
    assert noisy.p > 0.05 and noisy.word == "open" and not noisy.comparable


def test_changes_from_one_start_are_told_as_what_came_of_them():
    start, a, b = side(10), side(20), side(30)
    flat = shifted([random_record(0)] * 3, range(3))  # the same start for every seed
    for first in (start, flat):
        pairs = [list(zip(first, runs, strict=True)) for runs in (a, b)]
        found = compare(*pairs)
        assert found.estimate == pytest.approx(compare(a, b).estimate)
        back = compare(*reversed(pairs))
        assert (back.estimate, back.low) == pytest.approx((-found.estimate, -found.high))
        assert compare(pairs[0], pairs[0]).estimate == 0
    for name in ("estimate", "low", "high", "p", "p_equivalence"):
        assert getattr(found, name) == pytest.approx(getattr(compare(a, b), name)), name


def test_a_change_by_itself_pairs_each_run_with_its_own_start():
    luck = side(40)
    after = [{**run, "test_queries": {**run["test_queries"]}} for run in luck]
    found = compare(list(zip(luck, after, strict=True)))
    assert (found.estimate, found.error, found.seeds) == (0, 0, (3, 0))
    assert compare(luck, side(50)).error > 0
    pairs = list(zip(luck, side(50), strict=True))
    there, back = compare(pairs), compare([(after, before) for before, after in pairs])
    assert there.estimate == pytest.approx(-back.estimate) != 0


def test_a_side_alone_is_its_own_score_and_is_not_mixed_with_changes():
    runs = side(40)
    found = compare(runs)
    ranks = [ranks for run in runs for ranks in counts_of(run["test_queries"])]
    score = 100 * np.mean([of.recall(k).mean() for of in ranks for k in (1, 5, 10)])
    assert found.estimate == pytest.approx(score) and found.seeds == (3, 0)
    with pytest.raises(StudyError, match="pairs on either side, or on none"):
        compare(runs, list(zip(runs, runs, strict=True)))


def test_a_factor_is_one_question_narrower_than_its_pairs():
    arms = [side(10 * n) for n in range(6)]
    pairs = [(arms[n], arms[n + 1]) for n in (0, 2, 4)]
    each, found = [compare(*pair) for pair in pairs], compare_factor(pairs)
    assert found.estimate == pytest.approx(np.mean([c.estimate for c in each]))
    assert found.error < min(c.error for c in each) and found.seeds == (9, 9)
    assert dataclasses.replace(compare_factor(pairs[:1])) == each[0]


def test_the_best_group_holds_who_cannot_be_told_from_the_best():
    """Of two arms it is one contrast at a one-sided level; it misses the best in at most 5 %."""
    a, b = side(0), side(10)
    found, contrast = best_group({"a": a, "b": b}), compare(a, b)
    half = stats.t.ppf(0.95, contrast.freedom) * contrast.error
    assert found["a"].estimate == pytest.approx(contrast.estimate)
    assert found["a"].high == pytest.approx(max(0, contrast.estimate + half))
    assert found["b"].low == pytest.approx(min(0, -contrast.estimate - half))
    assert list(found) == sorted(found, key=lambda name: -found[name].estimate)
    world, missed, kept = World(4), [], []
    for _ in range(150):
        (best,), (poor,) = world.records(gap=0)
        groups = best_group({"best": [best], "equal": [poor]})
        missed.append(not groups["best"].in_best_group)
        (best,), (poor,) = world.records(gap=30)
        kept.append(best_group({"best": [best], "poor": [poor]})["poor"].in_best_group)
    assert np.mean(missed) <= at_most(0.05, 150) and np.mean(kept) < 0.2
    with pytest.raises(StudyError, match="two or more"):
        best_group({"a": a})


def contrast(estimate, error=1.0, freedom=20.0, **keys):
    from rsstudy.experiments.compare import _judged

    return dataclasses.replace(
        _judged(estimate, error, freedom, EQUIVALENCE_MARGIN, (3, 3), 50), **keys
    )


@pytest.mark.parametrize("by", ["simultaneous", "holm"])
def test_clear_and_likely_follow_from_the_intervals_that_are_shown(by):
    table = [contrast(estimate) for estimate in (0.2, -0.5, 2.4, -2.6, 2.9, 5.0, -8.0)]
    found = corrected(table, by)
    assert {c.word for c in found} == {"clear", "likely", "open"}
    for before, now in zip(table, found, strict=True):
        assert (now.low, now.high) == (before.low, before.high), "the 95 % interval stays"
        thin = now.low_corrected > 0 or now.high_corrected < 0
        thick = now.low > 0 or now.high < 0
        assert thin == (now.p <= 0.05) == (now.word == "clear")
        assert (thick and not thin) == (now.word == "likely")
        assert now.low_corrected <= now.low and now.high_corrected >= now.high
    assert [c.said() for c in found][:2] == ["open", "open"]
    assert found[-1].said("ahead", "behind") == "clearly behind"
    adjusted = {
        "holm": holm([c.p for c in table]),
        "simultaneous": np.minimum(1, 7 * np.array([c.p for c in table])),
    }
    assert [c.p for c in found] == pytest.approx(adjusted[by])


def test_a_table_of_one_is_corrected_for_nothing():
    for by in ("simultaneous", "holm"):
        [found] = corrected([contrast(2.4)], by)
        assert (found.low_corrected, found.high_corrected) == (found.low, found.high)
        assert found == contrast(2.4) and found.word == "clear"


def test_simultaneous_intervals_hold_all_their_differences_at_once():
    random, missed = np.random.default_rng(0), []
    for _ in range(1500):
        scale = (random.chisquare(20) / 20) ** 0.5
        found = corrected([contrast(z, scale) for z in random.standard_normal(6)])
        missed.append(any(not c.low_corrected <= 0 <= c.high_corrected for c in found))
    assert 0.02 <= np.mean(missed) <= at_most(0.05, 1500)


def test_comparable_is_only_what_lies_within_the_margin():
    assert not contrast(0.4, 2.0).comparable and contrast(0.0, 0.2).comparable
    assert not contrast(1.2, 0.2).comparable and contrast(0.5, 0.1).comparable
    shown = contrast(0.5, 0.1)
    assert shown.word == "clear", "a difference within the margin is clear and comparable, too"
    assert not corrected([contrast(0.4, 0.3)] * 10)[0].comparable


def of_fold(number, first, assignment="first", digest=None):
    digest = digest or f"d{number}"
    fold = {"number": number, "assignment": assignment, "grouped": False, "digest": digest}
    return {**random_record(first), "config": {"seed": number, "fold": fold}}


def test_folds_are_paired_and_their_error_knows_that_training_sets_overlap():
    a, b = ([of_fold(k, 10 * k + which) for k in range(3, 7)] for which in (0, 1))
    found = compare_folds(a, list(reversed(b)), margin=2.0)
    differences = [compare([one], [other]).estimate for one, other in zip(a, b, strict=True)]
    assert found.estimate == pytest.approx(np.mean(differences)) and found.margin == 2.0
    error = np.std(differences, ddof=1) * (1 / 4 + 1 / 8) ** 0.5
    assert (found.error, found.freedom) == (pytest.approx(error), 3)
    half = stats.t.ppf(0.975, 3) * error
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half))
    assert found.folds == 4 and found.clusters == 0


def test_folds_that_are_not_the_same_are_refused():
    one, other = of_fold(3, 3), of_fold(4, 4)
    a, mixed, seeds = [one, other], [one, of_fold(4, 4, "second")], [random_record(0)]
    many = [
        {**other, "config": {**other["config"], "method": "full"}},
        {**other, "config": {**other["config"], "recipe": {"learning_rate": 2e-3}}},
        {**other, "environment": {"device": "cuda"}},
    ]
    for first, second, message in (
        (a, [one, of_fold(5, 5)], "differ in their folds"),
        (a, mixed, "differ in their folds"),
        (a, [one, of_fold(4, 4, digest="other")], "differ in their folds"),
        (mixed, mixed, "several assignments"),
        ([one, one], [one, one], "one record a fold"),
        *(([one, odd], a, "holds several arms") for odd in many),
        (a, [one, many[0]], "holds several arms"),
        (seeds, seeds, "of the published split"),
        (a[:1], a[:1], "two or more"),
    ):
        with pytest.raises(StudyError, match=message):
            compare_folds(first, second)
    with pytest.raises(StudyError, match="do not share their test queries"):
        compare([one], [of_fold(4, 3)])


def test_a_look_is_judged_at_its_nominal_level():
    """7.37 on 3 and 2.39 on 7 degrees of freedom, as the plan says."""
    assert {folds: float(f"{level:.2g}") for folds, level in LOOKS.items()} == {4: 0.0052, 8: 0.048}
    for folds, critical in ((4, 7.37), (8, 2.39)):
        base = contrast(1.0, freedom=folds - 1, folds=folds)
        found = at_look(base)
        assert found.high_corrected - 1.0 == pytest.approx(critical, abs=0.005)
        assert (found.low, found.high) == (base.low, base.high)
        sure = at_look(contrast(critical + 0.02, freedom=folds - 1, folds=folds))
        assert sure.word == "clear" and sure.p <= sure.alpha
        assert at_look(contrast(critical - 0.02, freedom=folds - 1, folds=folds)).word == "likely"
    primary = corrected([found] * 3, "holm")
    assert all(c.low_corrected < found.low_corrected for c in primary)
    with pytest.raises(StudyError, match="planned after 4 and 8"):
        at_look(contrast(1.0, folds=6))
    with pytest.raises(StudyError, match="take the look first"):
        at_look(corrected([contrast(1.0, folds=4), contrast(2.0, folds=4)])[0])


def test_two_looks_err_in_five_percent_of_cases_at_most_and_hardly_less():
    """By z, for which the boundary is made; with t the levels are taken over as they are."""
    random = np.random.default_rng(0)
    half, whole = random.standard_normal((2, 200_000))
    whole = (half + whole) / 2**0.5
    p = [2 * stats.norm.sf(np.abs(z)) for z in (half, whole)]
    rejected = (p[0] <= LOOKS[4]) | (p[1] <= LOOKS[8])
    assert 0.048 <= rejected.mean() <= 0.0515
