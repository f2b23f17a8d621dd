"""Objectives: what training minimises."""

from rsstudy.objectives.objective import Objective, named_objective
from rsstudy.objectives.terms import Share, false_negatives
from rsstudy.registry import OBJECTIVES

__all__ = ["OBJECTIVES", "Objective", "Share", "false_negatives", "named_objective"]
