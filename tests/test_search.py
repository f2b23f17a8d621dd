"""Pictures are found by text and by picture: rightly, at once the second time, and shown."""

import json
import logging
import os
import re
import shlex
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import encode
from PIL import Image

import rsstudy
from rsstudy import search
from rsstudy.data.reading import Files
from rsstudy.data.sources import load
from rsstudy.errors import StudyError
from rsstudy.found import write_page
from rsstudy.search import best, read_index

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tiny():
    return rsstudy.create("tiny@random")


@pytest.fixture
def other():
    """The tiny encoder with an adapter on it."""
    encoder = rsstudy.create("tiny@random")
    rsstudy.attach(encoder, rsstudy.create_method("lora"))
    return encoder


@pytest.fixture
def folder(rows, tmp_path, own_cache) -> Path:
    """The ten pictures as plain files in two sub-folders, a hidden and a broken one among them."""
    for number, row in enumerate(rows):
        file = tmp_path / "mine" / ("a", "b & <c>")[number % 2] / row.filename
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(row.content)
    (tmp_path / "mine" / "a" / ".hidden.png").write_bytes(rows[0].content)
    (tmp_path / "mine" / "a" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "mine" / "notes.txt").write_text("no picture")
    return tmp_path / "mine"


@pytest.fixture
def not_decoded(monkeypatch):
    """From now on, no picture of a set can be decoded."""

    def fail(*_):
        raise AssertionError("a picture was decoded")

    return lambda: monkeypatch.setattr(Files, "decode", fail)


def by_hand(encoder, folder, text) -> list[tuple[str, float]]:
    """(file, cosine) of the whole pictures below a folder, best first, by a plain loop."""
    ids = encoder.tokenizer([text])
    with torch.no_grad():
        query = encoder.model.encode_text(ids)[0].numpy()
        scores = {}
        for file in folder.rglob("[!.]*.png"):
            if file.name == "broken.png":
                continue
            picture = Image.open(file).convert("RGB")  # 32 x 24
            size = encoder.image_size
            picture = picture.resize((size * 4 // 3, size), Image.Resampling.BICUBIC)
            left = round((size * 4 // 3 - size) / 2)
            values = np.asarray(picture.crop((left, 0, left + size, size)), np.float32) / 255
            values = (values - encoder.mean.numpy()) / encoder.std.numpy()
            image = torch.from_numpy(values.transpose(2, 0, 1)[None])
            vector = encoder.model.encode_image(image)[0].numpy()
            norms = np.linalg.norm(vector) * np.linalg.norm(query)
            scores[file.relative_to(folder).as_posix()] = float(vector @ query / norms)
    return sorted(scores.items(), key=lambda item: -item[1])


def test_a_plain_loop_finds_the_same_pictures(tiny, folder):
    found = rsstudy.index(tiny, folder).search("a beach seen from side 2 .", top=10)
    expected = by_hand(tiny, folder, "a beach seen from side 2 .")
    assert [hit.filename for hit in found] == [name for name, _ in expected]
    assert [hit.score for hit in found] == pytest.approx([s for _, s in expected], abs=1e-5)
    assert [hit.rank for hit in found] == list(range(1, 11))


def test_a_picture_finds_itself_first_and_its_own_captions(tiny, rows, write_parquet, own_cache):
    index = rsstudy.index(tiny, write_parquet(rows))
    file = own_cache.parent / "query.png"
    file.write_bytes(rows[3].content)
    first = index.like(file, top=2)[0]
    assert first.filename == rows[3].filename and first.score == pytest.approx(1)
    every = index.captions(file, top=100)
    texts = tiny.tokenizer([hit.caption for hit in every])
    with torch.no_grad():
        scores = tiny.embed_texts(texts) @ index.vectors[index.filenames.index(rows[3].filename)]
    assert len(every) == 50 and (scores.diff() < 1e-5).all()
    assert all(hit.caption in rows[int(hit.filename[-5])].captions for hit in every)


def test_equal_scores_are_in_the_sets_order_whatever_the_product_rounds():
    vectors = torch.nn.functional.normalize(torch.randn(1, 128), dim=1).repeat(999, 1)
    vectors[::3] = torch.nn.functional.normalize(torch.randn(333, 128), dim=1) * 0.1
    rows, scores = best(vectors, vectors[1], 400)
    assert rows == [row for row in range(999) if row % 3][:400] and len(set(scores)) == 1
    assert len(best(vectors, vectors[1], 5000)[0]) == 999


def test_copies_of_a_picture_tie_though_they_lie_in_other_batches(tiny, folder, monkeypatch):
    monkeypatch.setattr(search, "BATCH", 3)
    monkeypatch.setattr(search, "PART", 4)
    content = (folder / "a" / "beach_0.png").read_bytes()
    for name in ("aa.png", "b & <c>/zz.png"):
        (folder / name).write_bytes(content)
    embed, batches = type(tiny).embed_images, count(1)

    def rounds_each_batch_otherwise(self, images):
        return embed(self, images) * (1 - 1e-6 * next(batches))

    monkeypatch.setattr(type(tiny), "embed_images", rounds_each_batch_otherwise)
    found = rsstudy.index(tiny, folder).like(folder / "aa.png", top=4)
    assert [h.filename for h in found][:3] == ["a/beach_0.png", "aa.png", "b & <c>/zz.png"]
    assert len({hit.score for hit in found}) == 2
    names = [name for name, _ in by_hand(tiny, folder, "a farmland")]
    assert {hit.filename for hit in rsstudy.index(tiny, folder).search("x", 20)} == set(names)


def test_folders_of_equal_names_sizes_and_times_have_an_index_each(tiny, tmp_path, own_cache):
    for name, colour in (("one", "red"), ("two", "blue")):
        file = tmp_path / name / "tile.bmp"
        file.parent.mkdir()
        Image.new("RGB", (32, 32), colour).save(file)
        os.utime(file, (1e9, 1e9))
    one, two = (rsstudy.index(tiny, tmp_path / name) for name in ("one", "two"))
    assert not torch.equal(one.vectors, two.vectors)


def test_a_broken_picture_is_named_and_left_out_each_time(tiny, folder, caplog):
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert len(rsstudy.index(tiny, folder).filenames) == 10
        assert caplog.messages == ["2 of 12 pictures are broken, left out: a/broken.png, gone.png"]


def test_a_set_of_broken_pictures_is_refused(tiny, tmp_path, own_cache):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.JPG").write_bytes(b"no picture")
    with pytest.raises(StudyError, match="every picture is broken"):
        rsstudy.index(tiny, tmp_path / "bad")


def test_the_second_index_decodes_nothing_and_finds_the_same(tiny, folder, not_decoded):
    first = rsstudy.index(tiny, folder)
    not_decoded()
    again = rsstudy.index(rsstudy.create("tiny@random"), folder)
    assert torch.equal(first.vectors, again.vectors) and first.filenames == again.filenames


def test_a_changed_picture_and_a_damaged_cache_are_embedded_anew(tiny, folder, own_cache):
    first = rsstudy.index(tiny, folder).vectors
    [kept] = (own_cache / "index").glob("*.safetensors")
    whole = kept.read_bytes()
    for damaged in (whole[:-9], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], b""):
        kept.write_bytes(damaged)
        assert torch.equal(rsstudy.index(tiny, folder).vectors, first)
        assert kept.read_bytes() == whole
    random = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    (folder / "a" / "beach_0.png").write_bytes(encode(random))
    assert (rsstudy.index(tiny, folder).vectors != first).any(dim=1).tolist() == [True] + [
        False
    ] * 9


@pytest.mark.parametrize("change", ["method", "setting", "value", "merged", "size"])
def test_another_encoder_has_another_index(tiny, other, folder, change):
    before = search.digest_of(tiny if change in ("method", "size") else other)
    if change == "setting":  # another factor on the same tensors
        other = rsstudy.create("tiny@random")
        rsstudy.attach(other, rsstudy.create_method("lora", {"alpha": 3.0}))
    elif change == "value":
        with torch.no_grad():
            next(p for p in other.parameters() if p.requires_grad).add_(1)
    elif change == "merged":
        rsstudy.merge(other)
    elif change == "size":
        other = rsstudy.create("tiny@random", 72)
    assert search.digest_of(other) != before


def test_an_index_is_not_searched_by_an_encoder_that_was_changed_since(other, folder):
    index = rsstudy.index(other, folder)
    assert len(index.search("a beach", 3)) == 3
    with torch.no_grad():
        next(p for p in other.parameters() if p.requires_grad).add_(1)
    with pytest.raises(StudyError, match="index anew"):
        index.search("a beach")


def test_pandas_and_numpy_read_what_is_saved_and_a_search_finds_the_same(
    tiny, folder, tmp_path, not_decoded
):
    index = rsstudy.index(tiny, folder)
    index.save(tmp_path / "v.parquet"), index.save(tmp_path / "v.npy")
    table = pd.read_parquet(tmp_path / "v.parquet")
    assert list(table.columns) == ["name", "vector"] and list(table["name"]) == list(
        index.filenames
    )
    vectors = np.stack(table["vector"])
    assert vectors.dtype == np.float32 and (vectors == index.vectors.numpy()).all()
    assert (np.load(tmp_path / "v.npy") == vectors).all()
    said = json.loads((tmp_path / "v.npy.json").read_text())
    assert said["names"] == list(index.filenames) and said["digest"] == index.digest
    not_decoded()
    assert [*read_index(tmp_path / "v.parquet", tiny).search("x")] == [*index.search("x")]


def test_a_file_of_another_encoder_or_of_no_index_is_refused(tiny, other, folder, tmp_path):
    file = tmp_path / "v.parquet"
    rsstudy.index(tiny, folder).save(file)
    with pytest.raises(StudyError, match="was made by another adapter"):
        read_index(file, other)
    with pytest.raises(StudyError, match="names a/beach_0.png, which .* lacks"):
        read_index(file, tiny, load(str(folder / "b & <c>")))
    pd.DataFrame({"name": ["a"]}).to_parquet(file)
    with pytest.raises(StudyError, match="is no index"):
        read_index(file, tiny)
    file.write_bytes(b"PAR1 cut")
    with pytest.raises(StudyError, match="is no index"):
        read_index(file, tiny)


def test_an_interrupted_file_is_not_left_half_written(tiny, folder, tmp_path, monkeypatch):
    index = rsstudy.index(tiny, folder)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search.pq, "write_table", interrupted)
    monkeypatch.setattr(search.np, "save", interrupted)
    (tmp_path / "out").mkdir()
    for name in ("v.parquet", "v.npy"):
        with pytest.raises(KeyboardInterrupt):
            index.save(tmp_path / "out" / name)
    assert not list((tmp_path / "out").iterdir())


def test_an_interrupted_index_goes_on_from_its_last_part(tiny, folder, monkeypatch):
    monkeypatch.setattr(search, "PART", 4)
    embed, seen = type(tiny).embed_images, []

    def third_stops(self, images):
        seen.append(len(images))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return embed(self, images)

    monkeypatch.setattr(type(tiny), "embed_images", third_stops)
    with pytest.raises(KeyboardInterrupt):
        rsstudy.index(tiny, folder)
    assert len(rsstudy.index(tiny, folder).filenames) == 10
    assert seen == [4, 3, 3, 3], "the two parts before it were kept"


class Links(HTMLParser):
    """The links, the sources and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.links, self.sources, self.said = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k == "href"]
        self.sources += [v for k, v in attributes if k == "src"]

    def handle_data(self, data):
        self.said += data


def test_a_contact_sheet_has_all_in_it_and_escapes_what_it_shows(tiny, folder, tmp_path):
    from urllib.parse import unquote

    query = '<script>alert("x")</script> & planes'
    write_page([rsstudy.index(tiny, folder).search(query, top=10)], tmp_path / "out.html")
    page = Links((tmp_path / "out.html").read_text())
    assert (
        "script" not in page.tags and query in page.said and "b & <c>/farmland_1.png" in page.said
    )
    assert len(page.sources) == 10
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert all((tmp_path / unquote(link)).is_file() for link in page.links) and page.links


def test_a_notebook_shows_a_gallery_even_when_the_pictures_have_moved(tiny, folder, rows):
    found = rsstudy.index(tiny, folder).search("a beach", top=10)
    for file in folder.rglob("beach_*.png"):
        file.unlink()
    shown = found._repr_html_()
    assert shown.count("data:image/jpeg") == 5 and shown.count("not at hand") == 5


def test_a_plain_folder_is_told_from_a_set_with_captions(folder, call):  # noqa: F811
    plain = load(str(folder))
    assert set(plain.splits) == {"pictures"} and not any(plain.captions)
    assert plain.filenames[:2] == ("a/beach_0.png", "a/beach_2.png") and len(plain) == 11
    checked = call("data", "check", folder)
    assert checked.code == 0 and "rsstudy search" in checked.output
    assert "1 broken image(s)" in checked.output and "no test split" not in checked.output
    trained = call("train", "--data", folder, "--encoder", "tiny@random")
    assert trained.code == 1 and "no train, val or test split" in trained.error
    assert trained.error.count("\n") == 1


def test_the_commands_search_embed_and_search_what_was_embedded(folder, call, caplog):  # noqa: F811
    start = ["search", "a beach", "a farmland", "--encoder", "tiny@random", "--top", 3]
    answer = call(*start, "--data", folder, "--html", "out.html")
    assert answer.code == 0 and "a farmland\n" in answer.output and "broken.png" in caplog.text
    assert Path("out.html").read_text().count("<img") == 6
    made = call("embed", "--data", folder, "--encoder", "tiny@random", "--out", "v.parquet")
    assert made.code == 0 and "10 vectors of 128 numbers" in made.output
    direct = json.loads(call(*start, "--data", folder, "--json").output)
    assert json.loads(call(*start, "--index", "v.parquet", "--json").output) == direct
    assert [len(each["results"]) for each in direct] == [3, 3]
    (folder / "a" / "beach_0.png").rename(folder / "a" / "[red]0.png")
    like = ["search", "--image", folder / "a" / "[red]0.png", *start[3:], "--data", folder]
    assert re.search(r"1 +1\.0 +a/\[red\]0\.png", call(*like).output)
    assert "has no captions" in call(*like, "--captions").error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("search --data . --encoder tiny", "write a text to search"),
        ("search planes --encoder tiny", "give --data"),
        ("search planes --data . ", "give --adapter"),
        ("search planes --data . --adapter no/run", "no adapter at no/run"),
        ("search planes --data . --encoder tiny --captions", "give --image"),
        ("search planes --index v.parquet --encoder tiny --html x.html", "--data"),
        ("embed --data . --encoder tiny --out v.csv", ".parquet or .npy"),
        ("embed --data . --encoder tiny --out v.parquet", "would be taken for a part of the set"),
    ],
)
def test_what_a_search_lacks_is_said_in_one_line(call, tmp_path, words, message):  # noqa: F811
    (tmp_path / "v.parquet").touch()
    answer = call(*words.split())
    assert answer.code == 1 and message in answer.error and answer.error.count("\n") == 1


def test_the_page_is_true(other, rows, folder, write_parquet, call, monkeypatch):  # noqa: F811
    page = (ROOT / "book" / "13_search.md").read_text()
    rsstudy.save_adapter(other, "runs/mine")
    folder.rename("my-pictures"), write_parquet(rows, "my-set")
    Path("query.png").write_bytes(rows[0].content)
    shown = {"bash": [], "python": []}
    for kind, code in re.findall(r"```(bash|python)\n(.*?)```", page, re.DOTALL):
        shown[kind].append(code)
    commands = "".join(shown["bash"]).replace("\\\n", " ").splitlines()
    assert len(commands) == 7
    for command in commands:  # OpenAI's weights are not at hand: the same encoder without them
        answer = call(*shlex.split(command.replace("@openai", "@random"))[1:])
        assert answer.code == 0 and answer.output.strip(), answer.error
    assert Path("found.html").read_text().count("<img") == 10
    found: dict = {}
    exec("".join(shown["python"]), found)
    assert found["vectors"].shape == (10, 128) and len(found["index"].like("query.png")) == 10
