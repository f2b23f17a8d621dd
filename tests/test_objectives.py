"""Objectives say what their equations say."""

from dataclasses import dataclass, replace
from itertools import product

import open_clip
import pytest
import torch
from torch.nn import functional

from rsstudy.errors import StudyError
from rsstudy.objectives import OBJECTIVES, Objective, false_negatives, named_objective
from rsstudy.settings import checked

SCALE = torch.tensor(1.0, dtype=torch.double)
VIEWS = [
    functional.normalize(
        torch.randn(7, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.double), dim=1
    )
    for seed in range(4)
]  # unit vectors of two views of the pictures, and of two of the captions


def by_pairs(objective: Objective, a, b, skipped=None) -> float:
    """A term by its equation, pair by pair, captions for each picture and the reverse."""
    rows, total = range(len(a)), 0.0
    for i, (left, right) in product(rows, ((a, b), (b, a))):
        others = [j for j in rows if j != i and (skipped is None or not skipped[i, j])]
        own, negative = left[i] @ right[i], left[i] @ right[others].T
        if objective.form == "infonce":
            logits = SCALE.exp() * torch.cat([own[None], negative])
            total += float(torch.logsumexp(logits, 0) - logits[0]) / len(a) / 2
        else:
            losses = (objective.margin + negative - own).clamp(min=0)
            total += float(losses.max() if objective.negatives == "hardest" else losses.sum())
    return total


FORMS = [Objective(), Objective("hinge"), Objective("hinge", negatives="all")]
MASK = false_negatives(torch.tensor([0, 1, 2, 0, 4, 5, 6]), torch.tensor([0, 1, 2, 3, 1, 5, 6]))


@pytest.mark.parametrize("skipped", [None, MASK], ids=["all pairs", "some masked"])
@pytest.mark.parametrize("form", FORMS, ids=["infonce", "hardest", "all"])
def test_every_term_is_its_equation(form, skipped):
    """Masked pairs are in no term, and HMMC is the weighted sum of its three terms."""
    v, w, t, u = VIEWS
    cross, image, text = (by_pairs(form, *ab, skipped) for ab in ((v, t), (v, w), (t, u)))
    assert form.loss(v, t, SCALE, skipped).item() == pytest.approx(cross)
    hmmc = replace(form, cross_weight=0.5, image_weight=2.0, text_weight=3.0)
    found = hmmc.loss(torch.cat([v, w]), torch.cat([t, u]), SCALE, skipped)
    assert found.item() == pytest.approx(0.5 * cross + 2 * image + 3 * text)


@pytest.mark.parametrize(
    ("negatives", "skipped", "count"),
    [("hardest", None, 7), ("all", None, 7 * 6), ("all", MASK, 7 * 6 - 4)],
)
def test_the_mean_of_a_hinge_is_over_its_batch_or_over_its_negatives(negatives, skipped, count):
    summed = Objective("hinge", negatives=negatives)
    loss, mean = (
        o.loss(VIEWS[0], VIEWS[2], SCALE, skipped).item()
        for o in (summed, replace(summed, reduction="mean"))
    )
    assert mean == pytest.approx(loss / count)


def test_hinge_is_zero_once_every_margin_is_kept():
    assert Objective("hinge").loss(torch.eye(4), torch.eye(4), SCALE).item() == 0


def test_info_nce_equals_open_clips_loss():
    expected = open_clip.ClipLoss()(VIEWS[0], VIEWS[2], SCALE.exp())
    assert Objective().loss(VIEWS[0], VIEWS[2], SCALE).item() == pytest.approx(expected.item())


def test_only_intra_modal_terms_and_their_controls_ask_for_a_second_view():
    views = {name: named_objective(name).views for name in OBJECTIVES}
    assert {name for name, count in views.items() if count == 1} == {"infonce", "hinge"}
    for image, text in product((0.0, 1.0), repeat=2):
        assert Objective(image_weight=image, text_weight=text).views == 1 + bool(image or text)


@pytest.mark.parametrize("name", ["hinge", "infonce"])
def test_the_control_takes_the_cross_modal_term_alone_on_both_views(name):
    v, w, t, u = VIEWS
    found = named_objective(f"{name}-two-views").loss(torch.cat([v, w]), torch.cat([t, u]), SCALE)
    plain = named_objective(name)
    expected = (plain.loss(v, t, SCALE) + plain.loss(w, u, SCALE)).item() / 2
    assert found.item() == pytest.approx(expected)


def test_a_fixed_temperature_is_used_in_place_of_the_encoders_and_not_trained():
    fixed, scale = Objective(temperature=0.05), SCALE.clone().requires_grad_()
    inverse = torch.tensor(1 / 0.05, dtype=torch.double).log()
    expected = Objective().loss(VIEWS[0], VIEWS[2], inverse)
    found = fixed.loss(VIEWS[0], VIEWS[2], scale)
    assert found.item() == pytest.approx(expected.item()) and not fixed.trains_temperature
    assert not found.requires_grad


def test_pairs_that_share_image_or_text_are_false_negatives():
    same = false_negatives(torch.tensor([0, 1, 0, 3]), torch.tensor([7, 8, 9, 8]))
    assert same.nonzero().tolist() == [[i, j] for i in range(4) for j in (i % 2, i % 2 + 2)]
    views = false_negatives(torch.tensor([0, 1]), torch.tensor([7, 8]), torch.tensor([8, 9]))
    assert views.all()  # the first's second caption is the other's first


@pytest.mark.parametrize(
    ("objective", "setting"),
    [
        ("infonce", {"augment_images": True}),
        ("hinge", {"sibling_captions": True}),
        ("hmmc", {"temperature": 0.1}),
        ("hmmc", {"learn_temperature": False}),
        ("infonce", {"margin": 0.1}),
        ("hmmc-infonce", {"negatives": "all"}),
        ("infonce-two-views", {"reduction": "mean"}),
        ("infonce", {"token_dropout": 0.1}),
        ("hinge", {"token_dropout_of": "tokens"}),
        ("hmmc", {"token_dropout_of": "tokens", "token_dropout": 0.0}),
        ("infonce", {"learn_temperature": False, "temperature": 0.1}),
        ("hmmc", {"both_views": True, "cross_weight": 0.0}),
    ],
)
def test_a_setting_without_effect_is_refused(objective, setting):
    with pytest.raises(StudyError, match=f"{next(iter(setting))} has no effect") as problem:
        named_objective(objective, **setting)
    assert "\n" not in str(problem.value)


def test_an_objective_without_a_term_is_refused():
    with pytest.raises(StudyError, match="every weight is zero"):
        Objective(cross_weight=0.0)


@pytest.mark.parametrize(
    ("objective", "setting"),
    [
        ("infonce", {"temperature": 0.1}),
        ("infonce", {"learn_temperature": False}),
        ("hinge", {"margin": 0.1, "negatives": "all", "reduction": "mean"}),
        ("hmmc", {"token_dropout": 0.0, "augment_images": True, "sibling_captions": True}),
        ("hmmc", {"token_dropout_of": "tokens"}),
        ("infonce-two-views", {"token_dropout": 0.1}),
        ("hmmc-infonce", {"cross_weight": 0.0, "mask_false_negatives": True}),
        *((name, {}) for name in OBJECTIVES),
    ],
)
def test_a_setting_that_has_an_effect_is_taken(objective, setting):
    named_objective(objective, **setting)


def test_every_objective_has_a_version():
    OBJECTIVES.load()
    assert set(OBJECTIVES.versions) == set(OBJECTIVES) and min(OBJECTIVES.versions.values()) >= 1


def test_an_unknown_objective_is_named_with_near_ones():
    with pytest.raises(StudyError, match="did you mean hmmc"):
        named_objective("hmcc")


def test_a_derived_objective_refuses_what_its_loss_does_not_use():
    @checked
    @dataclass(frozen=True)
    class Own(Objective):
        uses = ("mask_false_negatives",)
        bias: float = 0.0

    assert Own(bias=1.0, mask_false_negatives=True).bias == 1.0
    for setting in ({"form": "hinge"}, {"temperature": 0.1}, {"image_weight": 1.0}):
        with pytest.raises(StudyError, match=f"{next(iter(setting))} has no effect with Own"):
            Own(**setting)
