"""Score encoders on splits of sets, one after the other; what fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.adapters import load_adapter
from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.errors import StudyError
from rsstudy.experiments.show import score_columns
from rsstudy.experiments.splits import evaluate_split
from rsstudy.files import whole_file
from rsstudy.progress import Progress

PLACE = ("encoder", "data", "split")
ACCURACIES = {"top1": "top-1", "top5": "top-5", "mean_per_class": "per class"}


def score_all(
    adapter: Path | None,
    encoders: Sequence[str],
    sets: Sequence[str],
    splits: Sequence[str],
    image_size: int | None,
    device: str,
    **how: Any,
) -> Iterator[dict[str, Any] | StudyError]:
    """The facts of each encoder on each split of each set, or why there are none.

    Args:
        adapter: the folder of a run; ``encoders`` then name its base, or nothing.
        how: see ``evaluate_split``.

    Raises:
        StudyError: one score alone is asked for, and fails.
    """
    models, places = list(encoders) or [str(adapter)], list(product(sets, splits))
    total = len(models) * len(places)

    def tried(what: str, do: Callable[..., Any], *given: Any, **named: Any) -> Any:
        try:
            return do(*given, **named)
        except (StudyError, OSError) as problem:
            if total == 1:
                raise
            return StudyError(f"{what}: {problem}")

    with Progress(total=total, disable=total == 1, desc="scoring", unit="split") as bar:
        for name in models:
            base = name if encoders else None
            model = tried(name, _opened, adapter, base, image_size, device)
            if isinstance(model, StudyError):
                yield model
                bar.update(len(places))
                continue
            for data, split in places:
                bar.note(encoder=name, data=data, split=split)
                what = f"{data}, {split}, by {name}"
                yield tried(what, evaluate_split, model, data, split, adapter=adapter, **how)
                bar.update()


def _opened(
    adapter: Path | None, encoder: str | None, image_size: int | None, device: str
) -> DualEncoder:
    if adapter is not None:
        return load_adapter(adapter, encoder, device)
    return create(str(encoder), image_size).to(pick_device(device))


def columns(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The scores as columns of a table to read."""
    of = facts.get("classification", {})
    accuracies = {word: round(of[name], 2) for name, word in ACCURACIES.items() if of}
    return {**score_columns(facts["scores"]), **accuracies}


def write_csv(path: Path, answers: Sequence[Mapping[str, Any]]) -> None:
    """A row an answer, whole or not at all.

    Raises:
        StudyError: it cannot be written.
    """
    rows = []
    for facts in answers:
        of = facts.get("classification", {})
        row = {name: facts[name] for name in (*PLACE, "images", "captions")}
        rows.append({**row, **facts["scores"], **{name: of[name] for name in ACCURACIES if of}})
    with whole_file(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
