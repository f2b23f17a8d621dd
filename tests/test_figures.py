"""Every figure can be drawn, shows what it is given, and names its units."""

import io
import re

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.experiments.compare import Contrast
from rsstudy.experiments.record import as_table
from rsstudy.experiments.run import Run, execute
from rsstudy.methods import METHODS, attach, create_method
from rsstudy.objectives import OBJECTIVES
from rsstudy.training.recipe import Recipe
from study import labels
from study.benchmark import BENCHMARK
from study.figures import costs, in_words, scores, sets, use_style
from study.similarity import along_the_dials, distinct_captions, picture_distance


@pytest.fixture(autouse=True)
def style():
    use_style()
    yield
    plt.close("all")


@pytest.fixture
def small(rows, write_parquet, own_cache):
    return read_parquet(write_parquet(rows))


def intervals(axis):
    """The ends of the thick lines, with the row of each."""
    lines = [line.get_xydata() for line in axis.lines if line.get_linewidth() == 4]
    return {(low, high, at) for (low, at), (high, _) in lines}


def test_pictures_stand_under_their_class_and_beside_their_captions(small):
    axes = sets.contact_sheet(small, range(5), columns=3, title="Five").axes
    assert [len(axis.images) for axis in axes] == [1, 1, 1, 1, 1, 0]
    assert [axis.get_title() for axis in axes[:5]] == list(small.classes[:5])
    for axis, index in zip(sets.captioned(small, [0, 2], captions=2).axes, [0, 2], strict=True):
        words = " ".join(axis.texts[0].get_text().split())
        assert axis.images and all(text in words for text in small.captions[index][:2])
    shown = sets.dials({0.0: small, 0.5: small}, [0, 1, 2])
    assert [axis.get_ylabel() for axis in shown.axes[::3]] == ["dial 0", "dial 0.5"]


def test_likeness_is_measured_as_defined(small):
    first, second = small.images.decode(0), small.images.decode(1)
    pair = small.take([0, 1])
    expected = ((first.astype(float) - second) ** 2).mean() ** 0.5
    assert picture_distance(small.take([0, 0])) == pytest.approx(0, abs=1e-6)
    assert picture_distance(pair, size=24) == pytest.approx(expected, rel=0.25)
    assert distinct_captions(small) == 100
    assert distinct_captions(small.take([0, 0])) == 50


def test_the_dials_make_pictures_and_captions_alike():
    table = along_the_dials([0.0, 1.0], pictures=30)
    assert table.picture_distance[0] > table.picture_distance[1]
    assert table.distinct_captions[0] > table.distinct_captions[1]
    left, right = sets.alikeness(table).axes
    assert "grey levels" in left.get_ylabel() and "%" in right.get_ylabel()


def test_the_parts_of_the_adapter_add_up_to_its_size():
    encoder = create("ViT-B-32", meta=True)
    attach(encoder, create_method("mrs-adapter"))
    figure = costs.adapter_drawn(encoder, "Trained")
    drawn = [text.get_text().split("\n")[-1] for text in figure.axes[0].texts]
    sizes = [int(text.replace(",", "")) for text in drawn if re.fullmatch(r"[\d,]+", text)]
    assert len(sizes) == 5 and sum(sizes) == 161_088 and "161,088 in all" in in_words(figure)


def test_scores_are_drawn_with_intervals_and_curves_with_the_kept_epoch(small, tmp_path):
    recipe = Recipe(epochs=2, batch=3, precision="fp32")
    runs = [
        Run(str(tmp_path / "set"), "tiny@random", "mrs-adapter", objective, recipe)
        for objective in ("infonce", "hmmc")
    ]
    records = [execute(run, runs=tmp_path, progress=False)[0] for run in runs]
    figure = scores.scores_with_intervals(as_table(records))
    assert len(intervals(figure.axes[0])) == 2 and "interval" in figure.axes[0].get_xlabel()
    assert [text.get_text() for text in figure.legends[0].texts] == ["InfoNCE", "HMMC"]
    curves = scores.learning_curves({"one": records[0], "two": records[1]}).axes[0]
    assert "%" in curves.get_ylabel()
    assert list(curves.lines[0].get_ydata()) == [r["mean_recall"] for r in records[0]["history"]]
    recalls = [10.0, 20.0, 40.0, 30.0]  # the first is of epoch 0, before the first step
    history = [{"epoch": n, "mean_recall": recall} for n, recall in enumerate(recalls)]
    for best in (0, 2):
        kept = scores.learning_curves({"one": {"history": history, "best_epoch": best}}).axes[0]
        assert kept.lines[1].get_xydata().tolist() == [[best, recalls[best]]]


def test_a_figure_says_in_words_what_it_shows():
    figure = sets.repeated_captions(pd.DataFrame({"set": ["rsicd", "ucm"], "shared": [11.7, 82.7]}))
    assert {"11.7 %", "82.7 %"} < {text.get_text() for text in figure.axes[0].texts}
    assert "RSICD 11.7 %, UCM-Captions 82.7 %" in in_words(figure)
    plain, axis = plt.subplots()
    axis.set(title="Loss", xlabel="epoch", ylabel="loss, nats")
    assert in_words(plain) == "Figure: Loss, loss, nats, epoch."
    shell = InteractiveShell.instance()
    try:
        use_style()
        plt.switch_backend("agg")
        shown, _ = shell.display_formatter.format(figure)
        assert shown["text/plain"] == in_words(figure)
        small = Image.open(io.BytesIO(shown["image/png"]))
        assert small.mode == "P", "of few colours, in few bytes"
    finally:
        InteractiveShell.clear_instance()


def test_a_share_of_different_things_is_drawn_with_its_interval():
    rows = [
        (data, modality, "effective_number", 0.3, 0.25, 0.35)
        for modality in ("image", "text")
        for data in ("rsicd", "ucm")
    ]
    columns = ["set", "modality", "measure", "ratio", "ratio_low", "ratio_high"]
    figure = sets.fewer_different({"to one": pd.DataFrame(rows, columns=columns)}, "A third")
    captions, pictures = figure.axes
    assert captions.get_title() == "Captions" and "%" in pictures.get_xlabel()
    for axis in figure.axes:
        assert {(low, high) for low, high, _ in intervals(axis)} == {(0.25, 0.35)}
    assert "captions, to one, RSICD 30 %" in in_words(figure)


def test_a_bar_a_place_says_where_kills_fell():
    figure = costs.kills({"writing": 3, "reading": 1}, "Killed")
    assert {"writing", "3", "reading", "1"} == {t.get_text() for t in figure.axes[0].texts}
    assert "writing 3; reading 1" in in_words(figure)


def test_a_contrast_is_drawn_with_both_intervals_and_the_word_that_follows_from_them():
    drawn = {"clear": (0.5, 3.5, 0.2, 3.8), "likely": (0.5, 3.5, -0.5, 4.5)}
    drawn["open"] = (-0.5, 4.5, -1.0, 5.0)
    rest = (0.01, 0.9, 1.0, (3, 3), 40)
    found = {word: Contrast(2.0, 0.8, 20.0, *ends, *rest) for word, ends in drawn.items()}
    figure = scores.contrasts(found, "the adapter")
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == [
        f"+2.0 ({low:+.1f} to {high:+.1f}): {word}" for word, (low, high, *_) in drawn.items()
    ]
    assert intervals(axis) == {(*ends[:2], at) for at, ends in enumerate(drawn.values())}
    thin = [tuple(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 1]
    assert {ends[2:] for ends in drawn.values()} <= set(thin)
    assert "likely +2.0 (+0.5 to +3.5), likely" in in_words(figure)
    narrow = scores.differences(found, "Ahead")
    [axis] = narrow.axes
    assert intervals(axis) == {(*ends[:2], at) for at, ends in enumerate(drawn.values())}
    said = {(text.get_text(), round(text.get_position()[1])) for text in axis.texts}
    assert said == {(text, at) for at, of in enumerate(drawn) for text in (of, f"+2.0, {of}")}
    assert axis.get_title(loc="left") == "Ahead" and "open +2.0" in in_words(narrow)


def test_a_search_is_drawn_with_its_choice_ringed():
    rows = [
        (arm, arm, rate, recall, rate == best)
        for arm, best in (("a", 0.1), ("b", 0.01))
        for rate, recall in ((0.1, 50.0), (0.01, 40.0))
    ]
    table = pd.DataFrame(rows, columns=["search", "arm", "learning_rate", "mean_recall", "chosen"])
    axis = scores.searched_rates(table).axes[0]
    rings = [tuple(line.get_xydata()[0]) for line in axis.lines if line.get_markersize() == 13]
    assert rings == [(0.1, 50.0), (0.01, 40.0)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.01", "0.1"]


def test_scores_by_share_of_the_pictures_rise_in_order_of_the_shares():
    table = pd.DataFrame({"factor": "ia3", "level": ["100", "25", "50"]})
    table = table.assign(mean_recall=[48.0, 40.0, 44.0], low=38.0, high=50.0)
    figure = scores.by_share(table)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["25", "50", "100"]
    assert "ia3 40.0 with 25 %, 44.0 with 50 %, 48.0 with 100 %" in in_words(figure)
    assert "%" in axis.get_xlabel() and "%" in axis.get_ylabel()


def test_a_table_of_shares_has_its_numbers_in_its_cells():
    table = pd.DataFrame({"ia3": [10.0, 20.4], "lora": [30.0, 40.0]}, index=["river", "port"])
    figure = scores.shares(table, "mean recall, %")
    assert [text.get_text() for text in figure.axes[0].texts] == ["10", "30", "20", "40"]
    assert "river 10 to 30; port 20 to 40" in in_words(figure)


def test_every_method_and_objective_has_a_name_and_every_family_a_look_of_its_own():
    assert {*METHODS} <= {*labels.METHODS, "zero-shot"} and {*OBJECTIVES} == {*labels.OBJECTIVES}
    looks = labels.looks(dict.fromkeys(row.family for row in BENCHMARK), labels.FAMILIES)
    assert labels.FAMILIES.items() >= looks.items()
    for own in (looks, labels.SETS, labels.looks("abcdefg")):
        for part in ("color", "mark"):
            assert len({getattr(look, part) for look in own.values()}) == len(own)


def test_vermilion_is_hmmcs_alone():
    looks = labels.looks(["infonce", "mrs-adapter, hmmc", *"abcdefghij"])
    assert [name for name in looks if looks[name].color == labels.HMMC] == ["mrs-adapter, hmmc"]
    named = labels.SETS | labels.FAMILIES | labels.OBJECTIVES
    assert {name for name in named if named[name].color == labels.HMMC} == {"hmmc", "hmmc-infonce"}


def test_only_whole_names_of_a_program_are_put_in_words():
    said_of = {
        "adapter, share layers": "Houlsby adapter, share layers",
        "ucm: mrs-adapter, hmmc": "UCM-Captions: MRS adapter, HMMC",
        "adapter less\nfull, hinge": "Houlsby adapter less\nfull fine-tuning, hinge",
        "adapter with trained heads": "adapter with trained heads",
    }
    assert [labels.named(label) for label in said_of] == list(said_of.values())
