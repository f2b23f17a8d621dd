"""The ledger of claims: drawn from records and the paper's tables, and from nothing else."""

import ast
import json
import re
import shutil
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from test_dials import planted

from rsstudy.errors import StudyError
from rsstudy.experiments.compare import compare
from study import claims
from study.claims import (
    KNOWN,
    PAPERS_ENCODER,
    VERDICTS,
    as_markdown,
    ledger,
    read_ledger,
    write_ledger,
)
from study.cli import cli
from study.published import granularity, read_reported, unsound_means

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
LEDGER = ROOT / "book" / "claims.json"
PAGE = ROOT / "notebooks" / "06_claims.ipynb"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?![\w])")


@pytest.fixture(scope="module")
def drawn():
    return ledger(RESULTS)


def test_the_committed_ledger_is_what_the_records_give(drawn, tmp_path):
    write_ledger(RESULTS, tmp_path / "claims.json")
    assert (tmp_path / "claims.json").read_text() == LEDGER.read_text(), (
        "book/claims.json is out of date: run `python -m study claims`"
    )


def test_there_are_eight_claims_with_their_numbers_sources_and_verdicts():
    found = read_ledger(LEDGER)
    assert [claim["id"] for claim in found] == list(range(1, 9))
    ids = {path.stem for path in (RESULTS / "runs").iterdir()}
    for claim in found:
        assert set(claim) == {
            "id",
            "claim",
            "paper",
            "records",
            "measure",
            "estimate",
            "interval",
            "verdict",
            "reason",
        }
        assert claim["verdict"] in VERDICTS and len(claim["reason"]) > 60
        if claim["records"] != "recomputed":
            assert claim["records"] and set(claim["records"]) <= ids


def test_no_sentence_of_the_ledger_holds_a_number_of_its_own():
    tree = ast.parse(Path(claims.__file__).read_text())
    documented = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    specs = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and node.format_spec
        for part in ast.walk(node.format_spec)
    }
    typed = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in documented
        and node not in specs
        and re.search(r"\d", node.value)
    ]
    names = {*KNOWN, PAPERS_ENCODER, "utf-8"}
    left = [text for text in typed if text not in names]
    assert not [text for text in left if re.search(r"\d", text.replace("fp32", ""))]


def page_text():
    """What a reader of the page sees, without names in code."""
    parts = []
    for cell in json.loads(PAGE.read_text())["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in ("text/markdown", "text/html", "text/plain"):
                if kind in data:
                    parts.append("".join(data[kind]))
                    break
            parts.append("".join(output.get("text", [])))
    text = "\n".join(parts)
    text = re.sub(r"<style.*?</style>", " ", text, flags=re.DOTALL)
    text = unescape(re.sub(r"<[^>]*>", " ", text))
    return re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)


def test_the_page_shows_every_claim_as_the_ledger_has_it():
    shown = [
        "".join(output["data"]["text/markdown"])
        for cell in json.loads(PAGE.read_text())["cells"]
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    assert shown == [as_markdown(claim) for claim in read_ledger(LEDGER)]


def test_an_experiment_that_is_not_complete_decides_nothing():
    evidence = claims.read_evidence(RESULTS)
    rising = planted(lambda form, raised, position: 3 + 4 * position)
    for part in (
        rising[rising["objective"].isin(["hmmc", "hinge-two-views"])],
        rising[~rising["data"].str.contains("alike_images=1.0&alike_captions=1.0")],
        rising[rising["seed"] == 0],
    ):
        object.__setattr__(evidence, "dials", part)
        found = claims.JUDGES[2](evidence, {})
        assert found["verdict"] == "cannot be tested here" and "not complete" in found["reason"]


def test_a_record_without_runs_leaves_their_claims_open(results):
    for path in (results / "runs").glob("*.json"):
        if json.loads(path.read_text()).get("suite") in ("bench", "dials"):
            path.unlink()
    found = judged(results)
    assert {found[n].verdict for n in (1, 2, 6)} == {"cannot be tested here"}
    (results / "claims.csv").unlink()
    with pytest.raises(StudyError, match="claims.csv is absent"):
        ledger(results)


def test_every_number_on_the_page_comes_from_records_or_from_the_papers_tables():
    reported = read_reported(RESULTS)
    counts = pd.read_csv(RESULTS / "published_counts.csv", dtype=str)
    counts = counts[counts["count"] == "splits.test.images"].set_index("set")["published"]
    odd = granularity(reported, counts.astype(int).to_dict())
    per = odd.assign(odd=odd["impossible"] > 0).groupby(["dataset", "group"])["odd"]
    means = unsound_means(reported)
    known = [len(odd), int((odd["impossible"] > 0).sum()), len(means), *per.sum(), *per.size()]
    known += [f"{v:.2f}" for name in ("printed", "recomputed", "off") for v in means[name]]
    written = LEDGER.read_text() + " ".join(str(number) for number in known)

    def magnitudes(text):
        found = [number.lstrip("+-").replace(",", "") for number in NUMBER.findall(text)]
        return {float(number) for number in found}

    foreign = magnitudes(page_text()) - magnitudes(written)
    assert not foreign, f"numbers on the page from nowhere: {sorted(foreign)}"
    assert len(magnitudes(page_text())) > 40  # the page does show the numbers


@pytest.fixture
def results(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    return tmp_path / "results"


def judged(results):
    return {claim.id: claim for claim in ledger(results)}


def printed_as(results, quantity, value):
    path = results / "claims.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[table["quantity"] == quantity, "printed"] = value
    table.to_csv(path, index=False)


def test_the_counted_claims_turn_with_what_is_printed(results):
    printed_as(results, "trained_parameters_millions", "0.17")
    printed_as(results, "reduction_percent", "99.89")
    found = judged(results)
    assert found[3].verdict == "does not hold" and found[4].verdict == "holds"
    assert "the printed 99.89" in found[4].reason
    printed_as(results, "reduction_percent", "99.95")
    found = judged(results)
    assert found[4].verdict == "does not hold" and "less than the printed" in found[4].reason


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (lambda form, raised, position: 3 + 4 * position, "holds"),
        (lambda form, raised, position: 4 * position if form == "hinge" else -3, "holds in part"),
        (lambda form, raised, position: 10 - 6 * position, "does not hold"),
        (lambda form, raised, position: 3, "tested, open"),
        (lambda form, raised, position: -3, "tested, open"),
    ],
)
def test_the_verdict_on_hmmc_follows_the_dials(gain, verdict, monkeypatch):
    evidence = claims.read_evidence(RESULTS)
    object.__setattr__(evidence, "dials", planted(gain))
    assert claims.JUDGES[2](evidence, {})["verdict"] == verdict


def test_what_the_ledger_says_of_trained_heads_is_of_their_runs():
    evidence = claims.read_evidence(RESULTS)
    before = claims.JUDGES[6](evidence, {})
    frozen, headed = before["reason"].split("With the heads trained")
    further = evidence.further.copy()
    is_headed = further["label"] == "mrs-adapter, trained heads"
    nothing = next(
        r
        for r in further["record"]
        if r["config"]["method"] == "zero-shot" and r["config"]["data"] == "rsicd"
    )
    spoiled = [
        {**record, "scores": nothing["scores"], "test_queries": nothing["test_queries"]}
        if changed
        else record
        for record, changed in zip(further["record"], is_headed, strict=True)
    ]
    object.__setattr__(evidence, "further", further.assign(record=spoiled))
    after = claims.JUDGES[6](evidence, {})["reason"].split("With the heads trained")
    assert after[0] == frozen and after[1] != headed
    assert set(further.loc[is_headed & (further["data"] == "rsicd"), "id"]) <= set(
        before["records"]
    )


def test_full_fine_tuning_by_hmmc_too_is_told_from_the_suite_objectives():
    evidence = claims.read_evidence(RESULTS)
    runs = evidence.benchmark
    whole = runs[(runs["label"] == "full") & (runs["objective"] == "hmmc")]
    before = claims.JUDGES[6](evidence, {})
    assert "Against full fine-tuning with HMMC, too" in before["reason"]
    assert not whole.empty and set(whole["id"]) <= set(before["records"])
    ours = evidence.compared("mrs-adapter", "hmmc")
    assert f"{compare(ours, list(whole['record'])).estimate:+.1f} (" in before["reason"]
    headed = evidence.compared("mrs-adapter", "hmmc", train_heads=True)
    alike = compare(headed, list(whole["record"]))
    assert (
        f"with its heads trained as well ({claims.seeds_of(headed)}) {alike.estimate:+.1f} ("
        in (before["reason"])
    )
    object.__setattr__(evidence, "benchmark", runs.drop(whole.index))
    after = claims.JUDGES[6](evidence, {})
    assert "with HMMC, too" not in after["reason"]
    of_headed = {record["id"] for record in headed}
    assert set(before["records"]) - set(after["records"]) == set(whole["id"]) | of_headed


def test_what_works_is_told_in_every_setting_on_record():
    evidence = claims.read_evidence(RESULTS)
    found = claims.JUDGES[1](evidence, {})
    for runs, none in (
        (evidence.compared("mrs-adapter", "hmmc"), evidence.compared("zero-shot")),
        (
            evidence.compared("mrs-adapter", "hmmc", data="rsicd"),
            evidence.compared("zero-shot", data="rsicd"),
        ),
    ):
        assert f"{compare(runs, none).estimate:+.1f} (" in found["reason"]
        assert {record["id"] for record in (*runs, *none)} <= set(found["records"])
    runs = evidence.benchmark
    object.__setattr__(evidence, "benchmark", runs[runs["data"] != "rsicd"])
    assert "RSICD" in found["reason"] and "RSICD" not in claims.JUDGES[1](evidence, {})["reason"]


def test_how_near_the_nearest_come_along_the_dials_is_told():
    evidence = claims.read_evidence(RESULTS)
    said = claims.JUDGES[2](evidence, {})["reason"]
    moved = evidence.raised.copy()
    moved.loc[moved["measure"] == "nearest", "at_1"] = 0.1234
    object.__setattr__(evidence, "raised", moved)
    assert "to 0.12" in claims.JUDGES[2](evidence, {})["reason"] and "to 0.12" not in said
    object.__setattr__(evidence, "raised", moved.iloc[:0])
    assert "nearest other" in said and "was not measured" in said
    assert "nearest other" not in claims.JUDGES[2](evidence, {})["reason"]


def test_the_command_writes_the_ledger(tmp_path):
    from click.testing import CliRunner

    out = tmp_path / "claims.json"
    answer = CliRunner().invoke(cli, ["claims", "--results", str(RESULTS), "--out", str(out)])
    assert answer.exit_code == 0 and "holds in part" in answer.output
    assert out.read_text() == LEDGER.read_text()
