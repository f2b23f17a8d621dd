"""Every table of the book, made anew from the committed records alone, and what each came from.

Nothing here trains, counts on an encoder or looks at a set: a fresh clone is enough.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
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
from study import cost_tables as costs
from study import machines
from study.beside_full import less_full, less_full_by_share
from study.comparison import on_validation, side_by_side
from study.decisive import looks
from study.descriptive import class_correlations, class_table, transfer
from study.dials import gains, slopes
from study.front_page import picture_table
from study.planned import convergence, progress, rates_tried
from study.published import granularity, read_reported, read_table, unsound_means
from study.robustness import robustness_table
from study.similarity import headlines
from study.suites import BENCHMARK_RUNS, LARGER, OBJECTIVES_RUNS, SCALES, arms, every_seed
from study.updates import updates
from study.verdicts import others_beside, pictures_tested, trained_runs

# Where the runs of the suite better lie; some are further seeds of arms of the benchmark, and some
# the suite transfer's.
FRESH_RUNS = ("better", "seeds", "transfer")
BENCH = "vits14-minilm"


Make = Callable[[Path], pd.DataFrame]


def benchmark_runs(results: Path, data: str, train_heads: bool) -> pd.DataFrame:
    """The runs of the suite benchmark on one set, all their seeds; see ``recorded``."""
    rows = only(arms("benchmark", "short"), [data], [], [])
    rows = [arm for arm in rows if arm.run.train_heads == train_heads]
    return every_seed(rows, before(results, *BENCHMARK_RUNS))


def objectives_runs(results: Path) -> pd.DataFrame:
    """The runs of the suite objectives on UCM-Captions, all their seeds; see ``recorded``."""
    rows = only(arms("objectives", "short"), ["ucm"], [], [])
    return every_seed(rows, before(results, *OBJECTIVES_RUNS))


def larger_runs(results: Path) -> pd.DataFrame:
    """The arms of the suite objectives at the paper's image size, all seeds; see ``recorded``."""
    rows = only([*arms("benchmark", "short"), *arms("objectives", "short")], ["ucm"], [], [])
    found = every_seed(rows, before(results, LARGER))
    return found.drop_duplicates("id")  # of arms that both suites have


def twice(results: Path) -> pd.DataFrame:
    """What was run on a processor and on a GPU; see ``machines.on_two_machines``."""
    return machines.on_two_machines(before(results, *BENCHMARK_RUNS), before(results, "twice"))


def epoch_pairs(results: Path) -> int:
    """The pairs of an epoch of UCM-Captions, for which energy is told: one a training picture."""
    checked = json.loads((results / "data" / "ucm.json").read_text("utf-8"))
    return int(checked["splits"]["train"]["images"])


def _counts(results: Path) -> pd.DataFrame:
    published = read_table(results, "published_counts.csv", dtype=str)
    return beside_published(published, _all(results / "data"))


def _near(results: Path) -> pd.DataFrame:
    rows = []
    for found in _all(results / "near"):
        row = {name: found[name] for name in ("pairs_compared", "near_duplicate_pairs")}
        altered = {f"altered_found: {h}": s for h, s in found["altered_copies_found"].items()}
        rows.append({"sets": " and ".join(found["pictures"]), **row, **altered})
    return pd.DataFrame(rows)


def _similarity(results: Path) -> pd.DataFrame:
    files = sorted((results / "similarity").glob("*.json"))
    parts = [headlines(json.loads(file.read_text())).assign(measured=file.stem) for file in files]
    return pd.concat(parts, ignore_index=True)


def _runs(suite: str) -> Make:
    order = ["data", "label", "objective_label", "seed"]
    return lambda results: before(results, suite).sort_values(order, ignore_index=True)


def _searches(suite: str) -> Make:
    return lambda results: choices_before(results, suite)


def _hmmc(results: Path) -> pd.DataFrame:
    rows = only(arms("hmmc", "short"), ["ucm"], [], [])
    return recorded(rows, before(results, "bench"))


def _better(results: Path) -> pd.DataFrame:
    return recorded(arms("better", "short"), before(results, *FRESH_RUNS))


def _dials(results: Path) -> pd.DataFrame:
    return slopes(gains(before(results, "dials"))).assign(corrected=lambda t: holm(list(t["p"])))


def _compared(results: Path, runs: pd.DataFrame, data: str) -> pd.DataFrame:
    reported = read_reported(results).query("dataset == @data")
    return side_by_side(runs, reported).drop(columns="records")


def _comparison(train_heads: bool) -> Make:
    def make(results: Path) -> pd.DataFrame:
        sets = SCALES["short"].data
        found = {data: benchmark_runs(results, data, train_heads) for data in sets}
        parts = [_compared(results, of, d).assign(data=d) for d, of in found.items() if len(of)]
        return pd.concat(parts, ignore_index=True)

    return make


def _counted(results: Path, encoder: str = "ViT-B-32") -> pd.DataFrame:
    return costs.read_counted(results / "costs" / f"{encoder}.json")


def _counted_on(encoder: str) -> Make:
    return lambda results: _counted(results, encoder)


def _speed(results: Path) -> dict[str, Any]:
    return costs.read_benchmarks(results / "benchmarks")


def _steps(results: Path) -> pd.DataFrame:
    return costs.measured_steps(_speed(results)["steps"])


def _share(results: Path) -> pd.DataFrame:
    gpu = costs.measured_steps(costs.read_benchmarks(results / "benchmarks", "cuda")["steps"])
    return costs.share_of_full(_counted(results), _steps(results), gpu).reset_index()


def _pays(results: Path) -> pd.DataFrame:
    found = costs.break_even(_counted(results), _steps(results), Use())
    return found.rename_axis("name").reset_index()


def _sharding(results: Path) -> pd.DataFrame:
    encoders = ("ViT-B-32", "ViT-L-14", "ViT-H-14")
    return machines.held_by_each({name: _counted(results, name) for name in encoders}, batch=32)


def _candidates(results: Path) -> pd.DataFrame:
    records = records_before(results, "candidates", "benchmark")
    return on_validation(arms("candidates", "short"), records)


def _others(results: Path) -> pd.DataFrame:
    found = others_beside(trained_runs(results, *OBJECTIVES_RUNS), "ucm")
    return pd.DataFrame([{"name": n, **asdict(of), "word": of.word} for n, of in found.items()])


def _printed(results: Path) -> pd.DataFrame:
    return granularity(read_reported(results), pictures_tested(results))


def _kills(results: Path) -> pd.DataFrame:
    tally = costs.read_measured(results / "robustness" / "kills.json", "kills", "tally")
    return pd.DataFrame(tally["where the kills fell"].items(), columns=["where", "kills"])


def _fuzz(results: Path) -> pd.DataFrame:
    tally = costs.read_measured(results / "robustness" / "fuzz.json", "rows", "tally")
    return pd.DataFrame(tally["rows"]).fillna(0)


# Page, name, what it shows, and how it is made from the folder of results.
TABLES: tuple[tuple[str, str, str, Make], ...] = (
    ("07_alike", "counts", "published counts beside those found", _counts),
    ("07_alike", "near-duplicates", "near-duplicate pictures", _near),
    ("07_alike", "similarity", "how alike pictures and captions are", _similarity),
    ("08_trained", "searched-runs", "every run of the suites compare and hmmc", _runs("bench")),
    ("08_trained", "searches", "what their searches compared", _searches("bench")),
    ("03_hmmc", "objectives", "HMMC and InfoNCE for all that is trained", objectives_runs),
    ("03_hmmc", "objectives-searches", "what its searches compared", _searches("objectives")),
    ("A6_new_record", "decisive-progress", "the plan beside what was done", progress),
    ("A6_new_record", "decisive-searches", "learning rates tried on validation", rates_tried),
    ("A6_new_record", "decisive-convergence", "which arms still gain", convergence),
    ("A6_new_record", "decisive-looks", "the primary contrasts at each look", looks),
    ("A6_new_record", "decisive-transfer", "trained on one set, tested on another", transfer),
    ("A6_new_record", "decisive-robustness", "altered pictures and captions", robustness_table),
    ("03_hmmc", "decisive-classes", "HMMC less InfoNCE by class", class_table),
    ("03_hmmc", "decisive-correlations", "its rank correlation with repeats", class_correlations),
    ("01_which_method", "comparison", "all methods, frozen heads", _comparison(False)),
    ("A1_all_methods", "comparison-heads", "all methods, trained heads", _comparison(True)),
    ("A1_all_methods", "comparison-runs", "every run of it", _runs("benchmark")),
    ("A1_all_methods", "comparison-seeds", "further seeds of some arms", _runs("seeds")),
    ("A1_all_methods", "comparison-rsicd", "every run of it on RSICD", _runs("rsicd")),
    (
        "A1_all_methods",
        "comparison-224",
        "the main arms at 224 px",
        lambda r: _compared(r, larger_runs(r), "ucm"),
    ),
    ("A1_all_methods", "comparison-224-runs", "every run at 224 px", _runs(LARGER)),
    ("A1_all_methods", "comparison-searches", "what its searches compared", _searches("benchmark")),
    (
        "02_adapter_or_full",
        "adapter-or-full",
        "the adapter less full fine-tuning, setting by setting",
        less_full,
    ),
    (
        "02_adapter_or_full",
        "adapter-or-full-shares",
        "the same by the share of the training pictures",
        less_full_by_share,
    ),
    ("04_savings", "costs-ViT-B-32", "counted on ViT-B/32", _counted_on("ViT-B-32")),
    ("04_savings", "costs-share", "every cost, of full fine-tuning's", _share),
    ("04_savings", "costs-pays", "from when an adapter pays", _pays),
    (
        "04_savings",
        "costs-paper-scale",
        "what the suites take at paper scale",
        lambda r: costs.paper_scale(r / "plans" / "paper.json"),
    ),
    ("A3_speed", "costs-ViT-L-14", "counted on ViT-L/14", _counted_on("ViT-L-14")),
    ("A3_speed", "costs-vits14-minilm", "counted on the bench encoder", _counted_on(BENCH)),
    ("A3_speed", "costs-steps", "training steps, at one speed of the machine", _steps),
    (
        "A3_speed",
        "costs-energy",
        "energy of an epoch of UCM-Captions",
        lambda r: costs.energy(_steps(r), epoch_pairs(r)),
    ),
    (
        "A3_speed",
        "costs-targets",
        "speeds beside what they are held to",
        lambda r: costs.against_targets(_speed(r), _counted(r, BENCH)),
    ),
    (
        "05_updates",
        "updates",
        "what updates are worth, cost and make forgotten",
        lambda r: updates(before(r, "transfer", *BENCHMARK_RUNS)),
    ),
    ("05_updates", "updates-runs", "every run of the suite transfer", _runs("transfer")),
    ("A4_better", "candidates", "what was tried, on validation", _candidates),
    ("A4_better", "better", "the chosen candidate and the paper's adapter, fresh seeds", _better),
    ("index", "answer", "the front page's picture", picture_table),
    ("index", "answer-others", "other small parts less the paper's adapter", _others),
    ("06_claims", "printed-recalls", "printed recalls that no one run can give", _printed),
    (
        "06_claims",
        "printed-means",
        "printed means that do not follow from their rows",
        lambda r: unsound_means(read_reported(r)),
    ),
    ("16_machines", "sharding", "what there is to shard", _sharding),
    (
        "16_machines",
        "two-processes",
        "losses of one and of two processes",
        lambda r: machines.losses_of_both(_speed(r)["two-processes"]),
    ),
    ("A1_all_methods", "twice", "runs done on a processor and on a GPU", twice),
    ("16_machines", "kills", "where kills fell", _kills),
    ("16_machines", "fuzz", "damaged files, by reader", _fuzz),
    ("A2_forms_and_dials", "hmmc", "HMMC, its forms and controls on real pictures", _hmmc),
    ("A2_forms_and_dials", "dials", "HMMC's gain along the dials", _dials),
    ("A2_forms_and_dials", "dials-runs", "every run of the dial experiment", _runs("dials")),
)


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
    for chapter, name, _, make in TABLES:
        with opened_below(results) as files:
            try:
                made = make(results).drop(columns="record", errors="ignore")
            except (OSError, KeyError, ValueError) as problem:
                raise StudyError(f"table {name} cannot be made: {problem!r}") from None
        use(name, made.reset_index() if made.index.name else made)
        for file in sorted(files):
            if file not in facts:
                facts[file] = _facts(file)
            where = file.relative_to(results).as_posix()
            rows.append({"table": name, "chapter": chapter, "file": where, **facts[file]})
    return pd.DataFrame(rows)


def by_table(made: pd.DataFrame) -> pd.DataFrame:
    """``provenance`` with a row a table: files, runs, hours of running, commits, machines."""
    shows = {name: what for _, name, what, _ in TABLES}
    rows = []
    for name, files in made.groupby("table", sort=False):
        commits = sorted({str(c)[:7] for c in files["commit"].dropna()})
        more = f" and {len(commits) - 3} more" if len(commits) > 3 else ""
        rows.append(
            {
                "chapter": files["chapter"].iloc[0],
                "table": name,
                "what": shows[str(name)],
                "files": len(files),
                "runs": int(files["identity"].notna().sum()),
                "hours": files["seconds"].sum() / 3600,
                "commits": ", ".join(commits[:3]) + more,
                "machines": "; ".join(sorted(set(files["machine"].dropna()))),
            }
        )
    return pd.DataFrame(rows)


def with_links(made: pd.DataFrame, project: Path) -> pd.DataFrame:
    """``by_table`` for the book: chapters by their titles, counts of runs as links to rows."""
    rows = by_table(made)
    of_runs = made[made["identity"].notna()].groupby("table")["file"]
    # The last digits of an id are a run's own; ``runs.js`` and ``tables.js`` follow the address.
    digits = {name: sorted({Path(file).stem[-8:] for file in files}) for name, files in of_runs}
    rows["runs"] = [
        f'<a href="#runs={"|".join(digits[name])}">{len(digits[name])}</a>'
        if name in digits
        else "0"
        for name in rows["table"]
    ]
    return rows.assign(chapter=rows["chapter"].map(lambda name: chapter_title(project, name)))


def chapter_title(project: Path, name: str) -> str:
    """The title of a page or notebook of the book, by the name of its file.

    Raises:
        StudyError: there is no such file.
    """
    for file in (project / "notebooks" / f"{name}.ipynb", project / "book" / f"{name}.md"):
        if file.exists():
            text = file.read_text("utf-8")
            if file.suffix == ".ipynb":
                text = "".join(json.loads(text)["cells"][0]["source"])
            return text.splitlines()[0].removeprefix("# ")
    raise StudyError(f"{name} is no chapter of the book")


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
    content = content if isinstance(content, dict) else {}
    made = content.get("environment", {})
    count = made.get("threads")
    threads = f", {count} thread{'s' * (count != 1)}" if made.get("device") == "cpu" else ""
    return {
        "commit": made.get("commit"),
        "dirty": made.get("dirty"),
        "machine": made["device_name"] + threads if "device_name" in made else None,
        "seconds": content.get("cost", {}).get("wall_seconds"),
        "identity": content.get("identity"),
    }


def _write(table: pd.DataFrame, path: Path) -> None:
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
