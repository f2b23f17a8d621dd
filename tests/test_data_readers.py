"""Both readers give the same set, and say in one line what is wrong with a file."""

import io
import json
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
from rsstudy.data.reading import decode_bytes
from rsstudy.errors import StudyError


def complaint(read, *arguments) -> str:
    with pytest.raises(StudyError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_layouts_give_the_same_set(rows, write_parquet, write_karpathy):
    parquet = read_parquet(write_parquet(rows, "a"))
    karpathy = read_karpathy(write_karpathy(rows, "b"))
    for image_text_set in (parquet, karpathy):
        found = {
            name: (split, captions, scene)
            for name, split, captions, scene in zip(
                image_text_set.filenames,
                image_text_set.splits,
                image_text_set.captions,
                image_text_set.classes,
                strict=True,
            )
        }
        assert found == {row.filename: (row.split, tuple(row.captions), row.scene) for row in rows}
        for index, name in enumerate(image_text_set.filenames):
            row = next(row for row in rows if row.filename == name)
            picture = np.asarray(Image.open(io.BytesIO(row.content)))
            assert np.array_equal(image_text_set.images.decode(index), picture)
    assert parquet.manifest_digest() == karpathy.manifest_digest()


def test_manifest_digest_ignores_row_order_and_encoding_but_not_captions(
    rows, changed, write_parquet
):
    digest = read_parquet(write_parquet(rows, "a")).manifest_digest()
    webp = [
        replace(row, content=encode(np.asarray(Image.open(io.BytesIO(row.content))), "WEBP"))
        for row in reversed(rows)
    ]
    assert read_parquet(write_parquet(webp, "b")).manifest_digest() == digest
    other = changed(3, captions=["another caption ."])
    assert read_parquet(write_parquet(other, "c")).manifest_digest() != digest


def test_a_folder_that_all_names_share_is_dropped(rows, write_parquet):
    packed = [replace(row, filename=f"small_images/{row.filename}") for row in rows]
    plain, kept = read_parquet(write_parquet(rows, "a")), read_parquet(write_parquet(packed, "b"))
    assert kept.manifest_digest() == plain.manifest_digest()


def test_hub_layouts_are_read(rows, write_parquet):
    data = write_parquet(rows, "hub/data")
    (data / "val-00000-of-00001.parquet").rename(data / "validation-00000-of-00001.parquet")
    (data / "test-00000-of-00001.parquet").rename(
        data / "test-00000-of-00001-0123456789abcdef.parquet"
    )
    found = read_parquet(data.parent)
    assert {name: found.splits.count(name) for name in found.splits} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }


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


def test_absent_shard_is_named(rows, write_parquet):
    folder = write_parquet(rows)
    (folder / "train-00000-of-00001.parquet").rename(folder / "train-00000-of-00002.parquet")
    assert "lacks train-00001-of-00002.parquet" in complaint(read_parquet, folder)


def test_shard_of_no_split(rows, write_parquet):
    folder = write_parquet(rows)
    (folder / "test-00000-of-00001.parquet").rename(folder / "part-0.parquet")
    assert "part-0.parquet: its name does not tell the split" in complaint(read_parquet, folder)


@pytest.mark.parametrize("column", ["image", "captions"])
def test_missing_column_is_named(rows, write_parquet, column):
    folder = write_parquet(rows)
    shard = folder / "val-00000-of-00001.parquet"
    pq.write_table(pq.read_table(shard).drop_columns([column]), shard)
    message = complaint(read_parquet, folder)
    assert f"{shard} lacks the column {column}" in message


def test_captions_that_are_no_texts(rows, write_parquet):
    folder = write_parquet(rows)
    shard = folder / "val-00000-of-00001.parquet"
    table = pq.read_table(shard)
    place = table.schema.get_field_index("captions")
    pq.write_table(table.set_column(place, "captions", pa.array([1, 2])), shard)
    assert "lacks the column captions (texts)" in complaint(read_parquet, folder)


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


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:\\x"])
def test_names_outside_the_image_folder_are_refused(rows, write_karpathy, name):
    folder = write_karpathy(rows)
    published = json.loads((folder / "dataset_small.json").read_text())
    published["images"][2]["filename"] = name
    (folder / "dataset_small.json").write_text(json.dumps(published))
    assert "leads out of the image folder" in complaint(read_karpathy, folder)


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
    picture = np.zeros((4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_bytes(encode(picture, exif=exif.tobytes()), "x").shape == (6, 4, 3)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", encode(np.zeros((64, 64, 3), np.uint8))[:60]]
)
def test_broken_image_is_named(content):
    with pytest.raises(BrokenImage, match=r"^shed_3\.png: broken image \(.+\)") as caught:
        decode_bytes(content, "shed_3.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [8_200, 20_000])
def test_too_many_pixels_are_refused(side):
    bomb = io.BytesIO()
    Image.new("1", (side, side)).save(bomb, "PNG")
    with pytest.raises(BrokenImage, match=r"^x\.png"):
        decode_bytes(bomb.getvalue(), "x.png")
