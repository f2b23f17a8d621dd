"""HMMC less what it is compared with, on real pictures, by how many steps were trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.experiments.compare import Contrast
from rsstudy.experiments.record import RUNS, choices_before, read_record
from study.comparison import interval, judged
from study.decisive import PRIMARY, validated_on
from study.labels import SETS, named
from study.verdicts import Said, records_of, trained_runs

Asked = tuple[str, str, str, int]  # an arm and another as ``Said`` has them, set, epochs

ADAPTED = {
    "MRS adapter": "mrs-adapter",
    "MRS adapter, one a layer": "mrs-adapter, one a layer",
    "MRS adapter, trained heads": "mrs-adapter, trained heads",
    "full fine-tuning": "full",
    "linear probe": "linear-probe",
}


def _less_infonce(data: str, epochs: int, *names: str) -> dict[str, Asked]:
    return {name: (f"{ADAPTED[name]}+hmmc", ADAPTED[name], data, epochs) for name in names}


# HMMC less InfoNCE in the record of before, by heading and what is trained.
LESS_INFONCE = {
    "UCM-Captions, 162 steps": _less_infonce("ucm", 6, *ADAPTED),
    "UCM-Captions, 270 steps": _less_infonce("ucm", 10, "MRS adapter", "linear probe"),
    "RSICD, 822 steps": _less_infonce("rsicd", 6, "MRS adapter"),
}
# HMMC's forms less what tells its terms apart from what else it changes.
FORMS: dict[str, dict[str, Asked]] = {
    "MRS adapter, 270 steps": {
        "hinge form less its control": (
            "mrs-adapter+hmmc",
            "mrs-adapter+hinge-two-views",
            "ucm",
            10,
        ),
        "InfoNCE form less its control": (
            "mrs-adapter+hmmc-infonce",
            "mrs-adapter+infonce-two-views",
            "ucm",
            10,
        ),
        "hinge form less InfoNCE": ("mrs-adapter+hmmc", "mrs-adapter", "ucm", 10),
    },
    "full fine-tuning, 162 steps": {
        "hinge form less a plain hinge": ("full+hmmc", "full+hinge", "ucm", 6)
    },
}


def in_groups(
    results: Path, asked: Mapping[str, Mapping[str, Asked]]
) -> dict[str, dict[str, Contrast]]:
    """The contrasts by heading and name, corrected over all of them."""
    said = Said(results)
    found = judged(
        {
            (heading, name): said.gain(one, other, data, epochs=epochs)
            for heading, rows in asked.items()
            for name, (one, other, data, epochs) in rows.items()
        }
    )
    return {
        heading: {name: found[heading, name] for name in rows} for heading, rows in asked.items()
    }


def scores_by_steps(results: Path) -> pd.DataFrame:
    """Both objectives' scores where HMMC and InfoNCE trained the same, the fewest steps first.

    The last row is the first test fold of the new record, where it is there.

    Returns:
        columns Trained, Set, Steps, HMMC and InfoNCE (mean recall on test, percent, mean of the
        seeds), Difference (points, with its 95 % interval; of one fold without) and Seeds.
    """
    said, rows = Said(results), []
    for heading, found in in_groups(results, LESS_INFONCE).items():
        for name, of in found.items():
            one, other, data, epochs = LESS_INFONCE[heading][name]
            scores = [said.score(arm, data, epochs) for arm in (one, other)]
            steps, seeds = said.steps(one, data, epochs), "{} and {}".format(*of.seeds)
            rows.append((name, SETS[data].name, steps, *scores, interval(of), seeds))
    fold = validated_on(results, PRIMARY[2], 3).values()
    if all(fold):
        hmmc, infonce = (record["scores"]["mean_recall"] for record in fold if record)
        steps = next(record["cost"]["steps"] for record in fold if record)
        about = f"{named('ucm')}, new record, fold 3"
        rows.append(("MRS adapter", about, steps, hmmc, infonce, "one fold", "1 and 1"))
    columns = ["Trained", "Set", "Steps", "HMMC, %", "InfoNCE, %", "Difference", "Seeds"]
    return pd.DataFrame(rows, columns=columns)


def runs_of_the_hinge(results: Path) -> dict[str, dict[str, Any]]:
    """Runs of the hinge on the adapter, UCM-Captions, 270 steps, by their names in a legend."""
    runs, control = trained_runs(results, "bench"), "hinge-two-views"
    masked = runs[runs["objective_label"] == f"{control}, mask false negatives"]["record"].item()
    rate = masked["config"]["recipe"]["learning_rate"]
    tried = choices_before(results, "bench").set_index(["arm", "learning_rate"])["id"]
    higher = tried[f"ucm: mrs-adapter, {control}", rate]
    [hmmc], [chosen] = (
        records_of(runs, f"mrs-adapter+{name}", "ucm", epochs=10) for name in ("hmmc", control)
    )
    return {
        "HMMC": hmmc,
        "its control": chosen,
        "its control at a higher rate": read_record(Path(results) / RUNS / f"{higher}.json"),
        "the same, false negatives masked": masked,
    }
