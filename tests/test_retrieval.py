"""Recalls are expected values over random tie orders: an oracle that tries all orders agrees."""

from dataclasses import replace
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rsstudy.retrieval as room
from rsstudy.data.sources import load
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, prepare
from rsstudy.retrieval import (
    KS,
    Ranks,
    chance,
    counts_of,
    distinct,
    highest,
    rank,
    scores,
    share,
    tied_oracle,
)
from rsstudy.scenes import scenes


def oracle(scored: list[float], own: list[int], k: int) -> float:
    """The share of all orders consistent with the scores that bring an own candidate among k."""
    found, orders = 0, 0
    for order in permutations(range(len(scored))):
        if any(scored[a] < scored[b] for a, b in zip(order, order[1:], strict=False)):
            continue
        orders += 1
        found += any(candidate in own for candidate in order[:k])
    return found / orders


@st.composite
def small_sets(draw):
    """Three images of one to two captions out of three texts, with few distinct similarities."""
    captions = [
        draw(st.lists(st.sampled_from(["red", "green", "blue"]), min_size=1, max_size=2))
        for _ in range(3)
    ]
    vectors = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=2)
    images = draw(st.lists(vectors, min_size=3, max_size=3))
    texts = draw(st.lists(vectors, min_size=3, max_size=3))
    return captions, torch.tensor(images), torch.tensor(texts)


@settings(deadline=None, max_examples=80)
@given(small_sets())
def test_recalls_equal_the_oracles_with_ties_and_several_captions(case):
    captions, images, all_texts = case
    names, text_of, image_of = distinct(captions)
    texts = all_texts[: len(names)]
    standard, relaxed = rank(images, texts, text_of, image_of, chunk=2)
    similarity = images @ texts.T
    for k in (1, 2, 5):
        for image in range(3):
            candidates = [similarity[image, text].item() for text in text_of]
            own = [c for c in range(len(text_of)) if image_of[c] == image]
            right = [c for c in range(len(text_of)) if names[text_of[c]] in captions[image]]
            assert standard[0].recall(k)[image] == pytest.approx(oracle(candidates, own, k))
            assert relaxed[0].recall(k)[image] == pytest.approx(oracle(candidates, right, k))
        for caption in range(len(text_of)):
            candidates = [similarity[image, text_of[caption]].item() for image in range(3)]
            own, right = (
                [image_of[caption]],
                [image for image in range(3) if names[text_of[caption]] in captions[image]],
            )
            assert standard[1].recall(k)[caption] == pytest.approx(oracle(candidates, own, k))
            assert relaxed[1].recall(k)[caption] == pytest.approx(oracle(candidates, right, k))


def test_two_tied_at_the_top_have_half_a_recall_at_1():
    two = Ranks(above=np.array([0]), tie=np.array([2]), own=np.array([1]))
    assert two.recall(1) == pytest.approx(0.5) and two.recall(2) == pytest.approx(1)


def test_identical_captions_tie_exactly():
    captions = [["a field .", "green ."], ["a field .", "a road ."], ["a field .", "water ."]]
    names, text_of, image_of = distinct(captions)
    assert names == ["a field .", "green .", "a road .", "water ."]
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(3, 64, generator=generator), torch.randn(4, 64, generator=generator)
    texts[0] += 10 * images.sum(dim=0)  # the shared caption comes first for every image
    (i2t, _), (relaxed, _) = rank(images, texts, text_of, image_of)
    assert i2t.above.tolist() == [0, 0, 0] and i2t.tie.tolist() == [3, 3, 3]
    assert i2t.own.tolist() == [1, 1, 1] and relaxed.own.tolist() == [3, 3, 3]


def test_chunks_change_no_score():
    generator = torch.Generator().manual_seed(1)
    captions = [[f"text {(3 * i + c) % 17}" for c in range(3)] for i in range(20)]
    names, text_of, image_of = distinct(captions)
    images = torch.randint(-2, 3, (20, 6), generator=generator).float()
    texts = torch.randint(-2, 3, (len(names), 6), generator=generator).float()
    whole = [scores(*counts) for counts in rank(images, texts, text_of, image_of)]
    assert whole[0]["mean_recall"] < whole[1]["mean_recall"]
    for chunk in (1, 7, 20):
        parts = [scores(*counts) for counts in rank(images, texts, text_of, image_of, chunk)]
        assert parts == whole


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 5, 16, 33])
@pytest.mark.parametrize("texts", [1, 40])
def test_identical_pictures_tie_whatever_the_chunk(chunk, texts):
    """Rows of a product round differently by block and place: copies must not have rows apart."""
    generator = torch.Generator().manual_seed(2)
    vectors = torch.nn.functional.normalize(torch.randn(17, 384, generator=generator), dim=1)
    images = vectors[torch.cat([torch.arange(17), torch.arange(16)])]  # the first sixteen twice
    captions = [[f"text {(5 * image + c) % texts}" for c in range(3)] for image in range(33)]
    names, text_of, image_of = distinct(captions)
    read = torch.nn.functional.normalize(
        torch.randn(len(names), 384, generator=generator) + vectors[:1], dim=1
    )
    for (i2t, t2i), right in zip(
        rank(images, read, text_of, image_of, chunk), exact(images, read, captions), strict=True
    ):
        for found, expected_counts in zip((i2t, t2i), right, strict=True):
            for name in ("above", "tie", "own"):
                assert getattr(found, name).tolist() == [of[name] for of in expected_counts]


def test_a_picture_has_one_embedding_wherever_it_stands():
    """The last of 129 images is a batch by itself, which rounds differently."""
    encoder = create("tiny@random")
    made = scenes(images=39)
    shown = [place % 39 for place in range(129)]
    pairs = prepare(encoder, made.take(shown))
    images, _ = embed(encoder, pairs)
    assert torch.equal(images, images[shown])
    unmended, _ = embed(encoder, replace(pairs, first_of=None))
    assert torch.allclose(images, unmended, atol=1e-6)
    assert prepare(encoder, made).first_of is None


def exact(images, texts, captions):
    """The counts in double precision, where no two different pictures come near a tie."""
    names, text_of, image_of = distinct(captions)
    table = (images.double() @ texts.double().T).numpy().round(12)
    by_protocol = []
    for relaxed in (False, True):
        i2t, t2i = [], []
        for image in range(len(captions)):
            of_captions = table[image, text_of]
            mine = image_of == image
            right = np.isin(text_of, text_of[mine]) if relaxed else mine
            i2t.append(counted(of_captions, right))
        for caption in range(len(text_of)):
            of_images = table[:, text_of[caption]]
            mine = np.arange(len(captions)) == image_of[caption]
            sharing = np.isin(np.arange(len(captions)), image_of[text_of == text_of[caption]])
            t2i.append(counted(of_images, sharing if relaxed else mine))
        by_protocol.append((i2t, t2i))
    return by_protocol


def counted(scored: np.ndarray, right: np.ndarray) -> dict[str, int]:
    best = scored[right].max()
    return {
        "above": int((scored > best).sum()),
        "tie": int((scored == best).sum()),
        "own": int((right & (scored == best)).sum()),
    }


def test_a_perfect_ranking_scores_one_hundred():
    captions = [[f"{i}{c}" for c in "ab"] for i in range(12)]
    _, text_of, image_of = distinct(captions)
    standard, relaxed = rank(torch.eye(12), torch.eye(12)[image_of], text_of, image_of)
    found = scores(*standard)
    assert scores(*relaxed) == found  # no caption is shared, so nothing more counts as right
    assert set(found) == {
        "i2t_r1",
        "i2t_r5",
        "i2t_r10",
        "t2i_r1",
        "t2i_r5",
        "t2i_r10",
        "mean_recall",
    }
    assert all(value == pytest.approx(100) for value in found.values())


def test_embeddings_that_are_nan_score_nan():
    captions = [[f"{i}{c}" for c in "ab"] for i in range(4)]
    names, text_of, image_of = distinct(captions)
    images, texts = torch.full((4, 3), torch.nan), torch.ones(len(names), 3)
    for counts in rank(images, texts, text_of, image_of):
        assert all(np.isnan(value) for value in scores(*counts).values())


def test_mean_recall_is_the_mean_of_the_six_recalls():
    ranks = Ranks(np.array([0, 3]), np.array([1, 2]), np.array([1, 1]))
    found = scores(ranks, Ranks(np.array([7, 0]), np.array([1, 4]), np.array([1, 1])))
    six = [value for name, value in found.items() if name != "mean_recall"]
    assert found["mean_recall"] == pytest.approx(sum(six) / 6)
    assert found["i2t_r1"] == pytest.approx(50) and found["t2i_r1"] == pytest.approx(12.5)


def test_chance_is_the_score_of_equal_similarities():
    captions = [["a", "b"], ["c"], ["d", "e", "f"]] * 4
    texts, text_of, image_of = distinct(
        [[f"{i} {t}" for t in own] for i, own in enumerate(captions)]
    )
    ranks, _ = rank(torch.ones(12, 2), torch.ones(len(texts), 2), text_of, image_of)
    assert chance([len(own) for own in captions]) == pytest.approx(scores(*ranks))
    assert chance([1] * 10)["t2i_r5"] == pytest.approx(50)


def table_of_scores(table: np.ndarray, captions) -> dict[str, float]:
    """The standard scores of a scorer given as a table, images by distinct texts."""
    _, text_of, image_of = distinct(captions)
    standard, _ = rank(torch.tensor(table), torch.eye(table.shape[1]), text_of, image_of)
    return scores(*standard)


def known_captions(captions) -> np.ndarray:
    """How many copies of each distinct text an image has: the table of an all-knowing oracle."""
    texts, text_of, image_of = distinct(captions)
    table = np.zeros((len(captions), len(texts)), np.float32)
    np.add.at(table, (image_of, text_of), 1)
    return table


CAPTIONS = st.lists(
    st.lists(st.sampled_from(["red", "green", "blue"]), min_size=1, max_size=3),
    min_size=3,
    max_size=3,
)


@settings(deadline=None, max_examples=60)
@given(CAPTIONS)
def test_the_tied_oracle_is_a_scorer_that_only_knows_which_captions_are_whose(captions):
    table = (known_captions(captions) > 0).astype(np.float32)
    assert tied_oracle(captions) == pytest.approx(table_of_scores(table, captions))


@settings(deadline=None, max_examples=15)
@given(CAPTIONS)
def test_no_scorer_exceeds_the_highest_score_and_each_recall_is_attained(captions):
    """All weak orders of three texts for an image, and of three images for a text, are tried."""
    names, text_of, image_of = distinct(captions)
    most = {k: [[0.0] * 3, [0.0] * len(names)] for k in (1, 2)}
    owners = [image_of[text_of == text].tolist() for text in range(len(names))]
    for k, (of_image, of_text) in most.items():
        for order in product(range(3), repeat=3):
            for image in range(3):
                own = [c for c in range(len(text_of)) if image_of[c] == image]
                found = expected([order[text] for text in text_of], own, k)
                of_image[image] = max(of_image[image], found)
            for text, mine in enumerate(owners):
                hits = sum(expected(list(order), [image], k) for image in mine)
                of_text[text] = max(of_text[text], hits)
    best = with_ks(highest, (1, 2), captions)
    for k, (of_image, of_text) in most.items():
        assert best[f"i2t_r{k}"] == pytest.approx(100 * np.mean(of_image))
        assert best[f"t2i_r{k}"] == pytest.approx(100 * sum(of_text) / len(text_of))


def expected(scored: list[float], own: list[int], k: int) -> float:
    """As ``oracle``, without trying orders that differ only within what is not asked."""
    top = max(scored[c] for c in own)
    above = sum(s > top for s in scored)
    tied = [c for c, s in enumerate(scored) if s == top]
    places = list(permutations(range(len(tied)), sum(c in own for c in tied)))
    return sum(min(place) + above < k for place in places) / len(places)


def with_ks(function, ks, *arguments):
    """A score function with other values of k, so that small sets can try it."""
    before, room.KS = room.KS, ks
    try:
        return function(*arguments)
    finally:
        room.KS = before


@settings(deadline=None, max_examples=100)
@given(CAPTIONS, st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_no_table_of_scores_exceeds_the_highest_mean_recall(captions, entries):
    table = np.array(entries, np.float32).reshape(3, 3)[:, : len(distinct(captions)[0])]
    best = with_ks(highest, (1, 2), captions)
    found = with_ks(table_of_scores, (1, 2), table, captions)
    assert all(found[name] <= best[name] + 1e-9 for name in best)


@pytest.mark.parametrize(("name", "tied", "most"), [("rsicd", 95.9, 98.6), ("ucm", 70.4, 76.9)])
def test_what_the_real_sets_allow(name, tied, most, real_data):
    captions = load(name, real_data).split("test").captions
    assert tied_oracle(captions)["mean_recall"] == pytest.approx(tied, abs=0.05)
    best = highest(captions)
    assert best["mean_recall"] == pytest.approx(most, abs=0.05)
    # One table of scores attains all six at once, so the bound on their mean is the maximum.
    found = table_of_scores(best_table(captions), captions)
    assert found == pytest.approx(best)
    assert share(found, best) == pytest.approx(dict.fromkeys(best, 100))


def best_table(captions) -> np.ndarray:
    """Scores that put each image's best text first, and each text's best images, at once.

    Every wish is an edge from a better to a worse entry; entries are numbered along the edges.
    """
    table = known_captions(captions)
    copies = table.sum(axis=0)

    @cache
    def worth(copies: int, own: int) -> float:
        ranks = Ranks(np.array([0]), np.array([copies]), np.array([own]))
        return sum(ranks.recall(k)[0] for k in KS)

    favourite = {}
    for image, row in enumerate(table):
        own = np.flatnonzero(row)
        favourite[image] = max(own, key=lambda t: worth(int(copies[t]), int(row[t])))  # noqa: B023
    worse: dict[tuple, list] = {}
    for image, text in favourite.items():
        worse[image, text] = [(image, t) for t in np.flatnonzero(table[image]) if t != text]
    for text in range(table.shape[1]):
        images = sorted(
            np.flatnonzero(table[:, text]), key=lambda i: (-table[i, text], favourite[i] != text)
        )
        for better, next_ in zip(images, images[1:], strict=False):
            worse.setdefault((better, text), []).append((next_, text))
    height: dict[tuple, int] = {}

    def measure(entry, path=()):
        assert entry not in path, "the wishes contradict each other"
        if entry not in height:
            below = [measure(other, (*path, entry)) for other in worse.get(entry, ())]
            height[entry] = 1 + max(below, default=0)
        return height[entry]

    scored = np.zeros_like(table)
    for entry in zip(*np.nonzero(table), strict=True):
        scored[entry] = measure(entry)
    return scored


def test_a_share_is_in_percent_of_what_the_set_allows():
    captions = [["a field ."], ["a field ."], ["a road ."]]
    best = highest(captions)
    assert best["i2t_r1"] == best["t2i_r1"] == pytest.approx(200 / 3)
    assert share(best, best)["mean_recall"] == pytest.approx(100)
    assert share({"i2t_r1": 50.0}, best) == pytest.approx({"i2t_r1": 75})


def test_counts_are_read_back_from_a_record_by_protocol():
    old = {
        "image_to_text": {"above": [0], "tie": [2], "own": [1]},
        "text_to_image": {"above": [3, 4], "tie": [1, 2]},
    }
    i2t, t2i = counts_of(old)
    assert i2t.tie.tolist() == [2] and t2i.own.tolist() == [1, 1]
    with pytest.raises(StudyError, match="without relaxed counts"):
        counts_of(old, "relaxed")
    with pytest.raises(StudyError, match="no protocol 'strict'"):
        counts_of(old, "strict")
    new = {
        **old,
        "relaxed": {**old, "text_to_image": {"above": [0, 0], "tie": [3, 3], "own": [2, 3]}},
    }
    assert counts_of(new, "relaxed")[1].own.tolist() == [2, 3]
    assert counts_of(new)[1].own.tolist() == [1, 1]
