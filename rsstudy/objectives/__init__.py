"""Objectives: what training minimises. One short file for each, which registers its names."""

from rsstudy.objectives.objective import Objective, named_objective
from rsstudy.objectives.terms import Share, false_negatives, hinge, info_nce
from rsstudy.registry import OBJECTIVES

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Share",
    "false_negatives",
    "hinge",
    "info_nce",
    "named_objective",
]
