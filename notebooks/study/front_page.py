"""The front page's picture: does training a small part keep up with training all of it?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rsstudy.experiments.compare import compare
from rsstudy.files import whole_file
from study.comparison import judged, mean_with_interval
from study.suites import OBJECTIVES_RUNS, UPDATED
from study.verdicts import records_of, spread, trained_runs

# The rows of the picture, and their arms; see ``study.verdicts``.
ALL = "all of it trained"
SHOWN = {
    "nothing trained": "zero-shot",
    "adapter, HMMC (the paper)": "mrs-adapter+hmmc",
    "adapter, InfoNCE": "mrs-adapter",
    "linear probe (heads)": "linear-probe",
    "adapter and heads, InfoNCE": "mrs-adapter, trained heads",
    ALL: "full",
}
FIRST, SECOND, _ = UPDATED["short"]


def picture_table(results: Path) -> pd.DataFrame:
    """A row for each set and arm of the picture.

    Columns data, name, mean_recall (mean over seeds, percent), seeds, trained (parameters), of (all
    parameters), records (ids of the runs); and of the difference to the row ``ALL`` of its set, in
    points: estimate, low, high (95 %), low_corrected, high_corrected (over the table) and word.

    Raises:
        StudyError: a run that it needs is not on record.
    """
    table = trained_runs(results, *OBJECTIVES_RUNS)
    found = {
        (data, name): records_of(table, arm, data)
        for data in (SECOND, FIRST)
        for name, arm in SHOWN.items()
    }
    trained = {key: runs[0]["trained_parameters"]["total"] for key, runs in found.items()}
    pools = {data: spread(table, data) for data in (SECOND, FIRST)}
    contrasts = judged(
        {
            (data, name): compare(runs, found[data, ALL], pool=pools[data])
            for (data, name), runs in found.items()
            if name != ALL
        }
    )
    shown = ("estimate", "low", "high", "low_corrected", "high_corrected", "word")
    return pd.DataFrame(
        {
            "data": data,
            "name": name,
            "mean_recall": mean_with_interval(runs)[0],
            "seeds": len(runs),
            "trained": trained[data, name],
            "of": max(trained.values()),
            "records": " ".join(record["id"] for record in runs),
            **{of: getattr(contrasts.get((data, name)), of, None) for of in shown},
        }
        for (data, name), runs in found.items()
    )


def write_picture(results: Path, path: Path) -> str:
    """Draw the picture to an SVG file.

    Returns:
        what it shows in words, which the front page has as its alternative text.

    Raises:
        StudyError: as ``picture_table``.
    """
    import matplotlib.pyplot as plt  # writes below the home folder, which a table has no use for

    from study.figures import answer, use_style

    table = picture_table(results)
    use_style()
    figure = answer(table)
    fixed = plt.rc_context({"svg.hashsalt": "rsstudy"})  # else every drawing has other names
    with fixed, whole_file(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return str(figure.get_label())
