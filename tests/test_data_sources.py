"""Names and paths lead to sets; what is absent is said with where to get it."""

import pytest

from rsstudy.data.sources import hold_out_validation, known_sets, load, some_of, usable
from rsstudy.errors import StudyError
from rsstudy.registry import SETS


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RSSTUDY_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(call, *arguments) -> str:
    with pytest.raises(StudyError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_known_name_is_read_in_either_layout(rows, write_parquet, write_karpathy, root):
    write_parquet(rows, "ucm")
    write_karpathy(rows, "rsitmd")
    assert load("ucm").name == "ucm" and load("rsitmd").name == "rsitmd"
    assert load("ucm").manifest_digest() == load("rsitmd").manifest_digest()
    present = {info.name for info in known_sets() if info.present}
    assert present == {"ucm", "rsitmd", "scenes", "scenes-ground"}


def test_path_is_read_in_either_layout(rows, write_parquet, write_karpathy, root):
    parquet, karpathy = write_parquet(rows, "mine"), write_karpathy(rows, "yours")
    paths = ("mine", "./yours", str(parquet), str(karpathy / "dataset_small.json"))
    assert len({load(path).manifest_digest() for path in paths}) == 1


def test_data_root_comes_before_the_environment_and_that_before_the_cache(
    rows, write_parquet, root, own_cache, monkeypatch
):
    write_parquet(rows[:7], "argument/rsicd")
    write_parquet(rows[:8], "environment/rsicd")
    write_parquet(rows[:9], "cache/data/rsicd")
    monkeypatch.setenv("RSSTUDY_DATA", str(root / "environment"))
    assert len(load("rsicd", root / "argument")) == 7
    assert len(load("rsicd")) == 8
    monkeypatch.delenv("RSSTUDY_DATA")
    assert len(load("rsicd")) == 9


@pytest.mark.parametrize("name", ["rsicd", "rsitmd", "ucm", "flickr8k"])
def test_absent_set_says_where_it_was_looked_for_and_its_source(root, name):
    for _ in range(2):  # no folder, then an empty one
        message = complaint(load, name)
        for part in (str(root / name), "*.parquet", "dataset*.json", "Source: ", "RSSTUDY_DATA"):
            assert part in message
        (root / name).mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rsidc", "did you mean rsicd"),
        ("no/such/folder", "does not exist"),
        ("dataset_x.json", "does not exist"),
        ("other", "holds no image-text set"),
        ("notes.txt", "holds no image-text set: give a folder; the forms read are Parquet"),
    ],
)
def test_unknown_names_and_absent_and_foreign_paths_are_answered(root, name, message):
    (root / "other").mkdir()
    (root / "notes.txt").write_text("not JSON")
    assert message in complaint(load, name)


def test_settings_in_the_name_reach_the_scenes():
    asked = "scenes?images=20&seed=3&alike_images=0.5"
    found = load(asked)
    assert len(found) == 20 and found.name == asked
    assert found.manifest_digest() == load(asked).manifest_digest()
    assert found.manifest_digest() != load(asked.replace("seed=3", "seed=4")).manifest_digest()
    ground = load(asked.replace("scenes", "scenes-ground"))
    assert found.fingerprint() != ground.fingerprint()


@pytest.mark.parametrize("name", ["scenes", "scenes-ground"])
def test_listed_size_of_generated_sets_is_their_own(name):
    (info,) = [info for info in known_sets() if info.name == name]
    found = load(name)
    assert (len(found), sum(map(len, found.captions))) == (info.images, info.captions)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("image=20", "did you mean images"),
        ("images=many", "images=many is not understood"),
        ("images=", "images= is not understood"),
        ("domain=ground", "unknown setting of scenes 'domain'"),
        ("images", "images= is not understood"),
    ],
)
def test_settings_that_are_not_understood(settings, expected):
    assert expected in complaint(load, f"scenes?{settings}")


def test_blank_train_captions_are_dropped_and_counted(changed, rows, write_parquet, root):
    texts = rows[0].captions
    some = changed(0, captions=[texts[0], " ", texts[1], ""])
    some[1] = changed(1, captions=["\t"])[1]
    whole = load(str(write_parquet(some)))
    found, dropped = usable(whole)
    assert dropped == 3 and len(found) == len(rows) - 1
    assert rows[1].filename not in found.filenames
    assert found.captions[found.filenames.index(rows[0].filename)] == (texts[0], texts[1])
    kept, all_ = (of.filenames.index(rows[2].filename) for of in (found, whole))
    assert (found.images.decode(kept) == whole.images.decode(all_)).all()


def test_set_without_blank_captions_is_used_as_it_is(rows, write_parquet):
    found = load(str(write_parquet(rows)))
    assert usable(found) == (found, 0) and usable(found)[0] is found


@pytest.mark.parametrize("captions", [[""], ["a beach .", " "], []])
@pytest.mark.parametrize("number", [7, 9])
def test_blank_caption_outside_train_is_an_error(changed, rows, write_parquet, captions, number):
    message = complaint(usable, load(str(write_parquet(changed(number, captions=captions)))))
    assert rows[number].filename in message and rows[number].split in message


def test_validation_drawn_anew_leaves_test_alone_and_follows_the_seed(rows, write_parquet, root):
    write_parquet(rows, "a")
    write_parquet(rows[::-1], "b")
    published = load("a")

    def drawn(name, seed):
        found = hold_out_validation(load(name), 0.25, seed)
        return {f for f, split in zip(found.filenames, found.splits, strict=True) if split == "val"}

    again = hold_out_validation(published, 0.25, 1)
    tests = [split == "test" for split in published.splits]
    assert tests == [split == "test" for split in again.splits]
    assert again.splits.count("val") == 2 and again.splits.count("train") == 6
    assert all(drawn("a", seed) == drawn("b", seed) for seed in range(5))
    assert len({frozenset(drawn("a", seed)) for seed in range(5)}) > 1
    assert "fraction" in complaint(hold_out_validation, published, 1.0)


def test_a_larger_share_of_the_pictures_holds_a_smaller_one(root):
    whole = load("scenes?images=40")

    def drawn(share, seed=0):
        return list(some_of(whole, share, seed).filenames)

    assert [len(drawn(share)) for share in (0.01, 0.1, 0.25, 0.5, 1.0)] == [1, 4, 10, 20, 40]
    assert set(drawn(0.1)) < set(drawn(0.25)) < set(drawn(0.5)) < set(drawn(1.0))
    kept = [f for f in whole.filenames if f in set(drawn(0.25))]
    assert drawn(0.25) == kept != [f for f in whole.filenames if f in set(drawn(0.25, seed=1))]


def test_papers_recipe_on_real_data_holds_out_a_fifth(real_data):
    found = hold_out_validation(load("rsicd", real_data))
    assert found.splits.count("val") == round(9_828 / 5)
    assert found.splits.count("test") == 1_093


def test_an_absent_set_with_a_reader_of_its_own_says_which_files_it_reads(tmp_path, monkeypatch):
    about = {"images": 1, "captions": 1, "source": "a mirror", "files": "captions.csv"}
    monkeypatch.setitem(SETS._things, "own", lambda folder: None)
    monkeypatch.setitem(SETS.about, "own", about)
    with pytest.raises(StudyError, match=r"absent; put captions.csv into .*own .* a mirror"):
        load("own", tmp_path)
