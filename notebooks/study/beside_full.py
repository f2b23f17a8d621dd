"""The adapter beside full fine-tuning, both with InfoNCE, in every setting that has both."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rsstudy.experiments.arms import only, recorded
from rsstudy.experiments.record import before
from study.comparison import contrasted, judged
from study.suites import arms
from study.verdicts import EPOCHS, PIXELS, Said

INTERVAL = ("estimate", "low", "high", "low_corrected", "high_corrected", "word")


class Setting(NamedTuple):
    """What both are trained on, and whether the adapter's heads are trained, too."""

    data: str
    epochs: int = EPOCHS
    px: int = PIXELS
    heads: bool = False


SETTINGS = (
    Setting("ucm"),
    Setting("ucm", heads=True),
    Setting("ucm", px=224),
    Setting("rsicd"),
    Setting("rsicd", heads=True),
    Setting("rsicd", epochs=1),
    Setting("rsicd", epochs=1, heads=True),
)


def less_full(results: Path) -> pd.DataFrame:
    """The adapter less full fine-tuning in each of ``SETTINGS``.

    Returns:
        columns data, epochs, px and heads of the setting, steps, adapter and full (mean recall,
        percent, mean over seeds), and in points: estimate, low, high (95 %), low_corrected,
        high_corrected (over the table) and word.

    Raises:
        StudyError: a run is not on record.
    """
    said, asked, rows = Said(results), {}, []
    for setting in SETTINGS:
        data, epochs, px, heads = setting
        arm = "mrs-adapter, trained heads" if heads else "mrs-adapter"
        asked[setting] = said.gain(arm, "full", data, epochs, px)
        scores = (said.score(of, data, epochs, px) for of in (arm, "full"))
        row = dict(zip(("adapter", "full"), scores, strict=True))
        steps = said.steps("full", data, epochs, px)
        rows.append({**setting._asdict(), "steps": steps, **row})
    contrasts = judged(asked).values()
    found = [{of: getattr(contrast, of) for of in INTERVAL} for contrast in contrasts]
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(found)], axis=1)


def less_full_by_share(results: Path) -> pd.DataFrame:
    """The same by the share of UCM-Captions' training pictures, in as many steps, of one seed.

    Returns:
        columns share (percent), adapter, full, and those of the difference as in ``less_full``.
    """
    rows = only(arms("data-efficiency", "short"), ["ucm"], [], [])
    found = recorded(rows, before(results, "benchmark")).set_index(["factor", "level"])["record"]
    shares = sorted({level for _, level in found.index}, key=float)
    pairs = {at: ([found["mrs-adapter", at]], [found["full", at]]) for at in shares}
    return pd.DataFrame(
        {
            "share": float(at),
            "adapter": pairs[at][0][0]["scores"]["mean_recall"],
            "full": pairs[at][1][0]["scores"]["mean_recall"],
            **{of: getattr(contrast, of) for of in INTERVAL},
        }
        for at, contrast in contrasted(pairs).items()
    )
