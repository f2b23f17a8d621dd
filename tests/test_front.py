"""The explorable front: every method once, every axis, its runs a click away; where to start."""

import json
import math
import re
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from browser import CHROMIUM, Browser

from rsstudy.errors import StudyError
from rsstudy.experiments.record import before, choices_in
from study.choosing import (
    CHANCE,
    HIGHEST,
    MEASURES,
    SITUATIONS,
    advised,
    compared_on,
    ends,
    front_table,
    method_table,
    near_the_top,
    readable,
    scores_table,
    searches,
    sharing_table,
    start_here,
    unbeaten,
)
from study.cost_tables import measured_steps, read_benchmarks, read_counted
from study.figures import in_words, use_style
from study.figures.front import decision, explorable, picture
from study.labels import FAMILIES, HMMC
from study.suites import BENCHMARK_RUNS, OBJECTIVES_RUNS, arms
from study.verdicts import Said, others_beside, spread, trained_runs

RESULTS = Path(__file__).parents[1] / "results"
COUNTED = read_counted(RESULTS / "costs" / "vits14-minilm.json")


@pytest.fixture(scope="module")
def compared():
    return {data: compared_on(RESULTS, data) for data in ("ucm", "rsicd")}


@pytest.fixture(scope="module")
def table(compared):
    steps = measured_steps(read_benchmarks(RESULTS / "benchmarks")["steps"])
    return front_table(compared, COUNTED, steps, before(RESULTS, "transfer", *BENCHMARK_RUNS))


@pytest.fixture(scope="module")
def shown(table, compared):
    return explorable(table, ends(RESULTS, compared), "What it shows.")


@pytest.fixture(scope="module")
def spec(shown):
    return shown.spec


def test_every_method_of_the_tables_is_there_once_with_its_runs(compared, spec):
    names = {readable(name) for of in compared.values() for name in of["name"]}
    assert sorted(of["name"] for of in spec["methods"]) == sorted(names)
    by_name = {of["name"]: of for of in spec["methods"]}
    for row in compared["rsicd"].itertuples():
        at = by_name[readable(row.name)]["at"]
        assert at["rsicd"] == pytest.approx([row.mean_recall, row.low, row.high], rel=1e-3)
        assert at["trained"] == [row.total]
    ids = [run for of in spec["methods"] for _, runs in of["runs"] for run in runs]
    assert ids and all((RESULTS / "runs" / f"{run}.json").is_file() for run in ids)
    assert [what for what, _ in by_name["MRS adapter"]["runs"]] == [
        *("UCM-Captions", "RSICD", "forgotten in an update")
    ]


def test_every_measure_can_be_an_axis_and_what_is_not_measured_is_left_out(spec):
    assert [of["key"] for of in spec["measures"]] == list(MEASURES)
    for of in spec["measures"]:
        values = [
            method["at"][of["key"]] for method in spec["methods"] if of["key"] in method["at"]
        ]
        assert len(values) > 2, of["key"]
        assert all(math.isfinite(value) for found in values for value in found)
        assert not of["log"] or any(found[0] > 0 for found in values)
    [untrained] = [of for of in spec["methods"] if of["name"] == "zero-shot"]
    assert {"step", "memory", "forgotten"}.isdisjoint(untrained["at"]), "it is not trained"
    [probe] = [of for of in spec["methods"] if of["name"] == "linear probe"]
    assert set(probe["at"]) == set(MEASURES)


def test_vermilion_is_hmmcs_alone(spec):
    looks = {look["name"]: look["color"] for look in spec["looks"]}
    assert [name for name in looks if looks[name] == looks["HMMC"]] == ["HMMC"]
    [own] = [of for of in spec["methods"] if of["name"] == "MRS adapter, HMMC"]
    assert spec["looks"][own["look"]]["name"] == "HMMC"


def test_the_front_is_what_none_beats_in_both():
    table = pd.DataFrame(
        {"trained": [0, 10, 10, 50, 90, 5], "ucm": [9.0, 30, 31, 25, 40, math.nan]}
    )
    assert list(unbeaten(table, "trained", "ucm")) == [True, False, True, False, True, False]
    both = pd.DataFrame({"ucm": [1.0, 2, 3], "rsicd": [3.0, 3, 1]})
    assert list(unbeaten(both, "ucm", "rsicd")) == [False, True, True]


def test_only_methods_of_a_size_are_counted_near_the_top():
    rows = [(10, 50.0, False), (90, 46.0, False), (90, 44.0, False), (90, 60.0, True)]
    methods = pd.DataFrame(rows, columns=["trained", "ucm", "heads"])
    assert near_the_top(methods, 50, 5.0) == (1, 2)
    assert near_the_top(methods, 0, 5.0) == (2, 3)


def test_the_picture_numbers_the_front_and_says_it_in_words(table):
    use_style()
    figure = picture(table, "A finding")
    axis = figure.axes[0]
    numbers = [text.get_text() for text in axis.texts]
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert figure.get_size_inches()[0] * 100 <= 390
    assert axis.get_title(loc="left") == "A finding" and axis.get_xscale() == "log"
    hmmc = [line for line in axis.lines if line.get_color() == HMMC and line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in hmmc] == [1]
    assert in_words(figure).startswith("A finding.") and "MRS adapter, 49.4 with 95 k" in in_words(
        figure
    )
    plt.close("all")


def test_the_table_has_each_method_once_between_chance_and_the_highest_possible(compared):
    table = method_table(RESULTS, compared)
    assert (
        not table["Method"].duplicated().any() and not table["Method"].str.contains("shared").any()
    )
    assert [table["Method"].iloc[at] for at in (0, -1)] == [HIGHEST, CHANCE]
    rows, said = table.set_index("Method"), Said(RESULTS)
    beside = others_beside(trained_runs(RESULTS, *OBJECTIVES_RUNS), "ucm")
    assert rows["RSICD, %"].between(*rows.loc[[CHANCE, HIGHEST], "RSICD, %"]).sum() > 7
    for name, arm in {"IA3": "ia3", "LayerNorm": "layernorm", "CoOp": "coop"}.items():
        found = beside[arm]
        told = f"{found.estimate:+.1f} ({found.low:+.1f} to {found.high:+.1f}), {found.word}"
        assert rows["Beside the adapter"][name] == told
        assert rows["UCM-Captions, %"][name] == pytest.approx(said.score(arm, "ucm"))
    assert rows["Beside the adapter"]["MRS adapter"] == ""
    assert (rows["Default rate"]["IA3"], rows["Searched rate"]["IA3"]) == (0.003, 0.1)


def test_a_search_begins_with_the_rate_of_its_arm_and_gains_what_it_chose():
    table = searches(RESULTS).set_index("name")
    assert (table["chosen_score"] >= table["default_score"]).all()
    same = table["chosen"] == table["default"]
    assert (table["chosen_score"] == table["default_score"])[same].all() and not same.all()
    rates = {
        arm.run.method: arm.run.recipe.learning_rate
        for arm in arms("benchmark", "short")
        if arm.run.encoder == "vits14-minilm"
    }
    plain = [name for name in rates if name in table.index]
    assert len(plain) > 15 and all(table["default"][name] == rates[name] for name in plain)
    assert (table["chosen_score"] - table["default_score"] > 10).sum() >= 5, "as chapter 1 says"
    at_the_end = {"coop", "ia3", "prefix", "text-tower", "vl-prompt"}  # as chapter 1 says
    frozen = table[~table.index.str.contains("trained heads")]
    assert set(frozen.index[frozen["end"] == "highest"]) == at_the_end
    assert set(frozen["end"]) == {"highest", ""}


def test_scores_have_their_intervals_and_the_best_is_first(compared):
    rows = compared["ucm"].query("name == ['lora, trained heads', 'ia3']")
    table = scores_table(rows[::-1])
    assert list(table["Method"]) == ["LoRA", "IA3"] and list(table["Of them heads"]) == [442_368, 0]
    low, high = rows.set_index("name").loc["ia3", ["low", "high"]]
    assert table["95 % interval"].iloc[1] == f"{low:.1f} to {high:.1f}"


def test_both_ways_of_sharing_are_compared_method_by_method_and_once_over_all(compared):
    pool = spread(trained_runs(RESULTS, *OBJECTIVES_RUNS), "ucm")
    frozen = compared["ucm"][~compared["ucm"]["name"].str.contains("heads")]
    table = sharing_table(frozen, pool).set_index("Method")
    assert len(table) == 7 and (table["Times the parameters"].dropna() > 1).all()
    gained = table["One a layer, %"] - table["Shared, %"]
    told = table["Difference"].str.split(" ").str[0].astype(float)
    assert gained.dropna().tolist() == pytest.approx(told[:-1].tolist(), abs=0.06)
    assert table["Shared, %"]["MRS adapter"] == pytest.approx(
        Said(RESULTS).score("mrs-adapter", "ucm")
    )
    assert table.index[-1] == "all of them" and gained.mean() == pytest.approx(
        told.iloc[-1], abs=0.06
    )


def test_the_advice_follows_from_the_contrasts_and_its_figure_says_them(table, compared):
    found = advised(RESULTS, compared, table)
    assert list(found["name"]) == [name for of in SITUATIONS for name in of.arms]
    rows, said = found.set_index("name"), Said(RESULTS)
    for name, contrast in rows["contrast"].dropna().items():
        own = said.gain(name, "mrs-adapter", rows["data"][name])
        assert (contrast.estimate, contrast.low) == pytest.approx((own.estimate, own.low))
    words = {(row.data, row.contrast.word) for row in rows.itertuples() if row.contrast}
    assert words == {("rsicd", "clear"), ("ucm", "open")}, "as the figure's title says"
    use_style()
    figure = decision(found, "A finding")
    assert in_words(figure).startswith("A finding. 8.7 thousand pictures, and one model kept?")
    for of in SITUATIONS[:3]:
        trained_on = said.stored(f"data/{of.data}", "splits", "train", "images")
        assert of.question.startswith(f"{trained_on / 1000:.1f} thousand")
    assert "LoRA, RSICD 23.4 %, +2.9: clear" in in_words(figure)
    [axis] = figure.axes
    drawn = [(line.get_marker(), line.get_color()) for line in axis.lines]
    assert drawn == [(FAMILIES[of].mark, FAMILIES[of].color) for of in found["family"]]
    figure.draw_without_rendering()
    edges = [text.get_window_extent() for text in axis.texts]
    assert figure.get_size_inches()[0] * 100 <= 390 and max(edge.x1 for edge in edges) <= 390
    plt.close("all")


def test_each_method_starts_from_its_decisive_search_or_the_longest(tmp_path):
    table = start_here(RESULTS, COUNTED).set_index("Method")
    new = {
        n: choice for n, choice in choices_in(RESULTS / "choices").items() if "suite" not in choice
    }
    decisive = table["Searched on"].str.contains("folds 10 and 1")
    assert decisive.sum() == len(new) and decisive.iloc[0]
    row = table[table["Searched on"].str.startswith("UCM")].loc["MRS adapter"]
    [choice] = [of for n, of in new.items() if "ucm-f10-vits14_minilm-mrs-adapter-infonce" in n]
    assert float(row["Learning rate"].split(",")[0]) == choice["chosen"]
    assert (row["Epochs"], row["Batch"]) == (10, 16)
    assert (row["File, MB"], row["Memory, GB"]) == pytest.approx((0.381, 0.398), abs=1e-3)
    assert table.loc["IA3", "Learning rate"] == "0.1, highest tried"
    assert table.loc["IA3", "Searched on"] == "UCM-Captions, short recipe, 25 % of the pictures"
    assert table.loc["linear probe", "Epochs"] == 10, "it was searched with all pictures, too"
    assert not table.reset_index()[["Method", "Searched on"]].duplicated().any()
    for part in ("choices", "runs"):
        shutil.copytree(RESULTS / part, tmp_path / part)
    first = choice["candidates"][0]["runs"][0]["id"]
    (tmp_path / "runs" / f"{first}.json").unlink()
    with pytest.raises(StudyError, match=f"compares {first}, whose record is absent"):
        start_here(tmp_path, COUNTED)


# --- in a browser, from disk --------------------------------------------------------------------

# Marks are drawn once the page has its size; then what a reader does, and what he sees.
DRAWN = """new Promise((done) => {
  const look = () => document.querySelector(".front-plot g") ? done() : setTimeout(look, 20);
  look();
})"""
SET = """(name, value) => {
  const select = document.querySelector(`.front select[name=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
}"""
SEEN = """(() => {
  const marks = [...document.querySelectorAll(".front-plot g")];
  const plot = document.querySelector(".front-plot").getBoundingClientRect();
  const texts = [...document.querySelectorAll(".front-plot text")];
  return {
    marks: marks.map((mark) => mark.getAttribute("aria-label")),
    axes: texts.filter((text) => text.classList.contains("axis")).map((text) => text.textContent),
    ticks: texts.filter((text) => !text.classList.length).map((text) => text.textContent),
    cut: [...marks, ...texts].filter((node) => {
      const box = node.getBoundingClientRect();
      const outside = box.top < plot.top - 1 || box.bottom > plot.bottom + 1;
      return outside || box.left < 0 || box.right > innerWidth;
    }).map((node) => node.textContent || node.getAttribute("aria-label")),
    panel: document.querySelector(".front-panel").innerText,
    notes: document.querySelector(".front-note").innerText,
    runs: [...document.querySelectorAll(".front-panel a.run")].map((link) => link.hash.slice(1)),
    tip: document.querySelector(".front-tip").innerText,
    focus: document.activeElement.getAttribute("aria-label"),
    width: document.documentElement.scrollWidth,
  };
})()"""


@pytest.fixture(scope="module")
def page(shown, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    file = tmp_path_factory.mktemp("front") / "front.html"
    html = shown._repr_html_()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html), "nothing from elsewhere"
    file.write_text(f"<!doctype html><html><meta charset='utf-8'><body>{html}", "utf-8")
    browser = Browser(tmp_path_factory.mktemp("profile"))

    def opened(width):
        browser.open(file.as_uri(), width)
        browser.evaluate(DRAWN)
        return browser

    yield opened
    browser.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_reader_chooses_axes_and_opens_a_methods_runs(width, page, spec):
    browser = page(width)
    methods = [of for of in spec["methods"] if not of["heads"]]
    assert len(browser.evaluate(SEEN)["marks"]) == len(methods)
    for x, y in [(x, y) for x in MEASURES for y in MEASURES if x != y]:
        browser.evaluate(f"({SET})('x', '{x}'); ({SET})('y', '{y}')")
        seen = browser.evaluate(SEEN)
        assert seen["axes"] == [f"{MEASURES[x].name} →", f"↑ {MEASURES[y].name}"]
        assert len(seen["marks"]) == sum({x, y} <= set(of["at"]) for of in methods)
        assert seen["cut"] == [] and len(seen["ticks"]) > 4
        assert seen["width"] <= width
    browser.evaluate(f"({SET})('x', 'trained'); ({SET})('y', 'ucm')")
    browser.evaluate(
        """(() => {
          const mark = document.querySelector('.front-plot g[aria-label^="MRS adapter, HMMC"]');
          const box = mark.getBoundingClientRect();
          const [clientX, clientY] = [box.x + box.width / 2, box.y + box.height / 2];
          const at = { clientX, clientY, bubbles: true };
          mark.dispatchEvent(new PointerEvent("pointermove", at));
          mark.dispatchEvent(new MouseEvent("click", at));
        })()"""
    )
    seen = browser.evaluate(SEEN)
    [own] = [of for of in methods if of["name"] == "MRS adapter, HMMC"]
    assert seen["runs"] == [f"run-{run}" for _, runs in own["runs"] for run in runs]
    assert "by chance 2.52, highest possible 76.9" in seen["notes"]
    assert seen["tip"].startswith("MRS adapter, HMMC") and "33.6 (30.1 to 37.1)" in seen["tip"]
    assert "trained parameters: 95,040" in seen["panel"] and seen["width"] <= width


def test_the_keyboard_reaches_every_method(page, spec):
    browser = page(1280)
    press = """(key) => document.activeElement.dispatchEvent(
      new KeyboardEvent("keydown", { key, bubbles: true }))"""
    browser.evaluate("document.querySelector('.front-plot g[tabindex=\"0\"]').focus()")
    reached = [browser.evaluate(SEEN)["focus"]]
    for _ in range(200):
        browser.evaluate(f"({press})('ArrowRight')")
        if (now := browser.evaluate(SEEN)["focus"]) == reached[-1]:
            break
        reached.append(now)
    assert len(set(reached)) == len(reached) == sum(not of["heads"] for of in spec["methods"])
    browser.evaluate(f"({press})('Enter')")
    seen = browser.evaluate(SEEN)
    assert seen["runs"] and seen["focus"] == reached[-1], "the focus stays where it was"


def test_the_notebook_holds_the_front_of_todays_records(spec):
    notebook = json.loads(
        (RESULTS.parent / "notebooks" / "01_which_method.ipynb").read_text("utf-8")
    )
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    shown = ["".join(of.get("data", {}).get("text/html", "")) for of in outputs]
    [front] = [html for html in shown if "class='front'" in html]
    held = json.loads(re.search(r"<script type='application/json'>(.*?)</script>", front, re.S)[1])
    at = {of["name"]: of["at"] for of in held["methods"]}
    assert {of["name"]: of["at"] for of in spec["methods"]} == at and held["ends"] == spec["ends"]
