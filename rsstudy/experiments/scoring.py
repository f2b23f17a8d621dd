"""Score encoders on splits of sets, one after the other; what fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.adapters import open_encoder
from rsstudy.errors import StudyError
from rsstudy.experiments.show import ACCURACIES
from rsstudy.experiments.splits import evaluate_split
from rsstudy.files import whole_file
from rsstudy.progress import Progress

PLACE = ("encoder", "data", "split")


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

    def tried(what: str, do: Callable[..., Any], *given: Any, **named: Any) -> Any:
        try:
            return do(*given, **named)
        except (StudyError, OSError) as problem:
            if total == 1:
                raise
            return StudyError(f"{what}: {problem}")

    models, places = encoders or [str(adapter)], [*product(sets, splits)]
    total = len(models) * len(places)
    style: dict[str, Any] = {"desc": "scoring", "unit": "split", "leave": False}
    with Progress(total=total, disable=total == 1, **style) as bar:
        for name in models:
            base = name if encoders else ""
            model = tried(name, open_encoder, adapter, base, device, image_size)
            if isinstance(model, StudyError):
                yield model
                bar.update(len(places))
                continue
            for place in places:
                bar.note(encoder=name, data=place[0], split=place[1])
                what = f"{', '.join(place)}, by {name}"
                yield tried(what, evaluate_split, model, *place, adapter=adapter, **how)
                bar.update()


def row_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of one encoder on one split, in a row."""
    own = {name: facts[name] for name in (*PLACE, "images", "captions")}
    accuracies = facts.get("classification", {})
    return own | facts["scores"] | {n: accuracies[n] for n in ACCURACIES if n in accuracies}


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, whole or not at all."""
    with whole_file(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
