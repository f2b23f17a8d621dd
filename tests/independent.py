"""Scores and contrasts computed anew from records and choices alone, by nothing of the package.

It reads JSON, and follows the definitions: expected recall over random orders of tied candidates;
contrasts over folds by Nadeau and Bengio's variance, the plan's looks and Holm's procedure;
contrasts over seeds by clusters of pictures that share captions, with moderated variances.

    python tests/independent.py results

prints every score of the decisive record beside its record's own, and the front page's contrasts.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from functools import lru_cache
from math import comb, sqrt
from pathlib import Path

import numpy as np
from scipy import stats

CUTS = (1, 5, 10)
# O'Brien and Fleming's constant for two looks, at half and at all; see ``error_of_both_looks``.
CONSTANT = 1.9774
LEVEL = {4: 2 * stats.norm.sf(CONSTANT * sqrt(2)), 8: 2 * stats.norm.sf(CONSTANT)}
# The plan's questions: set, recipe, one side and the other (method, objective), margin.
QUESTIONS = (
    ("rsicd", "ten-epochs", ("mrs-adapter", "infonce"), ("full", "infonce"), 1.0),
    ("ucm", "paper", ("mrs-adapter", "infonce"), ("full", "infonce"), 2.0),
    ("ucm", "paper", ("mrs-adapter", "hmmc"), ("mrs-adapter", "infonce"), 2.0),
)
# The arms of the front page that are compared with full fine-tuning: label and objective.
FRONT_PAGE = (
    ("zero-shot", "infonce"),
    ("mrs-adapter", "hmmc"),
    ("mrs-adapter", "infonce"),
    ("linear-probe", "infonce"),
    ("mrs-adapter, trained heads", "infonce"),
)


def read(folder: Path) -> list[dict]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(Path(folder).glob("*.json"))]


# --- scores -------------------------------------------------------------------------------------


@lru_cache(None)
def chance(above: int, tie: int, own: int, cut: int) -> float:
    """Of an own candidate among the first ``cut``: the tied follow those above in random order."""
    drawn = min(max(cut - above, 0), tie)
    return 1 - comb(tie - own, drawn) / comb(tie, drawn)


def hits(counts: dict) -> np.ndarray:
    """For each query the sum of its three recalls."""
    own = counts.get("own", [1] * len(counts["tie"]))
    rows = zip(counts["above"], counts["tie"], own, strict=True)
    return np.array([sum(chance(*row, cut) for cut in CUTS) for row in rows])


def mean_recall(queries: dict) -> float:
    """The mean of R@1, 5 and 10 in both directions, percent."""
    ways = (hits(queries["image_to_text"]), hits(queries["text_to_image"]))
    return 100 * sum(way.sum() / len(way) for way in ways) / 6


# --- contrasts over folds -----------------------------------------------------------------------


def error_of_both_looks() -> float:
    """The chance that a true null is rejected at either of two looks, the first at half."""
    z = np.linspace(-CONSTANT * sqrt(2), CONSTANT * sqrt(2), 200_001)
    # The second statistic, given the first: their correlation is the root of a half.
    inside = np.diff(
        stats.norm.cdf((np.array([[-1], [1]]) * CONSTANT - z * sqrt(0.5)) * sqrt(2)), axis=0
    )
    return float(1 - np.trapezoid(stats.norm.pdf(z) * inside[0], z))


def runs_of(records: list[dict], data: str, recipe: str, way: tuple, folds: tuple) -> list[dict]:
    """One record a fold, in their order; those that are not there are left out."""
    found = {}
    for record in records:
        config = record["config"]
        fold = config.get("fold") or {}
        if (
            record.get("record") != "before"
            and record["status"] == "finished"
            and (config["data"], record.get("recipe")) == (data, recipe)
            and (config["method"], config["objective"]) == way
            and record["label"] == way[0]
            and not config["train_heads"]
            and (fold.get("assignment"), fold.get("grouped")) == ("first", False)
        ):
            found[fold["number"]] = record
    return [found[fold] for fold in folds if fold in found]


def holm(p: list[float]) -> list[float]:
    """Step by step: the smallest times m, the next times m - 1, and none below the one before."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=lambda at: p[at])):
        highest = max(highest, min(1.0, p[at] * (len(p) - rank)))
        adjusted[at] = highest
    return adjusted


def look(records: list[dict], folds: tuple) -> list[dict | None]:
    """The plan's three contrasts at a look; None for those of a set where a run is missing."""
    sides = [
        [runs_of(records, data, recipe, way, folds) for way in ways]
        for data, recipe, *ways, _ in QUESTIONS
    ]
    lacking = {
        question[0]
        for question, both in zip(QUESTIONS, sides, strict=True)
        if any(len(side) < len(folds) for side in both)
    }
    found: list[dict | None] = []
    for (data, *_, margin), both in zip(QUESTIONS, sides, strict=True):
        if data in lacking:
            found.append(None)
            continue
        a, b = ([mean_recall(r["test_queries"]) for r in side] for side in both)
        differences = np.array(a) - np.array(b)
        spread, estimate = differences.std(ddof=1), differences.mean()
        error, t = spread * sqrt(1 / len(folds) + 1 / 8), stats.t(len(folds) - 1)
        half = t.ppf(0.975) * error
        contrast = {"estimate": estimate, "error": error, "spread": spread, "t": t}
        contrast |= {"low": estimate - half, "high": estimate + half}
        contrast |= {"p": 2 * t.sf(abs(estimate) / error)}
        contrast |= {"p_equivalence": t.cdf((abs(estimate) - margin) / error)}
        found.append(contrast)
    level = LEVEL[len(folds)]
    # What is not there yet counts as the least likely of all to be rejected.
    families = [[c[name] if c else 1.0 for c in found] for name in ("p", "p_equivalence")]
    for contrast, p, p_equivalence in zip(found, *map(holm, families), strict=True):
        if contrast is None:
            continue
        own_level = level * contrast["p"] / p
        half = contrast["t"].ppf(1 - own_level / 2) * contrast["error"]
        contrast["low_corrected"] = contrast["estimate"] - half
        contrast["high_corrected"] = contrast["estimate"] + half
        contrast["clear"], contrast["comparable"] = p <= level, p_equivalence <= level
        gap = contrast["t"].ppf(1 - level / 2) + contrast["t"].ppf(0.8)
        contrast["smallest_gap"] = gap * contrast["error"]
    return found


# --- contrasts over seeds -----------------------------------------------------------------------


def clusters(queries: dict) -> np.ndarray:
    """For each picture a number that it shares with all that a chain of equal captions joins."""
    parent = list(range(len(queries["captions_of_image"])))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    first: dict[int, int] = {}
    picture_of = np.repeat(np.arange(len(parent)), queries["captions_of_image"])
    for text, picture in zip(queries["text_of_caption"], picture_of.tolist(), strict=True):
        parent[root(picture)] = root(first.setdefault(text, picture))
    return np.unique([root(at) for at in range(len(parent))], return_inverse=True)[1]


class Arm:
    """Records of one arm on one test set, a seed each, and the influence of every cluster."""

    def __init__(self, records: list[dict]):
        queries = records[0]["test_queries"]
        label = clusters(queries)
        of_caption = np.repeat(label, queries["captions_of_image"])
        sizes = np.bincount(label)
        self.effective = sizes.sum() ** 2 / (sizes**2).sum()
        self.few = self.effective / (self.effective - 1)
        self.trained = any(r["trained_parameters"]["total"] for r in records)
        self.scores = np.array([mean_recall(r["test_queries"]) for r in records])
        self.influence = np.zeros((len(records), len(sizes)))
        for row, record in zip(self.influence, records, strict=True):
            for way, of in (("image_to_text", label), ("text_to_image", of_caption)):
                found = hits(record["test_queries"][way])
                apart = found - found.mean()
                row += 100 / 6 * np.bincount(of, apart, len(sizes)) / len(found)
        self.freedom = len(records) - 1

    def variance(self) -> float:
        return float(self.scores.var(ddof=1))

    def noise(self) -> float:
        """The part of the variance over seeds that is luck with single pictures."""
        apart = self.influence - self.influence.mean(axis=0)
        return float(self.few * (apart**2).sum() / self.freedom)


class Pool:
    """The spread over seeds that arms share: its variance, degrees of freedom and noise."""

    def __init__(self, arms: list[Arm]):
        arms = [arm for arm in arms if arm.freedom]
        freedom = np.array([arm.freedom for arm in arms])
        seen = np.array([arm.variance() for arm in arms])
        self.variance = float(freedom @ seen / freedom.sum())
        self.noise = float(freedom @ [arm.noise() for arm in arms] / freedom.sum())
        # The logarithm of a gamma variable of shape d / 2 has mean digamma, variance trigamma.
        log = stats.loggamma(freedom / 2)
        seen = np.maximum(seen, 1e-5 * np.median(seen))
        beyond = (np.log(seen) - log.mean() + np.log(freedom / 2)).var(ddof=1) - log.var().mean()
        self.freedom = float(freedom.sum())
        if beyond > 0:
            low, high = -20.0, 40.0
            for _ in range(200):
                middle = (low + high) / 2
                falls = stats.loggamma(np.exp(middle)).var() > beyond
                low, high = (middle, high) if falls else (low, middle)
            self.freedom = min(2 * float(np.exp(low)), self.freedom)


def over_seeds(a: Arm, b: Arm, pool: Pool, among: int) -> dict:
    """A less B: estimate, 95 % interval, and the interval of Bonferroni among so many."""
    of_clusters = a.few * ((a.influence.mean(axis=0) - b.influence.mean(axis=0)) ** 2).sum()
    parts = [(of_clusters, a.effective - 1)]
    for arm in (a, b):
        own, prior = arm.freedom, pool.freedom if arm.trained else 0.0
        if own + prior == 0:
            continue
        squares = own * arm.variance() if own else 0.0
        moderated = (squares + prior * pool.variance) / (own + prior)
        noise = arm.noise() if own else pool.noise
        parts.append((max(moderated - noise, 0.0) / len(arm.scores), own + prior))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / of for part, of in parts)
    estimate = a.scores.mean() - b.scores.mean()
    found = {"estimate": float(estimate)}
    for end, level in (("", 0.05), ("_corrected", 0.05 / among)):
        half = stats.t.ppf(1 - level / 2, freedom) * sqrt(variance)
        found |= {f"low{end}": float(estimate - half), f"high{end}": float(estimate + half)}
    return found


def front_page(results: Path) -> dict[tuple, dict]:
    """The front page's ten contrasts to full fine-tuning, by set, label and objective."""
    suites = ("benchmark", "seeds", "rsicd", "objectives")
    passed_over = {
        run["id"]
        for choice in read(results / "choices")
        if choice.get("suite") in suites
        for candidate in choice["candidates"]
        if candidate["learning_rate"] != choice["chosen"]
        for run in candidate["runs"]
    }
    arms: dict[tuple, dict] = defaultdict(dict)
    for record in [*read(results / "runs"), *read(results / "again")]:
        config = record["config"]
        if (
            record.get("suite") in suites
            and record["status"] == "finished"
            and record["id"] not in passed_over
            and config["recipe"]["epochs"] == 6
            and config["recipe"].get("fraction", 1.0) == 1
            and config["image_size"] == 112
            and "after" not in config
        ):
            objective = record.get("objective_label", config["objective"])
            key = (config["data"], config["encoder"], record["label"], objective)
            arms[key].setdefault(config["seed"], record)
    made = {key: Arm([of[seed] for seed in sorted(of)]) for key, of in arms.items()}
    found = {}
    for data in ("ucm", "rsicd"):
        pool = Pool([arm for key, arm in made.items() if key[0] == data])
        full = made[data, "vits14-minilm", "full", "infonce"]
        for way in FRONT_PAGE:
            arm = made[(data, "vits14-minilm", *way)]
            found[(data, *way)] = over_seeds(arm, full, pool, 2 * len(FRONT_PAGE))
    return found


def main(results: Path) -> None:
    for record in read(results / "runs"):
        if record.get("record") != "before" and "test_queries" in record:
            anew, own = mean_recall(record["test_queries"]), record["scores"]["mean_recall"]
            print(f"{record['id']}: {anew:.6f}, on record {own:.6f}, apart {anew - own:.1e}")
    for name, folds in (("3 to 6", (3, 4, 5, 6)), ("3 to 10", tuple(range(3, 11)))):
        for asked, found in zip(QUESTIONS, look(read(results / "runs"), folds), strict=True):
            said = found or "not complete"
            print(f"folds {name}, {asked[0]}, {asked[2]} less {asked[3]}: {said}")
    for asked, contrast in front_page(results).items():
        print(f"{', '.join(asked)} less full: {contrast}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
