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
from study.choosing import MEASURES, front_table, start_here, unbeaten
from study.comparison import side_by_side
from study.cost_tables import measured_steps, read_benchmarks, read_counted
from study.figures import in_words, use_style
from study.figures.front import explorable, picture
from study.labels import HMMC, named
from study.published import read_reported
from study.report import benchmark_runs
from study.suites import BENCHMARK_RUNS

RESULTS = Path(__file__).parents[1] / "results"
COUNTED = read_counted(RESULTS / "costs" / "vits14-minilm.json")


@pytest.fixture(scope="module")
def compared():
    reported = read_reported(RESULTS)
    runs = {
        "ucm": benchmark_runs(RESULTS, "ucm", False),
        "rsicd": pd.concat([benchmark_runs(RESULTS, "rsicd", heads) for heads in (False, True)]),
    }
    return {
        data: side_by_side(of, reported[reported["dataset"] == data]) for data, of in runs.items()
    }


@pytest.fixture(scope="module")
def table(compared):
    steps = measured_steps(read_benchmarks(RESULTS / "benchmarks")["steps"])
    return front_table(compared, COUNTED, steps, before(RESULTS, "transfer", *BENCHMARK_RUNS))


@pytest.fixture(scope="module")
def spec(table):
    return explorable(table).spec


def test_every_method_of_the_tables_is_there_once_with_its_runs(compared, spec):
    names = {named(name) for of in compared.values() for name in of["name"]}
    assert sorted(of["name"] for of in spec["methods"]) == sorted(names)
    by_name = {of["name"]: of for of in spec["methods"]}
    for row in compared["rsicd"].itertuples():
        at = by_name[named(row.name)]["at"]
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


def test_each_method_starts_from_its_decisive_search_or_the_longest(tmp_path):
    table = start_here(RESULTS, COUNTED).set_index("method")
    new = {
        n: choice for n, choice in choices_in(RESULTS / "choices").items() if "suite" not in choice
    }
    decisive = table["searched on"].str.contains("folds 10 and 1")
    assert decisive.sum() == len(new) and decisive.iloc[0]
    row = table[table["searched on"].str.startswith("UCM")].loc["MRS adapter"]
    [choice] = [of for n, of in new.items() if "ucm-f10-vits14_minilm-mrs-adapter-infonce" in n]
    assert float(row["learning rate"].split(",")[0]) == choice["chosen"]
    assert (row["epochs"], row["batch"]) == (10, 16)
    assert (row["file, MB"], row["memory, GB"]) == pytest.approx((0.381, 0.398), abs=1e-3)
    assert table.loc["IA3", "learning rate"] == "0.1, highest tried"
    assert table.loc["IA3", "searched on"] == "UCM-Captions, before, 25 % of it"
    assert table.loc["linear probe", "epochs"] == 10, "it was searched with all pictures, too"
    assert not table.reset_index()[["method", "searched on"]].duplicated().any()
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
    runs: [...document.querySelectorAll(".front-panel a.run")].map((link) => link.hash.slice(1)),
    tip: document.querySelector(".front-tip").innerText,
    focus: document.activeElement.getAttribute("aria-label"),
    width: document.documentElement.scrollWidth,
  };
})()"""


@pytest.fixture(scope="module")
def page(table, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    file = tmp_path_factory.mktemp("front") / "front.html"
    html = explorable(table)._repr_html_()
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
    notebook = json.loads((RESULTS.parent / "notebooks" / "04_comparison.ipynb").read_text("utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    shown = ["".join(of.get("data", {}).get("text/html", "")) for of in outputs]
    [front] = [html for html in shown if "class='front'" in html]
    held = json.loads(re.search(r"<script type='application/json'>(.*?)</script>", front, re.S)[1])
    at = {of["name"]: of for of in held["methods"]}
    for of in spec["methods"]:  # here without UCM-Captions where the heads are trained
        assert {key: at[of["name"]]["at"].get(key) for key in of["at"]} == of["at"]
