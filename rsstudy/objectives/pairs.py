"""Objectives on pictures with captions alone, each with a control that is as costly as HMMC.

A control is (L(V, T) + L(V~, T~)) / 2: two views, and no terms within a modality.
"""

from rsstudy.objectives.objective import Objective, register


@register("infonce")
def infonce() -> Objective:
    """L(V, T) as InfoNCE (van den Oord et al., 2018); the encoder's temperature is trained."""
    return Objective()


@register("infonce-two-views")
def infonce_two_views() -> Objective:
    """The control of InfoNCE."""
    return Objective(both_views=True)


@register("hinge")
def hinge() -> Objective:
    """L(V, T) as the hinge of VSE++ (Faghri et al., 2018), on each row's hardest negative."""
    return Objective(form="hinge")


@register("hinge-two-views")
def hinge_two_views() -> Objective:
    """The control of the hinge."""
    return Objective(form="hinge", both_views=True)
