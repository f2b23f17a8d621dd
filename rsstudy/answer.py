"""The front page: the study's question, answered in one picture and five sentences.

The question is the paper's: does training a small part keep up with training all of it? Every
number comes from records; what a verdict says is chosen by the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from rsstudy.claims import (
    FIRST,
    SETS,
    Evidence,
    mean_recall,
    read_evidence,
    seeds_of,
)
from rsstudy.comparison import mean_with_interval, name_of_row
from rsstudy.errors import StudyError
from rsstudy.files import whole_file
from rsstudy.grids import UPDATED, arms, every_seed, only
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
SECOND = UPDATED["short"][1]
SPARED: dict[str | None, str] = {
    "better": "it forgets less", "worse": "it forgets more", "comparable": "it forgets as much",
}  # fmt: skip
# Methods that train no small part.
LARGE = ("zero-shot", "full", "text-tower")
TOLD: dict[Verdict, str] = {
    "better": "is ahead of", "worse": "is behind", "comparable": "is comparable to",
    "undecided": "is not shown to differ from",
}  # fmt: skip


def shown_runs(evidence: Evidence) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The records behind the picture, by set and row's name."""
    found = {}
    for data in (SECOND, FIRST):
        for name, method, objective, train_heads in SHOWN:
            runs = evidence.compared(method, objective, train_heads=train_heads, data=data)
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
    for data, name in [(data, name) for data in (SECOND, FIRST) for name, *_ in SHOWN]:
        if (data, name) not in runs:
            raise StudyError(f"no run on record for {name} on {data}: do the suite benchmark")
    here, there = ({name: runs[data, name] for name, *_ in SHOWN} for data in (SECOND, FIRST))
    look = {
        name: evidence.on_first(method, objective, train_heads)
        for name, method, objective, train_heads in SHOWN
        if name in (ADAPTER, BOTH, ALL)
    }
    for name, found in look.items():
        if not found:
            raise StudyError(f"no first look at {FIRST} on record for {name}: do the suite "
                             "transfer")  # fmt: skip
    asked = [(here[ADAPTER], here[ALL]), (here[BOTH], here[ALL]),
             (there[ADAPTER], there[ALL]), (there[BOTH], there[ALL]),
             (look[ADAPTER], look[ALL]), (look[BOTH], look[ALL]),
             (here[PAPERS], here[ADAPTER]), (there[PAPERS], there[ADAPTER]),
             (here[ADAPTER], here[HEADS]), (there[ADAPTER], there[HEADS])]  # fmt: skip
    (whole, headed, elsewhere, headed_elsewhere, looked, headed_look, hmmc, hmmc_elsewhere, probe,
     probe_elsewhere) = corrected([compare(*sides) for sides in asked])  # fmt: skip
    trained, total = (_trained(here[name]) for name in (ADAPTER, ALL))
    long, plain = (evidence.runs("compare", "mrs-adapter", name) for name in ("hmmc", "infonce"))
    later = ""
    if long and plain:
        later = f"; in {_epochs(long)}: {_said(compare(long, plain))}, {_sides(long, plain)}"
    beside = others_beside(evidence, here[ADAPTER], resamples)
    further = others_beside(evidence, there[ADAPTER], resamples, FIRST)
    reach = sorted((contrast.high - contrast.low) / 2 for contrast in beside.values())
    return [
        f"Training {trained:,} of {total / 1e6:.1f} million parameters for "
        f"{_epochs(here[ADAPTER])} takes mean recall on {SETS[SECOND]} from "
        f"{mean_recall(here[NOTHING]):.1f} to {mean_recall(here[ADAPTER]):.1f} %, training all of "
        f"them to {mean_recall(here[ALL]):.1f} %: the small part {_told(whole)} the whole "
        f"({_said(whole)} points; {_sides(here[ADAPTER], here[ALL])}); with the heads trained, "
        f"too, as the whole's are, {_trained(here[BOTH]):,} parameters reach "
        f"{mean_recall(here[BOTH]):.1f} %, which {_told(headed)} it ({_said(headed)}; "
        f"{seeds_of(here[BOTH])}).",
        f"On {SETS[FIRST]}, in {_epochs(there[ADAPTER])} at learning rates chosen on "
        f"{SETS[SECOND]}, the small part reaches {mean_recall(there[ADAPTER]):.1f} %, with its "
        f"heads trained, too, {mean_recall(there[BOTH]):.1f} %, and the whole "
        f"{mean_recall(there[ALL]):.1f} % (untrained: {mean_recall(there[NOTHING]):.1f} %): there "
        f"the small part {_told(elsewhere)} the whole ({_said(elsewhere)}; "
        f"{_sides(there[ADAPTER], there[ALL])}), and with trained heads {_told(headed_elsewhere)} "
        f"it ({_said(headed_elsewhere)}; {seeds_of(there[BOTH])}); after {_epochs(look[ADAPTER])} "
        f"the small part {_told(looked)} it ({_said(looked)}; "
        f"{_sides(look[ADAPTER], look[ALL])}), and with trained heads {_told(headed_look)} it "
        f"({_said(headed_look)}; {seeds_of(look[BOTH])}).",
        f"With the paper's objective, HMMC in its public hinge form, the adapter on "
        f"{SETS[SECOND]} {_told(hmmc)} the same adapter with plain InfoNCE ({_said(hmmc)} "
        f"in {_epochs(here[PAPERS])}, {_sides(here[PAPERS], here[ADAPTER])}{later}), and on "
        f"{SETS[FIRST]} {_told(hmmc_elsewhere)} it ({_said(hmmc_elsewhere)}; "
        f"{_sides(there[PAPERS], there[ADAPTER])}); with InfoNCE it {_told(probe)} a "
        f"linear probe on {SETS[SECOND]} ({_said(probe)}) and {_told(probe_elsewhere)} one "
        f"on {SETS[FIRST]} ({_said(probe_elsewhere)}).",
        f"Of the {len(beside)} other ways to train a small part, on {SETS[SECOND]}, "
        f"{_shown(beside)}, with intervals of {reach[0]:.0f} to {reach[-1]:.0f} points to either "
        f"side, {median(reach):.0f} in the middle ({seeds_of_many(beside.values())}); of the "
        f"{len(further)} that were trained on {SETS[FIRST]}, too, {_shown(further)}.",
        _of_updates(evidence),
    ]  # fmt: skip


def others_beside(
    evidence: Evidence, adapter: Sequence[Record], resamples: int = 10_000, data: str = SECOND
) -> dict[str, Contrast]:
    """The benchmark's other small parts less the paper's adapter, on one set.

    Returns:
        by the name of each arm with frozen heads, the best first; corrected over all of them.
    """
    rows = [
        arm for arm in only(arms("benchmark", "short"), [data], [], [])
        if not arm.run.train_heads and arm.run.method not in LARGE
        and (arm.run.method, arm.run.method_settings) != ("mrs-adapter", {})
    ]  # fmt: skip
    by_arm = {
        name_of_row(next(runs.itertuples())): compare(list(runs["record"]), adapter,
                                                      resamples=resamples)
        for _, runs in every_seed(rows, evidence.benchmark).groupby(["label", "objective_label"])
    }  # fmt: skip
    found = dict(zip(by_arm, corrected(list(by_arm.values())), strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate))


def _shown(beside: Mapping[str, Contrast]) -> str:
    """How many contrasts are shown to be better and worse, corrected and each by its interval."""
    verdicts = [contrast.verdict for contrast in beside.values()]
    above = sum(contrast.low > 0 for contrast in beside.values())
    below = sum(contrast.high < 0 for contrast in beside.values())
    return (
        f"{verdicts.count('better')} are shown to do better than the paper's adapter with InfoNCE "
        f"and {verdicts.count('worse')} to do worse, corrected over all of them (by their own "
        f"intervals alone: {above} and {below})"
    )


def _told(contrast: Contrast) -> str:
    """The verdict in words; also where only the correction keeps a difference from being shown."""
    if contrast.verdict == "undecided" and not contrast.low <= 0 <= contrast.high:
        return "is not shown, once corrected, to differ from"
    return TOLD[contrast.verdict]


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
        f"{SETS[FIRST]}, after {_epochs(evidence.on_first('mrs-adapter'))} there, to "
        f"{SETS[SECOND]}, it {change(small)} on {SETS[FIRST]}, and full "
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
