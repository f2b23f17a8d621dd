"""Pictures are decoded once, into the right place, with CLIP's geometry."""

import io
import logging
import resource
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import encode
from PIL import Image

from rsstudy.data import pixels as room
from rsstudy.data.imagetext import BrokenImage
from rsstudy.data.parquet import read_parquet
from rsstudy.data.pixels import fit, pixels
from rsstudy.encoders.compat import import_torchvision


@pytest.fixture
def small(rows, write_parquet, own_cache):
    return read_parquet(write_parquet(rows))


def never(*_):
    raise AssertionError("decoded again")


def cached(own_cache):
    return [file for file in (own_cache / "pixels").iterdir() if file.suffix != ".lock"]


def test_each_picture_lies_at_its_own_place(small):
    found = pixels(small, 16)
    assert found.images.shape == (10, 3, 16, 16) and found.images.dtype == torch.uint8
    for index in range(len(small)):
        alone = fit(small.images.decode(index), 16)
        assert np.array_equal(found.images[index].numpy(), alone)


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (30, 30), (224, 224), (224, 343)])
def test_geometry_is_that_of_clip(shape):
    import_torchvision()
    import open_clip

    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    transform = open_clip.image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    expected = (transform(Image.fromarray(picture)) * 255).round().to(torch.uint8)
    assert np.array_equal(fit(picture, 224), expected.numpy())


def assert_same(first, second):
    assert torch.equal(first.images, second.images) and first.digest == second.digest


def test_a_second_call_reads_the_cache_of_its_size_and_decodes_nothing(small, monkeypatch):
    first = [pixels(small, size) for size in (16, 8)]
    monkeypatch.setattr("rsstudy.data.reading.decode_bytes", never)
    for found, size in zip(first, (16, 8), strict=True):
        assert_same(found, pixels(small, size))
        assert found.images.shape[-1] == size
    with pytest.raises(AssertionError, match="decoded again"):
        pixels(small, 4)


def test_threads_that_finish_out_of_order_change_nothing(small, own_cache, monkeypatch):
    first = pixels(small, 16)
    for file in cached(own_cache):
        file.unlink()
    decode, last_done = type(small.images).decode, threading.Event()

    def first_waits(images, index):
        if index == 0:
            last_done.wait(5)
        elif index == 1:
            last_done.set()
        return decode(images, index)

    monkeypatch.setattr(room.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(type(small.images), "decode", first_waits)
    assert_same(first, pixels(small, 16))


def test_pixel_digest_tells_encoded_anew_from_reordered(rows, write_parquet, own_cache):
    def digest_of(changed, folder):
        return pixels(read_parquet(write_parquet(changed, folder)), 16).digest

    plain = digest_of(rows, "plain")

    def encoded(row, *form, **options):
        picture = np.asarray(Image.open(io.BytesIO(row.content)))
        return replace(row, content=encode(picture, *form, **options))

    lossless = [encoded(row, "WEBP", lossless=True) for row in rows]
    assert digest_of(rows[::-1], "reversed") == plain == digest_of(lossless, "lossless")
    assert digest_of([encoded(row, "JPEG") for row in rows], "jpeg") != plain


def test_digest_from_the_cache_follows_the_names(small, rows, write_parquet):
    pixels(small, 16)
    first, second = rows[0].filename, rows[1].filename
    renamed = [replace(rows[0], filename=second), replace(rows[1], filename=first), *rows[2:]]
    other = read_parquet(write_parquet(renamed, "renamed"))
    assert other.fingerprint() == small.fingerprint()
    assert pixels(other, 16).digest != pixels(small, 16).digest


def test_damaged_cache_is_made_anew_with_a_warning(small, own_cache, caplog):
    first = pixels(small, 16)
    first = replace(first, images=first.images.clone())
    (file,) = cached(own_cache)
    file.write_bytes(file.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING):
        assert_same(first, pixels(small, 16))
    (warning,) = caplog.messages
    assert str(file) in warning and "\n" not in warning
    caplog.clear()
    pixels(small, 16)
    assert not caplog.messages


def test_interrupted_writing_leaves_nothing(small, own_cache, monkeypatch):
    def interrupted(tensors, path, facts=None):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("rsstudy.tensors.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pixels(small, 16)
    assert cached(own_cache) == []


def test_full_disk_leaves_nothing_and_gives_the_pictures(small, own_cache, caplog):
    expected = pixels(small, 16).images.clone()
    for file in cached(own_cache):
        file.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        found = pixels(small, 16, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(found.images, expected) and cached(own_cache) == []
    assert "could not write" in caplog.text


def test_broken_image_is_named_and_nothing_is_kept(changed, rows, write_parquet, own_cache):
    broken = read_parquet(write_parquet(changed(5, content=rows[5].content[:100])))
    with pytest.raises(BrokenImage, match=rows[5].filename):
        pixels(broken, 16)
    assert cached(own_cache) == []
