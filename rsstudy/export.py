"""A trained encoder as plain open_clip weights, for those who have never heard of rsstudy."""

from __future__ import annotations

from pathlib import Path

from rsstudy.errors import StudyError
from rsstudy.files import save_tensors
from rsstudy.methods import merge
from rsstudy.run import load_adapter


def export(adapter: Path, out: Path, encoder: str | None = None) -> str:
    """Merge a run's adapter into its base and write open_clip's state dict as safetensors.

    Args:
        adapter: the run's folder.
        out: the file to write, ``.safetensors``.
        encoder: where the base weights lie now, if not under the name in the configuration.

    Returns:
        the line of Python that loads the file.

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
    name, known = model.architecture, open_clip.list_models()
    plain = name.removesuffix("-quickgelu")
    if name not in known and (open_clip.get_model_config(plain) or {}).get("quick_gelu"):
        name = plain  # a model that has quick GELU anyway
    if name not in known:
        return f"# {out}: open_clip has no model {name!r}; add_model_config gives it one"
    mean, std = (tuple(round(v, 4) for v in values.tolist()) for values in (model.mean, model.std))
    size = f", force_image_size={model.image_size}"
    return (
        f"open_clip.create_model({name!r}, pretrained={str(out)!r}{size})"
        f"  # for pictures of mean {mean}, std {std}"
    )
