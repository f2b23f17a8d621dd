"""The plan's primary contrasts of the suite ``primary``, on the encoder of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rsstudy.experiments.compare import Contrast, Word, at_look, compare_folds, corrected
from study.decisive import ADAPTER, FULL, HMMC, LOOKED_AT, PRIMARY, Way, word_at

Key = tuple[str, Way, Way]
ASKED = {(ADAPTER, FULL): "adapter less full fine-tuning", (HMMC, ADAPTER): "HMMC less InfoNCE"}
MARGINS = {asked.data: asked.margin for asked in PRIMARY}
OTHER_MARGIN = 2.0


def contrast_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The adapter less full fine-tuning, and HMMC less InfoNCE on it, on each set that has both.

    A look of the plan has all primary contrasts of a set in exactly the folds of ``LOOKED_AT``:
    level, correction and word are then the plan's. All other rows are descriptive, with
    simultaneous intervals.

    Args:
        records: of the suite's finished runs, each in a fold.

    Returns:
        a row each: set, contrast, folds, look (the plan's, or none), points (the estimate), 95 %
        and corrected (the intervals, in words), word. A side that lacks a fold that the other has
        is left out.
    """
    sides: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for record in records:
        config = record["config"]
        way = config["data"], config["method"], config["objective"]
        sides.setdefault(way, {})[config["fold"]["number"]] = record
    asked = {
        (data, *ways): (sides.get((data, *ways[0]), {}), sides.get((data, *ways[1]), {}))
        for data in dict.fromkeys(data for data, *_ in sides)
        for ways in ASKED
    }
    asked = {
        key: of for key, of in asked.items() if of[0].keys() == of[1].keys() and len(of[0]) > 1
    }
    planned = [(primary.data, primary.one, primary.other) for primary in PRIMARY]
    taken: dict[str, set[int]] = {}  # by set, the folds of its look
    for data in {data for data, *_ in planned}:
        tested = [
            set(asked[key][0]) if key in asked else set() for key in planned if key[0] == data
        ]
        if all(folds in map(set, LOOKED_AT) and folds == tested[0] for folds in tested):
            taken[data] = tested[0]

    def compared(key: Key, folds: Iterable[int]) -> Contrast:
        one, other = ([of[fold] for fold in sorted(folds)] for of in asked[key])
        return compare_folds(one, other, margin=MARGINS.get(key[0], OTHER_MARGIN))

    first: dict[Key, Contrast] = {}
    found: dict[Key, tuple[str, Contrast, Word]] = {}
    for folds in LOOKED_AT:
        there = [key for key in planned if taken.get(key[0], set()) >= {*folds}]
        at = [at_look(compared(key, folds)) for key in there]
        look = corrected(at, by="holm", absent=len(planned) - len(there))
        for key, contrast in zip(there, look, strict=True):
            said = f"folds {folds[0]} to {folds[-1]}"
            found[key] = said, contrast, word_at(contrast, first.get(key))
        first = dict(zip(there, look, strict=True))
    rest = [key for key in asked if key not in found]
    for key, contrast in zip(
        rest, corrected([compared(k, asked[k][0]) for k in rest]), strict=True
    ):
        found[key] = "none", contrast, contrast.word
    return [
        {
            "set": key[0],
            "contrast": ASKED[key[1:]],
            "folds": contrast.folds,
            "look": look,
            "points": f"{contrast.estimate:+.1f}",
            "95 %": f"{contrast.low:+.1f} to {contrast.high:+.1f}",
            "corrected": f"{contrast.low_corrected:+.1f} to {contrast.high_corrected:+.1f}",
            "word": word,
        }
        for key, (look, contrast, word) in found.items()
    ]
