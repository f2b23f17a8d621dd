"""Arms: the rows of a comparison, and which records are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd

from rsstudy.data.folds import Fold
from rsstudy.errors import StudyError, unknown
from rsstudy.experiments.names import label_of, objective_label
from rsstudy.experiments.record import fold_name
from rsstudy.experiments.run import Run
from rsstudy.settings import settings_of
from rsstudy.training.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One row of a comparison.

    Attributes:
        run: with the first seed and the scale's learning rate.
        learning_rates: to choose from on validation, with the first seed; the choice holds for all.
        seeds: how many.
        factor, level: what this arm changes about its suite's base, and to what.
        searched_with: the share of the training pictures that the search's runs see.
        test: go on to the test split; else it ends at validation, where designs are developed.
        folds: repeat over these folds in place of seeds; a fold's number is its seed.
        searched: what the search trains, where that is another run.
        searched_in: the folds of the search; a rate's score is the mean over them.
    """

    run: Run
    learning_rates: tuple[float, ...]
    seeds: int
    factor: str = ""
    level: str = ""
    searched_with: float = 1.0
    test: bool = True
    folds: tuple[int, ...] = ()
    searched: Run | None = None
    searched_in: tuple[int, ...] = ()

    def candidate(self, rate: float) -> list[Run]:
        """The search's runs at a learning rate."""
        run = _at(self.searched or self.run, rate)
        fraction = run.recipe.fraction * self.searched_with
        run = replace(run, recipe=replace(run.recipe, fraction=fraction))
        return [_in_fold(run, fold) for fold in self.searched_in] or [run]

    def at(self, rate: float) -> Run:
        """The first seed's run at a learning rate."""
        return _at(self.run, rate)

    def searches(self) -> list[Run]:
        """The runs of its search that are no repeats, if it stays within its learning rates."""
        if len(self.learning_rates) == 1:
            return []
        tried = [run for rate in self.learning_rates for run in self.candidate(rate)]
        own = self.repeats(self.at(self.learning_rates[0]))
        return tried[1:] if tried[0] in own else tried  # the chosen one is a repeat

    def count(self) -> int:
        """How many runs it takes, if its search stays within its learning rates."""
        return len(self.searches()) + len(self.repeats(self.run))

    def epochs(self) -> float:
        """How many epochs over all training pictures its runs take, further rates left out."""
        runs = [*self.searches(), *self.repeats(self.run)]
        return sum(run.recipe.epochs * run.recipe.fraction for run in runs)

    def repeats(self, chosen: Run) -> list[Run]:
        """The chosen run in every fold, or with every seed, itself first.

        A run before it has the same seed.
        """
        if self.folds:
            return [_in_fold(chosen, fold) for fold in self.folds]
        return [_with_seed(chosen, chosen.seed + more) for more in range(self.seeds)]


def _at(run: Run, rate: float) -> Run:
    return replace(run, recipe=replace(run.recipe, learning_rate=rate))


def _in_fold(run: Run, fold: int) -> Run:
    return replace(run, fold=Fold(fold), seed=fold)


def _with_seed(run: Run, seed: int) -> Run:
    after = _with_seed(run.after, seed) if isinstance(run.after, Run) else run.after
    return replace(run, seed=seed, after=after)


def only(
    rows: Sequence[Arm], data: Sequence[str], methods: Sequence[str], objectives: Sequence[str]
) -> list[Arm]:
    """The arms on these sets, with these methods (by label) and objectives; empty means any.

    Raises:
        StudyError: no arm has a name that was asked for.
    """
    kept = list(rows)
    for kind, asked, name_in in (
        ("data set", data, lambda arm: arm.run.data),
        ("method", methods, lambda arm: label_of(arm.run)),
        ("objective", objectives, lambda arm: arm.run.objective),
    ):
        has = {name_in(arm) for arm in rows} if asked else set()
        for name in asked:
            if name not in has:
                raise unknown(f"{kind} of this suite", name, has)
        kept = [arm for arm in kept if not asked or name_in(arm) in asked]
    return kept


# What names a run of an arm in a table of records.
KEYS = ("data", "encoder", "label", "objective_label", "seed", "fold")


def recorded(rows: Sequence[Arm], table: pd.DataFrame) -> pd.DataFrame:
    """The runs of some arms that a table of records holds, arm by arm.

    Args:
        table: from ``experiments.record.read_records``.

    Returns:
        its rows, with columns ``factor`` and ``level`` in front. All seeds of an arm have the
        learning rate that its search chose, with the first seed, and one image size.

    Raises:
        StudyError: the first seed was run at several, and no search says which was chosen.
    """
    # Filtered by place in the table, and taken from it once: a frame an arm would cost much more.
    places = table.groupby(list(KEYS), sort=False).indices if len(table) else {}
    seed, rate, size, records = (
        table[name].to_list() for name in ("seed", "learning_rate", "image_size", "record")
    )
    taken: list[tuple[int, Arm]] = []
    for arm in rows:
        run, wanted = arm.run, _recipe_of(settings_of(arm.run.recipe))
        repeats = arm.repeats(run)
        named = run.data, run.encoder, label_of(run), objective_label(run)
        seeds, folds = {r.seed for r in repeats}, {fold_name(r.fold) for r in repeats}
        found = sorted(int(p) for of in product(seeds, folds) for p in places.get(named + of, ()))
        found = [
            place
            for place in sorted(found, key=lambda place: seed[place])
            if _recipe_of(records[place]["config"]["recipe"]) == wanted
            and _same_chain(run, records[place]["config"])
        ]
        first = [place for place in found if seed[place] == repeats[0].seed]
        if len(first) > 1:
            names = " and ".join(table["id"].iloc[first])
            raise StudyError(f"{names} differ in learning rate or image size alone: keep one")
        for column in (rate, size):
            chosen = {column[place] for place in first}
            found = [place for place in found if column[place] in chosen]
        taken += [(place, arm) for place in found]
    whole = table.iloc[[place for place, _ in taken]].reset_index(drop=True)
    whole.insert(0, "factor", pd.Series([arm.factor for _, arm in taken], dtype=str))
    whole.insert(1, "level", pd.Series([arm.level for _, arm in taken], dtype=str))
    return whole


def name_of(arm: Arm, several: bool = False) -> str:
    """An arm's name for a reader: method, what differs, objective, and the set among several."""
    names = [label_of(arm.run), objective_label(arm.run), arm.run.data_name * several]
    if isinstance(arm.run.after, Run):
        names.append(f"after {arm.run.after.data}")
    return " · ".join(name for name in names if name)


def is_run(run: Run, record: Mapping[str, Any]) -> bool:
    """Whether a record is of this run, its learning rate too; the image size may be another."""
    config = record["config"]
    return (
        (config["data"], config["encoder"], config["seed"]) == (run.data, run.encoder, run.seed)
        and fold_name(config.get("fold")) == fold_name(run.fold)
        and record.get("label") == label_of(run)
        and record.get("objective_label") == objective_label(run)
        and config["recipe"]["learning_rate"] == run.recipe.learning_rate
        and _recipe_of(config["recipe"]) == _recipe_of(settings_of(run.recipe))
        and _same_chain(run, config)
    )


def _same_chain(run: Run, config: Mapping[str, Any]) -> bool:
    """Whether a record's run started where this one does, and looked at the same further sets."""
    before = run.after.data if isinstance(run.after, Run) else None
    return before == config.get("after", {}).get("data") and set(run.also) == {
        *config.get("also", ())
    }


def _recipe_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """Its settings, those with their defaults that are younger than a record."""
    whole = {**settings_of(Recipe()), **recipe}
    return {k: v for k, v in whole.items() if k not in ("learning_rate", "image_size")}
