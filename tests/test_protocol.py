"""What a choice on record is, and that a damaged one is said to be so."""

import re
from pathlib import Path

import pytest

from rsstudy.errors import StudyError
from rsstudy.experiments.protocol import choose
from rsstudy.experiments.record import as_table, choices_in, read_records, records_in
from study.suites import BENCHMARK_EPOCHS, SCALES, UPDATE_EPOCHS


@pytest.mark.parametrize("text", ["{", "[]", '{"candidates": []}'])
def test_a_damaged_choice_is_named_in_one_line(text, tmp_path):
    path = tmp_path / "choices" / "a.json"
    path.parent.mkdir()
    path.write_text(text)
    for use, folder in ((read_records, tmp_path), (choices_in, path.parent)):
        with pytest.raises(StudyError, match="a.json is not a choice"):
            use(folder)
    candidate = {
        "id": "a",
        "identity": "0",
        "validation_scores": {"mean_recall": 1.0},
        "config": {"recipe": {"learning_rate": 0.1}},
        "best_epoch": 1,
        "status": "validated",
    }
    with pytest.raises(StudyError, match="a.json is not a choice"):
        choose({0.1: [candidate]}, path)


def test_the_page_of_differences_says_what_the_recipes_say():
    page = (Path(__file__).parents[1] / "book" / "10_differences.md").read_text()
    first = page.partition("(paper-recipe)=")[0]
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (row.split("|") for row in first.splitlines() if row.startswith("|"))
    }
    short, bench, paper = (SCALES[scale].recipe for scale in ("short", "bench", "paper"))
    on_rsicd = SCALES["bench"].recipe_on("rsicd")
    assert rows["Epochs"][1].startswith(f"{short.epochs}; ")
    assert (
        f" {BENCHMARK_EPOCHS['short']}; updates begin with {UPDATE_EPOCHS['short']}"
        in rows["Epochs"][1]
    )
    assert rows["Epochs"][2] == f"{bench.epochs}; {on_rsicd.epochs} on RSICD"
    regular = rows["Weight decay, clipping of gradients"]
    assert regular[1] == f"{short.weight_decay:g}, at a norm of {short.clip_norm:g}"
    for number, recipe in ((2, bench), (3, paper)):
        assert regular[number] == "none" and recipe.weight_decay == recipe.clip_norm == 0
        assert (recipe.optimizer, recipe.learning_rate, recipe.warmup) == ("adam", 2e-4, 0)
        assert (recipe.schedule, recipe.step_epoch, recipe.step_factor) == ("step", 20, 0.7)
    assert rows["Epochs"][3] == str(paper.epochs) and rows["Epochs"][0] == "30"
    assert rows["Batch"] == ["16", str(short.batch), str(bench.batch), str(paper.batch)]
    assert rows["Seeds"][3] == str(SCALES["paper"].seeds)
    assert (short.samples, bench.samples, paper.samples) == ("images", "images", "captions")
    assert (short.optimizer, short.schedule, short.warmup) == ("adamw", "cosine", 0.1)
    assert f"from the {on_rsicd.step_epoch}th of ten" in rows["Schedule"][2]
    assert (short.precision, bench.precision, paper.precision) == ("bf16", "bf16", "fp32")
    assert (short.validation, paper.validation) == ("published", "random")
    assert SCALES["paper"].encoder == "ViT-B-32@openai"
    records = records_in(Path(__file__).parents[1] / "results" / "runs")
    table = as_table([record for record in records if record.get("record") == "before"])
    real = table[table["data"].isin(["ucm", "rsicd", "rsitmd"])]
    assert {f"{size} px" for size in real["image_size"]} == set(
        re.findall(r"\d+ px", rows["Image size"][1])
    )
    assert {record["environment"]["device"] for record in real["record"]} == {"cpu", "cuda"}
    assert "processor cores and from a GPU" in " ".join(page.split())
    on_rsicd = real[(real["data"] == "rsicd") & (real["method"] != "zero-shot")]
    assert {record["config"]["recipe"]["epochs"] for record in on_rsicd["record"]} == {
        BENCHMARK_EPOCHS["short"],
        UPDATE_EPOCHS["short"],
    }
    assert set(real["data"]) == {"ucm", "rsicd"}
