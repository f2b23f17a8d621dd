"""A trained encoder as plain open_clip weights, for those who have never heard of rsstudy."""

from __future__ import annotations

import json
from pathlib import Path

from rsstudy.encoders.tiny import CONFIG
from rsstudy.errors import StudyError
from rsstudy.files import save_tensors, whole_file
from rsstudy.methods import merge
from rsstudy.run import load_adapter


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
    name, known, first = model.architecture, open_clip.list_models(), ""
    plain = name.removesuffix("-quickgelu")
    if name not in known and (open_clip.get_model_config(plain) or {}).get("quick_gelu"):
        name = plain  # a model that has quick GELU anyway
    if name == "tiny":  # this study's own: open_clip learns of it from a file
        config = Path(out).with_suffix(".json")
        with whole_file(config) as temporary:
            temporary.write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
        name, first = config.stem, f"open_clip.add_model_config({str(config)!r}); "
    mean, std = (tuple(round(v, 4) for v in values.tolist()) for values in (model.mean, model.std))
    size = f", force_image_size={model.image_size}"
    return (
        f"{first}model = open_clip.create_model({name!r}, pretrained={str(out)!r}{size})"
        f"  # for pictures of mean {mean}, std {std}"
    )
