"""What the records say: scores, contrasts and counts, by names that a check in the prose may use.

Each public method of ``Said`` is such a name; see ``study.checks``. An arm is written as
``[ENCODER/]METHOD[+OBJECTIVE]``, with the method's label as the tables have it, such as
``mrs-adapter, trained heads+hmmc``. Without an encoder it is the two small towers, without an
objective InfoNCE. Points and scores are of mean recall on test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import (
    ALPHA,
    Contrast,
    FromBest,
    SeedSpread,
    Word,
    best_group,
    compare,
    holm,
    seed_spread,
    smallest_gap,
)
from rsstudy.experiments.record import before
from study.comparison import contrasted, mean_with_interval, name_of_row
from study.cost_tables import measured_steps, memory, read_benchmarks, read_counted
from study.decisive import LOOKED_AT, PRIMARY, decisive_records, on_record, runs_of
from study.dials import curves, gains, raised_similarity, slopes
from study.planned import late_gain
from study.published import granularity, leads, read_later, read_reported, read_table, unsound_means
from study.similarity import by_dial
from study.suites import (
    BENCHMARK_RUNS,
    CONTROLLED,
    DIALS,
    FRESH_SEED,
    FRESH_SEEDS,
    LARGER,
    OBJECTIVES_RUNS,
    SCALES,
)
from study.updates import stages, updates

FURTHER_RUNS = ("transfer", "better", "bench", LARGER)
EPOCHS, PIXELS = 6, 112  # of the comparison of all methods
# Methods of parameter-efficient tuning that were published by then.
KNOWN = ("LoRA", "BitFit", "Prefix tuning", "SSF", "IA3")
# Methods that train no small part.
LARGE = ("zero-shot", "full", "text-tower")


@dataclass(frozen=True)
class Found:
    """A number of the records; of a contrast also its 95 % interval and its word."""

    value: float
    low: float | None = None
    high: float | None = None
    word: Word | None = None

    @classmethod
    def of(cls, contrast: Contrast) -> Found:
        return cls(contrast.estimate, contrast.low, contrast.high, contrast.word)


def trained_runs(results: Path, *suites: str) -> pd.DataFrame:
    """The finished runs of some suites; see ``record.before``. Columns epochs, fraction, after."""
    table = before(results, *suites).drop_duplicates("id")
    configs = [record["config"] for record in table["record"]]
    return table.assign(
        epochs=[config["recipe"]["epochs"] for config in configs],
        fraction=[config["recipe"].get("fraction", 1.0) for config in configs],
        after=["after" in config for config in configs],
    )


def in_one_setting(
    table: pd.DataFrame, data: str, epochs: int = EPOCHS, px: int = PIXELS
) -> pd.DataFrame:
    """The runs of ``trained_runs`` on all pictures of one set, from the encoder's own start."""
    of = (table["data"] == data) & (table["epochs"] == epochs) & (table["image_size"] == px)
    return table[of & (table["fraction"] == 1) & ~table["after"]]


def records_of(
    table: pd.DataFrame, arm: str, data: str, epochs: int = EPOCHS, px: int = PIXELS
) -> list[dict[str, Any]]:
    """The records of an arm, one a seed.

    Raises:
        StudyError: none is on record, or they differ in learning rate.
    """
    encoder, _, rest = arm.rpartition("/")
    label, _, objective = rest.partition("+")
    found = in_one_setting(table, data, epochs, px)
    found = found[
        (found["encoder"] == (encoder or SCALES["short"].encoder))
        & (found["label"] == label)
        & (found["objective_label"] == (objective or "infonce"))
    ]
    if found["learning_rate"].nunique() != 1:
        rates = f", at {found['learning_rate'].nunique()} rates" if len(found) else ""
        raise StudyError(
            f"{len(found)} runs of {arm} on {data} in {epochs} epochs at {px} px are on record"
            f"{rates}: there must be some, at one"
        )
    return list(found.sort_values("seed").drop_duplicates("seed")["record"])


def spread(table: pd.DataFrame, data: str) -> SeedSpread:
    """The spread over seeds that the arms of the comparison on one set share."""
    arms = in_one_setting(table, data).groupby(["encoder", "label", "objective_label"])
    return seed_spread([list(runs["record"]) for _, runs in arms if len(runs) > 1])


def other_parts(table: pd.DataFrame, data: str) -> dict[str, list[dict[str, Any]]]:
    """The records of the comparison's other small parts, heads frozen, by the name of each arm."""
    found = in_one_setting(table, data)
    found = found[
        ~found["train_heads"]
        & ~found["method"].isin(LARGE)
        & (found["label"] != "mrs-adapter")
        & (found["objective_label"] == "infonce")
    ].sort_values("seed")
    return {
        name_of_row(next(runs.itertuples())): list(runs["record"])
        for _, runs in found.groupby("label")
    }


def others_beside(table: pd.DataFrame, data: str) -> dict[str, Contrast]:
    """The other small parts less the paper's adapter, the best first; corrected over all."""
    adapter, pool = records_of(table, "mrs-adapter", data), spread(table, data)
    others = other_parts(table, data)
    found = contrasted({name: (own, adapter) for name, own in others.items()}, pool)
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate))


class Said:
    """What a folder of results says.

    Attributes:
        read: ids of the runs that the answers came from; whoever asks may clear it.

    Raises:
        StudyError: in every method, where the record has nothing of what is asked.
    """

    def __init__(self, results: Path):
        self._results = Path(results)
        self._groups: dict[str, dict[str, FromBest]] = {}
        self.read: set[str] = set()

    @cached_property
    def _compared(self) -> pd.DataFrame:
        return trained_runs(self._results, *OBJECTIVES_RUNS)

    @cached_property
    def _runs(self) -> pd.DataFrame:
        further = trained_runs(self._results, *FURTHER_RUNS)
        return pd.concat([self._compared, further], ignore_index=True).drop_duplicates("id")

    @cached_property
    def _pools(self) -> dict[str, SeedSpread]:
        return {data: spread(self._compared, data) for data in ("ucm", "rsicd")}

    @cached_property
    def _others(self) -> dict[str, dict[str, Contrast]]:
        return {data: others_beside(self._compared, data) for data in ("ucm", "rsicd")}

    @cached_property
    def _reported(self) -> pd.DataFrame:
        return read_reported(self._results)

    @cached_property
    def _transferred(self) -> pd.DataFrame:
        return before(self._results, "transfer", *BENCHMARK_RUNS)

    @cached_property
    def _updates(self) -> pd.DataFrame:
        return updates(self._transferred).set_index("method")

    def _updated(self, method: str) -> pd.Series:
        """A row of ``study.updates.updates``; the runs of its method are read."""
        for runs in stages(self._transferred)[method].values():
            self._noted(runs)
        return self._updates.loc[method]

    def _noted(self, runs: Iterable[Any]) -> list[Any]:
        """The same records, noted as read."""
        runs = list(runs)
        self.read |= {record["id"] for record in runs}
        return runs

    def _of(self, arm: str, data: str, epochs: int = EPOCHS, px: int = PIXELS) -> list[dict]:
        return self._noted(records_of(self._runs, arm, data, epochs, px))

    def _beside(self, data: str) -> dict[str, Contrast]:
        """The other small parts less the adapter; all their runs are read."""
        self._of("mrs-adapter", data)
        for runs in other_parts(self._compared, data).values():
            self._noted(runs)
        return self._others[data]

    # --- runs ------------------------------------------------------------------------------------

    def score(self, arm: str, data: str, epochs: int = EPOCHS, px: int = PIXELS) -> float:
        """Mean recall over the seeds, percent."""
        return mean_with_interval(self._of(arm, data, epochs, px))[0]

    def in_fold(
        self,
        method: str,
        objective: str,
        data: str,
        fold: int,
        what: Literal["mean_recall", "steps"] = "mean_recall",
    ) -> float:
        """Of the decisive record's run in one test fold, mean recall in percent, or its steps."""
        run = self._of_fold(method, objective, data, fold)
        return float(run["cost"]["steps"] if what == "steps" else run["scores"][what])

    def tested(self, method: str, objective: str, data: str) -> int:
        """In how many test folds of the plan the decisive record has such a run."""
        asked = next(primary for primary in PRIMARY if primary.data == data)
        finished, folds = decisive_records(self._results, "finished"), LOOKED_AT[-1]
        found = [on_record(finished, asked, (method, objective), fold) for fold in folds]
        for runs in found:
            self._noted(runs)
        return sum(map(bool, found))

    def gain(
        self,
        one: str,
        other: str,
        data: str,
        epochs: int = EPOCHS,
        px: int = PIXELS,
        fresh: bool = False,
    ) -> Contrast:
        """One arm less the other; ``study.checks`` corrects the gains of a section together.

        Fresh: on the seeds of the suite better alone, with the spread of its own arms.
        """
        if fresh:
            seeds = range(FRESH_SEED, FRESH_SEED + FRESH_SEEDS)
            sides = (records_of(self._runs, arm, data, epochs, px) for arm in (one, other))
            own = ([r for r in side if r["config"]["seed"] in seeds] for side in sides)
            first, second = map(self._noted, own)
            return compare(first, second)
        first, second = (self._of(arm, data, epochs, px) for arm in (one, other))
        shared = self._pools[data] if (epochs, px) == (EPOCHS, PIXELS) else None
        return compare(first, second, pool=shared)

    def smallest(self, one: str, other: str, data: str) -> float:
        """The true gap that such runs miss one time in five, points."""
        return smallest_gap(self._of(one, data), self._of(other, data), pool=self._pools[data])

    def trained(self, arm: str, data: str) -> int:
        """Trained parameters."""
        return int(self._of(arm, data)[0]["trained_parameters"]["total"])

    def steps(self, arm: str, data: str, epochs: int = EPOCHS, px: int = PIXELS) -> int:
        """Optimizer steps."""
        return int(self._of(arm, data, epochs, px)[0]["cost"]["steps"])

    def seeds(self, arm: str, data: str, epochs: int = EPOCHS) -> int:
        return len(self._of(arm, data, epochs))

    def _of_fold(self, method: str, objective: str, data: str, fold: int) -> dict[str, Any]:
        asked = next(primary for primary in PRIMARY if primary.data == data)
        finished = decisive_records(self._results, "finished")
        (run,) = self._noted(runs_of(finished, asked, (method, objective), [fold]))
        return run

    def validated(self, method: str, objective: str, data: str, fold: int, epoch: int) -> float:
        """Mean recall on validation, percent, of ``in_fold``'s run after an epoch."""
        history = self._of_fold(method, objective, data, fold)["history"]
        return float(next(row["mean_recall"] for row in history if row["epoch"] == epoch))

    def late(self, method: str, objective: str, data: str, fold: int) -> float:
        """What that run's validation gains at its end, points; see ``planned.late_gain``."""
        return late_gain(self._of_fold(method, objective, data, fold)["history"])

    # --- the other small parts, beside the paper's adapter ---------------------------------------

    def others(self, data: str, said: str = "") -> int:
        """How many there are; of which this is said (clearly better, likely worse, open ...)."""
        return sum(said in ("", contrast.said()) for contrast in self._beside(data).values())

    def near_best(self, data: str, arm: str = "") -> int:
        """Of how many, with adapter and full fine-tuning, being the best is not excluded (Hsu).

        With an arm: whether it is one of them.
        """
        self._beside(data)
        self._of("full", data)
        if data not in self._groups:
            both = {name: self._of(name, data) for name in ("mrs-adapter", "full")}
            arms = other_parts(self._compared, data) | both
            self._groups[data] = best_group(arms, pool=self._pools[data])
        group = self._groups[data].items()
        return sum(of.in_best_group for name, of in group if arm in ("", name))

    def headed(self, data: str, within: float | None = None) -> int:
        """How many arms of the comparison have trained heads; or are so near to their highest."""
        found = in_one_setting(self._compared, data).query("train_heads and method != 'full'")
        self._noted(found["record"])
        means = found.groupby(["label", "objective_label"])["mean_recall"].mean()
        return len(means) if within is None else int((means > means.max() - within).sum())

    @staticmethod
    def level() -> float:
        """Of every interval, percent."""
        return 100 * (1 - ALPHA)

    # --- updates from set to set -----------------------------------------------------------------

    def update(self, method: str, what: str) -> Found:
        """A column of ``study.updates.updates``; forgotten, spared and gained with their words.

        What is forgotten is a change of the score, so it is below zero.
        """
        row = self._updated(method)
        if other := {"spared": "full", "natural_base": "zero-shot"}.get(what):
            self._noted(run for of in stages(self._transferred)[other].values() for run in of)
        said = row.get(f"{what}_verdict")
        if said is None:
            return Found(float(row[what]))
        words: dict[str, Word] = {"clearly": "clear", "likely": "likely", "open": "open"}
        value, low, high = (float(row[what + end]) for end in ("", "_low", "_high"))
        if what == "forgotten":
            value, low, high = -value, -high, -low
        return Found(value, low, high, words[said.split()[0]])

    def taken_off(self, method: str) -> str:
        """Whether the encoder without the method is what it was."""
        row = self._updated(method)
        return "bit for bit" if row["base_equal"] and not row["reread"] else "changed"

    # --- generated scenes ------------------------------------------------------------------------

    @cached_property
    def _scenes(self) -> pd.DataFrame:
        return before(self._results, "dials")

    @cached_property
    def _dials(self) -> pd.DataFrame:
        return dial_words(self._scenes)

    def dial(self, form: str, what: Literal["change", "end"]) -> Found:
        """HMMC's gain over its control, both dials raised: its change, or its size at their end.

        The word is that of Holm's correction over both forms and both questions.
        """
        self._noted(self._scenes["record"])
        row = self._dials.loc[(form, what)]
        return Found(row["value"], row["low"], row["high"], row["word"])

    def nearest(self, modality: Literal["image", "text"], position: Literal[0, 1]) -> float:
        """Mean cosine of a picture or caption and its nearest other, to the tiny encoder."""
        measured = self._results / "similarity" / "scenes_distinct-tiny.json"
        raised = raised_similarity(by_dial(json.loads(measured.read_text("utf-8"))))
        row = raised.set_index(["raised", "modality", "measure"]).loc[("both", modality, "nearest")]
        return float(row[f"at_{position}"])

    # --- the paper's numbers, and counting -------------------------------------------------------

    def printed(self, quantity: str) -> float:
        """A number of the paper's claims."""
        table = read_table(self._results, "claims.csv").dropna(subset="quantity")
        return float(table.set_index("quantity")["printed"][quantity])

    def reported(self, method: str, data: str) -> float:
        """The paper's mean recall, percent."""
        rows = self._reported.set_index(["dataset", "method"])["mean_recall_printed"]
        return float(rows[data, method])

    def evaluated(self, method: str, data: str, by: str) -> float:
        """The mean recall that somebody else found for a published row, percent."""
        table = read_later(self._results).set_index(["method", "dataset", "re_evaluated_by"])
        return float(table["mean_recall"][method, data, by])

    def lead(self, over: str, data: str) -> float:
        """The paper's method less its best rival of a kind, in its own tables; see ``leads``."""
        return float(leads(self._reported).set_index(["over", "dataset"])["points"][over, data])

    def counted(self, name: str, what: str = "total", encoder: str = "ViT-B-32") -> float:
        """A column of the counted costs of a method; see ``python -m study costs``."""
        return float(read_counted(self._results / "costs" / f"{encoder}.json").loc[name, what])

    def memory(self, name: str, batch: int) -> float:
        """Bytes that a training step keeps on ViT-B/32 in fp32, counted."""
        counted = read_counted(self._results / "costs" / "ViT-B-32.json")
        return float(memory(counted, batch).loc[name].sum())

    def measured(self, name: str, what: str = "step", device: str = "cpu") -> float:
        """A column of the steps timed: on two cores with the small towers, or on an H100 (cuda)."""
        steps = measured_steps(read_benchmarks(self._results / "benchmarks", device)["steps"])
        return float(steps.loc[name, what])

    def stored(self, file: str, *keys: str) -> float:
        """A number of a committed measurement, ``results/FILE.json``; of a list how long it is."""
        found = json.loads((self._results / f"{file}.json").read_text("utf-8"))
        if "identity" in found:  # a run's record
            self._noted([found])
        for key in keys:
            found = found[key]
        return float(len(found) if isinstance(found, list) else found)

    def alike(self, of: str, data: str, under: str, measure: str = "effective_number") -> float:
        """Of pictures (image) or captions (text) of a set; under aligned, towers, ..."""
        numbers = ("sets", data, of, "headline", measure, "value")
        return self.stored(f"similarity/real-{under}", *numbers)

    def rivals(self, known: bool = False) -> int:
        """How many PETL methods the paper compares with; or how many known ones it leaves out."""
        rows = self._reported[self._reported["group"] == "petl"]
        names = {name.lower() for name in rows["method"] if name != "Ours"}
        return sum(name.lower() not in names for name in KNOWN) if known else len(names)

    def impossible(self, group: str = "", all_rows: bool = False) -> int:
        """The paper's rows with a recall that no one run gives; or all rows; of a group or all."""
        table = granularity(self._reported, pictures_tested(self._results))
        rows = table[table["group"] == group] if group else table
        return len(rows) if all_rows else int((rows["impossible"] > 0).sum())

    def unsound(
        self, method: str = "", what: Literal["printed", "recomputed"] = "printed"
    ) -> float:
        """How many printed means do not follow from their rows; or one of them."""
        means = unsound_means(self._reported)
        return float(means.set_index("method")[what][method]) if method else len(means)


def dial_words(records: pd.DataFrame) -> pd.DataFrame:
    """HMMC's gain over its control where both dials are raised: its change, and its end.

    Returns:
        by form and ``change`` or ``end``: value, low, high (95 %, points) and word; clear is by
        Holm over all rows.
    """
    gained = gains(records)
    both = gained[gained["raised"] == "both"]
    change = slopes(both).rename(columns={"slope": "value"}).assign(what="change")
    end = curves(both).rename(columns={"mean": "value"}).assign(what="end")
    table = pd.concat([change, end[end["position"] == DIALS[-1]]], ignore_index=True)
    if set(change["form"]) != set(CONTROLLED):
        raise StudyError("the experiment with generated scenes is not complete on this record")
    apart = (table["low"] > 0) | (table["high"] < 0)
    table["word"] = apart.map({True: "likely", False: "open"})
    table.loc[holm(list(table["p"])) <= ALPHA, "word"] = "clear"
    return table.set_index(["form", "what"])[["value", "low", "high", "word"]]


def pictures_tested(results: Path) -> dict[str, int]:
    """How many test pictures each set is said to have."""
    counts = read_table(results, "published_counts.csv", dtype=str)
    counts = counts[counts["count"] == "splits.test.images"]
    return dict(zip(counts["set"], counts["published"].astype(int), strict=True))
