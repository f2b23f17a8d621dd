"""Methods: what is trained. One short file a method, named after it, read like its equation."""

from rsstudy.methods.attaching import attach, attached, batches_counted, detach, merge, whole
from rsstudy.methods.registry import (
    PRESETS,
    Method,
    TrainedParameters,
    base_name,
    count_trained,
    create_method,
    load_trained,
    name_of,
    trained,
)
from rsstudy.registry import METHODS

__all__ = ["METHODS", "PRESETS", "Method", "TrainedParameters", "attach", "attached", "base_name"]
__all__ += ["batches_counted", "count_trained", "create_method", "detach", "load_trained", "merge"]
__all__ += ["name_of", "trained", "whole"]

METHODS.load()  # presets have names, too
