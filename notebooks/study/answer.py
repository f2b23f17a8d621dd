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

from rsstudy.errors import StudyError
from rsstudy.experiments.arms import only
from rsstudy.experiments.compare import Contrast, best_group, compare, corrected
from rsstudy.files import whole_file
from study.claims import FIRST, SETS, Evidence, mean_recall, read_evidence, seeds_of, steps_of
from study.comparison import name_of_row
from study.suites import UPDATED, arms, every_seed
from study.updates import updates

Record = Mapping[str, Any]

# The rows of the picture: a name, the method, the objective, and whether the heads are trained with
# it, as full fine-tuning trains them.
NOTHING, PAPERS, ADAPTER, HEADS, BOTH, ALL = (
    "nothing trained",
    "adapter, HMMC (the paper)",
    "adapter, InfoNCE",
    "linear probe (heads)",
    "adapter and heads, InfoNCE",
    "all of it trained",
)
SHOWN: tuple[tuple[str, str, str, bool], ...] = (
    (NOTHING, "zero-shot", "infonce", False),
    (PAPERS, "mrs-adapter", "hmmc", False),
    (ADAPTER, "mrs-adapter", "infonce", False),
    (HEADS, "linear-probe", "infonce", False),
    (BOTH, "mrs-adapter", "infonce", True),
    (ALL, "full", "infonce", False),
)
SECOND = UPDATED["short"][1]
# Methods that train no small part.
LARGE = ("zero-shot", "full", "text-tower")


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

    Columns data, name, mean_recall (mean over seeds, percent), seeds, trained (parameters), of (all
    parameters), records (ids of the runs); and of the difference to the row ``ALL`` of its set, in
    points: estimate, low, high (95 %), low_corrected, high_corrected (over the table) and word.
    """
    found = shown_runs(evidence)
    whole = max(r["trained_parameters"]["total"] for runs in found.values() for r in runs)
    asked = [(data, name) for data, name in found if name != ALL and (data, ALL) in found]
    judged = dict(
        zip(
            asked,
            corrected(
                [
                    compare(found[data, name], found[data, ALL], pool=evidence.pool(data))
                    for data, name in asked
                ]
            ),
            strict=True,
        )
    )
    rows = []
    shown = ("estimate", "low", "high", "low_corrected", "high_corrected", "word")
    for (data, name), runs in found.items():
        contrast = judged.get((data, name))
        rows.append(
            {
                "data": data,
                "name": name,
                "mean_recall": mean_recall(runs),
                "seeds": len(runs),
                "trained": runs[0]["trained_parameters"]["total"],
                "of": whole,
                "records": " ".join(record["id"] for record in runs),
                **{of: getattr(contrast, of, None) for of in shown},
            }
        )
    return pd.DataFrame(rows)


def sentences(evidence: Evidence) -> list[str]:
    """The answer, in five; the contrasts of the first three are corrected together.

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
            raise StudyError(
                f"no first look at {FIRST} on record for {name}: do the suite transfer"
            )
    asked = [
        (here[ADAPTER], here[ALL]),
        (here[BOTH], here[ALL]),
        (there[ADAPTER], there[ALL]),
        (there[BOTH], there[ALL]),
        (look[ADAPTER], look[ALL]),
        (look[BOTH], look[ALL]),
        (here[PAPERS], here[ADAPTER]),
        (there[PAPERS], there[ADAPTER]),
        (here[ADAPTER], here[HEADS]),
        (there[ADAPTER], there[HEADS]),
    ]
    ours, first = evidence.pool(SECOND), evidence.pool(FIRST)
    pools = [ours, ours, first, first, None, None, ours, first, ours, first]
    (
        whole,
        headed,
        elsewhere,
        headed_elsewhere,
        looked,
        headed_look,
        hmmc,
        hmmc_elsewhere,
        probe,
        probe_elsewhere,
    ) = corrected([compare(*sides, pool=pool) for sides, pool in zip(asked, pools, strict=True)])
    trained, total = (_trained(here[name]) for name in (ADAPTER, ALL))
    long, plain = (evidence.runs("compare", "mrs-adapter", name) for name in ("hmmc", "infonce"))
    later = ""
    if long and plain:
        longer = compare(long, plain)
        later = (
            f"; after {steps_of(long)} of {_epochs(long)} {_said(longer)}, {_sides(long, plain)}"
        )
    beside = others_beside(evidence, here[ADAPTER])
    further = others_beside(evidence, there[ADAPTER], FIRST)
    reach = sorted((contrast.high - contrast.low) / 2 for contrast in beside.values())
    alike = best_group(_others(evidence) | {ADAPTER: here[ADAPTER], ALL: here[ALL]}, pool=ours)
    best = [name for name, found in alike.items() if found.in_best_group]
    return [
        f"Training {trained:,} of {total / 1e6:.1f} million parameters for "
        f"{_epochs(here[ADAPTER])} takes mean recall on {SETS[SECOND]} from "
        f"{mean_recall(here[NOTHING]):.1f} to {mean_recall(here[ADAPTER]):.1f} %, training all of "
        f"them to {mean_recall(here[ALL]):.1f} %: the small part {_told(whole)} the whole "
        f"({_said(whole)}; {_sides(here[ADAPTER], here[ALL])}); with the heads trained, "
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
        f"{SETS[SECOND]} {_told(hmmc)} the same adapter with plain InfoNCE after "
        f"{steps_of(here[PAPERS])} ({_said(hmmc)}; {_sides(here[PAPERS], here[ADAPTER])}{later}), "
        f"and on {SETS[FIRST]} {_told(hmmc_elsewhere)} it after {steps_of(there[PAPERS])} "
        f"({_said(hmmc_elsewhere)}; {_sides(there[PAPERS], there[ADAPTER])}); the number of steps "
        f"and the recipe are part of this difference; with InfoNCE it {_told(probe)} a "
        f"linear probe on {SETS[SECOND]} ({_said(probe)}) and {_told(probe_elsewhere)} one "
        f"on {SETS[FIRST]} ({_said(probe_elsewhere)}).",
        f"The {len(beside)} other ways to train a small part are, on {SETS[SECOND]} and "
        f"{_shown(beside)} (corrected over all of them), with intervals of {reach[0]:.0f} to "
        f"{reach[-1]:.0f} points to either side, {median(reach):.0f} in the middle "
        f"({seeds_of_many(beside.values())}); with the "
        f"adapter and the whole they are {len(alike)}, of which {len(best)} cannot be told from "
        f"the best{_among(best)}; the {len(further)} that were trained on {SETS[FIRST]}, too, are "
        f"there, {_shown(further)}.",
        _of_updates(evidence),
    ]


def _among(best: Sequence[str]) -> str:
    """Whether the adapter and the whole are in the best group, in words."""
    names = [said for name, said in ((ADAPTER, "the adapter"), (ALL, "the whole")) if name in best]
    return f", {' and '.join(names)} among them" if names else ""


def _others(evidence: Evidence, data: str = SECOND) -> dict[str, list[dict[str, Any]]]:
    """The records of the benchmark's other small parts, by the name of each arm."""
    rows = [
        arm
        for arm in only(arms("benchmark", "short"), [data], [], [])
        if not arm.run.train_heads
        and arm.run.method not in LARGE
        and (arm.run.method, arm.run.method_settings) != ("mrs-adapter", {})
    ]
    by_arm = every_seed(rows, evidence.benchmark).groupby(["label", "objective_label"])
    return {name_of_row(next(runs.itertuples())): list(runs["record"]) for _, runs in by_arm}


def others_beside(
    evidence: Evidence, adapter: Sequence[Record], data: str = SECOND
) -> dict[str, Contrast]:
    """The benchmark's other small parts less the paper's adapter, on one set.

    Returns:
        by the name of each arm with frozen heads, the best first; corrected over all of them.
    """
    others, pool = _others(evidence, data), evidence.pool(data)
    contrasts = corrected([compare(runs, adapter, pool=pool) for runs in others.values()])
    found = dict(zip(others, contrasts, strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate))


def _shown(beside: Mapping[str, Contrast]) -> str:
    """How many contrasts there are of each word and direction; those that none has are left out."""
    said = [contrast.said() for contrast in beside.values()]
    ways = [f"{word} {way}" for word in ("clearly", "likely") for way in ("better", "worse")]
    counted = [f"{said.count(way)} {way}" for way in ways if way in said]
    if "open" in said:
        counted.append(f"{said.count('open')} open")
    return f"compared with the paper's adapter with InfoNCE, {', '.join(counted)}"


def _told(contrast: Contrast) -> str:
    """The word and its direction, as a verb."""
    if contrast.word == "open":
        return "cannot be told from"
    return f"is {contrast.said('ahead of', 'behind')}"


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
    spared = "whether it forgets less was not measured"
    if pd.notna(small.spared):
        way = "less" if small.spared > 0 else "more"
        spared = f"it {small.spared_verdict.removesuffix(way).strip()} forgets {way}"
        if small.spared_verdict == "open":
            spared = "whether it forgets less is open"
        spared += f" ({small.spared:+.1f}, {small.spared_low:+.1f} to {small.spared_high:+.1f})"

    def change(row: pd.Series) -> str:
        verb, sign = ("loses", 1) if row.forgotten > 0 else ("gains", -1)
        said = f"{row.forgotten_verdict.split()[0]} {verb}"
        if row.forgotten_verdict == "open":
            said, sign = "may lose or gain; the estimate is a loss of", 1
        low, high = sorted((sign * row.forgotten_low, sign * row.forgotten_high))
        return f"{said} {sign * row.forgotten:.1f} points ({low:.1f} to {high:.1f})"

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

    from study.figures import answer as draw
    from study.figures import use_style

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
    """The difference with its interval; of an open one what is excluded, too."""
    shown = f"{contrast.estimate:+.1f}, {contrast.low:+.1f} to {contrast.high:+.1f}"
    return f"{shown}: open, {contrast.excluded()}" if contrast.word == "open" else shown


def _sides(one: Sequence[Record], other: Sequence[Record]) -> str:
    return f"{seeds_of(one)} against {seeds_of(other)}"


def _trained(runs: Sequence[Record]) -> int:
    return int(runs[0]["trained_parameters"]["total"])


def _epochs(runs: Sequence[Record]) -> str:
    epochs = runs[0]["config"]["recipe"]["epochs"]
    return f"{epochs} epoch{'s' * (epochs > 1)}"
