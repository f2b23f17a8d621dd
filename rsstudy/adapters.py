"""Trained adapters: two small files that go onto their base again, or merge into plain weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.encoders.tiny import CONFIG
from rsstudy.errors import StudyError
from rsstudy.files import read_json, sha256_of, whole_file
from rsstudy.methods import attach, create_method, load_trained, merge
from rsstudy.registry import ELSEWHERE
from rsstudy.tensors import read_tensors, save_tensors

ADAPTER, ADAPTER_CONFIG = "adapter.safetensors", "adapter.json"


def save_adapter(
    folder: Path, encoder: DualEncoder, saved: Mapping[str, Tensor], trained_by: Mapping[str, Any]
) -> None:
    """Write the trained tensors and, last, the configuration that rebuilds their encoder.

    Args:
        trained_by: the fields of ``AdapterConfig`` that the encoder and the file do not say.
    """
    save_tensors(folder / ADAPTER, saved)
    config = {
        **trained_by,
        "image_size": encoder.image_size,
        "weights": encoder.weights,
        "architecture": encoder.architecture,
        "sha256": sha256_of(folder / ADAPTER),
    }
    with whole_file(folder / ADAPTER_CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(folder: Path, encoder: str | None = None, device: str = "auto") -> DualEncoder:
    """The encoder with a saved adapter on it.

    Args:
        folder: holds ``adapter.safetensors`` and ``adapter.json``.
        encoder: where its base weights lie now, if not under the name in the configuration.

    Raises:
        StudyError: a file is absent or damaged, or the base weights are not those it was made on.
    """
    config = read_adapter_config(folder)
    name, trained_on = encoder or config["encoder"], config["architecture"]
    method = create_method(config["method"], config["method_settings"])

    def checked(base: DualEncoder) -> DualEncoder:
        if base.architecture != trained_on:
            raise StudyError(
                f"the adapter in {folder} was trained on {trained_on}, not on "
                f"{base.architecture}: leave --encoder out, or let it name {trained_on}"
            )
        return base

    if encoder is not None:
        checked(create(name, meta=True))  # another encoder may not even come in this image size
    base = checked(create(name, config["image_size"])).to(pick_device(device))
    if sorted(base.weights.values()) != sorted(config["weights"].values()):
        raise StudyError(
            f"the adapter in {folder} was trained on other weights than {name} has here"
        )
    attach(base, method, config["train_heads"])
    load_trained(base, read_adapter(folder), str(Path(folder) / ADAPTER))
    return base.eval()


class AdapterConfig(BaseModel):
    """What rebuilds a run's encoder; ``sha256`` is of the tensors' file."""

    encoder: str
    image_size: int
    weights: dict[str, str]
    architecture: str
    method: str
    method_settings: dict[str, Any]
    method_version: int = 1
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
    merge(model)
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
