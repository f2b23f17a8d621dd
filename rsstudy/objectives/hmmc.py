"""HMMC, the hybrid multi-modal contrastive objective (Yuan, Zhan and Xiong, TGRS 2023):

    L = w_0 L(V, T) + w_1 L(V, V~) + w_2 L(T, T~)

V~ and T~ embed the same pictures and captions a second time, with dropout on their embedded tokens:
on elements in the public code, on whole tokens in figure 1 of the paper. An early public
version has hinges; of the printed paper the form is not known.
"""

from rsstudy.objectives.objective import Objective, register


@register("hmmc")
def hmmc() -> Objective:
    """With hinges."""
    return Objective(form="hinge", image_weight=1.0, text_weight=1.0)


@register("hmmc-infonce")
def hmmc_infonce() -> Objective:
    """With InfoNCE in every term."""
    return Objective(image_weight=1.0, text_weight=1.0)
