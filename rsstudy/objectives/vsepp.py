"""The hinge of VSE++ (Faghri et al., 2018), and its two-view control."""

from rsstudy.objectives.objective import Objective, register


@register("hinge")
def hinge() -> Objective:
    """L(V, T) as a hinge on the hardest negative of each row and column."""
    return Objective(form="hinge")


@register("hinge-two-views")
def hinge_two_views() -> Objective:
    """(L(V, T) + L(V~, T~)) / 2: as costly as HMMC, without its terms within a modality."""
    return Objective(form="hinge", both_views=True)
