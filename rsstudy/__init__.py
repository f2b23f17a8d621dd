"""rsstudy: parameter-efficient transfer for remote-sensing image-text retrieval, reproducibly.

::

    import rsstudy

    encoder, data = rsstudy.create("ViT-B-32@openai"), rsstudy.load("ucm")
    rsstudy.attach(encoder, rsstudy.create_method("mrs-adapter"))
    train, val, test = (rsstudy.prepare(encoder, data.split(s)) for s in ("train", "val", "test"))
    rsstudy.train(
        encoder, train, rsstudy.named_objective("hmmc"), rsstudy.Recipe(),
        validate=lambda e: rsstudy.evaluate(e, val).scores["mean_recall"],
    )
    rsstudy.evaluate(encoder, test).scores

Data flows one way, and a module knows only what lies before it::

    data -> encoders -> methods -> objectives -> training -> evaluation -> search -> experiments

Read these files in this order, from a picture to a score: ``data/imagetext.py``,
``data/pixels.py``, ``encoders/dual.py``, ``methods/registry.py``, ``methods/placing.py``,
``methods/mrs_adapter.py``, ``objectives/terms.py``, ``objectives/objective.py``,
``training/recipe.py``, ``training/batch.py``, ``training/loop.py``, ``evaluation.py``,
``retrieval.py``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsstudy.adapters import export as export
    from rsstudy.adapters import load_adapter as load_adapter
    from rsstudy.adapters import save_adapter as save_adapter
    from rsstudy.data.imagetext import ImageTextSet as ImageTextSet
    from rsstudy.data.pairs import from_pairs as from_pairs
    from rsstudy.data.sources import load as load
    from rsstudy.encoders import DualEncoder as DualEncoder
    from rsstudy.encoders import create as create
    from rsstudy.errors import StudyError as StudyError
    from rsstudy.evaluation import embed as embed
    from rsstudy.evaluation import evaluate as evaluate
    from rsstudy.evaluation import prepare as prepare
    from rsstudy.experiments.run import Run as Run
    from rsstudy.experiments.run import execute as execute
    from rsstudy.methods import attach as attach
    from rsstudy.methods import count_trained as count_trained
    from rsstudy.methods import create_method as create_method
    from rsstudy.methods import detach as detach
    from rsstudy.methods import merge as merge
    from rsstudy.objectives import Objective as Objective
    from rsstudy.objectives import named_objective as named_objective
    from rsstudy.search import Index as Index
    from rsstudy.search import index as index
    from rsstudy.training.loop import train as train
    from rsstudy.training.recipe import Recipe as Recipe

__version__ = "0.1.0"

# The public names by module. A module is imported when one of its names is used: torch takes time.
_PUBLIC = {
    "adapters": ("export", "load_adapter", "save_adapter"),
    "data.imagetext": ("ImageTextSet",),
    "data.pairs": ("from_pairs",),
    "data.sources": ("load",),
    "encoders": ("DualEncoder", "create"),
    "errors": ("StudyError",),
    "evaluation": ("embed", "evaluate", "prepare"),
    "experiments.run": ("Run", "execute"),
    "methods": ("attach", "count_trained", "create_method", "detach", "merge"),
    "objectives": ("Objective", "named_objective"),
    "search": ("Index", "index"),
    "training.loop": ("train",),
    "training.recipe": ("Recipe",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
