"""The gallery shows what an encoder finds, and tells right from wrong by colour and by mark."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create
from rsstudy.evaluation import embed, prepare
from rsstudy.retrieval import distinct
from study.figures import in_words, use_style
from study.figures.gallery import RIGHT, TOP, WRONG, gallery, retrieved


@pytest.fixture
def small(rows, write_parquet, own_cache):
    return read_parquet(write_parquet(rows))


def test_what_is_retrieved_is_what_is_most_alike(small):
    encoder = create("tiny@random")
    rows, captions = retrieved(encoder, small, 3, caption=2)
    images, texts = embed(encoder, prepare(encoder, small))
    similar = images.double() @ texts.double().T
    query = distinct(small.captions)[0].index(small.captions[3][2])
    assert len(rows) == len(captions) == TOP
    assert rows == torch.argsort(similar[:, query], descending=True)[:TOP].tolist()
    assert captions == torch.argsort(similar[3], descending=True)[:TOP].tolist()


def test_right_and_wrong_differ_in_colour_frame_and_mark(small):
    use_style()
    texts = distinct(small.captions)[0]
    own = [texts.index(text) for text in small.captions[3]]
    found = {"before": ([0, 1, 2, 4, 5], [0, 1, 2, own[0], 3]), "after": ([3, 1, 2, 4, 5], own)}
    figure = gallery(small, 3, found)
    framed = [axis for axis in figure.axes if axis.texts]
    marks = [axis.texts[0].get_text() for axis in framed]
    assert marks == [WRONG[0]] * 5 + [RIGHT[0]] + [WRONG[0]] * 4
    looks = {
        (
            a.texts[0].get_text(),
            to_hex(a.spines["left"].get_edgecolor()),
            a.spines["left"].get_linewidth(),
        )
        for a in framed
    }
    assert len(looks) == 2 and len({color for _, color, _ in looks}) == 2
    lines = [text for text in figure.texts if text.get_text()[0] in RIGHT[0] + WRONG[0]]
    assert [text.get_text()[0] for text in lines] == [*"✗✗✗✓✗", *"✓✓✓✓✓"]
    assert len({(text.get_text()[0], text.get_color(), text.get_weight()) for text in lines}) == 2
    assert figure.get_size_inches()[0] * 100 <= 390, "a phone shows it whole"
    figure.draw_without_rendering()
    edges = [text.get_window_extent() for text in figure.texts]
    assert min(edge.y0 for edge in edges) >= 0 and max(edge.x1 for edge in edges) <= 390
    words = in_words(figure)
    assert "before, 0 of 5 pictures right" in words and "after, 5 of 5 captions right" in words
    plt.close("all")
