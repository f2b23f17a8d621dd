"""The names of a run: its identity, its folder, and the labels that set its arm apart."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsstudy.methods import PRESETS, create_method
from rsstudy.objectives import named_objective
from rsstudy.settings import settings_of
from rsstudy.training.recipe import Recipe

if TYPE_CHECKING:
    from rsstudy.experiments.run import Run

# A preset's name takes the place of settings that are longer than this.
LONG_LABEL = 44


def label_of(run: Run) -> str:
    """What tells a run's method apart: its name, and the settings that are not its defaults."""
    heads = ["trained heads"] if run.train_heads else []
    chosen = run.built_method
    changed = _changed(chosen, create_method(run.method))
    label = ", ".join([run.method, *changed]).replace("share layers False", "one a layer")
    if len(label) > LONG_LABEL:
        label = next((name for name in PRESETS if create_method(name) == chosen), label)
    return ", ".join([label, *heads])


def objective_label(run: Run) -> str:
    """The same for a run's objective."""
    changed = _changed(run.built_objective, named_objective(run.objective))
    return ", ".join([run.objective, *changed])


def _changed(settings: Any, default: Any) -> list[str]:
    """The settings that are not at their default, in words."""
    usual = dataclasses.asdict(default)
    return [
        name.replace("_", " ") + ("" if value is True else f" {value}")
        for name, value in dataclasses.asdict(settings).items()
        if value != usual[name]
    ]


def identity_of(config: Mapping[str, Any]) -> str:
    """The identity of a run's configuration.

    What is at its default is left out, so that new settings change no identity. The versions of
    method, objective and recipe are in it: they are raised when equal settings come to mean another
    run.
    """
    method = create_method(config["method"])
    objective = named_objective(config["objective"])
    defaults = {
        "method_settings": settings_of(method),
        "objective_settings": settings_of(objective),
        "recipe": settings_of(Recipe()),
    }
    own = {
        part: {name: value for name, value in config[part].items() if value != default[name]}
        for part, default in defaults.items()
    }
    whole = {**config, **own}
    return sha256({name: value for name, value in whole.items() if value})


def sha256(config: Mapping[str, Any]) -> str:
    """Of a configuration, whatever the order of its entries."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def public_name(encoder: str) -> str:
    """An encoder's name with paths cut to their last part; the weights are named by digest."""
    return re.sub(r"((?<=[@+])|(?<=^local-dir:))[^@+]*[/\\](?=[^/\\@+]+)", "", encoder)


def slug(text: str) -> str:
    """A name for a folder: lower-case letters, digits and underscores; settings are left out."""
    return "".join(c if c.isalnum() else "_" for c in text.partition("?")[0]).strip("_").lower()
