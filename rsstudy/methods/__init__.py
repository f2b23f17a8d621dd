"""Methods: what is trained. One short file a method, named after it, read like its equation."""

from rsstudy.methods.registry import (
    PRESETS,
    Method,
    TrainedParameters,
    attach,
    base_name,
    count_trained,
    create_method,
    detach,
    load_trained,
    merge,
    trained,
)
from rsstudy.registry import METHODS

__all__ = [
    "METHODS",
    "PRESETS",
    "Method",
    "TrainedParameters",
    "attach",
    "base_name",
    "count_trained",
    "create_method",
    "detach",
    "load_trained",
    "merge",
    "trained",
]

METHODS.load()  # presets have names, too
