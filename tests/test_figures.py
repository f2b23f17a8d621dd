"""Every figure can be drawn, shows what it is given, and names its units."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.collections import LineCollection
from matplotlib.legend import Legend

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.experiments.compare import Contrast
from rsstudy.experiments.record import as_table
from rsstudy.experiments.run import Run, execute
from rsstudy.methods import attach, create_method
from rsstudy.training.loop import Recipe
from study import figures
from study.alikeness import along_the_dials, distinct_captions, picture_distance


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
        execute(
            Run(data, "tiny@random", "mrs-adapter", objective, recipe),
            runs=tmp_path,
            progress=False,
        )[0]
        for objective in ("infonce", "hmmc")
    ]
    axis = figures.scores_with_intervals(as_table(records)).axes[0]
    assert len(axis.containers) == 2 and "interval" in axis.get_xlabel()
    assert [t.get_text() for t in axis.get_legend().texts] == ["infonce", "hmmc"]
    curves = figures.learning_curves({"one": records[0], "two": records[1]}).axes[0]
    assert "%" in curves.get_ylabel()
    assert list(curves.lines[0].get_ydata()) == [r["mean_recall"] for r in records[0]["history"]]
    recalls = [10.0, 20.0, 40.0, 30.0]  # the first is of epoch 0, before the first step
    history = [{"epoch": n, "mean_recall": recall} for n, recall in enumerate(recalls)]
    for best in (0, 2):
        kept = figures.learning_curves({"one": {"history": history, "best_epoch": best}}).axes[0]
        assert kept.lines[1].get_xydata().tolist() == [[best, recalls[best]]]


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


def test_a_contrast_is_drawn_with_both_intervals_and_the_word_that_follows_from_them():
    drawn = {
        "clear": (0.5, 3.5, 0.2, 3.8),
        "likely": (0.5, 3.5, -0.5, 4.5),
        "open": (-0.5, 4.5, -1.0, 5.0),
    }
    found = {
        word: Contrast(2.0, 0.8, 20.0, *ends, 0.01, 0.9, 1.0, (3, 3), 40)
        for word, ends in drawn.items()
    }
    figure = figures.contrasts(found, "the adapter")
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == [
        f"+2.0 ({low:+.1f} to {high:+.1f}): {word}" for word, (low, high, *_) in drawn.items()
    ]
    lines = {
        (line.get_linewidth(), *line.get_xdata())
        for line in axis.lines
        if line.get_linewidth() in (1, 4) and len(line.get_xdata()) == 2
    }
    for low, high, low_corrected, high_corrected in drawn.values():
        assert {(4, low, high), (1, low_corrected, high_corrected)} <= lines
    assert "likely +2.0 (+0.5 to +3.5), likely" in figures.in_words(figure)


def test_a_search_is_drawn_with_its_choice_ringed():
    rows = [
        (arm, arm, rate, recall, rate == best)
        for arm, best in (("a", 0.1), ("b", 0.01))
        for rate, recall in ((0.1, 50.0), (0.01, 40.0))
    ]
    table = pd.DataFrame(rows, columns=["search", "arm", "learning_rate", "mean_recall", "chosen"])
    axis = figures.searched_rates(table).axes[0]
    rings = [tuple(line.get_xydata()[0]) for line in axis.lines if line.get_markersize() == 13]
    assert rings == [(0.1, 50.0), (0.01, 40.0)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.01", "0.1"]


COMPARED = pd.DataFrame(
    {
        "family": ["a branch", "a branch", "a weight", "none"],
        "label": ["adapter", "adapter, share layers", "ia3", "zero-shot"],
        "name": ["adapter", "adapter, share layers", "ia3", "zero-shot"],
        "mean_recall": [51.0, 50.0, 48.0, 10.0],
        "low": [47.0, 46.0, 44.0, 8.0],
        "high": [55.0, 54.0, 52.0, 12.0],
        "total": [9_000, 1_000, 400, 0],
        "seeds": [3, 1, 2, 1],
        "records": [
            [{"scores": {"mean_recall": score}} for score in scores]
            for scores in ((50.0, 51.0, 52.0), (50.0,), (47.5, 48.5), (10.0,))
        ],
    }
)


def ends_of_bars(axis):
    """Where the intervals of an axis lie, along the axis of the scores."""
    bars = [c for c in axis.collections if isinstance(c, LineCollection)]
    return [np.array(segment) for bar in bars for segment in bar.get_segments()]


def test_what_none_beats_at_its_size_is_named_and_what_trains_nothing_is_a_line():
    figure = figures.pareto(COMPARED.assign(mean_recall=[51.0, 47.0, 48.0, 10.0]))
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["1", "2"], "from the smallest on"
    figure.draw_without_rendering()
    kept = figure.get_tightbbox()  # what a notebook keeps of a figure, in inches
    legends = [legend for legend in figure.findobj(Legend) if legend.get_visible()]
    named = [text.get_text() for legend in legends for text in legend.texts]
    assert {"ia3 48.0", "adapter 51.0"} < set(named)
    for legend in legends:
        box = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        assert box.y0 >= kept.y0 - 0.01 and box.y1 <= kept.y1 + 0.01, "a legend is cut off"
    assert axis.get_xscale() == "log" and "%" in axis.get_ylabel()
    words = figures.in_words(figure)
    assert "zero-shot 10.0" in words and "adapter 51.0 with 9,000" in words
    assert "share layers" not in words


def test_a_ranking_names_every_arm_with_its_interval():
    axis = figures.ranking(COMPARED).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == list(COMPARED["name"])
    found = {tuple(bar[:, 0]) for bar in ends_of_bars(axis)}
    assert found == set(zip(COMPARED["low"], COMPARED["high"], strict=True))
    assert len(axis.figure.legends[0].texts) == 3, "one a family"
    one_seed = {line.get_ydata()[0] for line in axis.lines if line.get_markerfacecolor() == "white"}
    assert one_seed == {1, 3}
    each = {(x, y) for line in axis.lines if line.get_marker() == "|" for x, y in line.get_xydata()}
    assert each == {(50.0, 0), (51.0, 0), (52.0, 0), (47.5, 2), (48.5, 2)}
    words = figures.in_words(axis.figure)
    assert "adapter 51.0 (3 seeds); adapter, share layers 50.0 (1 seed)" in words


def test_both_ways_of_sharing_layers_stand_side_by_side():
    rows = [row for _, row in COMPARED.iterrows()]
    figure = figures.sharing({"adapter": (rows[1], rows[0])})
    assert len(ends_of_bars(figure.axes[0])) == 2
    assert "adapter, one instance in all layers 50.0 with 1,000" in figures.in_words(figure)
    assert "adapter, one a layer 51.0 with 9,000" in figures.in_words(figure)


def test_scores_by_share_of_the_pictures_rise_in_order_of_the_shares():
    table = pd.DataFrame(
        {
            "factor": ["ia3"] * 3,
            "level": ["100", "25", "50"],
            "mean_recall": [48.0, 40.0, 44.0],
            "low": [46.0, 38, 42],
            "high": [50.0, 42, 46],
        }
    )
    figure = figures.by_share(table)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["25", "50", "100"]
    assert "ia3 40.0 with 25 %, 44.0 with 50 %, 48.0 with 100 %" in figures.in_words(figure)
    assert "%" in axis.get_xlabel() and "%" in axis.get_ylabel()


def test_a_table_of_shares_has_its_numbers_in_its_cells():
    table = pd.DataFrame({"ia3": [10.0, 20.4], "lora": [30.0, 40.0]}, index=["river", "port"])
    figure = figures.shares(table, "mean recall, %")
    assert [text.get_text() for text in figure.axes[0].texts] == ["10", "30", "20", "40"]
    assert "river 10 to 30; port 20 to 40" in figures.in_words(figure)
