"""A set made in Python is the set that the same pictures and captions make in files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

import rsstudy
from rsstudy.data.imagetext import BrokenImage
from rsstudy.data.pixels import pixels
from rsstudy.errors import StudyError
from rsstudy.experiments.run import Run, execute
from rsstudy.training.recipe import Recipe


@pytest.fixture
def files(rows, tmp_path):
    """The ten pictures as files: (path, captions, split) of each."""
    found = []
    for row in rows:
        path = tmp_path / "given" / row.filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(row.content)
        found.append((path, row.captions, row.split))
    return found


class Own(Dataset):
    """A torch dataset, which has no end of its own."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, captions, split = self.items[index % len(self.items)]
        return Image.open(path), captions[0], split


def test_pairs_are_the_set_that_files_make(files, small):
    each = [(str(path), text, split) for path, texts, split in files for text in texts]
    made = rsstudy.from_pairs(each, "mine")
    assert made.manifest_digest() == small.manifest_digest()
    assert pixels(made, 32).digest == pixels(small, 32).digest
    order = [small.filenames.index(name) for name in made.filenames]
    assert made.fingerprint() == small.take(order).fingerprint()


def test_arrays_images_and_a_torch_dataset_are_taken(files, small):
    arrays = [(np.array(Image.open(path)), texts, split) for path, texts, split in files]
    for made in (rsstudy.from_pairs(arrays), rsstudy.from_pairs(Own(files))):
        assert made.splits == tuple(split for *_, split in files)
        for index, (path, captions, _) in enumerate(files):
            assert np.array_equal(made.images.decode(index), np.array(Image.open(path)))
            assert made.captions[index][0] == captions[0]


def test_a_run_takes_a_set_made_in_python_and_scores_as_on_its_files(files, small, tmp_path):
    recipe, made = Recipe(epochs=1, batch=3, precision="fp32"), rsstudy.from_pairs(files, "mine")
    done = [
        execute(Run(data, "tiny@random", recipe=recipe), runs=tmp_path, progress=False)[0]
        for data in (made, small)
    ]
    assert done[0]["scores"] == done[1]["scores"] and done[0]["config"]["data"] == "mine"


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([], "holds no images"),
        (["a.jpg"], "pair 0 is no "),
        ([("a.jpg", "a beach", "middle")], "pair 0 has the split 'middle'"),
        ([(3, "a beach")], "pair 0 has a picture of type int"),
        ([("a.jpg", "x", "train"), ("a.jpg", "y", "test")], "stands in the splits train and test"),
        ([("a.jpg", [3])], "a caption that is no text"),
    ],
)
def test_pairs_of_another_form_are_refused(pairs, says):
    with pytest.raises(StudyError, match=says):
        rsstudy.from_pairs(pairs)


def test_a_picture_that_is_absent_or_no_picture_is_named():
    made = rsstudy.from_pairs([(Path("absent.jpg"), "x"), (np.zeros((4, 4)), "y")])
    for index, says in enumerate(["absent.jpg", "000001: an array of float64"]):
        with pytest.raises(BrokenImage, match=says):
            made.images.decode(index)


def test_a_set_prints_as_one_line(small):
    shown = repr(small)
    assert shown.startswith("ImageTextSet(set: ") and len(shown) < 80
    for part in ("6 train", "2 val", "2 test", "50 captions", "2 classes"):
        assert part in shown


def test_a_path_object_is_a_path_even_where_a_set_is_called_so(rows, write_parquet, monkeypatch):
    folder = write_parquet(rows, "ucm")
    monkeypatch.chdir(folder.parent)
    assert len(rsstudy.load(folder)) == len(rsstudy.load(Path("ucm"))) == 10
