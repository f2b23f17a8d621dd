"""Objectives say what their equations say."""

from dataclasses import replace
from itertools import product

import open_clip
import pytest
import torch
from torch.nn import functional

from rsstudy.errors import StudyError
from rsstudy.experiments.run import Run
from rsstudy.objectives import (
    OBJECTIVES,
    Objective,
    false_negatives,
    hinge,
    info_nce,
    named_objective,
)


def unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(
        torch.randn(rows, 8, generator=generator, dtype=torch.double), dim=1
    )


def hinge_by_loops(a, b, margin, negatives):
    """The paper's equation, pair by pair."""
    total = 0.0
    for i in range(len(a)):
        row = [max(0.0, margin + a[i] @ b[j] - a[i] @ b[i]) for j in range(len(b)) if j != i]
        column = [max(0.0, margin + a[j] @ b[i] - a[i] @ b[i]) for j in range(len(a)) if j != i]
        total += max(row) + max(column) if negatives == "hardest" else sum(row) + sum(column)
    return float(total)


@pytest.mark.parametrize("negatives", ["hardest", "all"])
def test_hinge_is_its_equation(negatives):
    a, b = unit(7, 0), unit(7, 1)
    by_loops = hinge_by_loops(a, b, 0.2, negatives)
    assert hinge(a, b, 0.2, negatives).item() == pytest.approx(by_loops)
    pairs = 7 if negatives == "hardest" else 7 * 6
    assert hinge(a, b, 0.2, negatives, "mean").item() == pytest.approx(by_loops / pairs)


def test_hinge_is_zero_once_every_margin_is_kept():
    assert hinge(torch.eye(4), torch.eye(4)).item() == 0


def test_info_nce_equals_open_clips_loss():
    a, b, scale = unit(6, 2), unit(6, 3), torch.tensor(2.0, dtype=torch.double)
    expected = open_clip.ClipLoss()(a, b, scale.exp())
    assert info_nce(a, b, scale).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("form", ["infonce", "hinge"])
def test_hmmc_is_the_weighted_sum_of_its_three_terms(form):
    objective = Objective(form, cross_weight=0.5, image_weight=2.0, text_weight=3.0)
    v, w, t, u = (unit(5, seed) for seed in range(4))
    scale = torch.tensor(1.0, dtype=torch.double)

    def term(a, b):
        return info_nce(a, b, scale) if form == "infonce" else hinge(a, b)

    expected = 0.5 * term(v, t) + 2 * term(v, w) + 3 * term(t, u)
    found = objective.loss(torch.cat([v, w]), torch.cat([t, u]), scale)
    assert found.item() == pytest.approx(expected.item())


def test_only_intra_modal_terms_and_their_controls_ask_for_a_second_view():
    assert {name: named_objective(name).views for name in OBJECTIVES} == {
        "infonce": 1,
        "hinge": 1,
        "hmmc": 2,
        "hmmc-infonce": 2,
        "hinge-two-views": 2,
        "infonce-two-views": 2,
    }
    for image, text in product((0.0, 1.0), repeat=2):
        assert Objective(image_weight=image, text_weight=text).views == 1 + bool(image or text)


def test_the_control_takes_the_cross_modal_term_alone_on_both_views():
    v, w, t, u = (unit(5, seed) for seed in range(4))
    control = named_objective("hinge-two-views")
    assert control.views == named_objective("hmmc").views == 2
    found = control.loss(torch.cat([v, w]), torch.cat([t, u]), torch.tensor(0.0))
    assert found.item() == pytest.approx((hinge(v, t) + hinge(w, u)).item() / 2)


def test_a_fixed_temperature_is_used_in_place_of_the_encoders_and_not_trained():
    fixed, a, b = Objective(temperature=0.05), unit(5, 0), unit(5, 1)
    scale = torch.tensor(1.0, dtype=torch.double, requires_grad=True)
    expected = info_nce(a, b, torch.tensor(1 / 0.05, dtype=torch.double).log())
    found = fixed.loss(a, b, scale)
    assert found.item() == pytest.approx(expected.item()) and not fixed.trains_temperature
    assert not found.requires_grad


def test_pairs_that_share_image_or_text_are_false_negatives():
    same = false_negatives(torch.tensor([0, 1, 0, 3]), torch.tensor([7, 8, 9, 8]))
    assert same.tolist() == [
        [True, False, True, False],
        [False, True, False, True],
        [True, False, True, False],
        [False, True, False, True],
    ]
    views = false_negatives(torch.tensor([0, 1]), torch.tensor([7, 8]), torch.tensor([8, 9]))
    assert views.all()  # the first's second caption is the other's first


@pytest.mark.parametrize(
    ("form", "negatives"), [("infonce", "hardest"), ("hinge", "hardest"), ("hinge", "all")]
)
def test_masked_pairs_are_in_no_term(form, negatives):
    a, b, scale = unit(5, 0), unit(5, 1), torch.tensor(1.0, dtype=torch.double)
    masked = false_negatives(torch.tensor([0, 1, 2, 0, 4]), torch.tensor([0, 1, 2, 3, 1]))
    others = [[j for j in range(5) if j != i and not masked[i, j]] for i in range(5)]
    total = 0.0
    for i in range(5):
        for left, right in ((a, b), (b, a)):  # captions for image i, images for caption i
            own, negative = left[i] @ right[i], left[i] @ right[others[i]].T
            if form == "infonce":
                logits = scale.exp() * torch.cat([own[None], negative])
                total += float(torch.logsumexp(logits, 0) - logits[0]) / 10
            else:
                losses = (0.2 + negative - own).clamp(min=0)
                total += float(losses.max() if negatives == "hardest" else losses.sum())
    found = Objective(form, negatives=negatives).loss(a, b, scale, masked)
    assert found.item() == pytest.approx(total)
    hmmc = Objective(form, negatives=negatives, cross_weight=0.0, image_weight=1.0)
    views = torch.cat([a, b]), torch.cat([unit(5, 2), unit(5, 3)])
    assert hmmc.loss(*views, scale, masked).item() == pytest.approx(total)
    hmmc = Objective(form, negatives=negatives, cross_weight=0.0, text_weight=1.0)
    assert hmmc.loss(*views[::-1], scale, masked).item() == pytest.approx(total)


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
        Run(
            "scenes", "tiny", "mrs-adapter", objective, objective_settings=setting
        ).resolved_objective()
    assert "\n" not in str(problem.value)


def test_an_objective_without_a_term_is_refused():
    with pytest.raises(StudyError, match="every weight is zero"):
        Objective(cross_weight=0.0).check()


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
    ],
)
def test_a_setting_that_has_an_effect_is_taken(objective, setting):
    replace(named_objective(objective), **setting).check()


def test_every_objective_has_a_version_and_uses_its_own_settings():
    OBJECTIVES.load()
    assert set(OBJECTIVES.versions) == set(OBJECTIVES) and min(OBJECTIVES.versions.values()) >= 1
    for objective in map(named_objective, OBJECTIVES):
        objective.check()


def test_an_unknown_objective_is_named_with_near_ones():
    with pytest.raises(StudyError, match="did you mean hmmc"):
        named_objective("hmcc")
