"""The audit counts what it says it counts, on a set made for it and on the real ones."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from rsstudy.data.audit import audit, beside_published
from rsstudy.data.parquet import read_parquet
from rsstudy.data.pixels import pixels
from rsstudy.data.sources import load
from study.published import read_table


def test_clean_set_has_no_errors_and_no_findings(rows, write_parquet, own_cache):
    clean = read_parquet(write_parquet(rows))
    found = audit(clean)
    assert found.ok and found.errors == found.findings == []
    assert found.images == 10 and found.captions_per_image == {5: 10}
    sizes = {split: (of["images"], of["captions"]) for split, of in found.splits.items()}
    assert sizes == {"train": (6, 30), "val": (2, 10), "test": (2, 10)}
    assert found.classes == {"beach": 5, "farmland": 5}
    assert found.caption_words == {"least": 10, "median": 10, "mean": 10, "most": 10}
    assert found.pixel_digest == pixels(clean, 16).digest
    assert json.loads(json.dumps(found.as_dict()))["ok"] is True


def test_repeated_captions_are_counted(rows, changed, write_parquet):
    """Test: 8 has (own, own, twin), 9 has (twin, from train, from val); exact texts only."""
    train, val = rows[0].captions[0], rows[6].captions[0]
    crafted = changed(8, captions=["own", "own", "twin"])
    crafted[9] = changed(9, captions=["twin", "Twin", train, val])[9]
    found = audit(read_parquet(write_parquet(crafted)), decode=False)
    assert found.shared_test_captions == 2
    assert found.distinct_test_captions == 5
    assert found.test_images_with_own_caption == 2
    assert found.test_captions_in_train == 1
    assert found.test_captions_in_train_or_val == 2
    assert found.test_images_below_five_captions == 2
    assert found.shared_captions == 6
    assert found.captions_per_image == {3: 1, 4: 1, 5: 8}
    assert found.ok and "2 of 7 (28.6 %) test captions also label" in found.findings[0]
    assert found.broken_images is found.duplicate_pictures is found.leaks is None


def test_batches_with_a_repeated_image_or_text_are_counted(rows, changed, write_parquet):
    """Of 30 training captions of 6 images, 16 always repeat an image; of 16 images' none do."""
    found = audit(read_parquet(write_parquet(rows, "five")), decode=False)
    assert found.batches_with_repeats == {16: 100}
    alone = [replace(rows[0], filename=f"{n}.png", captions=[f"scene {n}"]) for n in range(32)]
    found = audit(read_parquet(write_parquet(alone, "alone")), decode=False)
    assert found.batches_with_repeats == {16: 0}
    alone[1] = replace(alone[1], captions=alone[0].captions)  # in one batch of 16 with p = 15 / 31
    found = audit(read_parquet(write_parquet(alone, "twins")), decode=False)
    assert abs(found.batches_with_repeats[16] - 50 * 15 / 31) < 12


def test_published_counts_stand_beside_recomputed_ones_in_their_decimals():
    published = pd.DataFrame(
        [
            ("a", "n", "", "of a", "3"),
            ("a", "deep.16", "", "share", "12.3"),
            ("a", "n", "deep.whole", "percent", "37.5"),
            ("elsewhere", "n", "", "absent", "3"),
        ],
        columns=["set", "count", "of", "what", "published"],
    )
    check = {"name": "a", "n": 3, "deep": {"16": 12.341, "whole": 9}}
    table = beside_published(published, [check])
    assert table["recomputed"].tolist()[:3] == ["3", "12.3", "33.3"]
    assert table["agree"].tolist() == [True, True, False, None]
    assert pd.isna(table["recomputed"][3])


def test_the_committed_checks_hold_the_published_counts():
    """Exactly, but for the two rows of random batches, which are draws."""
    results = Path(__file__).parents[1] / "results"
    checks = [json.loads(path.read_text()) for path in sorted((results / "data").glob("*.json"))]
    table = beside_published(read_table(results, "published_counts.csv", dtype=str), checks)
    known = table[table["recomputed"].notna()]
    assert len(known) >= 25 and set(known["set"]) == {"rsicd", "ucm"}
    drawn = known["what"].str.startswith("random batches")
    assert known[~drawn]["agree"].all()
    apart = known[drawn]["published"].astype(float) - known[drawn]["recomputed"].astype(float)
    assert (apart.abs() <= 1).all()


def test_identical_pictures_and_leaks_are_named(rows, changed, write_parquet):
    crafted = changed(1, content=rows[0].content)
    crafted[8] = changed(8, content=rows[0].content)[8]
    crafted[3] = changed(3, content=rows[2].content)[3]
    found = audit(read_parquet(write_parquet(crafted)))
    pairs = [["beach_0.png", "farmland_1.png"], ["beach_2.png", "farmland_3.png"]]
    assert found.duplicate_pictures == pairs
    (leak,) = found.leaks
    assert set(leak) == {"train/beach_0.png", "train/farmland_1.png", "test/beach_8.png"}
    assert found.ok and len(found.findings) == 2


def test_broken_image_is_an_error_and_the_rest_is_still_counted(rows, changed, write_parquet):
    crafted = changed(2, content=rows[2].content[:80])
    crafted[4] = changed(4, content=b"")[4]
    found = audit(read_parquet(write_parquet(crafted)))
    assert not found.ok and found.pixel_digest is None
    assert [text.split(":")[0] for text in found.broken_images] == ["beach_2.png", "beach_4.png"]
    assert "2 broken image(s): beach_2.png" in found.errors[0] and "\n" not in found.errors[0]
    assert found.images == 10 and found.duplicate_pictures == []


@pytest.mark.parametrize(("number", "ok"), [(0, True), (6, False), (8, False)])
@pytest.mark.parametrize("captions", [[], ["a", "b", "c", " ", ""]], ids=["none", "blank"])
def test_absent_and_empty_captions_are_errors_only_where_scores_are_made(
    rows, changed, write_parquet, number, ok, captions
):
    found = audit(read_parquet(write_parquet(changed(number, captions=captions))), decode=False)
    name = rows[number].filename
    assert found.empty_captions == [name] * 2 * bool(captions)
    assert found.images_without_captions == [name] * (not captions)
    assert found.ok == ok and name in (found.findings if ok else found.errors)[0]


def test_absent_splits_are_findings(rows, write_parquet):
    found = audit(read_parquet(write_parquet(rows[6:8])), decode=False)
    assert found.ok and [what.split()[1] for what in found.findings] == ["train", "test"]


KNOWN = {  # counted on the published files
    "rsicd": ((8734, 1094, 1093), 641, 3331, 612, 636, 1030, {16: 7, 100: 94}),
    "ucm": ((1680, 210, 210), 868, 377, 573, 642, 40, {16: 32, 100: 100}),
    "flickr8k": ((6091, 1000, 1000), *[None] * 5, {}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_traps_of_the_real_sets_are_counted(real_data, name):
    sizes, *traps, repeats = KNOWN[name]
    found = audit(load(name, real_data), decode=name == "ucm")
    assert tuple(found.splits[split]["images"] for split in ("train", "val", "test")) == sizes
    assert found.captions_per_image == {5: sum(sizes)}
    if name != "flickr8k":
        assert traps == [
            found.shared_test_captions,
            found.distinct_test_captions,
            found.test_captions_in_train,
            found.test_captions_in_train_or_val,
            found.test_images_below_five_captions,
        ]
    if name == "ucm":
        assert f"{100 * found.test_images_with_own_caption / 210:.1f}" == "26.2"
    for size, published in repeats.items():  # both are of random batches
        assert abs(found.batches_with_repeats[size] - published) < 1.5
    assert found.ok
