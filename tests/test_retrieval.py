"""Recalls are expected values over random tie orders: an oracle that tries all orders agrees."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsstudy.retrieval import Ranks, chance, distinct, rank, scores


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
    i2t, t2i = rank(images, texts, text_of, image_of, chunk=2)
    similarity = images @ texts.T
    for k in (1, 2, 5):
        for image in range(3):
            candidates = [similarity[image, text].item() for text in text_of]
            own = [c for c in range(len(text_of)) if image_of[c] == image]
            assert i2t.recall(k)[image] == pytest.approx(oracle(candidates, own, k))
        for caption in range(len(text_of)):
            candidates = [similarity[image, text_of[caption]].item() for image in range(3)]
            assert t2i.recall(k)[caption] == pytest.approx(
                oracle(candidates, [image_of[caption]], k)
            )


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
    i2t, _ = rank(images, texts, text_of, image_of)
    assert i2t.above.tolist() == [0, 0, 0] and i2t.tie.tolist() == [3, 3, 3]
    assert i2t.own.tolist() == [1, 1, 1]


def test_chunks_change_no_score():
    generator = torch.Generator().manual_seed(1)
    captions = [[f"text {(3 * i + c) % 17}" for c in range(3)] for i in range(20)]
    names, text_of, image_of = distinct(captions)
    images = torch.randint(-2, 3, (20, 6), generator=generator).float()
    texts = torch.randint(-2, 3, (len(names), 6), generator=generator).float()
    whole = scores(*rank(images, texts, text_of, image_of))
    for chunk in (1, 7, 20):
        assert scores(*rank(images, texts, text_of, image_of, chunk)) == whole


def test_a_perfect_ranking_scores_one_hundred():
    captions = [[f"{i}{c}" for c in "ab"] for i in range(12)]
    _, text_of, image_of = distinct(captions)
    found = scores(*rank(torch.eye(12), torch.eye(12)[image_of], text_of, image_of))
    assert set(found) == {"i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10",
                          "mean_recall"}  # fmt: skip
    assert all(value == pytest.approx(100) for value in found.values())


def test_mean_recall_is_the_mean_of_the_six_recalls():
    ranks = Ranks(np.array([0, 3]), np.array([1, 2]), np.array([1, 1]))
    found = scores(ranks, Ranks(np.array([7, 0]), np.array([1, 4]), np.array([1, 1])))
    six = [value for name, value in found.items() if name != "mean_recall"]
    assert found["mean_recall"] == pytest.approx(sum(six) / 6)
    assert found["i2t_r1"] == pytest.approx(50) and found["t2i_r1"] == pytest.approx(12.5)


def test_chance_is_the_score_of_equal_similarities():
    captions = [["a", "b"], ["c"], ["d", "e", "f"]] * 4
    texts, text_of, image_of = distinct([[f"{i} {t}" for t in own] for i, own in
                                         enumerate(captions)])  # fmt: skip
    ranks = rank(torch.ones(12, 2), torch.ones(len(texts), 2), text_of, image_of)
    assert chance([len(own) for own in captions]) == pytest.approx(scores(*ranks))
    assert chance([1] * 10)["t2i_r5"] == pytest.approx(50)
