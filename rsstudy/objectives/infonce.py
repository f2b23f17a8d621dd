"""InfoNCE (van den Oord et al., 2018) between pictures and captions, and its two-view control."""

from rsstudy.objectives.objective import Objective, register


@register("infonce")
def infonce() -> Objective:
    """L(V, T), with the encoder's temperature trained."""
    return Objective()


@register("infonce-two-views")
def infonce_two_views() -> Objective:
    """(L(V, T) + L(V~, T~)) / 2: as costly as HMMC, without its terms within a modality."""
    return Objective(both_views=True)
