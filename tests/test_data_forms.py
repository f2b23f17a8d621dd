"""One set in every form on disk is the same set; each reader says in one line what is wrong."""

import csv
import io
import json
import tarfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import encode

from rsstudy.data.audit import audit
from rsstudy.data.imagetext import BrokenImage
from rsstudy.data.sources import load
from rsstudy.encoders import create
from rsstudy.errors import StudyError
from rsstudy.evaluation import evaluate, prepare


def write_pictures(folder: Path, rows, within=lambda row: ""):
    for row in rows:
        path = folder / within(row) / row.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.content)


def as_lists(folder: Path, rows) -> Path:
    """HarMA's: train has a caption an entry, the other splits a list of them."""
    write_pictures(folder / "pictures", rows, lambda row: row.split)
    entries = defaultdict(list)
    for row in rows:
        of = {"image": f"{row.split}/{row.filename}", "label_name": row.scene}
        texts = row.captions if row.split == "train" else [row.captions]
        entries[row.split] += [{**of, "caption": text} for text in texts]
    for split, pairs in entries.items():
        (folder / f"small_{split}.json").write_text(json.dumps(pairs))
    return folder


def as_precomp(folder: Path, rows) -> Path:
    """PE-RSITR's: train names each picture once, the other splits once for each caption."""
    place = folder / "small_precomp"
    write_pictures(place / "small_images", rows)
    for split in ("train", "val", "test"):
        mine = [row for row in rows if row.split == split]
        texts = [text for row in mine for text in row.captions]
        names = [row.filename for row in mine for _ in row.captions[: 1 if split == "train" else 5]]
        (place / f"{split}_caps.txt").write_text("\n".join(texts) + "\n")
        (place / f"{split}_filename.txt").write_text("\n".join(names) + "\n")
    return folder


def as_imagefolder(folder: Path, rows) -> Path:
    """With a table for each split."""
    write_pictures(folder, rows, lambda row: row.split)
    for row in rows:
        of = {"file_name": row.filename, "text": row.captions, "label": row.scene}
        with (folder / row.split / "metadata.jsonl").open("a") as table:
            table.write(json.dumps(of) + "\n")
    return folder


def as_table(folder: Path, rows) -> Path:
    """An imagefolder of a single CSV, with a row for each caption."""
    write_pictures(folder, rows)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "caption", "split", "class"])
        for row in rows:
            table.writerows([row.filename, text, row.split, row.scene] for text in row.captions)
    return folder


def as_tar(folder: Path, rows, parts=lambda row: {"txt": "\n".join(row.captions)}) -> Path:
    folder.mkdir(parents=True)
    for split in {row.split for row in rows}:
        with tarfile.open(folder / f"{split}-000000.tar", "w") as tar:
            for row in rows:
                if row.split != split:
                    continue
                stem, _, kind = row.filename.partition(".")
                for suffix, of in {kind: row.content, "cls": row.scene, **parts(row)}.items():
                    content = of if isinstance(of, bytes) else of.encode()
                    member = tarfile.TarInfo(f"{stem}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


def as_json_in_tar(folder: Path, rows) -> Path:
    return as_tar(folder, rows, lambda row: {"json": json.dumps({"captions": row.captions})})


FORMS = (as_lists, as_precomp, as_imagefolder, as_table, as_tar, as_json_in_tar)


def told(of):
    rows = zip(of.filenames, of.splits, of.captions, of.classes, strict=True)
    return {name: facts for name, *facts in rows}


@pytest.mark.parametrize("write", FORMS, ids=lambda of: of.__name__)
def test_a_set_is_the_same_set_with_the_same_scores_in_every_form(
    rows, write_parquet, write_karpathy, tmp_path, own_cache, write
):
    known = load(write_parquet(rows, "parquet"))
    assert told(known) == told(load(write_karpathy(rows, "karpathy")))
    other = load(write(tmp_path / "other", rows))
    assert told(other) == told(known)
    assert other.manifest_digest() == known.manifest_digest()
    assert audit(other, progress=False).pixel_digest == audit(known, progress=False).pixel_digest
    encoder = create("tiny@random")
    scores = [
        evaluate(encoder, prepare(encoder, of.split("train"))).scores for of in (known, other)
    ]
    assert scores[0] == scores[1]


def complaint(path) -> str:
    with pytest.raises(StudyError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def first(folder: Path, pattern: str) -> Path:
    return next(iter(sorted(folder.rglob(pattern))))


@pytest.mark.parametrize(
    ("write", "pattern", "content", "message"),
    [
        (as_lists, "small_test.json", "[{", "is no list of pairs"),
        (as_lists, "small_test.json", '[{"image": "a.png"}]', "0.caption"),
        (as_lists, "small_test.json", '[{"image": "../a", "caption": "a"}]', "leads out of"),
        (as_lists, "other_test.json", "[]", "several sets (other, small)"),
        (as_precomp, "test_caps.txt", "a\nb\nc\n", "has 10 lines and test_caps.txt 3"),
        (as_precomp, "test_caps.txt", "", "has 10 lines and test_caps.txt 0"),
        (as_precomp, "test_caps.txt", b"\xff\n", "is no UTF-8 text"),
        (as_precomp, "test_filename.txt", "../a.png\n" * 2, "leads out of"),
        (as_precomp, "test_filename.txt", "gone.png\n" * 2, "names 1 of 9 files that are not in"),
        (as_imagefolder, "test/metadata.jsonl", "\n{", "line 2 is no JSON"),
        (as_imagefolder, "test/metadata.jsonl", "[1]", "line 1 is no JSON object"),
        (as_imagefolder, "test/metadata.jsonl", '{"text": "a"}', "row 0 lacks a text file_name"),
        (as_imagefolder, "test/metadata.jsonl", '{"file_name": "a.png"}', "lacks the column"),
        (
            as_imagefolder,
            "test/metadata.jsonl",
            '{"file_name": "beach_8.png", "text": 3}',
            "is no text",
        ),
        (as_table, "metadata.csv", "file_name,text\n../a.png,a\n", "leads out of"),
        (as_table, "metadata.csv", "file_name,text,split\na.png,a,odd\n", "has the split 'odd'"),
        (as_table, "metadata.csv", 'file_name,text\n"a', "cannot be read"),
        (as_tar, "train-000000.tar", b"no tar" * 200, "write a plain tar file"),
        (as_tar, "odd-000000.tar", b"", "its name does not tell the split"),
    ],
)
def test_each_reader_names_the_file_that_is_wrong(rows, tmp_path, write, pattern, content, message):
    folder = write(tmp_path / "set", rows)
    found = sorted(folder.rglob(pattern)) or [folder / pattern]
    found[0].write_bytes(content if isinstance(content, bytes) else content.encode())
    said = complaint(folder)
    assert message in said and (str(folder) in said or "no text" in message)


def test_a_sample_without_a_picture_or_with_damaged_json_is_named(rows, tmp_path):
    gone = [replace(rows[0], filename="beach_0.xyz"), *rows[1:]]
    said = complaint(as_tar(tmp_path / "a", gone))
    assert said.endswith("train-000000.tar: the sample beach_0 has no picture")
    said = complaint(as_tar(tmp_path / "b", rows, lambda row: {"json": "{"}))
    assert "beach_0.json is no JSON object" in said or "beach_8.json" in said
    said = complaint(as_tar(tmp_path / "c", rows, lambda row: {"json": '{"said": "a"}'}))
    assert "lacks the column captions (texts); it has said" in said
    named = as_tar(tmp_path / "d", rows, lambda row: {"json": '{"said": "a"}'})
    assert {*load(f"{named}?captions=said").captions} == {("a",)}


def test_pictures_of_a_shard_are_read_where_they_lie(rows, tmp_path, monkeypatch):
    """Nothing is unpacked: the folder holds the shards alone, and a cut one is a broken picture."""
    folder = as_tar(tmp_path / "set", rows)
    found = load(folder)
    assert sorted(path.suffix for path in folder.rglob("*")) == [".tar"] * 3
    shard = found.images.places[-1][0]
    shard.write_bytes(shard.read_bytes()[: found.images.places[-1][1] + 9])
    with pytest.raises(BrokenImage, match=found.filenames[-1]):
        found.images.decode(len(found) - 1)


def test_splits_of_shards_are_told_by_their_folder_and_hidden_files_are_left_out(rows, tmp_path):
    """The layout of CLIP_benchmark: test/0.tar; macOS adds ._ files."""
    folder = as_tar(tmp_path / "set", [replace(row, split="test") for row in rows])
    (folder / "test").mkdir()
    shard = (folder / "test-000000.tar").rename(folder / "test" / "0.tar")
    with tarfile.open(shard, "a") as tar:
        tar.addfile(tarfile.TarInfo("._beach_0.png"))
    assert {*load(folder).splits} == {"test"}


def test_pictures_of_one_name_in_two_splits_are_two_pictures(rows, tmp_path):
    """A name without its folder must not lead to another split's picture."""
    rows = [replace(row, filename=f"{n % 2}.png") for n, row in enumerate(rows[4:6] + rows[8:])]
    found = load(as_imagefolder(tmp_path / "set", rows))
    assert found.filenames == ("test/0.png", "test/1.png", "train/0.png", "train/1.png")
    assert not np.array_equal(found.images.decode(0), found.images.decode(2))
    lists = load(as_lists(tmp_path / "lists", rows))
    assert sorted(lists.filenames) == sorted(found.filenames)


def test_a_shards_own_name_tells_its_split_before_its_folders_does(rows, tmp_path):
    folder = as_tar(tmp_path / "test", rows)
    assert told(load(folder)).items() == told(load(as_tar(tmp_path / "set", rows))).items()


def test_one_key_in_two_splits_is_two_pictures_and_twice_in_a_shard_is_refused(rows, tmp_path):
    """A mask beside its picture (a.jpg, a.png) must not take its place."""
    again = [replace(row, filename=f"{n % 6}.png") for n, row in enumerate(rows)]
    found = load(as_tar(tmp_path / "set", again))
    assert len({*found.filenames}) == 10 and "test/2.png" in found.filenames
    masked = as_tar(tmp_path / "masked", rows, lambda row: {"jpg": row.content, "txt": "a"})
    assert "has two pictures" in complaint(masked)


def test_pictures_are_those_named_and_never_a_guess_between_two_folders(rows, tmp_path):
    """Change detection and segmentation have folders of equal names: A, B, label."""
    folder = as_table(tmp_path / "set", rows)
    for place in ("images", "gt"):
        write_pictures(folder / place, rows)
    assert load(folder).images.folder == folder  # beside the table
    for row in rows:
        (folder / row.filename).unlink()
    said = complaint(folder)
    assert f"{folder / 'gt'} and {folder / 'images'} both hold pictures of these names" in said
    lists = as_lists(tmp_path / "lists", rows)
    write_pictures(lists / "other", [replace(row, content=b"no picture") for row in rows])
    assert load(lists).images.folder == lists / "pictures"  # as named, with their folders


@pytest.mark.parametrize(
    ("write", "damage", "message"),
    [
        (as_lists, {"small_val.json": b""}, "small_val.json is no list of pairs"),
        (as_precomp, {"small_precomp/val_filename.txt": None}, "val_filename.txt cannot be read"),
        (as_table, {"metadata.jsonl": b'{"file_name": "a"}'}, "may name the same pictures"),
        (as_imagefolder, {"metadata.csv": b"file_name\n"}, "may name the same pictures"),
    ],
)
def test_no_split_and_no_table_is_left_out_in_silence(rows, tmp_path, write, damage, message):
    folder = write(tmp_path / "set", rows)
    for name, content in damage.items():
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    assert message in complaint(folder)


@pytest.mark.parametrize("write", [as_lists, as_precomp, as_table])
def test_a_byte_order_mark_is_no_part_of_a_text(rows, tmp_path, write):
    """Editors of Windows write one."""
    folder = write(tmp_path / "set", rows)
    known = told(load(folder))
    for file in [*folder.glob("*.*"), *folder.glob("small_precomp/*.txt")]:
        if file.suffix in (".json", ".txt", ".csv"):
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert told(load(folder)) == known


@pytest.mark.parametrize("name", ["images.tar", "dataset_infos.json", "latest.json"])
def test_files_that_are_no_set_do_not_decide_the_form(rows, write_karpathy, tmp_path, name):
    folder = write_karpathy(rows)
    (folder / name).write_bytes(b"[]")
    assert len(load(folder)) == len(rows)


def test_a_set_in_the_current_folder_takes_the_name_of_its_captions(rows, write_parquet, call):
    """And its path stays out of what the command says of it."""
    folder = write_parquet(rows)
    for shard in folder.iterdir():
        table = pq.read_table(shard)
        pq.write_table(table.rename_columns({"captions": "said"}), shard)
    found = call("data", "check", "set?captions=said", "--json")
    assert found.code == 0 and json.loads(found.output)["name"] == "set"


def test_columns_are_refused_of_a_form_that_has_none(rows, write_karpathy):
    assert "without columns" in complaint(f"{write_karpathy(rows)}?captions=said")


def test_the_audit_counts_dark_pictures_and_those_of_one_colour(changed, write_parquet):
    crafted = changed(0, content=encode(np.full((9, 9, 3), 90, np.uint8)))
    night = np.random.default_rng(0).integers(0, 14, (9, 9, 3), dtype=np.uint8)
    crafted[1] = replace(crafted[1], content=encode(night))
    found = audit(load(write_parquet(crafted)), progress=False)
    assert found.constant_pictures == [crafted[0].filename]
    assert found.dark_pictures == [crafted[1].filename]
    assert any("1 nearly black" in text for text in found.findings) and found.ok
