"""Both readers give the same set, and say in one line what is wrong with a file."""

import io
import json
import struct
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import encode
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from rsstudy.data.decoding import _say_once, decode_bytes
from rsstudy.data.imagetext import BrokenImage
from rsstudy.data.karpathy import read_karpathy
from rsstudy.data.parquet import read_parquet
from rsstudy.data.reading import Row, assemble
from rsstudy.data.sources import load
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
    assert without.manifest_digest() == digest and {*without.classes} == {"beach", "farmland"}


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
    names = ("7.tif", "1000268201_693b08cb0e.jpg", "dry_lake_3.jpg", "dry_lake_4.jpg", "port_1.jpg")
    named = [replace(row, filename=name) for row, name in zip(rows[:5], names, strict=True)]
    told = read_karpathy(write_karpathy(named, "told")).classes
    assert told == (None, None, "dry_lake", "dry_lake", "port")
    camera = [replace(row, filename=f"img_{n:03}.jpg") for n, row in enumerate(rows)]
    assert {*read_karpathy(write_karpathy(camera, "camera")).classes} == {None}
    splits = [replace(row, filename=f"{row.split}_{n}.jpg") for n, row in enumerate(rows)]
    assert {*read_karpathy(write_karpathy(splits, "splits")).classes} == {None}
    folder = write_karpathy(camera, "given")
    published = json.loads((folder / "dataset_small.json").read_text())
    published["images"][1]["class"] = "port"
    (folder / "dataset_small.json").write_text(json.dumps(published))
    assert read_karpathy(folder).classes[:3] == (None, "port", None)


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
        ("image", None, " lacks the column image"),
        ("captions", None, " lacks the column captions"),
        ("captions", [1, 2], ": the column captions holds no texts"),
    ],
)
def test_missing_column_and_captions_that_are_no_texts_are_named(
    rows, write_parquet, column, values, named
):
    shard = write_parquet(rows) / "val-00000-of-00001.parquet"
    table = pq.read_table(shard).drop_columns([column])
    pq.write_table(table.append_column(column, pa.array(values)) if values else table, shard)
    assert f"{shard}{named}" in complaint(read_parquet, shard.parent)


def test_filename_that_stands_twice_in_a_split(rows, changed, write_parquet, write_karpathy):
    twice = changed(1, filename=rows[0].filename)
    assert f"the first {rows[0].filename!r}" in complaint(read_parquet, write_parquet(twice, "a"))
    assert f"the first {rows[0].filename!r}" in complaint(read_karpathy, write_karpathy(twice, "b"))


def test_parquet_names_that_stand_in_two_splits_take_the_split_before_them(rows, write_parquet):
    """As numbered pictures do, of which each split has its own."""
    again = [replace(row, filename=f"{n % 2}/{n % 6}.png") for n, row in enumerate(rows)]
    found = read_parquet(write_parquet(again))
    assert found.filenames[:2] == ("test/0/2.png", "test/1/3.png")
    assert len({*found.filenames}) == 10


def test_parquet_rows_without_a_name_are_numbered(rows, write_parquet):
    """``datasets`` writes pictures that were not read from files without their path."""
    folder = write_parquet(rows)
    for shard in folder.iterdir():
        table = pq.read_table(shard)
        images = [{**image, "path": None} for image in table["image"].to_pylist()]
        column = pa.array(images, table["image"].type)
        pq.write_table(table.select(["captions"]).append_column("image", column), shard)
    found = read_parquet(folder)
    assert found.filenames[:3] == ("test/000000", "test/000001", "train/000000")
    assert np.array_equal(found.images.decode(2), picture_of(rows[0]))


def test_numbers_of_classes_have_the_names_that_the_hub_gave_them(rows, write_parquet):
    folder = write_parquet(rows)
    info = {"info": {"features": {"label": {"names": ["shore", "field"], "_type": "ClassLabel"}}}}
    for shard in folder.iterdir():
        table = pq.read_table(shard)
        numbers = [int(of == "farmland") for of in table["class"].to_pylist()]
        table = table.drop_columns(["class"]).append_column("label", pa.array(numbers))
        said = {"huggingface": json.dumps(info)}
        pq.write_table(table.replace_schema_metadata(said), shard)
    assert {*read_parquet(folder).classes} == {"shore", "field"}


@pytest.mark.parametrize("columns", [["caption"], ["text"], ["caption_0", "caption_1"]])
def test_captions_are_found_under_their_usual_names_and_under_a_given_one(
    rows, write_parquet, columns
):
    folder = write_parquet(rows)
    for shard in folder.iterdir():
        table = pq.read_table(shard)
        texts = table["captions"].to_pylist()
        for number, column in enumerate(columns):
            table = table.append_column(column, [[of[number] for of in texts]])
        pq.write_table(table.rename_columns({"captions": "said"}), shard)
    assert load(str(folder)).captions[2] == tuple(rows[0].captions[: len(columns)])
    assert load(f"{folder}?captions=said").captions[2] == tuple(rows[0].captions)
    assert "lacks the column told (texts)" in complaint(load, f"{folder}?captions=told")


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


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1"])
def test_every_common_mode_becomes_rgb(mode):
    grey = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)
    image = Image.fromarray(np.repeat(grey[..., None], 3, 2)).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF" if mode == "CMYK" else "PNG")
    picture = decode_bytes(file.getvalue(), "x")
    assert picture.shape == (6, 8, 3) and picture.dtype == np.uint8
    if mode not in ("1", "P"):
        assert np.array_equal(picture[..., 0], grey)


def test_transparent_parts_are_white():
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (decode_bytes(encode(clear), "x") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_as_by_pillow(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = np.add.outer(np.arange(4) * 40, np.arange(6) * 9).astype(np.uint8)
    content = encode(np.repeat(grey[..., None], 3, 2), format, exif=exif.tobytes())
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert np.array_equal(decode_bytes(content, "x"), np.asarray(expected))


@pytest.mark.parametrize("damage", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff"])
def test_a_whole_picture_with_odd_exif_is_read_and_turned(damage):
    """Pillow cannot write such a place on earth back, which ``exif_transpose`` does."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (IFDRational(1, 7), IFDRational(2, 7), IFDRational(3, 7))
    content = encode(np.zeros((4, 6, 3), np.uint8), "JPEG", exif=exif.tobytes())
    for divisor in (b"\x07\x00\x00\x00", b"\x00\x00\x00\x07"):
        content = content.replace(divisor, damage)
    assert decode_bytes(content, "x").shape == (6, 4, 3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_are_stretched_between_percentiles(dtype, caplog):
    """Reflectances of 200 to 3500, of which the upper byte alone would be black."""
    values = np.linspace(200, 3500, 101 * 101).reshape(101, 101).astype(dtype)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    _say_once.cache_clear()
    picture = decode_bytes(file.getvalue(), "x")[..., 0]
    low, high = np.percentile(values, (2, 98))
    expected = 255 * ((values - low) / (high - low)).clip(0, 1)
    assert np.abs(picture - expected).max() <= 0.5001
    assert "percentiles 2 to 98" in caplog.text
    file = io.BytesIO()
    Image.fromarray(np.full((3, 3), 9, dtype)).save(file, "TIFF")
    assert (decode_bytes(file.getvalue(), "x") == 0).all()


def test_nothing_of_no_number_is_stretched():
    values = np.array([[np.nan, 0], [np.inf, 1]], np.float32)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    assert decode_bytes(file.getvalue(), "x")[..., 0].tolist() == [[0, 0], [0, 255]]


def test_a_fourth_band_is_alpha_only_where_the_tiff_says_so(caplog):
    bands = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(bands).save(file, "TIFF")
    with Image.open(file) as opened:
        assert opened.tag_v2[338] == (2,)
    assert not np.array_equal(decode_bytes(file.getvalue(), "x"), bands[..., :3])
    near_infrared = four_bands(bands)
    with Image.open(io.BytesIO(near_infrared)) as opened:
        assert opened.mode == "RGBA" and 338 not in opened.tag_v2
    _say_once.cache_clear()
    assert np.array_equal(decode_bytes(near_infrared, "x"), bands[..., :3])
    assert "first three of four bands" in caplog.text


def four_bands(bands: np.ndarray) -> bytes:
    """A TIFF of four bands that does not say what the fourth is, as GDAL writes on request."""
    height, width, _ = bands.shape
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 4, 134), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, 142), (277, 3, 1, 4), (279, 4, 1, bands.size)]
    entries += [(284, 3, 1, 1), (278, 3, 1, height)]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return head + table + struct.pack("<I4H", 0, 8, 8, 8, 8) + bands.tobytes()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_several_bands_of_16_bits_are_refused_with_a_way_out(format):
    """Pillow keeps their upper byte alone."""
    height, width = 4, 5
    if format == "PNG":
        rows = b"".join(b"\0" + bytes(6 * width) for _ in range(height))
        parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))]
        parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
        content = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(of)) + kind + of + struct.pack(">I", zlib.crc32(kind + of))
            for kind, of in parts
        )
    else:
        sixteen = struct.pack("<4H", 16, 16, 16, 16)
        content = four_bands(np.zeros((height, 2 * width, 4), np.uint8))
        content = content.replace(struct.pack("<4H", 8, 8, 8, 8), sixteen)
        content = content.replace(
            struct.pack("<HHII", 256, 3, 1, 10), struct.pack("<HHII", 256, 3, 1, 5)
        )
    with pytest.raises(BrokenImage, match="several bands of 16 bits: write 8 bits, gdal_translate"):
        decode_bytes(content, "x")


@pytest.mark.parametrize(
    "content", [b"", b"no picture", encode(np.zeros((64, 64, 3), np.uint8))[:60]]
)
def test_broken_image_is_named(content):
    with pytest.raises(BrokenImage, match=r"^shed_3\.png: broken image \(.+\)") as caught:
        decode_bytes(content, "shed_3.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [float("nan"), "half a pair of surrogates: \ud800"])
def test_a_caption_that_is_no_text_is_refused(text):
    """pandas reads an empty cell of a table as a number."""
    rows = [Row("a.png", "train", ["a ."]), Row("b.png", "train", [text])]
    with pytest.raises(StudyError, match=r"own: b.png has a caption that is no text"):
        assemble("own", rows, None)
