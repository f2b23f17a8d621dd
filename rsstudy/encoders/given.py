"""Models that are given as they are: what tells their weights apart, without a file."""

from __future__ import annotations

import hashlib

from torch import nn

from rsstudy.tensors import state_sha256

GIVEN = "given/"  # begins the source of weights that came in a model, not in a file

# What decides the outputs of open_clip's, timm's and transformers' modules beside their tensors.
_DECIDE = {"num_heads", "num_attention_heads", "eps", "image_size", "eos_id", "text_eos_id"}
_DECIDE |= {"pool_type", "text_pool_type", "global_pool", "final_ln_after_pool"}


def given_weights(model: nn.Module) -> dict[str, str]:
    """The ``weights`` of a model that is given as it is: its kind -> the sha256 of its state.

    The kind has a digest of heads, pooling, size and masks, which equal tensors leave open.
    """
    quick_gelu = any(type(module).__name__ == "QuickGELU" for module in model.modules())
    decided = list({name for name, _ in model.named_buffers()} - set(model.state_dict()))
    for name, module in model.named_modules():
        for setting in _DECIDE & vars(module).keys():
            value = vars(module)[setting]
            if value is not None:
                value = value[0] if isinstance(value, (tuple, list)) else value  # a square's side
                decided.append(f"{name}.{setting}={value}")
    digest = hashlib.sha256("\n".join(sorted(decided)).encode()).hexdigest()[:12]
    kind = f"{type(model).__name__}{'-quickgelu' if quick_gelu else ''}-{digest}"
    return {f"{GIVEN}{kind}": state_sha256(model)}
