"""Trained adapters: two small files that go onto their base again, or merge into plain weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor, nn

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.encoders.given import GIVEN, given_weights
from rsstudy.encoders.tiny import CONFIG
from rsstudy.errors import StudyError
from rsstudy.files import read_json, sha256_of, whole_file
from rsstudy.methods import (
    METHODS,
    attach,
    attached,
    batches_counted,
    create_method,
    load_trained,
    merge,
    name_of,
    trained,
    whole,
)
from rsstudy.registry import ELSEWHERE
from rsstudy.settings import settings_of
from rsstudy.tensors import read_tensors, save_tensors

ADAPTER, ADAPTER_CONFIG = "adapter.safetensors", "adapter.json"


def save_adapter(encoder: DualEncoder, folder: Path, **trained_by: Any) -> None:
    """Write the trained tensors and, last, the configuration that puts them on their base again.

    Args:
        trained_by: fields of ``AdapterConfig`` that the encoder does not say, or says otherwise.

    Raises:
        StudyError: the encoder carries no method that has a name, statistics of BatchNorm moved,
            or the folder cannot be written.
    """
    carried, folder = attached(encoder), Path(folder)
    if carried is None:
        raise StudyError("this encoder carries no method: attach one")
    name = name_of(carried.method)
    if name not in METHODS:
        raise StudyError(f"{name} could not be loaded again: give it a name by @register")
    if batches_counted(encoder) != carried.batches_counted:
        raise StudyError(
            "the statistics of BatchNorm moved since the method was attached, and an adapter does "
            "not hold them: keep every BatchNorm in eval mode while you train"
        )
    save_tensors(folder / ADAPTER, trained(encoder))
    config = {
        "encoder": encoder.name,
        "method": name,
        "method_settings": settings_of(carried.method),
        "method_version": METHODS.versions[name],
        "train_heads": carried.train_heads,
        "seed": carried.seed,
        **trained_by,
        "image_size": encoder.image_size,
        "weights": encoder.weights,
        "architecture": encoder.architecture,
        "sha256": sha256_of(folder / ADAPTER),
    }
    with whole_file(folder / ADAPTER_CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(
    folder: Path, encoder: str | None = None, device: str = "auto", model: nn.Module | None = None
) -> DualEncoder:
    """The encoder with a saved adapter on it.

    Args:
        folder: holds ``adapter.safetensors`` and ``adapter.json``.
        encoder: where its base weights lie now, if not under the name in the configuration.
        device: where the encoder is put; a model of your own stays where it is.
        model: an open_clip model of your own, which gets the adapter in place; see ``attach``.

    Raises:
        StudyError: a file is absent or damaged, or the base weights or the version of the method
            are not those it was made with.
    """
    config, tensors = read_adapter_config(folder), read_adapter(folder)
    name, trained_on = encoder or config["encoder"], config["architecture"]
    method = create_method(config["method"], config["method_settings"])
    now = METHODS.versions[name_of(method)]
    if config["method_version"] not in (None, now):
        raise StudyError(
            f"the adapter in {folder} was made by version {config['method_version']} of "
            f"{name_of(method)}, and here is version {now}: train it again"
        )
    given_then = any(source.startswith(GIVEN) for source in config["weights"])
    other = f"the adapter in {folder} was trained on other weights than"
    if model is not None:
        from rsstudy.encoders.openclip import given

        base, expected = given(model), config["weights"]
        if attached(base):
            raise StudyError("this model carries a method already: make a new one")
        if not given_then:
            expected = given_weights(create(name, config["image_size"]).model)
        if base.weights != expected:
            whose = "the model that it was attached to" if given_then else name
            raise StudyError(f"{other} this model has: make it with those of {whose}")
    elif given_then:
        raise StudyError(
            f"the adapter in {folder} was trained on a model that was given: make it again, and "
            "give it to rsstudy.load_adapter(FOLDER, model=MODEL)"
        )
    else:
        if encoder is not None:  # another may not even come in this image size
            _check_architecture(folder, create(name, meta=True), trained_on)
        base = create(name, config["image_size"]).to(pick_device(device))
        _check_architecture(folder, base, trained_on)
        if sorted(base.weights.values()) != sorted(config["weights"].values()):
            raise StudyError(f"{other} {name} has here")
    with whole(base):
        attach(base, method, config["train_heads"], config["seed"])
        for of_base, parameter in base.named_parameters():
            if of_base in tensors:  # its user trained it beside the method: the temperature, say
                parameter.requires_grad_(True)
        load_trained(base, tensors, str(Path(folder) / ADAPTER))
    return base.eval()


def open_encoder(
    adapter: Path | None, name: str, device: str, image_size: int | None = None
) -> DualEncoder:
    """The encoder with a saved adapter on it, or the one called ``name``.

    Args:
        name: with an adapter, where its base weights lie now; "" as its configuration says.
    """
    if adapter is not None:
        return load_adapter(adapter, name or None, device)
    return create(name, image_size).to(pick_device(device))


def _check_architecture(folder: Path, base: DualEncoder, trained_on: str) -> None:
    if base.architecture != trained_on:
        raise StudyError(
            f"the adapter in {folder} was trained on {trained_on}, not on {base.architecture}: "
            f"leave --encoder out, or let it name {trained_on}"
        )


class AdapterConfig(BaseModel):
    """What rebuilds a run's encoder; ``sha256`` is of the tensors' file."""

    encoder: str
    image_size: int
    weights: dict[str, str]
    architecture: str
    method: str
    method_settings: dict[str, Any]
    method_version: int | None = None  # earlier ones have none
    train_heads: bool
    validation: str = "published"
    seed: int = 0
    fold: dict[str, Any] | None = None
    run: str = ""
    sha256: str | None = None  # earlier ones have none


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """What rebuilds the encoder of a run.

    Raises:
        StudyError: absent or damaged.
    """
    path = Path(folder) / ADAPTER_CONFIG
    config = read_json(path, AdapterConfig, "an adapter's configuration")
    return AdapterConfig.model_validate(config).model_dump()


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The trained tensors of a run.

    Raises:
        StudyError: absent, damaged, or not those that its configuration was written beside.
    """
    path = Path(folder) / ADAPTER
    tensors = read_tensors(path)
    if read_adapter_config(folder)["sha256"] not in (None, sha256_of(path)):
        raise StudyError(
            f"{path} is damaged: its sha256 is not the one in {ADAPTER_CONFIG}; get it again, or "
            "delete the folder and run again"
        )
    return tensors


def export(adapter: Path, out: Path, encoder: str | None = None) -> str:
    """Merge a run's adapter into its base and write open_clip's state dict as safetensors.

    Args:
        adapter: the run's folder.
        out: the file to write, ``.safetensors``.
        encoder: where the base weights lie now, if not under the name in the configuration.

    Returns:
        the line of Python that loads the file as ``model``; for ``tiny``, with a configuration
        that is written beside it.

    Raises:
        StudyError: the method cannot be merged, or its encoder is no open_clip model.
    """
    import open_clip  # behind rsstudy.encoders: see rsstudy.encoders.compat

    if Path(out).suffix != ".safetensors":
        raise StudyError(f"{out}: name the file .safetensors, by which open_clip knows it")
    model = load_adapter(adapter, encoder, "cpu")
    if not isinstance(model.model, (open_clip.CLIP, open_clip.CustomTextCLIP)):
        raise StudyError(f"{model.architecture} is no open_clip model: keep its adapter as it is")
    try:
        merge(model)
    except StudyError as problem:
        load = f"rsstudy.load_adapter({str(adapter)!r}"
        raise StudyError(
            f"{problem}: encoder = {load}) loads both, and {load}, model=model) puts it on an "
            "open_clip model of your own"
        ) from None
    save_tensors(out, model.model.state_dict(), {"format": "pt"})
    mean, std = (tuple(round(v, 4) for v in values.tolist()) for values in (model.mean, model.std))
    size = f", force_image_size={model.image_size}"
    seen = f"  # for pictures of mean {mean}, std {std}"
    if model.name.startswith(ELSEWHERE):
        base = re.split("[@+]", model.name)[0]
        made = f"model = open_clip.create_model({base!r}, load_weights=False{size})"
        return f"{made}; open_clip.load_checkpoint(model, {str(out)!r}){seen}"
    name, known, first = model.architecture, open_clip.list_models(), ""
    plain = name.removesuffix("-quickgelu")
    if name not in known and (open_clip.get_model_config(plain) or {}).get("quick_gelu"):
        name = plain  # a model that has quick GELU anyway
    if name == "tiny":  # this study's own: open_clip learns of it from a file
        config = Path(out).with_suffix(".json")
        with whole_file(config) as temporary:
            temporary.write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
        name, first = config.stem, f"open_clip.add_model_config({str(config)!r}); "
    return f"{first}model = open_clip.create_model({name!r}, pretrained={str(out)!r}{size}){seen}"
