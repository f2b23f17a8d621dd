"""Both readers give the same set, and say in one line what is wrong with a file."""

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import encode
from PIL import Image

from rsstudy.data.imagetext import BrokenImage
from rsstudy.data.karpathy import read_karpathy
from rsstudy.data.parquet import read_parquet
from rsstudy.data.reading import assemble, decode_bytes
from rsstudy.errors import StudyError


def picture_of(row) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row.content)))


def complaint(read, *arguments) -> str:
    with pytest.raises(StudyError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_layouts_give_the_same_set(rows, write_parquet, write_karpathy):
    parquet = read_parquet(write_parquet(rows, "a"))
    karpathy = read_karpathy(write_karpathy(rows, "b"))
    for of in (parquet, karpathy):
        found = zip(of.filenames, of.splits, of.captions, of.classes, strict=True)
        given = {row.filename: row for row in rows}
        assert sorted(found) == sorted(
            (name, row.split, tuple(row.captions), row.scene) for name, row in given.items()
        )
        for index, name in enumerate(of.filenames):
            assert np.array_equal(of.images.decode(index), picture_of(given[name]))
    assert parquet.manifest_digest() == karpathy.manifest_digest()


def test_manifest_digest_ignores_row_order_and_encoding_but_not_captions(
    rows, changed, write_parquet
):
    digest = read_parquet(write_parquet(rows, "a")).manifest_digest()
    webp = [replace(row, content=encode(picture_of(row), "WEBP")) for row in reversed(rows)]
    assert read_parquet(write_parquet(webp, "b")).manifest_digest() == digest
    other = changed(3, captions=["another caption ."])
    assert read_parquet(write_parquet(other, "c")).manifest_digest() != digest


def test_a_folder_that_all_names_share_is_dropped(rows, write_parquet):
    packed = [replace(row, filename=f"small_images/{row.filename}") for row in rows]
    plain, kept = read_parquet(write_parquet(rows, "a")), read_parquet(write_parquet(packed, "b"))
    assert kept.manifest_digest() == plain.manifest_digest()


def test_hub_layouts_are_read(rows, write_parquet):
    data, of = write_parquet(rows, "hub/data"), "00000-of-00001"
    (data / f"val-{of}.parquet").rename(data / f"validation-{of}.parquet")
    (data / f"test-{of}.parquet").rename(data / f"test-{of}-0123456789abcdef.parquet")
    assert Counter(read_parquet(data.parent).splits) == {"train": 6, "val": 2, "test": 2}


def test_path_stands_in_for_an_absent_filename_column(rows, write_parquet):
    folder = write_parquet(rows)
    digest = read_parquet(folder).manifest_digest()
    for shard in folder.iterdir():
        pq.write_table(pq.read_table(shard).drop_columns(["filename", "class"]), shard)
    without = read_parquet(folder)
    assert without.manifest_digest() == digest and set(without.classes) == {None}


def test_restval_counts_as_train(changed, write_karpathy):
    found = read_karpathy(write_karpathy(changed(0, split="restval")))
    assert found.splits.count("train") == 6


def test_pictures_are_found_beside_the_json_and_in_any_subfolder(rows, write_karpathy):
    digests = {
        read_karpathy(write_karpathy(rows, str(number), images)).manifest_digest()
        for number, images in enumerate((".", "images", "small_images"))
    }
    assert len(digests) == 1


def test_class_is_told_by_names_that_tell_one(rows, write_karpathy):
    names = ("7.tif", "1000268201_693b08cb0e.jpg", "beach_3.jpg")
    named = [replace(row, filename=name) for row, name in zip(rows[:3], names, strict=True)]
    assert read_karpathy(write_karpathy(named)).classes == (None, None, "beach")


# Parquet: bad input


def test_parquet_folder_missing_or_empty(tmp_path):
    assert "nowhere is not a folder" in complaint(read_parquet, tmp_path / "nowhere")
    assert "holds no Parquet shards" in complaint(read_parquet, tmp_path)


def test_truncated_parquet(rows, write_parquet):
    shard = write_parquet(rows) / "test-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-200])
    assert str(shard) in complaint(read_parquet, shard.parent)
    shard.write_bytes(b"")
    assert str(shard) in complaint(read_parquet, shard.parent)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train-00000-of-00002.parquet", "lacks train-00001-of-00002.parquet"),
        ("part-0.parquet", "part-0.parquet: its name does not tell the split"),
    ],
)
def test_absent_shard_and_shard_of_no_split_are_named(rows, write_parquet, name, message):
    folder = write_parquet(rows)
    (folder / "train-00000-of-00001.parquet").rename(folder / name)
    assert message in complaint(read_parquet, folder)


@pytest.mark.parametrize(
    ("column", "values", "named"),
    [
        ("image", None, "image"),
        ("captions", None, "captions"),
        ("captions", [1, 2], "captions (texts)"),
    ],
)
def test_missing_column_and_captions_that_are_no_texts_are_named(
    rows, write_parquet, column, values, named
):
    shard = write_parquet(rows) / "val-00000-of-00001.parquet"
    table = pq.read_table(shard).drop_columns([column])
    pq.write_table(table.append_column(column, pa.array(values)) if values else table, shard)
    assert f"{shard} lacks the column {named}" in complaint(read_parquet, shard.parent)


def test_filename_that_stands_twice(rows, changed, write_parquet, write_karpathy):
    twice = changed(9, filename=rows[0].filename)
    assert f"the first {rows[0].filename!r}" in complaint(read_parquet, write_parquet(twice, "a"))
    assert f"the first {rows[0].filename!r}" in complaint(read_karpathy, write_karpathy(twice, "b"))


def test_image_without_bytes_is_named(changed, rows, write_parquet):
    folder = write_parquet(changed(4, content=None))
    assert f"image {rows[4].filename} has no bytes" in complaint(read_parquet, folder)


# Karpathy: bad input


def test_json_missing_or_ambiguous(rows, write_karpathy, tmp_path):
    assert "holds no dataset*.json" in complaint(read_karpathy, tmp_path)
    folder = write_karpathy(rows)
    (folder / "dataset_b.json").write_text("{}")
    assert "dataset_b.json, dataset_small.json" in complaint(read_karpathy, folder)
    assert len(read_karpathy(folder / "dataset_small.json")) == len(rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"images": [', "Invalid JSON"),
        ("[]", "is no Karpathy JSON"),
        ('{"annotations": []}', "images: Field required"),
        ('{"images": [{"filename": "a.png", "split": "train"}]}', "images.0.sentences"),
        ('{"images": []}', "holds no images"),
    ],
)
def test_json_of_another_structure(tmp_path, text, expected):
    (tmp_path / "dataset_x.json").write_text(text)
    assert expected in complaint(read_karpathy, tmp_path)


def test_absent_files_are_counted_and_named(rows, write_karpathy):
    folder = write_karpathy(rows)
    for row in rows[:4]:
        (folder / "images" / row.filename).unlink()
    message = complaint(read_karpathy, folder)
    assert "names 4 of 10 files" in message and f"{rows[0].filename}, {rows[1].filename}" in message


def test_unknown_split_is_named(changed, rows, write_karpathy):
    message = complaint(read_karpathy, write_karpathy(changed(1, split="holdout")))
    assert rows[1].filename in message and "'holdout'" in message


# Decoding


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16"])
def test_every_common_mode_becomes_rgb(mode):
    grey = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 256 + 7)
    else:
        image = Image.fromarray(np.repeat(grey[..., None], 3, 2)).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
    picture = decode_bytes(file.getvalue(), "x")
    assert picture.shape == (6, 8, 3) and picture.dtype == np.uint8
    if mode not in ("1", "P"):
        assert np.array_equal(picture[..., 0], grey)


def test_transparent_parts_are_white():
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (decode_bytes(encode(clear), "x") == 255).all()


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(np.zeros((4, 6, 3), np.uint8), exif=exif.tobytes())
    assert decode_bytes(turned, "x").shape == (6, 4, 3)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", encode(np.zeros((64, 64, 3), np.uint8))[:60]]
)
def test_broken_image_is_named(content):
    with pytest.raises(BrokenImage, match=r"^shed_3\.png: broken image \(.+\)") as caught:
        decode_bytes(content, "shed_3.png")
    assert "\n" not in str(caught.value)


def test_a_caption_that_is_no_text_is_refused():
    """pandas reads an empty cell of a table as a number."""
    with pytest.raises(StudyError, match="own: b.png has a caption that is no text"):
        assemble(
            "own", ["a.png", "b.png"], [["a ."], [float("nan")]], ["train"] * 2, [None] * 2, None
        )
