"""Weights and sets go out to other people's libraries, and theirs come in."""

import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from processes import here
from torch.nn import functional

import rsstudy
from rsstudy.adapters import export
from rsstudy.data.parquet import read_parquet
from rsstudy.data.sources import load
from rsstudy.encoders import create
from rsstudy.encoders.tiny import tokenize
from rsstudy.errors import StudyError
from rsstudy.evaluation import prepare
from rsstudy.experiments.cli import cli
from rsstudy.experiments.run import Run, execute
from rsstudy.retrieval import rank, scores
from rsstudy.training.recipe import Recipe


@pytest.fixture
def data(rows, write_parquet, own_cache):
    return write_parquet(rows)


@pytest.fixture
def trained(data, tmp_path):
    """``trained("lora", epochs=2)``: the record and the folder of a run."""

    def train(method: str, encoder="tiny@random", **settings):
        recipe = Recipe(batch=3, precision="fp32", **settings)
        run = Run(str(data), encoder, method, recipe=recipe)
        return execute(run, tmp_path / "run", progress=False)

    return train


def scores_by_open_clip(model, tokenizer, data, size):
    """Test scores of a plain open_clip model, with nothing of ours between it and its vectors."""
    test = read_parquet(data).split("test")
    pairs = prepare(create("tiny@random", size), test)  # pictures at that size, which is text_of
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    std = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    texts = list(dict.fromkeys(t for captions in test.captions for t in captions))
    with torch.no_grad():
        model.eval()
        seen = functional.normalize(model.encode_image((pairs.images / 255 - mean) / std), dim=-1)
        read = functional.normalize(model.encode_text(tokenizer(texts)), dim=-1)
    return scores(*rank(seen, read, pairs.text_of, pairs.image_of)[0])


@pytest.mark.parametrize("method", ["lora", "dora", "bitfit", "ssf", "full", "linear-probe"])
def test_open_clip_loads_a_merged_adapter_by_path_and_scores_the_same(
    data, trained, tmp_path, method, last_epoch_best
):
    record, folder = trained(method, epochs=2, learning_rate=1e-2)
    made: dict = {"open_clip": open_clip}
    exec(export(folder, tmp_path / "merged.safetensors"), made)
    model = made["model"]
    found = scores_by_open_clip(model, tokenize, data, 64)
    assert found == pytest.approx(record["scores"])
    plain = open_clip.create_model("merged")
    assert model.state_dict().keys() == plain.state_dict().keys()
    base = create("tiny@random").model.state_dict()
    assert any(not torch.equal(base[key], value) for key, value in model.state_dict().items())


def test_a_real_models_merged_adapter_is_loaded_by_the_line_that_the_command_prints(
    shallow_clips, data, trained, tmp_path
):
    record, folder = trained("bitfit", "ViT-B-32@random", epochs=1, learning_rate=1e-3)
    done = here(cli, "export", "--adapter", folder, "--out", tmp_path / "merged.safetensors")
    assert done.returncode == 0, done.stderr
    assert "mean (0.4815, 0.4578, 0.4082)" in done.stdout
    made: dict = {"open_clip": open_clip}
    exec(done.stdout, made)
    model = made["model"]
    found = scores_by_open_clip(model, open_clip.get_tokenizer("ViT-B-32"), data, 224)
    assert found == pytest.approx(record["scores"])


@pytest.mark.parametrize("method", ["mrs-adapter", "vl-prompt"])
def test_what_cannot_be_merged_says_so_and_how_it_is_loaded(trained, tmp_path, method):
    _, folder = trained(method, epochs=1)
    with pytest.raises(StudyError, match="cannot be merged") as problem:
        export(folder, tmp_path / "merged.safetensors")
    alone, onto = re.findall(r"rsstudy\.load_adapter\(.*?\)", str(problem.value))
    names = {"rsstudy": rsstudy, "model": create("tiny@random").model}
    whole, plain = eval(alone, names), eval(onto, names)
    assert plain.model is names["model"] and whole.name == "tiny@random"
    assert rsstudy.count_trained(whole) == rsstudy.count_trained(plain)
    assert not (tmp_path / "merged.safetensors").exists()
    with pytest.raises(StudyError, match="name the file .safetensors"):
        export(folder, tmp_path / "merged.pt")


@pytest.fixture(scope="module")
def vit(shallow_clips):
    """Random weights of open_clip's ViT-B/32, as the packs below hold OpenAI's, trained further."""
    torch.manual_seed(1)
    return open_clip.create_model("ViT-B-32").state_dict()


def of_a_training(state):
    """As open_clip's own training script writes it, from several GPUs."""
    return {
        "epoch": 20,
        "name": "ViT-B-32-lr_1e-09",
        "optimizer": {"state": {}, "param_groups": []},
        "scaler": {"scale": 65536.0},
        "state_dict": {f"module.{k}": v for k, v in state.items()},
    }


PUBLISHED = {
    "RemoteCLIP-ViT-B-32.pt": dict,
    "RS5M_ViT-B-32.pt": lambda state: {k: v.half() for k, v in state.items()},
    "SkyCLIP_ViT_B32_top50pct/epoch_20.pt": of_a_training,
}


@pytest.mark.parametrize(("name", "form"), PUBLISHED.items(), ids=PUBLISHED)
def test_remote_sensing_clips_load_by_path(vit, tmp_path, name, form):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    torch.save(form(vit), file)
    for model in ("ViT-B-32", "ViT-B-32-quickgelu"):  # they go on from OpenAI's weights
        encoder = create(f"{model}@{file}")
        loaded = encoder.model.state_dict()
        for key, value in vit.items():
            expected = value.half().float() if name.startswith("RS5M") else value
            assert torch.equal(loaded[key].float(), expected.float()), key
        assert next(iter(encoder.weights)) == f"{model}/{file.name}"
    file.unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {**s, "more": torch.zeros(1)}, "Unexpected key"),
        (lambda s: {k: v for k, v in s.items() if k != "visual.proj"}, "Missing key"),
        (lambda s: {**s, "visual.proj": torch.zeros(2, 2)}, "size mismatch"),
    ],
)
def test_weights_of_another_model_are_refused_by_what_differs(vit, tmp_path, change, says):
    torch.save(change(vit), tmp_path / "x.pt")
    with pytest.raises(StudyError, match=f"does not hold weights of ViT-B-32: .*{says}"):
        create(f"ViT-B-32@{tmp_path / 'x.pt'}")
    (tmp_path / "x.pt").unlink()


def compare_with_datasets(folder, whole):
    datasets = pytest.importorskip("datasets", reason="the extra `test` is not installed")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(Path(folder).parent / "hub"))
    for theirs, ours in (("train", "train"), ("validation", "val"), ("test", "test")):
        split, rows = whole.split(ours), loaded[theirs]
        names = [Path(name).name for name in rows["filename"]]
        assert sorted(names) == sorted(Path(name).name for name in split.filenames)
        captions = dict(zip(names, map(list, rows["captions"]), strict=True))
        for name, own in zip(split.filenames, split.captions, strict=True):
            assert captions[Path(name).name] == list(own)
        rows = rows.cast_column("image", datasets.Image())
        order = {name: index for index, name in enumerate(names)}
        for index in range(0, len(split), max(len(split) // 20, 1)):
            picture = rows[order[Path(split.filenames[index]).name]]["image"].convert("RGB")
            assert np.array_equal(np.asarray(picture), split.images.decode(index)), index


def test_a_set_in_the_hubs_layout_loads_with_the_datasets_library_too(data):
    compare_with_datasets(data, read_parquet(data))


def test_the_real_set_loads_with_the_datasets_library_too(real_data, tmp_path):
    (tmp_path / "ucm").symlink_to(real_data / "ucm")
    compare_with_datasets(tmp_path / "ucm", load("ucm"))
