"""Ten folds are the same wherever they are drawn; each image is test once; groups stay whole."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsstudy.data.folds import FOLDS, Fold, as_fold, assign, assignment_digest
from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import about, load, usable
from rsstudy.errors import StudyError
from rsstudy.retrieval import distinct

NUMBERS = range(1, FOLDS + 1)


def made(classes, captions=None) -> ImageTextSet:
    """A set without pictures; each image has a caption of its own unless others are given."""
    names = tuple(f"{number}.png" for number in range(len(classes)))
    texts = tuple(tuple(own) for own in captions or [[f"scene {name} ."] for name in names])
    return ImageTextSet("made", names, texts, ("train",) * len(names), tuple(classes), None)


CLASSES = st.lists(st.sampled_from([None, "beach", "port", "river"]), min_size=10, max_size=60)


@pytest.fixture(scope="module")
def real(real_data):
    """``real(name)``: a real set, read once."""
    return cache(lambda name: load(name, real_data))


def complaint(call, *arguments, **settings) -> str:
    with pytest.raises(StudyError) as caught:
        call(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names_in(set: ImageTextSet, split: str) -> frozenset[str]:
    return frozenset(n for n, s in zip(set.filenames, set.splits, strict=True) if s == split)


def assert_each_image_is_test_once(set: ImageTextSet, **chosen) -> None:
    folds = [as_fold(set, Fold(number, **chosen)) for number in NUMBERS]
    tested = [names_in(fold, "test") for fold in folds]
    assert sum(map(len, tested)) == len(set) == len(frozenset().union(*tested))
    for place, fold in enumerate(folds):
        assert names_in(fold, "val") == tested[(place + 1) % FOLDS]
        held_out = tested[place] | names_in(fold, "val")
        assert names_in(fold, "train") == frozenset(set.filenames) - held_out
        assert (fold.filenames, fold.captions) == (set.filenames, set.captions)


def assert_even(set: ImageTextSet, assigned: np.ndarray, within_classes: bool = True) -> None:
    sizes = np.bincount(assigned, minlength=FOLDS + 1)[1:]
    assert np.ptp(sizes) <= 1
    for scene in frozenset(set.classes) if within_classes else ():
        mine = assigned[[of == scene for of in set.classes]]
        assert np.ptp(np.bincount(mine, minlength=FOLDS + 1)[1:]) <= 1


@settings(deadline=None, max_examples=60)
@given(CLASSES, st.sampled_from(["first", "second"]))
def test_each_image_is_test_once_and_validation_in_the_fold_before(classes, assignment):
    assert_each_image_is_test_once(made(classes), assignment=assignment)


@settings(deadline=None, max_examples=60)
@given(CLASSES)
def test_sizes_differ_by_at_most_one_in_total_and_within_each_class(classes):
    set = made(classes)
    assert_even(set, assign(set))


@settings(deadline=None, max_examples=30)
@given(CLASSES, st.randoms(use_true_random=False), st.booleans())
def test_neither_order_nor_published_split_changes_the_folds(classes, random, grouped):
    set = made(classes)
    shuffled = set.take(random.sample(range(len(set)), len(set)))
    other = replace(shuffled, splits=tuple(random.choice(["test", "val"]) for _ in classes))
    digest = assignment_digest(set, grouped=grouped)
    assert digest == assignment_digest(set, grouped=grouped)
    assert digest == assignment_digest(other, grouped=grouped)


def test_names_classes_and_the_assignment_decide():
    set = made(["beach", "port"] * 30)
    digest = assignment_digest(set)
    assert digest != assignment_digest(set, "second")
    assert digest != assignment_digest(replace(set, classes=("beach",) * 60))
    named = replace(set, filenames=tuple(reversed(set.filenames)))
    assert digest != assignment_digest(named)


def test_the_assignments_are_independent():
    """About a tenth of the images have the same fold in both, as chance has it."""
    set = made([None] * 2000)
    same = np.mean(assign(set) == assign(set, "second"))
    assert same == pytest.approx(0.1, abs=0.03)


@st.composite
def shared_captions(draw):
    """Forty images, some of which share captions, directly or through others."""
    texts = st.lists(st.integers(0, 250), min_size=1, max_size=2)
    own = draw(st.lists(texts, min_size=40, max_size=40))
    return made([None] * 40, [[f"text {number}" for number in numbers] for numbers in own])


@settings(deadline=None, max_examples=80)
@given(shared_captions())
def test_images_with_an_identical_caption_share_a_fold(set):
    try:
        assigned = assign(set, grouped=True)
    except StudyError as problem:
        assert "use folds without grouping" in str(problem) or "use a larger set" in str(problem)
        return
    texts, text_of, image_of = distinct(set.captions)
    for text in range(len(texts)):
        assert len(np.unique(assigned[image_of[text_of == text]])) == 1
    assert (np.bincount(assigned, minlength=FOLDS + 1)[1:] > 0).all()


def test_captions_are_compared_exactly():
    """Case and spaces count, as in the ranking: these captions join nothing."""
    captions = [["a field ."], ["A field ."], ["a field . "]] + [[f"{n}"] for n in range(27)]
    set = made([None] * 30, captions)
    assert assignment_digest(set, grouped=True) == assignment_digest(set)


def test_a_group_larger_than_a_fold_is_refused():
    set = made([None] * 40, [["the same"] if n < 5 else [f"{n}"] for n in range(40)])
    assert "join 5 images, a fold takes 4" in complaint(assign, set, grouped=True)
    assert len(as_fold(set, Fold(1)).split("test")) == 4


def test_a_class_that_grouping_takes_out_of_training_is_refused():
    classes = ["port"] * 4 + ["beach"] * 36
    set = made(classes, [["a port ."] if n < 4 else [f"{n}"] for n in range(40)])
    message = complaint(as_fold, set, Fold(7, grouped=True))
    assert "no image of port to train on; use folds without grouping" in message
    # Only where grouping is the cause: a class of two images can always be held out as a whole.
    assert assign(made(["port"] * 2 + ["beach"] * 38), grouped=True).min() == 1


@pytest.mark.parametrize("grouped", [False, True])
def test_images_with_a_blank_caption_or_none_always_train(grouped):
    captions = [[" ", "a field ."], [], ["", "a road ."]] + [[f"{n}"] for n in range(30)]
    set = made(["port"] * 33, captions)
    assigned = assign(set, grouped=grouped)
    assert assigned[:3].tolist() == [0, 0, 0] and (assigned[3:] > 0).all()
    assert_even(set, assigned, within_classes=False)
    for number in NUMBERS:
        drawn, dropped = usable(as_fold(set, Fold(number, grouped=grouped)))
        assert dropped == 2 and len(drawn) == 32 and len(drawn.split("test")) == 3


def test_a_group_with_a_blank_caption_trains_as_a_whole():
    captions = [["", "a field ."], ["a field ."]] + [[f"{n}"] for n in range(30)]
    assigned = assign(made([None] * 32, captions), grouped=True)
    assert assigned[:2].tolist() == [0, 0] and (assigned[2:] > 0).all()


@pytest.mark.parametrize("number", [0, 11, -1, 2.0, True, "3"])
def test_a_fold_number_outside_one_to_ten_is_refused(number):
    assert complaint(Fold, number) == f"no fold {number!r}: give a whole number from 1 to 10"


def test_an_unknown_assignment_is_refused_with_near_matches():
    expected = "unknown assignment to folds 'secnd'; did you mean second?"
    assert complaint(Fold, 1, "secnd") == expected
    assert complaint(assign, made([None] * 20), "secnd") == expected


def test_fewer_images_or_groups_than_folds_are_refused():
    assert complaint(assign, made([None] * 9)) == "made: 9 images for 10 folds; use a larger set"
    blank = made([None] * 10, [[""]] + [[f"{n}"] for n in range(9)])
    assert complaint(assign, blank).startswith("made: 9 images")
    pairs = made([None] * 18, [[f"{n // 2}"] for n in range(18)])
    assert complaint(assign, pairs, grouped=True).startswith("made: 9 groups of images")


def test_generated_scenes_have_folds():
    set = load("scenes?images=120")
    assert_each_image_is_test_once(set)
    assert_even(set, assign(set))


@pytest.mark.parametrize(
    ("name", "folds"),
    [(name, folds) for name in ("rsicd", "ucm") for folds in about(name)["folds"]],
)
def test_the_real_sets_have_the_folds_of_the_record(name, folds, real):
    set, recorded = real(name), about(name)["folds"][folds]
    assignment, grouped = folds.removesuffix("-grouped"), folds.endswith("-grouped")
    assert assignment_digest(set, assignment, grouped) == recorded
    backwards = set.take(range(len(set))[::-1])
    assert assignment_digest(backwards, assignment, grouped) == recorded
    assert_each_image_is_test_once(set, assignment=assignment, grouped=grouped)
    assert_even(set, assign(set, assignment, grouped), within_classes=not grouped)


def test_grouped_folds_of_rsicd_test_no_caption_that_was_trained(real):
    fold = as_fold(real("rsicd"), Fold(1, grouped=True))
    texts = {split: frozenset(sum(fold.split(split).captions, ())) for split in ("train", "test")}
    assert not texts["train"] & texts["test"]
    assert frozenset(fold.split("train").classes) == frozenset(fold.classes)


def test_ucm_cannot_be_grouped_since_whole_classes_share_captions(real):
    message = complaint(as_fold, real("ucm"), Fold(3, grouped=True))
    assert "no image of agricultural, chaparral, mobilehomepark to train on" in message


def test_a_copy_of_a_real_set_with_other_classes_is_refused(real):
    """A record names the set by its manifest, which holds no classes: folds would differ unseen."""
    bare = replace(real("ucm"), classes=(None,) * 2100)
    assert bare.manifest_digest() == about("ucm")["manifest"]
    assert "tells other scene classes" in complaint(as_fold, bare, Fold(3))
    assert len(as_fold(bare.take(range(500)), Fold(3)).split("test")) == 50  # a set of its own
