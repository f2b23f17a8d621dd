"""An open_clip model in a folder, or on the hub, is the encoder that open_clip makes of it."""

import json
import re
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from rsstudy.adapters import export
from rsstudy.encoders import create
from rsstudy.encoders import openclip as room
from rsstudy.errors import StudyError
from rsstudy.experiments.names import public_name
from rsstudy.experiments.record import RECORD, read_record
from rsstudy.files import sha256_of

MODEL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 48},
    "text_cfg": {"layers": 2, "width": 32, "heads": 2, "vocab_size": 49408, "context_length": 20},
}
SEEN = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "resize_mode": "shortest"}
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small model as open_clip keeps one in a folder."""
    folder = tmp_path_factory.mktemp("made") / "my-clip"
    folder.mkdir()
    torch.manual_seed(3)
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": SEEN}))
    return folder


@pytest.fixture
def changed(made, tmp_path):
    """``changed(preprocess_cfg={...})``: the folder's copy with entries of its configuration."""

    def change(**entries) -> Path:
        folder = shutil.copytree(made, tmp_path / "changed", dirs_exist_ok=True)
        config = {"model_cfg": MODEL, "preprocess_cfg": SEEN, **entries}
        (folder / CONFIG).write_text(json.dumps(config))
        return folder

    return change


@torch.no_grad()
def same(encoder, folder: Path) -> None:
    """The encoder embeds as open_clip does what it reads from the folder."""
    own = open_clip.create_model(f"local-dir:{folder}").eval()
    texts = ["many planes are parked .", "a beach"]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    assert torch.equal(encoder.tokenizer(texts), tokens) and tokens.shape == (2, 20)
    expected = own.encode_text(tokens, normalize=True)
    assert torch.allclose(encoder.embed_texts(tokens), expected, atol=1e-6)
    assert encoder.image_size == 48
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    mean, std = (torch.tensor(SEEN[name])[:, None, None] for name in ("mean", "std"))
    expected = own.encode_image((images / 255 - mean) / std, normalize=True)
    assert torch.allclose(encoder.embed_images(images), expected, atol=1e-5)


def test_a_folder_gives_open_clips_own_embeddings(made):
    encoder = create(f"local-dir:{made}")
    same(encoder, made)
    assert list(encoder.weights.values()) == [sha256_of(made / WEIGHTS)]
    assert create(f"local-dir:{made}", 64).image_size == 64
    assert create(f"local-dir:{made}", meta=True).architecture == encoder.architecture


def test_a_model_is_the_same_wherever_its_folder_lies_and_another_with_another_configuration(
    made, changed
):
    names = [f"local-dir:{made}", f"local-dir:{changed()}"]
    here, moved = map(create, names)
    assert here.weights == moved.weights and here.architecture == moved.architecture
    assert [public_name(name) for name in names] == ["local-dir:my-clip", "local-dir:changed"]
    other = create(f"local-dir:{changed(model_cfg=MODEL | {'quick_gelu': False})}")
    assert other.weights != here.weights and other.architecture != here.architecture
    drawn = create(f"local-dir:{made}@random").weights
    assert len(drawn) == 1 and drawn != here.weights


def test_the_hub_goes_the_same_way(made, monkeypatch):
    asked = []

    def fetched(place, filename=None, **_):
        asked.append(place)
        return str(made / (filename or WEIGHTS))

    for of in (room, open_clip.factory):
        monkeypatch.setattr(of, "download_pretrained_from_hf", fetched)
    encoder = create("hf-hub:org/my-clip")
    same(encoder, made)
    assert {*asked} == {"org/my-clip"}
    assert encoder.weights == create(f"local-dir:{made}").weights
    assert public_name("hf-hub:org/my-clip") == "hf-hub:org/my-clip"


def test_a_hub_out_of_reach_is_one_line_that_names_another_way(call, monkeypatch):
    def unreachable(*_):
        raise FileNotFoundError("Failed to download file\n\nLast error: no network")

    monkeypatch.setattr(room, "download_pretrained_from_hf", unreachable)
    done = call("evaluate", "--encoder", "hf-hub:org/none", "--data", "scenes")
    assert done.code == 1 and done.error.count("\n") == 1
    assert "could not fetch open_clip_config.json of hf-hub:org/none" in done.error
    assert "local-dir:/path" in done.error


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"preprocess_cfg": SEEN | {"resize_mode": "squash"}}, "resized by 'squash'"),
        ({"model_cfg": MODEL | {"vision_cfg": {"depth": 3}}}, "open_clip cannot build local-dir:"),
        ({"preprocess_cfg": SEEN | {"mean": "x"}}, "configuration of open_clip .*cfg.mean: "),
        ({"preprocess_cfg": SEEN | {"std": [0.5, 0.5]}}, "configuration of open_clip .*cfg.std"),
        ({"model_cfg": None}, "is not a configuration of open_clip"),
        ({"model_cfg": {"embed_dim": 32}}, "open_clip cannot build .*: 'text_cfg'"),
        ({"model_cfg": MODEL | {"embed_dim": 16}}, "does not hold weights of local-dir:"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_in_one_line(changed, entries, message):
    with pytest.raises(StudyError, match=message) as problem:
        create(f"local-dir:{changed(**entries)}")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "asked",
    [
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
        {"hf_model_name": "x", "hf_model_config": [{"trust_remote_code": 1}]},
    ],
)
def test_a_configuration_that_asks_to_run_code_is_refused(changed, asked):
    folder = changed(model_cfg=MODEL | {"text_cfg": MODEL["text_cfg"] | asked})
    text = (folder / CONFIG).read_text().replace('"trust', '"\\u0074rust')  # JSON spells it so, too
    for spelled in (text, (folder / CONFIG).read_text()):
        (folder / CONFIG).write_text(spelled)
        with pytest.raises(StudyError, match="run code of its own") as problem:
            create(f"local-dir:{folder}")
        assert "\n" not in str(problem.value)


def test_what_is_not_in_the_folder_is_named(changed, tmp_path):
    with pytest.raises(StudyError, match=f"no configuration of open_clip at .*{CONFIG}"):
        create(f"local-dir:{tmp_path}")
    folder = changed()
    with pytest.raises(StudyError, match="has one set of weights: leave @laion out"):
        create(f"local-dir:{folder}@laion")
    (folder / WEIGHTS).unlink()
    with pytest.raises(StudyError, match=f"no weights in .*: put {WEIGHTS} there"):
        create(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["a+b", "a@b"])
def test_a_folder_whose_name_would_be_cut_is_named_whole(made, tmp_path, name):
    folder = shutil.copytree(made, tmp_path / name)
    with pytest.raises(StudyError, match=f"/{re.escape(name)}: what follows .* rename it"):
        create(f"local-dir:{folder}")


def test_a_tag_is_a_tag_whatever_lies_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("openai").mkdir()
    Path("laion2b_s34b_b79k").write_text("")
    for tag in ("openai", "laion2b_s34b_b79k"):
        create(f"ViT-B-32@{tag}", meta=True)
    for path in ("w.pt", "./openai", "~/none/openai"):
        with pytest.raises(StudyError, match="no weights file at"):
            create(f"ViT-B-32@{path}", meta=True)


def test_a_folders_model_is_trained_scored_and_exported(
    call, rows, write_parquet, own_cache, made, tmp_path, last_epoch_best
):
    start = ["train", "--data", write_parquet(rows), "--encoder", f"local-dir:{made}"]
    start += ["--method", "lora", "--batch", "3", "--epochs", "1", "--out", "run"]
    done = call(*start, "--set", "recipe.precision=fp32", "--json")
    assert done.code == 0, done.error
    record = read_record(tmp_path / "run" / RECORD)
    assert record["config"]["encoder"] == "local-dir:my-clip"
    assert str(made.parent) not in json.dumps(record)
    again = call("evaluate", "--adapter", "run", "--data", "set", "--json")
    assert json.loads(again.output)["scores"] == record["scores"]
    line = export(tmp_path / "run", tmp_path / "merged.safetensors")
    exec(line, named := {"open_clip": open_clip})
    trained = named["model"].state_dict()["visual.transformer.resblocks.1.attn.in_proj_weight"]
    before = create(f"local-dir:{made}").model.state_dict()
    assert not torch.equal(trained, before["visual.transformer.resblocks.1.attn.in_proj_weight"])
