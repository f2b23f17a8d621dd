"""A method on a user's own open_clip model, trained by his own loop."""

import copy
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import factory
from torch import nn

import rsstudy
from rsstudy.encoders import create
from rsstudy.encoders.tiny import CONFIG, CONTEXT, tokenize
from rsstudy.errors import StudyError
from rsstudy.methods import METHODS, PRESETS, trained
from rsstudy.methods.primitives import after
from rsstudy.methods.registry import register
from rsstudy.training import loop

BEHIND_THE_HEADS = {"clip-adapter", "clip-adapter:printed", "head-mlp", "linear-probe:printed"}
MERGED = ["lora", "dora", "ssf", "ia3", "bitfit", "layernorm", "full", "linear-probe"]
EQUAL_TENSORS = {  # models whose tensors are those of ``own``, and whose outputs are not
    "own-heads": ("vision_cfg", {"head_width": 64}),
    "own-average": ("vision_cfg", {"pool_type": "avg"}),
    "own-last": ("text_cfg", {"pool_type": "last"}),
    "own-no-mask": ("text_cfg", {"no_causal_mask": True}),
    "own-eps": ("vision_cfg", {"norm_kwargs": {"eps": 0.1}}),
}
PAGE = (Path(__file__).parents[1] / "book" / "lora.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    """open_clip knows ``own``, and ``own-text`` whose text tower is a module of its own."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "own.json").write_text(json.dumps(CONFIG))
    (folder / "own-text.json").write_text(json.dumps({**CONFIG, "custom_text": True}))
    for name, (tower, changed) in EQUAL_TENSORS.items():
        (folder / f"{name}.json").write_text(
            json.dumps({**CONFIG, tower: {**CONFIG[tower], **changed}})
        )
    with pytest.MonkeyPatch.context() as patched:  # open_clip has no way to forget a model
        patched.setattr(factory, "_MODEL_CONFIG_PATHS", [*factory._MODEL_CONFIG_PATHS])
        patched.setattr(factory, "_MODEL_CONFIGS", {**factory._MODEL_CONFIGS})
        open_clip.add_model_config(folder)
        yield
    assert "own" not in open_clip.list_models()


def make(name="own", seed=0, **settings):
    torch.manual_seed(seed)
    return open_clip.create_model(name, **settings)


def disturb(encoder):
    """Let whatever is trained have an effect."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in trained(encoder).values():
            parameter.add_(0.05 * torch.randn_like(parameter))


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(2)
    images = torch.randn(4, 3, 64, 64)
    return images, tokenize(["a harbour", "two planes on grass", "a road .", "many small boats"])


@torch.no_grad()
def outputs(model, batch):
    model.eval()
    return torch.cat(model(*batch)[:2])


@pytest.mark.parametrize("method", ["lora", "mrs-adapter", "vl-prompt", "bitfit"])
def test_a_loop_with_open_clips_loss_has_the_losses_of_rsstudys_own(small, monkeypatch, method):
    # What is dropped depends on the captions' lengths, and ours are cut behind the last word.
    settings = {"dropout": 0.0} if method == "mrs-adapter" else {}
    ours, steps = create("tiny@random"), []
    model = make()
    model.load_state_dict(ours.model.state_dict(), strict=True)

    def noted(encoder, objective, recipe, shown, loss_of):
        loss = add_gradients(encoder, objective, recipe, shown, loss_of)
        steps.append((shown, loss.item()))
        return loss

    add_gradients = loop.add_gradients
    monkeypatch.setattr(loop, "add_gradients", noted)
    rsstudy.attach(ours, method, seed=5, **settings)
    pairs = rsstudy.prepare(ours, small.split("train"))
    recipe = rsstudy.Recipe(2, 6, "captions", learning_rate=1e-3, precision="fp32", step_epoch=1)
    objective = rsstudy.named_objective("infonce")
    rsstudy.train(ours, pairs, objective, recipe, lambda _: 0.0, seed=5, progress=False)

    rsstudy.attach(model, method, seed=5, **settings)
    model.logit_scale.requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer, loss = torch.optim.Adam(parameters, lr=0.7e-3), open_clip.ClipLoss()
    model.train()
    losses = []
    for shown, _ in steps:
        images = (shown["images"] / 255 - ours.mean[:, None, None]) / ours.std[:, None, None]
        short = shown["tokens"]
        texts = nn.functional.pad(short, (0, CONTEXT - short.shape[1]))
        optimizer.zero_grad()
        value = loss(*model(images, texts))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert len(losses) == 10 and max(losses) - min(losses) > 0.05
    assert losses == pytest.approx([value for _, value in steps], rel=1e-4)


@pytest.mark.parametrize("name", ["own", "own-text"])
@pytest.mark.parametrize("method", [*METHODS, *PRESETS])
def test_every_method_works_in_a_plain_model_or_is_refused_in_one_line(method, name, batch):
    settings = {"shared": 32} if method.startswith(("mrs", "cross")) else {}
    model = make(name)
    before, keys = outputs(model, batch), list(model.state_dict())
    kinds = [type(module) for module in model.modules()]
    if method in BEHIND_THE_HEADS:
        with pytest.raises(StudyError, match="behind the heads.*embed_images") as refused:
            rsstudy.attach(model, method)
        assert "\n" not in str(refused.value)
        assert torch.equal(outputs(model, batch), before)
        assert all(p.requires_grad for p in model.parameters())
        rsstudy.attach(model, "lora")
        return
    encoder = rsstudy.attach(model, method, **settings)
    assert encoder.model is model
    own = trained(encoder).values()
    assert {id(p) for p in own} == {id(p) for p in model.parameters() if p.requires_grad}
    disturb(encoder)
    model.train()
    assert all(m.training for m in encoder.method.modules() if isinstance(m, nn.Dropout))
    if method != "zero-shot":
        assert not torch.allclose(outputs(model, batch), before)
        open_clip.ClipLoss()(*model(*batch)).backward()
        assert all(p.grad is not None for p in own)
    again = make(name, seed=1)
    rsstudy.attach(again, method, **settings)
    again.load_state_dict(model.state_dict(), strict=True)  # as a script resumes
    assert torch.equal(outputs(again, batch), outputs(model, batch))
    if all(key.startswith("method.") or "parametrizations" in key for key in trained(encoder)):
        rsstudy.detach(encoder)
        assert torch.equal(outputs(model, batch), before)
        assert set(model.state_dict()) == set(keys) and not list(encoder.method.parameters())
        assert [type(module) for module in model.modules()] == kinds
    else:
        with pytest.raises(StudyError, match="make the model anew"):
            rsstudy.detach(encoder)
        assert trained(encoder)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in BEHIND_THE_HEADS])
def test_a_deep_copy_is_a_model_of_its_own(method, batch):
    model = make()
    disturb(rsstudy.attach(model, method))
    before, twin = outputs(model, batch), copy.deepcopy(model)  # as torch's AveragedModel does
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert torch.equal(outputs(twin, batch), before)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(outputs(twin, batch), outputs(model, batch))


@pytest.mark.parametrize("name", ["own", "own-text"])
@pytest.mark.parametrize("method", ["lora", "mrs-adapter", "maple", "bitfit"])
def test_what_was_saved_gives_equal_embeddings_on_a_fresh_model(tmp_path, batch, method, name):
    encoder = rsstudy.attach(make(name), method, train_heads=True)
    encoder.model.logit_scale.requires_grad_(True)
    disturb(encoder)
    rsstudy.save_adapter(encoder, tmp_path)
    model = make(name)
    loaded = rsstudy.load_adapter(tmp_path, model=model)
    assert loaded.model is model and trained(loaded).keys() == trained(encoder).keys()
    assert torch.equal(outputs(model, batch), outputs(encoder.model, batch))
    assert torch.equal(model.logit_scale, encoder.model.logit_scale)


def test_what_a_method_draws_and_does_not_train_is_drawn_again(tmp_path, batch, monkeypatch):
    monkeypatch.setattr(METHODS, "_things", {**METHODS._things})

    @register("drawn")
    class Drawn:
        def add_to(self, encoder):
            noise = torch.randn(encoder.joint_width)
            encoder.method.gain = nn.Parameter(torch.ones(()))
            after(encoder.model.visual, lambda out: out + encoder.method.gain * noise)

    encoder = rsstudy.attach(make(), "drawn", seed=5)
    rsstudy.save_adapter(encoder, tmp_path)
    loaded = rsstudy.load_adapter(tmp_path, model=make())
    assert torch.equal(outputs(loaded.model, batch), outputs(encoder.model, batch))


def test_an_adapter_of_another_version_of_its_method_is_refused(tmp_path, monkeypatch):
    rsstudy.save_adapter(rsstudy.attach(make(), "lora"), tmp_path)
    monkeypatch.setitem(METHODS.versions, "lora", 9)
    with pytest.raises(StudyError, match="made by version 1 of lora, and here is version 9"):
        rsstudy.load_adapter(tmp_path, model=make())
    config = tmp_path / "adapter.json"
    said = json.loads(config.read_text())
    del said["method_version"]  # as the first ones were written
    config.write_text(json.dumps(said))
    rsstudy.load_adapter(tmp_path, model=make())


def test_statistics_that_moved_are_not_left_out_of_an_adapter_silently(tmp_path, batch):
    resnet = {"layers": (1, 1, 1, 1), "width": 8, "image_size": 64}
    vision, text = open_clip.CLIPVisionCfg(**resnet), open_clip.CLIPTextCfg(**CONFIG["text_cfg"])
    torch.manual_seed(0)
    model = open_clip.CLIP(64, vision, text)
    encoder = rsstudy.attach(model, "lora", towers="text")
    outputs(model, batch)
    rsstudy.save_adapter(encoder, tmp_path / "kept")
    model.train().encode_image(batch[0])
    with pytest.raises(StudyError, match="keep every BatchNorm in eval mode") as problem:
        rsstudy.save_adapter(encoder, tmp_path / "moved")
    assert "\n" not in str(problem.value) and not (tmp_path / "moved").exists()


@pytest.mark.parametrize("method", ["lora", "mrs-adapter"])
def test_an_adapter_of_a_run_goes_onto_a_model_with_the_same_weights(
    train, tmp_path, batch, method, last_epoch_best
):
    assert train("--method", method, "--set", "recipe.precision=fp32").code == 0
    model = make()
    model.load_state_dict(create("tiny@random").model.state_dict())
    rsstudy.load_adapter(tmp_path / "run", model=model)
    theirs = outputs(rsstudy.load_adapter(tmp_path / "run", device="cpu").model, batch)
    torch.testing.assert_close(outputs(model, batch), theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(StudyError, match="other weights than this model has.*tiny@random"):
        rsstudy.load_adapter(tmp_path / "run", model=make(seed=1))


def assert_refused_unchanged(folder, model, batch, why):
    before = outputs(model, batch)
    with pytest.raises(StudyError, match=why):
        rsstudy.load_adapter(folder, model=model)
    assert torch.equal(outputs(model, batch), before)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "other",
    [partial(make, seed=1), partial(make, "own-text"), partial(make, force_quick_gelu=True)],
)
def test_an_adapter_of_other_weights_is_refused_and_nothing_is_changed(tmp_path, batch, other):
    rsstudy.save_adapter(rsstudy.attach(make(), "lora"), tmp_path)
    assert_refused_unchanged(tmp_path, other(), batch, "other weights than this model has")
    with pytest.raises(StudyError, match="model that was given.*model=MODEL"):
        rsstudy.load_adapter(tmp_path)


@pytest.mark.parametrize("name", EQUAL_TENSORS)
def test_equal_tensors_in_another_model_are_another_base(tmp_path, batch, name):
    rsstudy.save_adapter(rsstudy.attach(make(), "lora"), tmp_path)
    model = make(name)
    model.load_state_dict(make().state_dict(), strict=True)
    assert not torch.allclose(outputs(model, batch), outputs(make(), batch))
    with pytest.raises(StudyError, match="other weights than this model has"):
        rsstudy.load_adapter(tmp_path, model=model)


def test_a_model_that_carries_a_method_is_no_place_for_an_adapter(tmp_path):
    model = make()
    rsstudy.save_adapter(rsstudy.attach(model, "lora"), tmp_path)
    with pytest.raises(StudyError, match="carries a method already"):
        rsstudy.load_adapter(tmp_path, model=model)


def test_a_method_is_taken_off_with_the_temperature_that_was_trained_beside_it(batch):
    model = make()
    before = model.state_dict(), outputs(model, batch)
    encoder = rsstudy.attach(model, "lora")
    model.logit_scale.requires_grad_(True)
    disturb(encoder)
    changed = model.logit_scale.item()
    assert rsstudy.detach(encoder) == ["model.logit_scale"]
    assert model.logit_scale.item() == make().logit_scale.item() != changed
    assert model.state_dict().keys() == before[0].keys()
    assert torch.equal(outputs(model, batch), before[1]) and not model.logit_scale.requires_grad


def test_an_adapter_that_does_not_fit_its_method_leaves_the_model_as_it_was(tmp_path, batch):
    another = {"method": "adapter", "method_version": METHODS.versions["adapter"]}
    rsstudy.save_adapter(rsstudy.attach(make(), "mrs-adapter"), tmp_path, **another)
    config = tmp_path / "adapter.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "method_settings": {}}))
    model = make()
    assert_refused_unchanged(tmp_path, model, batch, "does not fit this method")
    assert model.state_dict().keys() == make().state_dict().keys()


@pytest.mark.parametrize("name", ["own", "own-text"])
@pytest.mark.parametrize("method", MERGED)
def test_a_merged_state_loads_in_open_clip_and_gives_equal_outputs(method, name, batch):
    encoder = rsstudy.attach(make(name), method)
    disturb(encoder)
    changed = outputs(encoder.model, batch)
    rsstudy.merge(encoder)
    fresh = make(name, seed=1)
    fresh.load_state_dict(encoder.model.state_dict(), strict=True)
    torch.testing.assert_close(outputs(fresh, batch), changed, rtol=1e-5, atol=1e-5)
    assert [type(m) for m in encoder.model.modules()] == [type(m) for m in fresh.modules()]


def test_a_method_that_adds_computations_is_not_merged(batch):
    encoder = rsstudy.attach(make(), "mrs-adapter", shared=32)
    with pytest.raises(StudyError, match="cannot be merged"):
        rsstudy.merge(encoder)
    assert len(trained(encoder)) > 0


def test_what_is_attached_behind_a_merge_is_saved_for_the_merged_weights(tmp_path, batch):
    encoder = rsstudy.attach(create("tiny@random"), "lora")
    disturb(encoder)
    rsstudy.merge(encoder)
    rsstudy.attach(encoder, "clip-adapter")
    rsstudy.save_adapter(encoder, tmp_path)
    with pytest.raises(StudyError, match="model that was given"):
        rsstudy.load_adapter(tmp_path)


@pytest.mark.parametrize("method", ["lora", "mrs-adapter", "vl-prompt", "prefix", "harma"])
def test_open_clips_recomputation_gives_equal_gradients(method, batch):
    gradients = []
    for recomputed in (False, True):
        encoder = rsstudy.attach(make(), method)
        disturb(encoder)
        encoder.model.train()
        encoder.model.set_grad_checkpointing(recomputed)
        torch.manual_seed(0)
        open_clip.ClipLoss()(*encoder.model(*batch)).backward()
        gradients.append([p.grad for p in trained(encoder).values()])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("method", ["lora", "mrs-adapter", "vl-prompt"])
def test_low_precision_is_the_users_own_choice(method, batch):
    images, texts = batch
    model = make()
    rsstudy.attach(model, method)
    exact = outputs(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = outputs(model, batch)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)
    model.to(torch.bfloat16)  # open_clip's pure_bf16
    assert model.encode_text(texts).dtype == torch.bfloat16
    seen = outputs(model, (images.bfloat16(), texts))
    torch.testing.assert_close(seen.float(), exact, rtol=0, atol=0.05)


def test_the_encoder_follows_a_model_that_its_user_moves_or_casts():
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    encoder = rsstudy.attach(make(), "lora")
    exact = encoder.embed_images(images)
    encoder.model.to(torch.bfloat16)
    rounded = encoder.embed_images(images)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)
    encoder.model.to("meta")
    assert encoder.embed_images(images).is_meta


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (lambda: rsstudy.attach(make(precision="bf16"), "lora"), "stored in torch.bfloat16"),
        (lambda: rsstudy.attach(nn.Linear(2, 2), "lora"), "a Linear is no CLIP"),
        (lambda: rsstudy.attach(nn.DataParallel(make()), "lora"), "before it is compiled"),
        (lambda: rsstudy.attach(make(), "lara"), "did you mean lora"),
        (lambda: rsstudy.attach(make(), "lora", rnk=8), "unknown setting of lora 'rnk'"),
        (
            lambda: rsstudy.attach(make(), rsstudy.create_method("lora"), rank=8),
            "rank: a method that is made has its settings already",
        ),
        (
            lambda: rsstudy.attach(rsstudy.attach(make(), "bitfit").model, "lora"),
            "carries a method already",
        ),
        (lambda: rsstudy.attach(make(), "lora").tokenizer(["a"]), "without its tokenizer"),
        (lambda: rsstudy.save_adapter(create("tiny@random"), "x"), "carries no method"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(refused, says):
    with pytest.raises(StudyError, match=says) as problem:
        refused()
    assert "\n" not in str(problem.value)


def test_the_page_begins_with_imports_that_a_fresh_python_can_do():
    """Also where torch is built for the CPU and torchvision, which open_clip imports, for CUDA."""
    imports = re.search(r"```python\n(.*?)\n\n", PAGE, re.DOTALL)[1]
    assert "import open_clip" in imports
    done = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_is_true(tmp_path, monkeypatch, batch):
    monkeypatch.chdir(tmp_path)
    made = make()
    torch.save(made.state_dict(), "base.pt")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    code = "".join(blocks).replace('"ViT-B-32-quickgelu", pretrained="openai"', '"own", "base.pt"')
    assert code.count('"own", "base.pt"') == 2 and "ViT" not in code
    names: dict = {"loader": [batch] * 2}
    exec(code, names)
    merged = open_clip.create_model("own", pretrained="merged.pt")
    assert torch.equal(outputs(merged, batch), outputs(names["model"], batch))
    assert not torch.allclose(outputs(merged, batch), outputs(made, batch))
    behind = re.search(r"where an open_clip model ends \((.*?)\)", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`([\w:-]+)`", behind)) == BEHIND_THE_HEADS - {"clip-adapter:printed"}
