"""Near-duplicate pictures are found however they were copied, and others are not."""

import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import Row, encode
from PIL import Image

from rsstudy.data.parquet import read_parquet
from rsstudy.scenes import scenes
from study.cli import cli
from study.near import by_splits, near_duplicates, sensitivity, thumbnails


@pytest.fixture
def pictures():
    """Twelve drawn pictures of different scenes, 96 x 96."""
    drawn = scenes(images=12)
    return [drawn.images.decode(i) for i in range(12)]


@pytest.fixture
def as_set(write_parquet):
    def make(pictures, splits, folder="set", **options):
        rows = [
            Row(f"{number}.png", split, [f"scene {number}"], encode(picture, **options))
            for number, (picture, split) in enumerate(zip(pictures, splits, strict=True))
        ]
        return read_parquet(write_parquet(rows, folder))

    return make


def altered(picture: np.ndarray) -> np.ndarray:
    """Encoded as JPEG, rescaled, mirrored and turned."""
    file = io.BytesIO()
    Image.fromarray(picture).resize((80, 80)).save(file, "JPEG", quality=60)
    return np.rot90(np.asarray(Image.open(file))[:, ::-1])


def test_a_planted_copy_is_found_and_nothing_else(pictures, as_set):
    splits = ["train"] * 10 + ["test"] * 3
    planted = as_set([*pictures, altered(pictures[4])], splits)
    near = near_duplicates(thumbnails(planted))
    (pair,) = near.pairs
    assert {planted.filenames[pair.first], planted.filenames[pair.second]} == {"4.png", "12.png"}
    assert by_splits(near, planted, None) == {"test/train": 1}
    assert near.compared == 13 * 12 // 2
    assert near_duplicates(thumbnails(as_set(pictures, ["train"] * 12, "control"))).pairs == ()


def test_a_copy_in_another_set_is_found_with_its_turn(pictures, as_set):
    first = as_set(pictures[:6], ["train"] * 6, "first")
    second = as_set([*pictures[6:], altered(pictures[2])], ["test"] * 7, "second")
    a, b = thumbnails(first), thumbnails(second)
    near = near_duplicates(a, b)
    (pair,) = near.pairs
    assert first.filenames[pair.first] == "2.png" and second.filenames[pair.second] == "6.png"
    mirrored = b[pair.second][..., ::-1] if pair.mirrored else b[pair.second]
    back = np.rot90(mirrored, pair.quarters, axes=(1, 2))
    assert np.abs(back.astype(float) - a[pair.first]).mean() < 12
    assert by_splits(near, first, second) == {"train/test": 1}


def test_blocks_of_rows_do_not_change_what_is_found():
    stack = thumbnails(scenes(images=12, alike_images=1))
    stack = np.concatenate([stack, stack[:3, :, ::-1]])
    near = near_duplicates(stack)
    assert near == near_duplicates(stack, rows=4) and len(near.pairs) >= 3


def test_flat_pictures_are_no_duplicates():
    """Smooth brightness alone, as of deserts and calm water, correlates; details do not."""
    random = np.random.default_rng(0)
    ramp = np.linspace(90, 160, 64)[:, None] + np.zeros((64, 64))
    stack = np.stack([(ramp + random.normal(0, 2, (3, 64, 64))).clip(0, 255) for _ in range(4)])
    near = near_duplicates(stack.astype(np.uint8))
    assert sum(near.peaks) == 6 and near.pairs == ()


def test_the_control_counts_the_copies_that_are_found():
    found = sensitivity(scenes(images=12), sample=10)
    assert found["JPEG at quality 50"] == found["mirrored and turned"] == 1
    assert all(0 <= share <= 1 for share in found.values())


def test_the_command_counts_and_names_no_file_in_json(pictures, as_set, tmp_path):
    as_set([*pictures[:5], pictures[0]], ["train"] * 5 + ["test"], "planted")
    command = ["near", str(tmp_path / "planted")]
    answer = CliRunner().invoke(cli, [*command, "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["near_duplicate_pairs"] == 1 and found["by_splits"] == {"test/train": 1}
    assert ".png" not in answer.stdout and str(tmp_path) not in answer.stdout
    assert "manifest_digests" in found and "commit" in found["environment"]
    assert "test/5.png" in CliRunner().invoke(cli, command).output
