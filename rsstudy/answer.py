"""The front page: the study's question, answered in one picture and five sentences.

The question is the paper's: does training a small part keep up with training all of it? Every
number comes from records; what a verdict says is chosen by the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from rsstudy.claims import (
    MOST_SEEDS,
    SETS,
    Evidence,
    mean_recall,
    read_evidence,
    seeds_of,
)
from rsstudy.comparison import mean_with_interval, name_of_row
from rsstudy.errors import StudyError
from rsstudy.files import whole_file
from rsstudy.grids import UPDATED, arms, only, recorded
from rsstudy.statistics import Contrast, Verdict, compare, corrected
from rsstudy.updates import updates

Record = Mapping[str, Any]

# The rows of the picture: a name, the method, the objective, and whether the heads are trained with
# it, as full fine-tuning trains them.
NOTHING, PAPERS, ADAPTER, HEADS, BOTH, ALL = (
    "nothing trained", "adapter, HMMC (the paper)", "adapter, InfoNCE", "linear probe (heads)",
    "adapter and heads, InfoNCE", "all of it trained",
)  # fmt: skip
SHOWN: tuple[tuple[str, str, str, bool], ...] = (
    (NOTHING, "zero-shot", "infonce", False), (PAPERS, "mrs-adapter", "hmmc", False),
    (ADAPTER, "mrs-adapter", "infonce", False), (HEADS, "linear-probe", "infonce", False),
    (BOTH, "mrs-adapter", "infonce", True), (ALL, "full", "infonce", False),
)  # fmt: skip
FIRST, SECOND = UPDATED["bench"][:2]
SPARED: dict[str | None, str] = {
    "better": "it forgets less", "worse": "it forgets more", "comparable": "it forgets as much",
}  # fmt: skip
# Methods that train no small part.
LARGE = ("zero-shot", "full", "single-language")
TOLD: dict[Verdict, str] = {
    "better": "is ahead of", "worse": "is behind", "comparable": "is comparable to",
    "undecided": "is not shown to differ from",
}  # fmt: skip


def shown_runs(evidence: Evidence) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The records behind the picture, by set and row's name."""
    found = {}
    for data in (SECOND, FIRST):
        for name, method, objective, train_heads in SHOWN:
            if data == SECOND:
                runs = evidence.compared(method, objective, train_heads=train_heads)
            else:
                runs = evidence.on_first(method, objective, train_heads)
            if runs:
                found[data, name] = runs
    return found


def picture_table(evidence: Evidence) -> pd.DataFrame:
    """A row for each set and arm of the picture.

    Columns data, name, mean_recall (mean over seeds, percent), low, high (95 % over test pictures,
    mean over seeds), seeds, trained (parameters), of (all parameters), records (ids of the runs).
    """
    rows = []
    found = shown_runs(evidence)
    whole = max(r["trained_parameters"]["total"] for runs in found.values() for r in runs)
    for (data, name), runs in found.items():
        mean, low, high = mean_with_interval(runs)
        trained = runs[0]["trained_parameters"]["total"]
        rows.append({"data": data, "name": name, "mean_recall": mean, "low": low, "high": high,
                     "seeds": len(runs), "trained": trained, "of": whole,
                     "records": " ".join(record["id"] for record in runs)})  # fmt: skip
    return pd.DataFrame(rows)


def sentences(evidence: Evidence, resamples: int = 10_000) -> list[str]:
    """The answer, in five; the verdicts of the first three are corrected together.

    Args:
        resamples: of the many contrasts of the fourth.

    Raises:
        StudyError: a run that it needs is not on record.
    """
    runs = shown_runs(evidence)
    compared = (NOTHING, PAPERS, ADAPTER, BOTH, ALL)
    for data, name in [(SECOND, n) for n, *_ in SHOWN] + [(FIRST, n) for n in compared]:
        if (data, name) not in runs:
            raise StudyError(f"no run on record for {name} on {data}: do the suites benchmark "
                             "and transfer")  # fmt: skip
    here = {name: runs[SECOND, name] for name, *_ in SHOWN}
    there = {name: runs[FIRST, name] for name in compared}
    asked = [(here[ADAPTER], here[ALL]), (here[BOTH], here[ALL]),
             (there[ADAPTER], there[ALL]), (there[BOTH], there[ALL]),
             (here[PAPERS], here[ADAPTER]), (there[PAPERS], there[ADAPTER]),
             (here[ADAPTER], here[HEADS])]  # fmt: skip
    whole, headed, elsewhere, headed_elsewhere, hmmc, hmmc_elsewhere, probe = corrected(
        [compare(*sides) for sides in asked]
    )
    trained, total = (_trained(here[name]) for name in (ADAPTER, ALL))
    looks = _epochs(there[ADAPTER])
    long, plain = (evidence.runs("compare", "mrs-adapter", name) for name in ("hmmc", "infonce"))
    later = ""
    if long and plain:
        later = f"; in {_epochs(long)}: {_said(compare(long, plain))}, {_sides(long, plain)}"
    heads = [
        f"; with the heads trained, too, as the whole's are, {_trained(of[BOTH]):,} parameters "
        f"reach {mean_recall(of[BOTH]):.1f} %, which {TOLD[found.verdict]} it ({_said(found)}; "
        f"{seeds_of(of[BOTH])})"
        for of, found in ((here, headed), (there, headed_elsewhere))
    ]
    beside = others_beside(evidence, here[ADAPTER], resamples)
    verdicts = [contrast.verdict for contrast in beside.values()]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    reach = median((contrast.high - contrast.low) / 2 for contrast in beside.values())
    return [
        f"Training {trained:,} of {total / 1e6:.1f} million parameters for "
        f"{_epochs(here[ADAPTER])} takes mean recall on {SETS[SECOND]} from "
        f"{mean_recall(here[NOTHING]):.1f} to {mean_recall(here[ADAPTER]):.1f} %, training all of "
        f"them to {mean_recall(here[ALL]):.1f} %: the small part {TOLD[whole.verdict]} the whole "
        f"({_said(whole)} points; {_sides(here[ADAPTER], here[ALL])})"
        f"{heads[0]}.",
        f"On {SETS[FIRST]}, in {looks} at learning rates chosen on {SETS[SECOND]}, the small part "
        f"reaches {mean_recall(there[ADAPTER]):.1f} % and the whole "
        f"{mean_recall(there[ALL]):.1f} % (untrained: {mean_recall(there[NOTHING]):.1f} %): there "
        f"the small part {TOLD[elsewhere.verdict]} the whole ({_said(elsewhere)}; "
        f"{_sides(there[ADAPTER], there[ALL])}){heads[1]}.",
        f"With the paper's objective, HMMC in its public hinge form, the adapter on "
        f"{SETS[SECOND]} {TOLD[hmmc.verdict]} the same adapter with plain InfoNCE ({_said(hmmc)} "
        f"in {_epochs(here[PAPERS])}, {_sides(here[PAPERS], here[ADAPTER])}{later}), and on "
        f"{SETS[FIRST]} {TOLD[hmmc_elsewhere.verdict]} it ({_said(hmmc_elsewhere)}; "
        f"{_sides(there[PAPERS], there[ADAPTER])}); with InfoNCE it {TOLD[probe.verdict]} a "
        f"linear probe on {SETS[SECOND]} ({_said(probe)}).",
        f"Of the {len(beside)} other ways to train a small part, {better} are shown to do better "
        f"than the paper's adapter with InfoNCE, {worse} to do worse, and "
        f"{len(beside) - better - worse} neither, with intervals that reach some {reach:.0f} "
        f"points to either side ({SETS[SECOND]}, {seeds_of_many(beside.values())}).",
        _of_updates(evidence),
    ]  # fmt: skip


def others_beside(
    evidence: Evidence, adapter: Sequence[Record], resamples: int = 10_000
) -> dict[str, Contrast]:
    """The benchmark's other small parts less the paper's adapter, on the second set.

    Returns:
        by the name of each arm with frozen heads, the best first; corrected over all of them.
    """
    rows = [
        replace(arm, seeds=MOST_SEEDS) for arm in only(arms("benchmark", "bench"), [SECOND], [], [])
        if not arm.run.train_heads and arm.run.method not in LARGE
        and (arm.run.method, arm.run.method_settings) != ("mrs-adapter", {})
    ]  # fmt: skip
    by_arm = {
        name_of_row(next(runs.itertuples())): compare(list(runs["record"]), adapter,
                                                      resamples=resamples)
        for _, runs in recorded(rows, evidence.benchmark).groupby(["label", "objective_label"])
    }  # fmt: skip
    found = dict(zip(by_arm, corrected(list(by_arm.values())), strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate))


def seeds_of_many(found: Iterable[Contrast]) -> str:
    """How many seeds the first sides of many contrasts have, in words."""
    seeds = [contrast.seeds[0] for contrast in found]
    several = [number for number in seeds if number > 1]
    if not several:
        return "one seed each"
    least = f"{min(several)} to {max(several)} seeds"
    if min(several) == max(several):
        least = f"{min(several)} seeds"
    if len(several) == len(seeds):
        return f"{least} each"
    return f"{len(several)} of them with {least}, the others with one"


def _of_updates(evidence: Evidence) -> str:
    table = pd.concat([evidence.further, evidence.benchmark], ignore_index=True)
    changed = updates(table).set_index("method")
    small, large = changed.loc["mrs-adapter"], changed.loc["full"]
    untouched = small.base_equal and not small.reread
    kept = "leaves the encoder bit for bit as it was"
    if not untouched:
        kept = "does not leave the encoder as it was"
    lost = {"lost": "loses", "gained": "gains"}

    spared = SPARED.get(small.spared_verdict, "that it forgets less is not shown")
    if pd.notna(small.spared):
        spared += f" ({small.spared:+.1f}, {small.spared_low:+.1f} to {small.spared_high:+.1f})"

    def change(row: pd.Series) -> str:
        verb = lost.get(row.forgotten_verdict, "is not shown to lose; the estimate is")
        sign = -1 if verb == "gains" else 1
        low, high = sorted((sign * row.forgotten_low, sign * row.forgotten_high))
        return f"{verb} {sign * row.forgotten:.1f} points ({low:.1f} to {high:.1f})"

    return (
        f"An update by the small part is a file of {small.shipped_bytes / 1e6:.1f} MB instead of "
        f"{large.shipped_bytes / 1e6:.0f} MB, and taking it off {kept}; trained on from "
        f"{SETS[FIRST]} to {SETS[SECOND]}, it {change(small)} on {SETS[FIRST]}, and full "
        f"fine-tuning {change(large)}: {spared}."
    )


def write_answer(results: Path, folder: Path) -> list[str]:
    """Write the picture, ``answer.svg``, and ``answer.md``, which shows it above the sentences.

    Raises:
        StudyError: as ``sentences``.
    """
    import matplotlib.pyplot as plt  # writes below the home folder, which a table has no use for

    from rsstudy.figures import answer as draw
    from rsstudy.figures import use_style

    evidence = read_evidence(results)
    found = sentences(evidence)
    use_style()
    table = picture_table(evidence)
    figure = draw(table)
    fixed = plt.rc_context({"svg.hashsalt": "rsstudy"})  # else every drawing has other names
    with fixed, whole_file(Path(folder) / "answer.svg") as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    listed = "\n".join(f"{number}. {text}" for number, text in enumerate(found, start=1))
    page = (
        f"```{{image}} answer.svg\n:alt: {figure.get_label()}\n:width: 520px\n```\n\n{listed}\n\n"
        f"```{{dropdown}} The runs behind the picture\n{_behind(table)}\n```\n"
    )
    with whole_file(Path(folder) / "answer.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return found


def _behind(table: pd.DataFrame) -> str:
    """A list of the runs of each bar; each is a folder below ``results``."""
    rows = zip(table["data"], table["name"], table["records"], strict=True)
    return "\n".join(
        f"- {SETS[data]}, {name}: {', '.join(f'`{run}`' for run in records.split())}"
        for data, name, records in rows
    )


def _said(contrast: Contrast) -> str:
    return f"{contrast.estimate:+.1f}, {contrast.low:+.1f} to {contrast.high:+.1f}"


def _sides(one: Sequence[Record], other: Sequence[Record]) -> str:
    return f"{seeds_of(one)} against {seeds_of(other)}"


def _trained(runs: Sequence[Record]) -> int:
    return int(runs[0]["trained_parameters"]["total"])


def _epochs(runs: Sequence[Record]) -> str:
    epochs = runs[0]["config"]["recipe"]["epochs"]
    return f"{epochs} epoch{'s' * (epochs > 1)}"
