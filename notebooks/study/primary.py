"""The plan's primary contrasts of the suite ``primary``, on the encoder of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsstudy.experiments.compare import LOOKS, at_look, compare_folds, corrected
from study.decisive import ADAPTER, FULL, HMMC, PRIMARY

ASKED = {"adapter less full fine-tuning": (ADAPTER, FULL), "HMMC less InfoNCE": (HMMC, ADAPTER)}
MARGINS = {asked.data: asked.margin for asked in PRIMARY}
OTHER_MARGIN = 2.0


def contrast_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The adapter less full fine-tuning, and HMMC less InfoNCE on it, on each set that has both.

    After four or eight folds the corrected interval has the plan's nominal level of that look, then
    Holm's correction over all rows; after another number, Holm's alone, and no look of the plan.

    Args:
        records: of the suite's finished runs, each in a fold.

    Returns:
        a row each: set, contrast, folds, points (the estimate), 95 % and corrected (the intervals,
        in words), word. A side that lacks a fold that the other has is left out.
    """
    sides: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        config = record["config"]
        way = config["data"], config["method"], config["objective"]
        sides.setdefault(way, []).append(record)
    about, found = [], []
    for data in dict.fromkeys(data for data, *_ in sides):
        for name, ways in ASKED.items():
            one, other = (sides.get((data, *way), []) for way in ways)
            folds = [{record["config"]["fold"]["number"] for record in of} for of in (one, other)]
            if folds[0] != folds[1] or len(folds[0]) < 2:
                continue
            contrast = compare_folds(one, other, margin=MARGINS.get(data, OTHER_MARGIN))
            found.append(at_look(contrast) if contrast.folds in LOOKS else contrast)
            about.append({"set": data, "contrast": name, "folds": contrast.folds})
    return [
        {
            **row,
            "points": f"{contrast.estimate:+.1f}",
            "95 %": f"{contrast.low:+.1f} to {contrast.high:+.1f}",
            "corrected": f"{contrast.low_corrected:+.1f} to {contrast.high_corrected:+.1f}",
            "word": contrast.word,
        }
        for row, contrast in zip(about, corrected(found, by="holm"), strict=True)
    ]
