"""What a choice on record is, and that a damaged one is said to be so."""

import re
from pathlib import Path

import pytest

from rsstudy.errors import StudyError
from rsstudy.grids import BENCHMARK_EPOCHS, SCALES, UPDATE_EPOCHS
from rsstudy.protocol import choose
from rsstudy.records import read_choices, read_records


@pytest.mark.parametrize("text", ["{", "[]", '{"candidates": []}'])
def test_a_damaged_choice_is_named_in_one_line(text, tmp_path):
    path = tmp_path / "choices" / "a.json"
    path.parent.mkdir()
    path.write_text(text)
    for use in (read_records, read_choices):
        with pytest.raises(StudyError, match="a.json is not a choice"):
            use(tmp_path)
    candidate = {"id": "a", "identity": "0", "validation_scores": {"mean_recall": 1.0},
                 "config": {"recipe": {"learning_rate": 0.1}}, "best_epoch": 1,
                 "status": "validated"}  # fmt: skip
    with pytest.raises(StudyError, match="a.json is not a choice"):
        choose([candidate], path)


def test_the_page_of_differences_says_what_the_recipes_say():
    page = (Path(__file__).parents[1] / "book" / "differences.md").read_text()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in page.splitlines() if line.startswith("|"))
    }
    bench, paper = SCALES["short"].recipe, SCALES["paper"].recipe
    assert rows["Epochs"][1].startswith(f"{bench.epochs}; ")
    assert (
        f" {BENCHMARK_EPOCHS['bench']}; updates begin with {UPDATE_EPOCHS['bench']}"
        in rows["Epochs"][1]
    )
    regular = rows["Weight decay, clipping of gradients"]
    assert regular[1] == f"{bench.weight_decay:g}, at a norm of {bench.clip_norm:g}"
    assert regular[2] == "none" and paper.weight_decay == paper.clip_norm == 0
    assert rows["Epochs"][2] == str(paper.epochs) and rows["Epochs"][0] == "30"
    assert rows["Batch"] == ["16", str(bench.batch), str(paper.batch)]
    assert rows["Seeds"][2] == str(SCALES["paper"].seeds)
    assert (bench.samples, paper.samples) == ("images", "captions")
    assert (bench.optimizer, paper.optimizer, paper.learning_rate) == ("adamw", "adam", 2e-4)
    assert (bench.schedule, bench.warmup) == ("cosine", 0.1)
    assert (paper.schedule, paper.step_epoch, paper.step_factor) == ("step", 20, 0.7)
    assert (bench.precision, paper.precision) == ("bf16", "fp32")
    assert (bench.validation, paper.validation) == ("published", "random")
    assert SCALES["paper"].encoder == "ViT-B-32@openai"
    table = read_records(Path(__file__).parents[1] / "results")
    real = table[table["data"].isin(["ucm", "rsicd", "rsitmd"])]
    assert {f"{size} px" for size in real["image_size"]} == set(
        re.findall(r"\d+ px", rows["Image size"][1])
    )
    assert {record["environment"]["device"] for record in real["record"]} == {"cpu", "cuda"}
    assert "processor cores and from a GPU" in " ".join(page.split())
    on_rsicd = real[(real["data"] == "rsicd") & (real["method"] != "zero-shot")]
    assert {record["config"]["recipe"]["epochs"] for record in on_rsicd["record"]} == {
        BENCHMARK_EPOCHS["short"], UPDATE_EPOCHS["short"]
    }  # fmt: skip
    assert set(real["data"]) == {"ucm", "rsicd"}
