"""Methods: what is trained. One short file a method, named after it, read like its equation."""

from rsstudy.methods import full, head_mlp, linear_probe, lora, mrs_adapter, zero_shot  # noqa: F401
from rsstudy.methods.registry import (
    METHODS,
    Method,
    TrainedParameters,
    attach,
    count_trained,
    create_method,
    load_trained,
    trained,
)

__all__ = [
    "METHODS", "Method", "TrainedParameters", "attach", "count_trained", "create_method",
    "load_trained", "trained",
]  # fmt: skip
