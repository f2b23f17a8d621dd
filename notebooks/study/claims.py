"""The ledger: each claim of the paper, what was measured or recomputed, and the verdict by rule.

Its numbers come from three places alone: the paper's (results/claims.csv, results/reported.csv),
records of runs, and counting. No sentence here holds a number of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from rsstudy.encoders import create
from rsstudy.experiments.arms import only, recorded
from rsstudy.experiments.compare import (
    Contrast,
    SeedSpread,
    compare,
    corrected,
    holm,
    seed_spread,
    smallest_gap,
)
from rsstudy.experiments.names import label_of
from rsstudy.experiments.record import before
from rsstudy.experiments.run import Run
from rsstudy.files import whole_file
from rsstudy.methods import attach, count_trained, create_method
from study.dials import curves, gains, raised_similarity, slopes
from study.published import granularity, leads, read_reported, read_table
from study.similarity import by_dial
from study.suites import (
    CONTROLLED,
    DIALS,
    OBJECTIVES_RUNS,
    SCALES,
    UPDATED,
    arm_of,
    arms,
    every_seed,
)

Runs = Sequence[Mapping[str, Any]]
Verdict = Literal[
    "holds", "holds in part", "does not hold", "tested, open", "cannot be tested here"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
RECOMPUTED = "recomputed"
PAPERS_ENCODER = "ViT-B-32"
SETS = {"rsicd": "RSICD", "rsitmd": "RSITMD", "ucm": "UCM-Captions"}
# Methods of parameter-efficient tuning that were published by then.
KNOWN = ("LoRA", "BitFit", "Prefix tuning", "SSF", "IA3")
ANALOGUE = "ucm"
FIRST = UPDATED["short"][0]  # the larger set, with which updates begin
BYTES = 4 * 3  # fp32: a gradient and Adam's two moments a trained parameter


@dataclass(frozen=True)
class Claim:
    """One line of the ledger.

    Attributes:
        id, claim: the paper's.
        paper: its numbers.
        records: the ids of the runs behind the estimate, or ``recomputed``.
        measure: what the estimate is, with its unit.
        estimate, interval: with 95 % where there is one.
        verdict, reason: by the rule in this claim's function.
    """

    id: int
    claim: str
    paper: dict[str, float]
    records: list[str] | str
    measure: str
    estimate: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Evidence:
    """What the ledger is drawn from."""

    reported: pd.DataFrame
    test_images: dict[str, int]
    bench: pd.DataFrame
    dials: pd.DataFrame
    benchmark: pd.DataFrame
    further: pd.DataFrame
    raised: pd.DataFrame

    def compared(
        self,
        method: str,
        objective: str = "infonce",
        encoder: str = SCALES["short"].encoder,
        train_heads: bool = False,
        data: str = ANALOGUE,
    ) -> list[dict[str, Any]]:
        """The records of an arm of the benchmark, all its seeds; maybe none.

        The suite objectives has HMMC where the benchmark has not.
        """
        label = _label(method, train_heads)
        both = [*arms("benchmark", "short"), *arms("objectives", "short")]
        for arm in only(both, [data], [label], [objective]):
            if arm.run.encoder == encoder:
                return list(every_seed([arm], self.benchmark)["record"])
        return []

    def pool(self, data: str = ANALOGUE) -> SeedSpread | None:
        """The spread over seeds that the arms of ``compared`` on one set share; maybe none."""
        both = [*arms("benchmark", "short"), *arms("objectives", "short")]
        runs = every_seed(only(both, [data], [], []), self.benchmark).drop_duplicates("id")
        by_arm = runs.groupby(["encoder", "label", "objective_label"])
        several = [list(arm["record"]) for _, arm in by_arm if len(arm) > 1]
        return seed_spread(several) if len(several) > 1 else None

    def on_first(
        self, method: str, objective: str = "infonce", train_heads: bool = False
    ) -> list[dict[str, Any]]:
        """The records of the suite transfer's first stage, one look at each picture; maybe none.

        Some of the suite better's are further seeds of that suite's.
        """
        wanted = (FIRST, _label(method, train_heads), objective)
        rows = [
            arm
            for suite in ("transfer", "better")
            for arm in arms(suite, "short")
            if (arm.run.data, label_of(arm.run), arm.run.objective) == wanted
        ]
        found = recorded(rows, self.further).drop_duplicates("id").sort_values("seed")
        return list(found["record"])

    def runs(self, suite: str, method: str, objective: str) -> list[dict[str, Any]]:
        """The records of an arm of a suite on the analogue's set."""
        arm = arm_of(suite, "short", ANALOGUE, method, objective)
        return list(recorded([arm], self.bench)["record"])


def _label(method: str, train_heads: bool) -> str:
    return label_of(Run("", "", method, train_heads=train_heads))


def read_evidence(results: Path) -> Evidence:
    """Everything below a ``results`` folder that the ledger needs.

    Raises:
        StudyError: the paper's tables are absent.
    """
    counts = read_table(results, "published_counts.csv", dtype=str)
    counts = counts[counts["count"] == "splits.test.images"]
    return Evidence(
        read_reported(results),
        {
            name: int(number)
            for name, number in zip(counts["set"], counts["published"], strict=True)
        },
        before(results, "bench"),
        before(results, "dials"),
        before(results, *OBJECTIVES_RUNS),
        before(results, "transfer", "better"),
        _raised(Path(results) / "similarity" / "scenes_distinct-tiny.json"),
    )


def _raised(measured: Path) -> pd.DataFrame:
    """What the dials raise to the tiny encoder, on the scenes that the dial experiment trains."""
    if not measured.is_file():
        return pd.DataFrame()
    return raised_similarity(by_dial(json.loads(measured.read_text("utf-8"))))


def ledger(results: Path) -> list[Claim]:
    """All claims, in the paper's order, from what lies below a ``results`` folder.

    Raises:
        StudyError: the paper's tables are absent.
    """
    evidence = read_evidence(results)
    printed = read_table(results, "claims.csv")
    claims = []
    for number, rows in printed.groupby("id"):
        rows_with = rows.dropna(subset="quantity")
        paper = dict(zip(rows_with["quantity"], rows_with["printed"].astype(float), strict=True))
        found = JUDGES[int(str(number))](evidence, paper)
        claims.append(Claim(int(str(number)), rows["claim"].iloc[0], **found))
    return claims


def write_ledger(results: Path, path: Path) -> list[Claim]:
    """Write the ledger as JSON, whole or not at all."""
    claims = ledger(results)
    with whole_file(path) as temporary:
        text = json.dumps([asdict(claim) for claim in claims], indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return claims


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The claims as they were written."""
    found: list[dict[str, Any]] = json.loads(Path(path).read_text("utf-8"))
    return found


def _works(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """Not decided: the claim speaks of OpenAI's CLIP. The analogue's gain is told beside it."""
    over = leads(evidence.reported)
    over = over[over["over"] == "zero-shot CLIP"]
    framework, zero, plain = (
        evidence.compared(*arm)
        for arm in (("mrs-adapter", "hmmc"), ("zero-shot",), ("mrs-adapter", "infonce"))
    )
    if not (framework and zero and plain):
        return _open(paper, "The runs of the analogue are not on this record.")
    elsewhere = (
        evidence.compared("mrs-adapter", "hmmc", data=FIRST),
        evidence.compared("zero-shot", data=FIRST),
    )
    longer = (
        evidence.runs("compare", "mrs-adapter", "hmmc"),
        evidence.runs("compare", "zero-shot", "infonce"),
    )
    also = [sides for sides in (elsewhere, longer) if all(sides)]
    pools = [evidence.pool(FIRST) if sides is elsewhere else None for sides in also]
    gain, without, *others = corrected(
        [
            compare(framework, zero, pool=evidence.pool()),
            compare(framework, plain, pool=evidence.pool()),
            *(compare(*sides, pool=pool) for sides, pool in zip(also, pools, strict=True)),
        ]
    )
    told = "; ".join(
        f"{_setting(ours)}: {_said(found)}" for (ours, _), found in zip(also, others, strict=True)
    )
    told = f"In other trainings: {told}. " if told else ""
    return {
        "paper": dict(paper) | _by_set("lead over zero-shot CLIP", over),
        "records": _ids(framework, zero, plain, *(side for sides in also for side in sides)),
        "measure": "mean recall of MRS adapter + HMMC less zero-shot, points, in the analogue",
        "estimate": _round(gain.estimate),
        "interval": _interval(gain),
        "verdict": "cannot be tested here",
        "reason": (
            "The claim is about OpenAI's CLIP, whose weights this record does not have. In the "
            f"analogue ({_setting(framework)}) the framework gains {_said(gain)} points over "
            f"zero-shot. {told}HMMC less InfoNCE, both on this adapter, is {_said(without)} "
            f"({seeds_of(framework)} against {seeds_of(plain)}) after {steps_of(framework)}; that "
            "number of steps and the recipe are part of this difference."
        ),
    }


def _answers_similarity(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """HMMC less its control where both dials are raised, for each form; Holm over these tests.

    The claim is about likeness, so the change of the gain along the dials decides. Holds: it rises
    in each form, and there is a gain at their end. Holds in part: it rises in one. Does not hold:
    it falls in one and rises in none. Else it was tested and is open.
    """
    gained = gains(evidence.dials)
    both = gained[gained["raised"] == "both"]
    along, at = slopes(both).set_index("form"), curves(both).set_index(["form", "position"])
    if set(along.index) != set(CONTROLLED):
        return _open(paper, "The experiment with generated scenes is not complete on this record.")
    end = at.loc[[(form, DIALS[-1]) for form in along.index]].reset_index("position")
    p = holm([*along["p"], *end["p"]])
    values = [*along["slope"], *end["mean"]]
    above = [value > 0 and q <= 0.05 for value, q in zip(values, p, strict=True)]
    below = [value < 0 and q <= 0.05 for value, q in zip(values, p, strict=True)]
    rises, falls = above[: len(along)], below[: len(along)]
    verdict: Verdict = "tested, open"
    if all(above):
        verdict = "holds"
    elif any(rises):
        verdict = "holds in part"
    elif any(falls):
        verdict = "does not hold"
    first = along.loc["hinge"]
    parts = []
    for form in end.index:
        parts.append(
            f"{form} form: change along the dials {_span(along.loc[form], 'slope')} points, gain "
            f"at their end {_span(end.loc[form], 'mean')}"
        )
    reason = (
        f"Tested on generated scenes with {first['seeds']:.0f} seeds, against a control that "
        f"embeds two views, too. {'; '.join(parts)}. After Holm's correction {sum(rises)} of "
        f"{len(rises)} changes are shown to be above zero and {sum(falls)} below it, and "
        f"{sum(above) - sum(rises)} of {len(end)} gains at the end above and "
        f"{sum(below) - sum(falls)} below. "
    )
    if not any(rises) and not any(falls):
        reason += (
            "Whether the gain depends on likeness is open: the intervals say what is excluded."
        )
    sides = {
        form: [evidence.runs("hmmc", "mrs-adapter", name) for name in names]
        for form, names in CONTROLLED.items()
    }
    sides = {form: runs for form, runs in sides.items() if all(runs)}
    used = [run for hmmc, control in sides.values() for run in _ids(hmmc, control)]
    judged = corrected([compare(hmmc, control) for hmmc, control in sides.values()])
    real = [
        f"the {form} form gains {_said(found)} points over its control, which reaches "
        f"{mean_recall(control):.1f} % ({_setting(hmmc)})"
        for (form, (hmmc, control)), found in zip(sides.items(), judged, strict=True)
    ]
    if len(evidence.raised):
        near = evidence.raised.set_index(["raised", "modality", "measure"]).loc["both"]
        ends = " and ".join(
            f"of a {word} and its nearest other goes from {ends.at_0:.2f} to {ends.at_1:.2f}"
            for word, ends in (
                ("picture", near.loc[("image", "nearest")]),
                ("caption", near.loc[("text", "nearest")]),
            )
        )
        reason += (
            " The dials are positions of a generator: as the tiny encoder sees it, the mean cosine "
            f"{ends}, over the whole set. How hard the hardest negatives of a batch are was not "
            "measured."
        )
    if real:
        reason += f" On real pictures {' and '.join(real)}."
    return {
        "paper": dict(paper),
        "records": sorted({*both["hmmc_id"], *both["control_id"]}) + used,
        "measure": "change of HMMC's gain over its control as both dials go from end to end, "
        "points, hinge form",
        "estimate": _round(first["slope"]),
        "interval": _interval(first),
        "verdict": verdict,
        "reason": reason.strip(),
    }


def _size(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """Counted on the paper's encoder; holds if it rounds to the printed figure."""
    trained, _ = _counted()
    printed = paper["trained_parameters_millions"]
    same = round(trained / 1e6, _decimals(printed)) == printed
    return {
        "paper": dict(paper),
        "records": RECOMPUTED,
        "measure": "trained parameters",
        "estimate": trained,
        "interval": None,
        "verdict": "holds" if same else "does not hold",
        "reason": f"Counted on {PAPERS_ENCODER}: {trained:,} parameters, in one instance for all "
        "blocks of both towers.",
    }


def _reduction(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """Counted; holds if it rounds to the printed figure, in part if the reduction is larger."""
    trained, full = _counted()
    found, printed = 100 * (1 - trained / full), paper["reduction_percent"]
    verdict = "does not hold"
    if round(found, _decimals(printed)) == printed:
        verdict = "holds"
    elif found > printed:
        verdict = "holds in part"
    return {
        "paper": dict(paper),
        "records": RECOMPUTED,
        "measure": "trained parameters saved against full fine-tuning, %",
        "estimate": round(found, 2),
        "interval": None,
        "verdict": verdict,
        "reason": f"{trained:,} of {full:,} parameters are {100 - found:.2f} %, a reduction of "
        f"{found:.2f} %: {_beside(found, printed)} {printed} %.",
    }


def _beside(found: float, printed: float) -> str:
    if round(found, _decimals(printed)) == printed:
        return "the printed"
    return f"{'more' if found > printed else 'less'} than the printed"


def _beats_traditional(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """Not decided: the rivals' rows are quoted from models trained by others on other backbones.

    What the analogue says is told: against VSE++ as a network of its own, and against its objective
    on the towers that the adapter has, all of them trained.
    """
    over = leads(evidence.reported)
    over = over[over["over"] == "best traditional"]
    least, most = over["points"].min(), over["points"].max()
    follows = round(least) == paper["least_lead"] and round(most) == paper["largest_lead"]
    printed = dict(paper) | _by_set("lead over the best traditional row", over)
    reason = (
        f"The range {'follows' if follows else 'does not follow'} from the paper's tables as "
        f"points of mean recall{', not as percent' * follows}. But the rivals' rows come from "
        "other image and word encoders: they compare backbones as much as methods. "
    )
    framework = evidence.compared("mrs-adapter", "hmmc")
    own = evidence.compared("full", "hinge", "cnn-gru")
    same = evidence.compared("full", "hinge")
    if not (framework and own and same):
        return {**_open(printed, reason + "The runs of the analogue are not on this record.")}
    pool = evidence.pool()
    apart, level = corrected([compare(framework, other, pool=pool) for other in (own, same)])
    lesson = ""
    if apart.low > 0 >= level.low:
        left = "there is no lead"
        if level.word == "open":
            left = f"a lead is open: the framework is {level.excluded()}"
        lesson = f" Over the same towers, all of them trained, {left}."
    return {
        "paper": printed,
        "records": _ids(framework, own, same),
        "measure": "mean recall of MRS adapter + HMMC less VSE++'s objective on the same towers, "
        "all trained, points, in the analogue",
        "estimate": _round(level.estimate),
        "interval": _interval(level),
        "verdict": "cannot be tested here",
        "reason": (
            f"{reason}In the analogue ({_setting(framework)}) the paper's framework less VSE++ "
            f"as a network of its own ({seeds_of(own)}), which reaches {mean_recall(own):.1f} %, "
            f"is {_said(apart)}, and less VSE++'s objective on the very towers that the adapter "
            f"sits on ({seeds_of(same)}) {_said(level)}.{lesson}"
        ),
    }


def _as_good_as_full(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """Not decided: one run a method is printed, of another encoder. The analogue is told."""
    over = leads(evidence.reported)
    over = over[over["over"] == "full fine-tuning"]
    adapter, full = evidence.compared("mrs-adapter"), evidence.compared("full")
    framework = evidence.compared("mrs-adapter", "hmmc")
    if not (adapter and full and framework):
        return _open(paper, "The runs of the analogue are not on this record.")
    there, looks = (
        [of("mrs-adapter"), of("full")]
        for of in (partial(evidence.compared, data=FIRST), evidence.on_first)
    )
    heads = [
        evidence.compared("mrs-adapter", train_heads=True),
        evidence.compared("mrs-adapter", train_heads=True, data=FIRST),
        evidence.on_first("mrs-adapter", train_heads=True),
    ]
    full_with = evidence.compared("full", "hmmc")
    headed_with = evidence.compared("mrs-adapter", "hmmc", train_heads=True) if full_with else []
    here, first = evidence.pool(), evidence.pool(FIRST)
    asked: dict[str, tuple[Runs, Runs, SeedSpread | None]] = {
        "framework": (framework, full, here),
        "adapter": (adapter, full, here),
        "there": (there[0], there[1], first),
        "looks": (looks[0], looks[1], None),
        "heads": (heads[0], full, here),
        "heads there": (heads[1], there[1], first),
        "heads looks": (heads[2], looks[1], None),
        "with": (framework, full_with, here),
        "headed with": (headed_with, full_with, here),
    }
    asked = {name: sides for name, sides in asked.items() if sides[0] and sides[1]}
    contrasts = [compare(ours, whole, pool=pool) for ours, whole, pool in asked.values()]
    found = dict(zip(asked, corrected(contrasts), strict=True))

    def in_setting(name: str) -> str:
        ours, whole, _ = asked[name]
        return f"{_said(found[name])} in {_setting(ours)} against {seeds_of(whole)}"

    elsewhere = "".join(f"; {in_setting(name)}" for name in ("there", "looks") if name in found)
    with_heads = "; ".join(in_setting(name) for name in asked if name.startswith("heads"))
    if with_heads:
        with_heads = (
            "With the heads trained, too, as full fine-tuning's are, its distance to full "
            f"fine-tuning is {with_heads}. "
        )
    alike = ""
    if full_with:
        alike = (
            f"Against full fine-tuning with HMMC, too ({seeds_of(full_with)}), the framework is "
            f"{_said(found['with'])}"
        )
        if headed_with:
            alike += (
                f", and with its heads trained as well ({seeds_of(headed_with)}) "
                f"{_said(found['headed with'])}"
            )
        alike += ". "
    gap = smallest_gap(adapter, full, pool=here)
    return {
        "paper": dict(paper) | _by_set("lead over full fine-tuning", over),
        "records": _ids(adapter, full, framework, full_with, headed_with, *there, *looks, *heads),
        "measure": "mean recall of MRS adapter + HMMC less full fine-tuning, points, in the "
        "analogue",
        "estimate": _round(found["framework"].estimate),
        "interval": _interval(found["framework"]),
        "verdict": "cannot be tested here",
        "reason": (
            f"The printed differences run from {over['points'].min():+.2f} to "
            f"{over['points'].max():+.2f} points, of one run each, without seeds or intervals, on "
            "an encoder that this record does not have. In the analogue "
            f"({_setting(framework)}) the paper's framework less full fine-tuning with InfoNCE is "
            f"{_said(found['framework'])}; how far HMMC is behind InfoNCE depends on the number "
            "of steps and on the recipe. The adapter alone, with InfoNCE as well "
            f"({seeds_of(adapter)} and {seeds_of(full)}), is {_said(found['adapter'])} from "
            f"it{elsewhere}. {with_heads}{alike}The words are corrected over this claim's "
            f"{len(found)} contrasts. Comparable is a claim that needs an equivalence "
            f"test: these runs on UCM-Captions miss even a true gap of {gap:.1f} points between "
            "the adapter and full fine-tuning, both by InfoNCE, one time in five."
        ),
    }


def _benchmarks(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """Counted in the tables; holds if no method known then is missing and all rows can be runs."""
    rivals = evidence.reported[evidence.reported["group"] == "petl"]
    names = list(dict.fromkeys(rivals.loc[rivals["method"] != "Ours", "method"]))
    missing = [name for name in KNOWN if name.lower() not in {n.lower() for n in names}]
    cells = granularity(evidence.reported, evidence.test_images)
    cells = cells[cells["group"] == "petl"]
    odd = int((cells["impossible"] > 0).sum())
    sound = not missing and not odd
    lacking = ""
    if missing:
        lacking = f"{len(missing)} that were known then are missing: {', '.join(missing)}. "
    return {
        "paper": dict(paper),
        "records": RECOMPUTED,
        "measure": "PETL methods compared with",
        "estimate": len(names),
        "interval": None,
        "verdict": "holds" if sound else "holds in part" if names else "does not hold",
        "reason": (
            f"The tables compare with {len(names)} PETL methods ({', '.join(names)}), each as one "
            f"row a set without spread. {lacking}In {odd} of the {len(cells)} PETL rows at least "
            "one recall "
            "cannot come from one run on a test set of the stated size."
        ),
    }


def _saves(evidence: Evidence, paper: Mapping[str, float]) -> dict[str, Any]:
    """The memory of gradients and Adam's moments is counted; no time, memory or energy is printed.

    Holds in part if that memory shrinks to less than half: a claim of cost needs more than it.
    """
    trained, full = _counted()
    saved = BYTES * (full - trained)
    return {
        "paper": dict(paper),
        "records": RECOMPUTED,
        "measure": "memory of gradients and Adam's moments saved, GB in fp32",
        "estimate": round(saved / 1e9, 2),
        "interval": None,
        "verdict": "holds in part" if trained < full / 2 else "does not hold",
        "reason": (
            "The paper prints trained parameters and no time, memory, operations or energy. What "
            f"follows from the count is {saved / 1e9:.2f} GB less for gradients and Adam's moments "
            f"({BYTES * trained / 1e6:.1f} MB instead of {BYTES * full / 1e9:.2f} GB). Time, "
            "activations and energy do not follow from it, and HMMC embeds every batch twice: the "
            "chapter on costs counts and measures them."
        ),
    }


JUDGES: dict[int, Callable[[Evidence, Mapping[str, float]], dict[str, Any]]] = dict(
    enumerate(
        (
            _works,
            _answers_similarity,
            _size,
            _reduction,
            _beats_traditional,
            _as_good_as_full,
            _benchmarks,
            _saves,
        ),
        start=1,
    )
)


def as_markdown(claim: Mapping[str, Any]) -> str:
    """A claim of the ledger as a section of the page."""
    lines = [
        f"### {claim['id']}. {claim['claim']}",
        "",
        f"**Verdict: {claim['verdict']}.** {claim['reason']}",
        "",
    ]
    if claim["estimate"] is not None:
        value = f"{claim['estimate']:,}"
        if claim["interval"]:
            low, high = claim["interval"]
            value += f" ({low:+} to {high:+})"
        measure = claim["measure"][0].upper() + claim["measure"][1:]
        lines.append(f"- *{measure}*: {value}")
    for quantity, printed in claim["paper"].items():
        lines.append(f"- *The paper's {quantity.replace('_', ' ')}*: {printed:g}")
    runs = claim["records"]
    if isinstance(runs, str):
        lines.append(f"- *Source*: {runs}")
    else:
        shown = ", ".join(f"`{run}`" for run in runs[:SHOWN])
        more = " and others, all in `book/claims.json`" if len(runs) > SHOWN else ""
        lines.append(f"- *Records*: {shown}{more}")
    return "\n".join(lines) + "\n"


SHOWN = 6  # record ids; a page of hundreds helps nobody


def _open(paper: Mapping[str, float], reason: str) -> dict[str, Any]:
    """What a claim gets as long as nothing was measured."""
    return {
        "paper": dict(paper),
        "records": RECOMPUTED,
        "measure": "nothing yet",
        "estimate": None,
        "interval": None,
        "verdict": "cannot be tested here",
        "reason": reason,
    }


def _counted() -> tuple[int, int]:
    """Parameters that the MRS adapter trains on the paper's encoder, and those of full tuning."""
    found = []
    for method in ("mrs-adapter", "full"):
        encoder = create(PAPERS_ENCODER, meta=True)
        attach(encoder, create_method(method))
        found.append(count_trained(encoder).total)
    return found[0], found[1]


def _by_set(what: str, over: pd.DataFrame) -> dict[str, float]:
    points = zip(over["dataset"], over["points"], strict=True)
    return {f"{what}, {SETS[name]}": float(lead) for name, lead in points}


def _ids(*sides: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({record["id"] for side in sides for record in side})


def _setting(runs: Sequence[Mapping[str, Any]]) -> str:
    """Where some runs were done, in words."""
    config = runs[0]["config"]
    epochs = config["recipe"]["epochs"]
    trained = f"{epochs} epoch{'s' * (epochs > 1)} ({steps_of(runs)}), {seeds_of(runs)}"
    return (
        f"{config['encoder']}, {SETS.get(config['data'], config['data'])}, "
        f"{config['image_size']} px, {trained}"
    )


def steps_of(runs: Sequence[Mapping[str, Any]]) -> str:
    """How many optimizer steps each of some runs took, in words."""
    steps = sorted({record["cost"]["steps"] for record in runs})
    return f"{' to '.join(f'{number:,}' for number in steps)} steps"


def seeds_of(runs: Sequence[Mapping[str, Any]]) -> str:
    """How many, in words."""
    return f"{len(runs)} seed{'s' * (len(runs) > 1)}"


def mean_recall(runs: Sequence[Mapping[str, Any]]) -> float:
    """Over the runs of an arm, percent."""
    return float(sum(record["scores"]["mean_recall"] for record in runs) / len(runs))


def _said(contrast: Contrast) -> str:
    interval = f"{contrast.low:+.1f} to {contrast.high:+.1f}"
    return f"{contrast.estimate:+.1f} ({interval}; {contrast.word})"


def _span(row: pd.Series, of: str) -> str:
    return f"{row[of]:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"


def _interval(found: Contrast | pd.Series) -> tuple[float, float]:
    low, high = (found.low, found.high)
    return _round(low), _round(high)


def _round(value: float) -> float:
    return round(float(value), 2)


def _decimals(printed: float) -> int:
    return len(str(printed).partition(".")[2])
