"""Methods: what is trained. One short file a method, named after it, read like its equation."""

import importlib
import pkgutil

from rsstudy.methods.registry import (
    METHOD_VERSIONS,
    METHODS,
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

__all__ = [
    "METHODS",
    "METHOD_VERSIONS",
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

# A method is one file in this folder: each registers itself.
for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")
