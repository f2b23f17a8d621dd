"""Every table of the book, made anew from the committed records alone, and what each came from.

Nothing here trains, counts on an encoder or looks at a set: a fresh clone is enough.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rsstudy.data.audit import beside_published
from rsstudy.errors import StudyError
from rsstudy.experiments.arms import only, recorded
from rsstudy.experiments.compare import holm
from rsstudy.experiments.cost import Use
from rsstudy.experiments.record import AGAIN, CHOICES, RUNS, before, choices_before, records_before
from rsstudy.files import NOTE, whole_file
from study.comparison import on_validation, side_by_side
from study.cost_tables import (
    abstract_claims,
    against_targets,
    break_even,
    energy,
    held_in_a_step,
    measured_steps,
    paper_scale,
    read_counted,
)
from study.cost_tables import read_benchmarks as read_speed
from study.dials import gains, slopes
from study.front_page import picture_table
from study.machines import held_by_each, on_two_machines, read_tally
from study.machines import side_by_side as processes_side_by_side
from study.published import granularity, read_reported, unsound_means
from study.similarity import headlines
from study.suites import BENCHMARK_RUNS, LARGER, OBJECTIVES_RUNS, SCALES, arms, every_seed
from study.updates import updates
from study.verdicts import others_beside, pictures_tested, trained_runs

# The figures and the text of a chapter come from the same records as its tables.
CHAPTERS = {
    "data": "01_data",
    "adapter": "02_adapter",
    "hmmc": "03_hmmc",
    "comparison": "04_comparison",
    "costs": "05_costs",
    "claims": "claims",
    "machines": "07_machines",
    "updates": "09_updates",
    "better": "10_better",
    "answer": "index",
}

# Where the runs of the suite better lie; some are further seeds of arms of the benchmark, and some
# the suite transfer's.
FRESH_RUNS = ("better", "seeds", "transfer")


@dataclass(frozen=True)
class Table:
    """One table: its chapter, what it shows, and how it is made from the folder of results."""

    chapter: str
    what: str
    make: Callable[[Path], pd.DataFrame]


def _counts(results: Path) -> pd.DataFrame:
    published = pd.read_csv(results / "published_counts.csv", dtype=str)
    return beside_published(published, _all(results / "data"))


def _near(results: Path) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "sets": " and ".join(found["pictures"]),
                "pairs_compared": found["pairs_compared"],
                "near_duplicate_pairs": found["near_duplicate_pairs"],
                **{
                    f"altered_found: {how}": share
                    for how, share in found["altered_copies_found"].items()
                },
            }
            for found in _all(results / "near")
        ]
    )


def _similarity(results: Path) -> pd.DataFrame:
    files = sorted((results / "similarity").glob("*.json"))
    return pd.concat(
        [headlines(json.loads(file.read_text())).assign(measured=file.stem) for file in files],
        ignore_index=True,
    )


def _runs(folder: str) -> Callable[[Path], pd.DataFrame]:
    def make(results: Path) -> pd.DataFrame:
        table = before(results, folder).drop(columns=["record"])
        return table.sort_values(["data", "label", "objective_label", "seed"], ignore_index=True)

    return make


def _searches(folder: str) -> Callable[[Path], pd.DataFrame]:
    return lambda results: choices_before(results, folder)


def _slopes(results: Path) -> pd.DataFrame:
    found = slopes(gains(before(results, "dials")))
    return found.assign(corrected=holm(list(found["p"])))


def benchmark_runs(results: Path, data: str, train_heads: bool) -> pd.DataFrame:
    """The runs of the suite benchmark on one set, all their seeds; see ``recorded``."""
    rows = [
        arm
        for arm in only(arms("benchmark", "short"), [data], [], [])
        if arm.run.train_heads == train_heads
    ]
    return every_seed(rows, before(results, *BENCHMARK_RUNS))


def larger_runs(results: Path) -> pd.DataFrame:
    """The arms of the suite objectives at the paper's image size, all seeds; see ``recorded``."""
    rows = only([*arms("benchmark", "short"), *arms("objectives", "short")], ["ucm"], [], [])
    found = every_seed(rows, before(results, LARGER))
    return found.drop_duplicates("id")  # of arms that both suites have


def _larger(results: Path) -> pd.DataFrame:
    reported = read_reported(results).query("dataset == 'ucm'")
    return side_by_side(larger_runs(results), reported).drop(columns=["records"])


def twice(results: Path) -> pd.DataFrame:
    """What was run on a processor and on a GPU; see ``on_two_machines``."""
    runs = before(results, *BENCHMARK_RUNS)
    return on_two_machines(runs, before(results, "twice"))


def _comparison(train_heads: bool) -> Callable[[Path], pd.DataFrame]:
    def make(results: Path) -> pd.DataFrame:
        reported = read_reported(results)
        parts = []
        for data in SCALES["short"].data:
            found = benchmark_runs(results, data, train_heads)
            if len(found):
                of = side_by_side(found, reported[reported["dataset"] == data])
                parts.append(of.drop(columns=["records"]).assign(data=data))
        return pd.concat(parts, ignore_index=True)

    return make


def _counted(encoder: str) -> Callable[[Path], pd.DataFrame]:
    return lambda results: read_counted(results / "costs" / f"{encoder}.json").reset_index()


def _abstract(results: Path) -> pd.DataFrame:
    found = read_speed(results / "benchmarks")
    counted = read_counted(results / "costs" / "ViT-B-32.json")
    return abstract_claims(counted, measured_steps(found["steps"]), found["others"])


def _targets(results: Path) -> pd.DataFrame:
    counted = read_counted(results / "costs" / "vits14-minilm.json")
    return against_targets(read_speed(results / "benchmarks"), counted)


def _steps(results: Path) -> pd.DataFrame:
    return measured_steps(read_speed(results / "benchmarks")["steps"]).reset_index()


def _held(results: Path) -> pd.DataFrame:
    counted = read_counted(results / "costs" / "vits14-minilm.json")
    record = read_speed(results / "benchmarks")["steps"]
    return held_in_a_step(counted, measured_steps(record), record["settings"]["batch"])


def epoch_pairs(results: Path) -> int:
    """The pairs of an epoch of UCM-Captions, for which energy is told: one a training picture."""
    checked = json.loads((results / "data" / "ucm.json").read_text("utf-8"))
    return int(checked["splits"]["train"]["images"])


def _energy(results: Path) -> pd.DataFrame:
    steps = measured_steps(read_speed(results / "benchmarks")["steps"])
    return energy(steps, epoch_pairs(results)).reset_index()


def _pays(results: Path) -> pd.DataFrame:
    counted = read_counted(results / "costs" / "ViT-B-32.json")
    steps = measured_steps(read_speed(results / "benchmarks")["steps"])
    return break_even(counted, steps, Use()).rename_axis("name").reset_index()


def _sharding(results: Path) -> pd.DataFrame:
    encoders = ("ViT-B-32", "ViT-L-14", "ViT-H-14")
    return held_by_each(
        {name: read_counted(results / "costs" / f"{name}.json") for name in encoders}, batch=32
    )


def _hmmc(results: Path) -> pd.DataFrame:
    table = before(results, "bench")
    return recorded(only(arms("hmmc", "short"), ["ucm"], [], []), table).drop(columns=["record"])


def objectives_runs(results: Path) -> pd.DataFrame:
    """The runs of the suite objectives on UCM-Captions, all their seeds; see ``recorded``."""
    table = before(results, *OBJECTIVES_RUNS)
    return every_seed(only(arms("objectives", "short"), ["ucm"], [], []), table)


def _objectives(results: Path) -> pd.DataFrame:
    return objectives_runs(results).drop(columns=["record"])


def _printed(results: Path) -> pd.DataFrame:
    return granularity(read_reported(results), pictures_tested(results))


def _means(results: Path) -> pd.DataFrame:
    return unsound_means(read_reported(results))


def _two(results: Path) -> pd.DataFrame:
    return processes_side_by_side(read_speed(results / "benchmarks")["two-processes"])


def _kills(results: Path) -> pd.DataFrame:
    tally = read_tally(results / "robustness" / "kills.json")
    return pd.DataFrame(tally["where the kills fell"].items(), columns=["where", "kills"])


def _fuzz(results: Path) -> pd.DataFrame:
    return pd.DataFrame(read_tally(results / "robustness" / "fuzz.json")["rows"]).fillna(0)


def _updates(results: Path) -> pd.DataFrame:
    return updates(before(results, "transfer", *BENCHMARK_RUNS))


def _candidates(results: Path) -> pd.DataFrame:
    rows = arms("candidates", "short")
    tried = on_validation(rows, records_before(results, "candidates", "benchmark"))
    return tried.drop(columns=["record"])


def _better(results: Path) -> pd.DataFrame:
    table = before(results, *FRESH_RUNS)
    return recorded(arms("better", "short"), table).drop(columns=["record"])


def _others(results: Path) -> pd.DataFrame:
    found = others_beside(trained_runs(results, *OBJECTIVES_RUNS), "ucm")
    return pd.DataFrame(
        [
            {"name": name, **asdict(contrast), "word": contrast.word}
            for name, contrast in found.items()
        ]
    )


TABLES: dict[str, Table] = {
    "counts": Table("data", "published counts beside those found", _counts),
    "near-duplicates": Table("data", "near-duplicate pictures", _near),
    "similarity": Table("data", "how alike pictures and captions are", _similarity),
    "searched-runs": Table("adapter", "every run of the suites compare and hmmc", _runs("bench")),
    "searches": Table("adapter", "what their searches compared", _searches("bench")),
    "hmmc": Table("hmmc", "HMMC, its forms and controls on real pictures", _hmmc),
    "objectives": Table("hmmc", "HMMC and InfoNCE for all that is trained", _objectives),
    "objectives-searches": Table("hmmc", "what its searches compared", _searches("objectives")),
    "dials": Table("hmmc", "HMMC's gain along the dials", _slopes),
    "dials-runs": Table("hmmc", "every run of the dial experiment", _runs("dials")),
    "comparison": Table("comparison", "all methods, frozen heads", _comparison(False)),
    "comparison-heads": Table("comparison", "all methods, trained heads", _comparison(True)),
    "comparison-runs": Table("comparison", "every run of it", _runs("benchmark")),
    "comparison-seeds": Table("comparison", "further seeds of some arms", _runs("seeds")),
    "comparison-rsicd": Table("comparison", "every run of it on RSICD", _runs("rsicd")),
    "comparison-224": Table("comparison", "the main arms at 224 px", _larger),
    "comparison-224-runs": Table("comparison", "every run at 224 px", _runs(LARGER)),
    "comparison-searches": Table(
        "comparison", "what its searches compared", _searches("benchmark")
    ),
    "costs-ViT-B-32": Table("costs", "counted on ViT-B/32", _counted("ViT-B-32")),
    "costs-ViT-L-14": Table("costs", "counted on ViT-L/14", _counted("ViT-L-14")),
    "costs-vits14-minilm": Table(
        "costs", "counted on the bench encoder", _counted("vits14-minilm")
    ),
    "costs-abstract": Table("costs", "the abstract's three numbers", _abstract),
    "costs-steps": Table("costs", "training steps, at one speed of the machine", _steps),
    "costs-held": Table("costs", "what a step holds beside what was counted", _held),
    "costs-energy": Table("costs", "energy of an epoch of UCM-Captions", _energy),
    "costs-pays": Table("costs", "from when an adapter pays", _pays),
    "costs-paper-scale": Table(
        "costs",
        "what the suites take at paper scale",
        lambda results: paper_scale(results / "plans" / "paper.json"),
    ),
    "costs-targets": Table("costs", "speeds beside what they are held to", _targets),
    "updates": Table("updates", "what updates are worth, cost and make forgotten", _updates),
    "updates-runs": Table("updates", "every run of the suite transfer", _runs("transfer")),
    "candidates": Table("better", "what was tried, on validation", _candidates),
    "better": Table("better", "the chosen candidate and the paper's adapter, fresh seeds", _better),
    "answer": Table("answer", "the front page's picture", picture_table),
    "answer-others": Table("answer", "other small parts less the paper's adapter", _others),
    "printed-recalls": Table("claims", "printed recalls that no one run can give", _printed),
    "printed-means": Table("claims", "printed means that do not follow from their rows", _means),
    "sharding": Table("machines", "what there is to shard", _sharding),
    "two-processes": Table("machines", "losses of one and of two processes", _two),
    "twice": Table("comparison", "runs done on a processor and on a GPU", twice),
    "kills": Table("machines", "where kills fell", _kills),
    "fuzz": Table("machines", "damaged files, by reader", _fuzz),
}


def report(results: Path, out: Path) -> pd.DataFrame:
    """Write every table to ``out/NAME.csv``, and to ``out/provenance.csv`` what each was made from.

    Returns:
        the provenance; see ``provenance``.

    Raises:
        StudyError: a record is absent or damaged; the file system refused.
    """
    made = provenance(results, lambda name, table: _write(table, Path(out) / f"{name}.csv"))
    _write(made, Path(out) / "provenance.csv")
    return made


def provenance(
    results: Path, use: Callable[[str, pd.DataFrame], Any] = lambda name, table: None
) -> pd.DataFrame:
    """Make every table, and list the files below ``results`` that were read for it.

    Args:
        use: called with each table's name and the table.

    Returns:
        a row a table and file: table, chapter, file, commit, dirty (whether the package had changes
        then), machine, seconds (of a run, training and all) and identity (of a run).

    Raises:
        StudyError: a record is absent or damaged.
    """
    results = Path(results).resolve()
    if not results.is_dir():
        raise StudyError(f"{results} is no folder of results: name one with --results")
    rows: list[dict[str, Any]] = []
    facts: dict[Path, dict[str, Any]] = {}
    for name, table in TABLES.items():
        with opened_below(results) as files:
            try:
                made = table.make(results)
            except (OSError, KeyError, ValueError) as problem:
                raise StudyError(f"table {name} cannot be made: {problem!r}") from None
        use(name, made)
        for file in sorted(files):
            if file not in facts:
                facts[file] = _facts(file)
            rows.append(
                {
                    "table": name,
                    "chapter": CHAPTERS[table.chapter],
                    "file": file.relative_to(results).as_posix(),
                    **facts[file],
                }
            )
    return pd.DataFrame(rows)


def by_table(made: pd.DataFrame) -> pd.DataFrame:
    """``provenance`` with a row a table: files, runs, hours of running, commits, machines."""
    rows = []
    for name, files in made.groupby("table", sort=False):
        commits = sorted({str(c)[:7] for c in files["commit"].dropna()})
        rows.append(
            {
                "chapter": files["chapter"].iloc[0],
                "table": name,
                "what": TABLES[str(name)].what,
                "files": len(files),
                "runs": int(files["identity"].notna().sum()),
                "hours": files["seconds"].sum() / 3600,
                "commits": ", ".join(commits[:3])
                + (f" and {len(commits) - 3} more" if len(commits) > 3 else ""),
                "machines": "; ".join(sorted(set(files["machine"].dropna()))),
            }
        )
    return pd.DataFrame(rows)


_watched: ContextVar[tuple[Path, set[Path]] | None] = ContextVar("_watched", default=None)


# Records and choices are read together, and noted where a table takes them.
NOTED = (RUNS, AGAIN, CHOICES)


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    watched = _watched.get()
    if watched is None or event not in ("open", NOTE):
        return
    if isinstance(arguments[0], (str, Path)):
        path, (folder, files) = Path(arguments[0]), watched
        below = path.is_absolute() and path.is_relative_to(folder) and path.suffix
        if below and (event == NOTE or path.relative_to(folder).parts[0] not in NOTED):
            files.add(path)


sys.addaudithook(_notice)


@contextmanager
def opened_below(folder: Path) -> Iterator[set[Path]]:
    """Within the block, the files below a folder that were opened by their full path."""
    files: set[Path] = set()
    token = _watched.set((folder, files))
    try:
        yield files
    finally:
        _watched.reset(token)


def _all(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]


def _facts(file: Path) -> dict[str, Any]:
    """What a record says of its making; nothing of files that are no records."""
    content = json.loads(file.read_text("utf-8")) if file.suffix == ".json" else {}
    made = content.get("environment", {}) if isinstance(content, dict) else {}
    cost = content.get("cost", {}) if isinstance(content, dict) else {}
    threads = f", {made['threads']} threads" if made.get("device") == "cpu" else ""
    return {
        "commit": made.get("commit"),
        "dirty": made.get("dirty"),
        "machine": made["device_name"] + threads if "device_name" in made else None,
        "seconds": cost.get("wall_seconds"),
        "identity": content.get("identity") if "identity" in content else None,
    }


def _write(table: pd.DataFrame, path: Path) -> None:
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
