"""Every figure can be drawn, shows what it is given, and names its units."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.collections import LineCollection

from rsstudy import figures
from rsstudy.data.alikeness import along_the_dials, distinct_captions, picture_distance
from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.methods import attach, create_method
from rsstudy.records import as_table
from rsstudy.run import Run, execute
from rsstudy.statistics import Contrast
from rsstudy.training import Recipe


@pytest.fixture(autouse=True)
def style():
    figures.use_style()
    yield
    plt.close("all")


@pytest.fixture
def small(rows, write_parquet, own_cache):
    return read_parquet(write_parquet(rows))


def test_a_contact_sheet_shows_each_picture_under_its_class(small):
    axes = figures.contact_sheet(small, range(5), columns=3, title="Five").axes
    assert [len(axis.images) for axis in axes] == [1, 1, 1, 1, 1, 0]
    assert [axis.get_title() for axis in axes[:5]] == list(small.classes[:5])


def test_captioned_pictures_carry_their_captions(small):
    axes = figures.captioned(small, [0, 2], captions=2).axes
    for axis, index in zip(axes[1::2], [0, 2], strict=True):
        words = " ".join(axis.texts[0].get_text().split())
        assert all(caption in words for caption in small.captions[index][:2])


def test_likeness_is_measured_as_defined(small):
    first, second = small.images.decode(0), small.images.decode(1)
    pair = small.take([0, 1])
    expected = ((first.astype(float) - second) ** 2).mean() ** 0.5
    assert picture_distance(small.take([0, 0])) == pytest.approx(0, abs=1e-6)
    assert picture_distance(pair, size=24) > 0
    assert abs(picture_distance(pair, size=24) - expected) < 0.25 * expected
    assert distinct_captions(small) == 100
    assert distinct_captions(small.take([0, 0])) == 50


def test_the_dials_make_pictures_and_captions_alike():
    table = along_the_dials([0.0, 1.0], pictures=30)
    assert table.picture_distance[0] > table.picture_distance[1]
    assert table.distinct_captions[0] > table.distinct_captions[1]
    left, right = figures.alikeness(table).axes
    assert "grey levels" in left.get_ylabel() and "%" in right.get_ylabel()


def test_the_parts_of_the_adapter_add_up_to_its_size():
    encoder = create("ViT-B-32", meta=True)
    attach(encoder, create_method("mrs-adapter"))
    axis = figures.adapter_parts(encoder).axes[0]
    assert "161,088" in axis.get_xlabel()
    assert sum(bar.get_width() for bar in axis.patches) == 161_088


def test_scores_are_drawn_with_intervals_and_curves_with_the_kept_epoch(small, tmp_path, rows):
    data = str(tmp_path / "set")
    recipe = Recipe(epochs=2, batch=3, precision="fp32")
    records = [
        execute(Run(data, "tiny@random", "mrs-adapter", objective, recipe), runs=tmp_path,
                progress=False)[0]
        for objective in ("infonce", "hmmc")
    ]  # fmt: skip
    axis = figures.scores_with_intervals(as_table(records)).axes[0]
    assert len(axis.containers) == 2 and "interval" in axis.get_xlabel()
    assert [t.get_text() for t in axis.get_legend().texts] == ["infonce", "hmmc"]
    curves = figures.learning_curves({"one": records[0], "two": records[1]}).axes[0]
    assert "%" in curves.get_ylabel()
    assert list(curves.lines[0].get_ydata()) == [r["mean_recall"] for r in records[0]["history"]]


def test_repeated_captions_are_labelled_in_percent():
    table = pd.DataFrame({"set": ["rsicd", "ucm"], "shared": [11.7, 82.7]})
    axis = figures.repeated_captions(table).axes[0]
    assert [text.get_text() for text in axis.texts] == ["11.7 %", "82.7 %"]


def test_a_figure_says_in_words_what_it_shows():
    table = pd.DataFrame({"set": ["rsicd", "ucm"], "shared": [11.7, 82.7]})
    assert "rsicd 11.7 %, ucm 82.7 %" in figures.in_words(figures.repeated_captions(table))
    plain, axis = plt.subplots()
    axis.set(title="Loss", xlabel="epoch", ylabel="loss, nats")
    assert figures.in_words(plain) == "Figure: Loss, loss, nats, epoch."


def test_a_notebook_shows_a_figure_with_its_words():
    shell = InteractiveShell.instance()
    try:
        figures.use_style()
        plt.switch_backend("agg")
        figure = figures.repeated_captions(pd.DataFrame({"set": ["ucm"], "shared": [82.7]}))
        shown, _ = shell.display_formatter.format(figure)
        assert shown["text/plain"] == figures.in_words(figure)
    finally:
        InteractiveShell.clear_instance()


def test_a_contrast_is_drawn_with_its_interval_and_verdict():
    contrast = Contrast(2.0, 0.5, 3.5, 0.01, 0.9, 1.0, 0.05, (3, 3), 40)
    figure = figures.contrasts({"a - b": contrast, "c - d": contrast}, "the adapter")
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["+2.0 (+0.5 to +3.5): better"] * 2
    bars = [c for c in axis.collections if isinstance(c, LineCollection)]
    segments = [segment for c in bars for segment in c.get_segments()]
    assert {tuple(segment[:, 0]) for segment in segments} == {(0.5, 3.5)}
    assert "+2.0 (+0.5 to +3.5), better" in figures.in_words(figure)


def test_a_search_is_drawn_with_its_choice_ringed():
    rows = [(arm, arm, rate, recall, rate == best) for arm, best in (("a", 0.1), ("b", 0.01))
            for rate, recall in ((0.1, 50.0), (0.01, 40.0))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["search", "arm", "learning_rate", "mean_recall",
                                        "chosen"])  # fmt: skip
    axis = figures.searched_rates(table).axes[0]
    rings = [tuple(line.get_xydata()[0]) for line in axis.lines if line.get_markersize() == 13]
    assert rings == [(0.1, 50.0), (0.01, 40.0)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.01", "0.1"]
