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
from rsstudy import ceilings, tiles
from rsstudy.ceilings import highest, tied_oracle
from rsstudy.data.sources import load
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.evaluation import embed, prepare
from rsstudy.retrieval import KS, Ranks, chance, counts_of, distinct, rank, scores
from rsstudy.scenes import scenes


def oracle(scored: list[float], own: list[int], k: int) -> float:
    """The share of all orders of the tied that bring an own candidate among the first k."""
    top = max(scored[c] for c in own)
    above = sum(s > top for s in scored)
    tied = [c for c, s in enumerate(scored) if s == top]
    places = list(permutations(range(len(tied)), sum(c in own for c in tied)))
    return sum(min(place) + above < k for place in places) / len(places)


WORDS = ["red", "green", "blue"]
CAPTIONS = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), min_size=3, max_size=3
)
VECTORS = st.lists(
    st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=2), min_size=3, max_size=3
).map(torch.tensor)


def in_tiles(chunk, *given):
    """``rank`` by tiles of so many images and as many texts; 0 for what suits the device."""
    with pytest.MonkeyPatch.context() as patched:
        if chunk:
            patched.setattr(tiles, "HELD", 0)
            patched.setattr(tiles, "CACHED", chunk * chunk)
        return rank(*given)


@settings(deadline=None, max_examples=80)
@given(CAPTIONS, VECTORS, VECTORS)
def test_recalls_equal_the_oracles_with_ties_and_several_captions(captions, images, texts):
    names, text_of, image_of = distinct(captions)
    texts = texts[: len(names)]
    by_protocol = in_tiles(2, images, texts, text_of, image_of)
    of_pairs = (images @ texts.T).numpy()[:, text_of]
    owns = image_of == np.arange(3)[:, None]
    rights = np.array([[names[text] in own for text in text_of] for own in captions])
    for (i2t, t2i), right in zip(by_protocol, (owns, rights), strict=True):
        for ranks, scored, own in ((i2t, of_pairs, right), (t2i, of_pairs.T, right.T)):
            for k, query in product((1, 2, 5), range(len(scored))):
                expected = oracle(scored[query].tolist(), np.flatnonzero(own[query]).tolist(), k)
                assert ranks.recall(k)[query] == pytest.approx(expected)


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
        parts = [scores(*counts) for counts in in_tiles(chunk, images, texts, text_of, image_of)]
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
    found = in_tiles(chunk, images, read, text_of, image_of)
    for counts, right in zip(found, exact(images, read, captions), strict=True):
        for ranks, expected in zip(counts, right, strict=True):
            assert np.array_equal([ranks.above, ranks.tie, ranks.own], expected)


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 5, 16])
def test_texts_with_the_same_bits_tie_whatever_the_chunk(chunk):
    """Other words may have one vector, as where a long text is cut: no rounding sets them apart."""
    generator = torch.Generator().manual_seed(3)
    images, texts = torch.randn(2, 17, 384, generator=generator)
    captions = [[f"text {image}", f"as {image}"] for image in range(17)]
    _, text_of, image_of = distinct(captions)
    (i2t, t2i), _ = in_tiles(chunk, images, texts[image_of], text_of, image_of)
    assert i2t.tie.tolist() == [2] * 17 and np.array_equal(t2i.above[::2], t2i.above[1::2])


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
    _, text_of, image_of = distinct(captions)
    table = (images.double() @ texts.double().T).numpy().round(12)[:, text_of]
    own = image_of == np.arange(len(captions))[:, None]
    has = np.array([np.isin(text_of, text_of[mine]) for mine in own])
    return [(counted(table, right), counted(table.T, right.T)) for right in (own, has)]


def counted(scored: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    best = np.where(right, scored, -np.inf).max(axis=1, keepdims=True)
    ties = scored == best
    return [of.sum(axis=1) for of in (scored > best, ties, ties & right)]


def test_a_perfect_ranking_scores_one_hundred():
    captions = [[f"{i}{c}" for c in "ab"] for i in range(12)]
    _, text_of, image_of = distinct(captions)
    standard, relaxed = rank(torch.eye(12), torch.eye(12)[image_of], text_of, image_of)
    found = scores(*standard)
    assert scores(*relaxed) == found  # no caption is shared, so nothing more counts as right
    assert set(found) == {f"{d}_r{k}" for d in ("i2t", "t2i") for k in KS} | {"mean_recall"}
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
    orders = list(product(range(3), repeat=3))
    best = with_ks(highest, (1, 2), captions)
    for k in (1, 2):
        of_image = [
            max(oracle([order[text] for text in text_of], own.tolist(), k) for order in orders)
            for own in (np.flatnonzero(image_of == image) for image in range(3))
        ]
        of_text = [
            max(sum(oracle(list(order), [image], k) for image in owners) for order in orders)
            for owners in (image_of[text_of == text].tolist() for text in range(len(names)))
        ]
        assert best[f"i2t_r{k}"] == pytest.approx(100 * np.mean(of_image))
        assert best[f"t2i_r{k}"] == pytest.approx(100 * sum(of_text) / len(text_of))


def with_ks(function, ks, *arguments):
    """A score function with other values of k, so that small sets can try it."""
    before = room.KS
    room.KS = ceilings.KS = ks
    try:
        return function(*arguments)
    finally:
        room.KS = ceilings.KS = before


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
