"""Generated scenes: deterministic, true to their captions, and moved by two dials."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rsstudy
from rsstudy.errors import StudyError
from rsstudy.scenes import DOMAINS, SCENE_TYPES, DrawnImages, distinct, scenes
from rsstudy.scenes.grammar import ARRANGED, NUMBERS, PLURALS, SURROUNDINGS, attributes, caption
from rsstudy.scenes.world import KINDS, SIDES, SKIES, scene

both_domains = pytest.mark.parametrize("domain", DOMAINS)


def digest() -> str:
    """One digest of captions, names and pictures of a small set of each domain."""
    parts = []
    for domain in DOMAINS:
        made = scenes(12, seed=5, domain=domain, size=32)
        parts += [made.manifest_digest().encode(), made.fingerprint().encode()]
        parts += [made.images.decode(i).tobytes() for i in range(len(made))]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def without_look(domain: str, images: int, seed: int = 0):
    return [replace(scene(i, seed, domain), look=0) for i in range(images)]


def test_same_seed_gives_same_set_in_another_process():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "import test_scenes; print(test_scenes.digest())"
    )
    root = str(Path(rsstudy.__file__).parents[1])
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
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


def test_the_dials_change_no_scene():
    for domain in DOMAINS:
        sets = [
            scenes(40, domain=domain, alike_images=a, alike_captions=b)
            for a, b in ((0, 0), (0.5, 1), (1, 0.5))
        ]
        assert len({s.images.scenes for s in sets}) == 1
        assert len({s.filenames for s in sets}) == 1


@both_domains
def test_no_scene_repeats_and_every_value_occurs(domain):
    held = without_look(domain, 9000)
    assert len(set(held)) == len(held)
    seen = defaultdict(set)
    for s in held:
        seen[s.kind].update(
            [
                ("c", s.colour),
                ("s", s.surroundings),
                ("d", s.side),
                ("f", s.count, s.arrangement),
                ("w", s.companion),
            ]
        )
    for kind in KINDS.values():
        values = (
            len(kind.colours)
            + len(kind.surroundings)
            + 4
            + len(kind.formations())
            + len(kind.companions)
        )
        assert len(seen[kind.name]) == values, kind.name


def test_types_and_splits_are_balanced():
    made = scenes(300)
    assert len(SCENE_TYPES) == 30
    assert [made.classes.count(kind) for kind in SCENE_TYPES] == [10] * 30
    assert [made.splits.count(s) for s in ("train", "val", "test")] == [240, 30, 30]
    assert len(set(made.filenames)) == 300
    assert all(
        name.startswith(f"{kind}_") and name.endswith(".png")
        for name, kind in zip(made.filenames, made.classes, strict=True)
    )
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
    others = [
        scenes(3, seed=1),
        scenes(3, domain="ground"),
        scenes(3, alike_images=0.4),
        scenes(3, size=97),
    ]
    contents = [s.images.content(i) for s in (base, *others) for i in range(3)]
    assert len(set(contents)) == 15 and all(len(c) == 32 for c in contents)


@both_domains
def test_every_attribute_shows_in_the_picture_even_when_all_look_alike(domain):
    """Change one named attribute and nothing else: some part of the picture must change clearly."""
    for index in range(30):
        one = scene(index, 3, domain)
        kind = KINDS[one.kind]
        more = [(n, a) for n, a in kind.formations() if n != one.count]
        other = {
            "count": dict(zip(("count", "arrangement"), more[0], strict=True)),
            "colour": {"colour": next(c for c in kind.colours if c != one.colour)},
            "surroundings": {
                "surroundings": next(s for s in kind.surroundings if s != one.surroundings)
            },
            "side": {"side": (one.side + 1) % 4},
            "companions": {"companions": one.companions % 3 + 1},
            "companion_colour": {
                "companion_colour": "red" if one.companion_colour != "red" else "blue"
            },
        }
        arranged = [a for n, a in kind.formations() if n == one.count and a != one.arrangement]
        if arranged:
            other["arrangement"] = {"arrangement": arranged[0]}
        if len(kind.companions) > 1:
            other["companion"] = {
                "companion": next(c for c in kind.companions if c != one.companion)
            }
        if len(SKIES[domain]) > 1:
            other["sky"] = {"sky": next(s for s in SKIES[domain] if s != one.sky)}
        pair = [one, *(replace(one, **change) for change in other.values())]
        images = DrawnImages(tuple(pair), domain, alike=1.0, size=96)
        base = images.decode(0).astype(int)
        for k, name in enumerate(other, start=1):
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
        twins = (one, replace(one, look=one.look + 1))
        apart = [
            np.abs(
                np.subtract(
                    *(DrawnImages(twins, domain, alike, 48).decode(i).astype(float) for i in (0, 1))
                )
            ).mean()
            for alike in (0, 0.5, 1)
        ]
        assert apart[2] == 0 and apart[0] > 4 and apart[1] > 1, (one.kind, apart)


@both_domains
def test_captions_grow_alike_with_their_dial(domain):
    counts, lengths = [], []
    for alike in (0, 0.5, 0.75, 1):
        captions = [
            c for five in scenes(800, domain=domain, alike_captions=alike).captions for c in five
        ]
        counts.append(len(set(captions)))
        lengths.append(np.mean([len(c.split()) for c in captions]))
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
def test_captions_name_only_what_the_scene_holds(domain):
    made = scenes(600, domain=domain, alike_captions=0, seed=2)
    for held, five in zip(made.images.scenes, made.captions, strict=True):
        for text in five:
            kind = KINDS[held.kind]
            assert kind.thing.split(" of ")[0].split()[-1][:4] in text
            rest = text.replace(kind.place, "").replace(kind.place.split(" ", 1)[1], "")
            for name, phrases in SURROUNDINGS.items():
                if any(f" {p} " in rest for p in phrases):
                    assert name == held.surroundings, text
                for phrase in sorted(phrases, key=len, reverse=True):
                    rest = rest.replace(phrase, "")
            for name, phrases in ARRANGED.items():
                for phrase in filter(None, phrases):
                    assert name == held.arrangement or phrase not in rest, text
                    rest = rest.replace(phrase, "")
            for k, side in enumerate(SIDES[domain]):
                assert k == held.side or side not in rest, text
            for sky in filter(None, SKIES[domain]):
                assert sky == held.sky or sky not in rest, text
                rest = rest.replace(sky, "")
            words = set(rest.split())
            numbers, colours = set(NUMBERS), {c for k in KINDS.values() for c in k.colours}
            assert words & numbers <= {NUMBERS[held.count], NUMBERS[held.companions]}, text
            assert words & colours <= {held.colour, held.companion_colour}, text
            companions = {"car", "bus", "house", "tent", "boat"} - {held.companion, kind.thing}
            companions -= {"house"} if "house" in kind.thing else set()
            assert not words & (companions | {PLURALS.get(c, c + "s") for c in companions}), text


@both_domains
def test_the_longest_caption_tells_every_attribute(domain):
    for index in range(30):
        one = scene(index, 1, domain)
        kind, sides = KINDS[one.kind], SIDES[domain]

        def longest(s, which=index % 5):
            return [t for more in range(10) if (t := caption(s, domain, 0, which, more))][-1]

        others = [replace(one, count=n, arrangement=a) for n, a in kind.formations()]
        others += [replace(one, colour=c) for c in kind.colours]
        others += [replace(one, surroundings=s) for s in kind.surroundings]
        others += [replace(one, side=k) for k in range(len(sides))]
        others += [replace(one, companion=c) for c in kind.companions]
        others += [replace(one, companions=n) for n in (1, 2, 3)]
        others += [replace(one, companion_colour=c) for c in ("red", "white", "blue", "yellow")]
        others += [replace(one, sky=s) for s in SKIES[domain]]
        assert len({longest(s) for s in others}) == len(set(others))
        assert set(attributes(one)) >= {"count", "colour", "surroundings", "side", "companion"}


@both_domains
@pytest.mark.parametrize("alike", [0.3, 1])
def test_distinct_captions_belong_to_one_image_each(domain, alike):
    made = scenes(800, domain=domain, alike_captions=alike, distinct_captions=True)
    owners = defaultdict(set)
    for index, five in enumerate(made.captions):
        for text in five:
            owners[text].add(index)
    assert max(len(images) for images in owners.values()) == 1
    plain = scenes(800, domain=domain, alike_captions=alike)
    assert plain.filenames == made.filenames and plain.images == made.images


def test_distinct_captions_of_one_scene_twice_are_refused():
    one = scene(0, 0, "aerial")
    with pytest.raises(StudyError, match="too many for distinct captions"):
        distinct((one, one), "aerial", 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alike_images": -0.1},
        {"alike_images": 1.5},
        {"alike_captions": 2},
        {"alike_captions": float("nan")},
        {"images": 0},
        {"size": 0},
        {"domain": "areal"},
    ],
)
def test_values_out_of_range_are_refused_in_one_line(wrong):
    with pytest.raises(StudyError) as refused:
        scenes(**{"images": 3, **wrong})
    assert "\n" not in str(refused.value)
    if "domain" in wrong:
        assert "did you mean aerial" in str(refused.value)
