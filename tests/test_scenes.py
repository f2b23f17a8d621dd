"""Generated scenes are deterministic, match their captions, and follow two dials."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import rsstudy
from rsstudy.errors import StudyError
from rsstudy.scenes import DOMAINS, SCENE_TYPES, DrawnImages, captions, scenes
from rsstudy.scenes.grammar import ARRANGED, NUMBERS, PLURALS, SURROUNDINGS, attributes, caption
from rsstudy.scenes.world import KINDS, SIDES, SKIES, Scene, scene

both_domains = pytest.mark.parametrize("domain", DOMAINS)


def digest() -> str:
    """One digest of captions, names and pictures of a small set of each domain."""
    parts = []
    for domain in DOMAINS:
        made = scenes(12, seed=5, domain=domain, size=32)
        parts += [made.manifest_digest().encode(), made.fingerprint().encode()]
        parts += [made.images.decode(i).tobytes() for i in range(len(made))]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def without_look(domain: str, images: int, seed: int = 0) -> list[Scene]:
    return [replace(scene(i, seed, domain), look=0) for i in range(images)]


def with_other_values(one: Scene, domain: str) -> dict[str, list[Scene]]:
    """For each attribute the scenes that differ from ``one`` in it alone (or in the formation)."""
    kind = KINDS[one.kind]
    axes = {
        "colour": kind.colours,
        "surroundings": kind.surroundings,
        "side": range(4),
        "companion": kind.companions,
        "companions": (1, 2, 3),
        "companion_colour": ("red", "white", "blue", "yellow"),
        "sky": SKIES[domain],
    }
    others = {
        name: [replace(one, **{name: v}) for v in axis if v != getattr(one, name)]
        for name, axis in axes.items()
    }
    formed = [replace(one, count=n, arrangement=a) for n, a in kind.formations()]
    others["count"] = [s for s in formed if s.count != one.count]
    others["arrangement"] = [s for s in formed if s.count == one.count and s != one]
    return others


def test_same_seed_gives_same_set_in_another_process():
    code, here = "import test_scenes; print(test_scenes.digest())", Path(__file__).parent
    root = str(Path(rsstudy.__file__).parents[1])
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        run = [sys.executable, "-c", code]
        ran = subprocess.run(run, env=env, cwd=here, capture_output=True, text=True)
        assert ran.stdout.strip() == digest(), ran.stderr


@both_domains
def test_an_image_is_the_same_in_a_larger_set(domain):
    small, large = scenes(35, domain=domain), scenes(70, domain=domain)
    assert large.take(range(35)).manifest_digest() == small.manifest_digest()
    assert large.take(range(35)).fingerprint() == small.fingerprint()
    assert (large.images.decode(34) == small.images.decode(34)).all()


def test_seed_and_domain_give_other_scenes():
    first = without_look("aerial", 60)
    assert first != without_look("aerial", 60, seed=1)
    assert first != [replace(s, sky="") for s in without_look("ground", 60)]


@both_domains
def test_the_dials_change_no_scene(domain):
    dials = ((0, 0), (0.5, 1), (1, 0.5))
    sets = [scenes(40, domain=domain, alike_images=a, alike_captions=b) for a, b in dials]
    assert len({(s.images.scenes, s.filenames) for s in sets}) == 1


@both_domains
def test_no_scene_repeats_and_every_value_occurs(domain):
    drawn = without_look(domain, 9000)
    assert len(set(drawn)) == len(drawn)
    seen = defaultdict(set)
    for s in drawn:
        seen[s.kind] |= {(s.count, s.arrangement), s.colour, s.surroundings, s.side, s.companion}
    for kind in KINDS.values():
        axes = (kind.colours, kind.surroundings, range(4), kind.companions, kind.formations())
        assert len(seen[kind.name]) == sum(map(len, axes)), kind.name


def test_types_and_splits_are_balanced():
    made = scenes(300)
    assert len(SCENE_TYPES) == 30
    assert [made.classes.count(kind) for kind in SCENE_TYPES] == [10] * 30
    assert [made.splits.count(s) for s in ("train", "val", "test")] == [240, 30, 30]
    assert len(set(made.filenames)) == 300
    for name, kind in zip(made.filenames, made.classes, strict=True):
        assert name.startswith(f"{kind}_") and name.endswith(".png")
    assert scenes(3).name == "scenes" and scenes(3, domain="ground").name == "scenes-ground"


@both_domains
@pytest.mark.parametrize("size", [1, 32, 96, 250])
def test_pictures_have_the_size_asked_for(domain, size):
    images = scenes(2, domain=domain, size=size).images
    picture = images.decode(1)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert size == 1 or picture.std() > 15


@both_domains
def test_threads_draw_the_same_pictures(domain):
    images = scenes(60, domain=domain, size=64).images
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(images.decode, range(60)))
    assert all((one == images.decode(i)).all() for i, one in enumerate(drawn))


def test_content_names_all_that_a_picture_is_drawn_from():
    base = scenes(3)
    assert scenes(9, alike_captions=1).images.content(2) == base.images.content(2)
    changes = ({"seed": 1}, {"domain": "ground"}, {"alike_images": 0.4}, {"size": 97})
    others = [scenes(3, **change) for change in changes]
    contents = [s.images.content(i) for s in (base, *others) for i in range(3)]
    assert len(set(contents)) == 15 and all(len(c) == 32 for c in contents)


@both_domains
def test_every_attribute_shows_in_the_picture_even_when_all_look_alike(domain):
    """If one named attribute alone changes, a part of the picture must change clearly."""
    for index in range(30):
        one = scene(index, 3, domain)
        others = {k: found[0] for k, found in with_other_values(one, domain).items() if found}
        images = DrawnImages((one, *others.values()), domain, alike=1.0, size=96)
        base = images.decode(0).astype(int)
        assert len(others) >= 6
        for k, name in enumerate(others, start=1):
            changed = np.abs(images.decode(k) - base).max(axis=2) > 30
            assert changed.sum() >= 12, (one, name, changed.sum())


def pictures_apart(domain: str, alike: float) -> tuple[float, float]:
    """Mean root-mean-square distance between pictures: all pairs, and pairs of one type."""
    made = scenes(90, domain=domain, alike_images=alike, size=48)
    pixels = np.stack([made.images.decode(i) for i in range(90)]).reshape(90, -1).astype(float)
    squares = (pixels**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * pixels @ pixels.T, 0))
    pairs = np.triu(np.ones((90, 90), bool), 1)
    kinds = np.array(made.classes)
    return apart[pairs].mean(), apart[pairs & (kinds[:, None] == kinds)].mean()


@both_domains
def test_pictures_grow_alike_with_their_dial(domain):
    measured = [pictures_apart(domain, alike) for alike in (0, 0.5, 1)]
    for one, other in zip(measured, measured[1:], strict=False):
        assert other[0] < 0.85 * one[0] and other[1] < 0.85 * one[1]
    assert measured[-1][0] < 0.6 * measured[0][0]


@both_domains
def test_at_full_likeness_what_no_caption_names_is_the_same_for_all(domain):
    for index in range(0, 30, 3):
        one = scene(index, 0, domain)
        apart = []
        for alike in (0, 0.5, 1):
            images = DrawnImages((one, replace(one, look=one.look + 1)), domain, alike, 48)
            first, second = (images.decode(i).astype(float) for i in (0, 1))
            apart.append(np.abs(first - second).mean())
        assert apart[2] == 0 and apart[0] > 4 and apart[1] > 1, (one.kind, apart)


@both_domains
def test_captions_grow_alike_with_their_dial(domain):
    counts, lengths = [], []
    for alike in (0, 0.5, 0.75, 1):
        made = scenes(800, domain=domain, alike_captions=alike)
        texts = [text for five in made.captions for text in five]
        counts.append(len(set(texts)))
        lengths.append(np.mean([len(text.split()) for text in texts]))
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4
    assert lengths == sorted(lengths, reverse=True)
    assert counts[0] > 3900 and counts[-1] < 500


@both_domains
def test_five_captions_in_the_style_of_the_published_sets(domain):
    for five in scenes(300, domain=domain).captions:
        assert len(five) == 5
        for text in five:
            assert text == text.lower() and text.endswith(" .") and "  " not in text
            assert text.isascii() and 5 <= len(text.split()) <= 45 and "{" not in text


@both_domains
def test_captions_name_only_what_the_scene_has(domain):
    made = scenes(600, domain=domain, alike_captions=0, seed=2)
    colours = {c for kind in KINDS.values() for c in kind.colours}
    for one, five in zip(made.images.scenes, made.captions, strict=True):
        kind = KINDS[one.kind]
        absent = {"car", "bus", "house", "tent", "boat"} - {one.companion, kind.thing}
        absent -= {"house"} if "house" in kind.thing else set()
        absent |= {PLURALS.get(c, c + "s") for c in absent}
        known = [(key == one.surroundings, p) for key, same in SURROUNDINGS.items() for p in same]
        known += [(key == one.arrangement, p) for key, same in ARRANGED.items() for p in same]
        known += [(side == SIDES[domain][one.side], side) for side in SIDES[domain]]
        known += [(sky == one.sky, sky) for sky in SKIES[domain]]
        known = sorted((pair for pair in known if pair[1]), key=lambda pair: -len(pair[1]))
        for text in five:
            assert kind.thing.split(" of ")[0].split()[-1][:4] in text
            rest = text.replace(kind.place, "").replace(kind.place.split(" ", 1)[1], "")
            for true, phrase in known:
                assert true or f" {phrase} " not in f" {rest} ", text
                rest = rest.replace(phrase, "")
            words = set(rest.split())
            assert words & set(NUMBERS) <= {NUMBERS[one.count], NUMBERS[one.companions]}, text
            assert words & colours <= {one.colour, one.companion_colour}, text
            assert not words & absent, text


@both_domains
def test_the_longest_caption_tells_every_attribute(domain):
    for index in range(30):
        one = scene(index, 1, domain)

        def longest(s, which=index % 5):
            return [t for more in range(10) if (t := caption(s, domain, 0, which, more))][-1]

        same_look = [one, *chain.from_iterable(with_other_values(one, domain).values())]
        assert len({longest(s) for s in same_look}) == len(same_look)
        assert set(attributes(one)) >= {"count", "colour", "surroundings", "side", "companion"}


@both_domains
@pytest.mark.parametrize("alike", [0.3, 1])
def test_distinct_captions_belong_to_one_image_each(domain, alike):
    made = scenes(800, domain=domain, alike_captions=alike, distinct_captions=True)
    owners = Counter(text for five in made.captions for text in set(five))
    assert set(owners.values()) == {1}
    plain = scenes(800, domain=domain, alike_captions=alike)
    assert plain.filenames == made.filenames and plain.images == made.images


def test_distinct_captions_of_one_scene_twice_are_refused():
    one = scene(0, 0, "aerial")
    with pytest.raises(StudyError, match="too many for distinct captions"):
        captions((one, one), "aerial", 1.0, distinct=True)


WRONG = {"alike_images": (-0.1, 1.5), "alike_captions": (2, np.nan), "images": (0,), "size": (0,)}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_values_out_of_range_are_refused_in_one_line(name, value):
    with pytest.raises(StudyError, match=f"^{name} is {value}; choose [^\n]*$"):
        scenes(**{"images": 3, name: value})


def test_an_unknown_domain_is_refused_with_a_near_match():
    with pytest.raises(StudyError, match="^[^\n]*did you mean aerial[^\n]*$"):
        scenes(3, domain="areal")
