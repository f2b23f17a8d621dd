"""Putting a method on an encoder, and taking it off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rsstudy.encoders import DualEncoder, create
from rsstudy.encoders.given import given_weights
from rsstudy.errors import StudyError
from rsstudy.methods.parameters import train, trained
from rsstudy.methods.primitives import is_added, remove_all
from rsstudy.methods.registry import Method, create_method, name_of

_ATTACHED = "_rsstudy_attached"


class Attached(NamedTuple):
    """What a model carries: see ``attach``."""

    method: Method
    train_heads: bool
    seed: int
    batches_counted: int
    scalars: dict[str, Tensor]  # of the base, as they were: its temperature


def batches_counted(encoder: DualEncoder) -> int:
    """How many batches have moved the statistics of BatchNorm, summed over its layers."""
    counts = [b for name, b in encoder.named_buffers() if name.endswith("num_batches_tracked")]
    return sum(0 if count.is_meta else int(count) for count in counts)


def attached(encoder: DualEncoder) -> Attached | None:
    """The method that the encoder's model carries, and how it was attached."""
    return encoder.model.__dict__.get(_ATTACHED)


def attach(
    encoder: DualEncoder | nn.Module,
    method: Method | str,
    train_heads: bool = False,
    seed: int = 0,
    **settings: Any,
) -> DualEncoder:
    """Freeze the encoder, then add the method; new weights are drawn from ``seed``.

    Args:
        encoder: a ``DualEncoder``, or an open_clip model of your own. That is changed in place:
            its ``parameters()``, ``train()`` and ``to()`` reach what the method adds.
        method: itself, or its name with its settings: ``attach(model, "lora", rank=8)``.

    Returns:
        the encoder; around a model of your own a new one, whose ``model`` it is.

    Raises:
        StudyError: the encoder carries a method already, or the method does not fit it, or finds
            nothing there that it trains. The encoder is then as it was.
    """
    if isinstance(method, str):
        method = create_method(method, settings)
    elif settings:
        raise StudyError(f"{next(iter(settings))}: a method that is made has its settings already")
    if _ATTACHED in vars(getattr(encoder, "model", encoder)):
        raise StudyError("this encoder carries a method already: make a new one")
    if not isinstance(encoder, DualEncoder):
        from rsstudy.encoders.openclip import given

        encoder = given(encoder)
    with whole(encoder):
        _add(encoder, method, seed)
        named = encoder.named_parameters()
        scalars = {name: p.detach().clone() for name, p in named if p.numel() == 1}
        carried = Attached(method, train_heads, seed, batches_counted(encoder), scalars)
        setattr(encoder.model, _ATTACHED, carried)
    if train_heads:
        train(encoder, encoder.heads)
    return encoder


@contextmanager
def whole(encoder: DualEncoder) -> Iterator[None]:
    """Where the block raises a ``StudyError``, the encoder is left without a method, as it was."""
    carried = attached(encoder)
    before = {p: p.requires_grad for p in encoder.parameters()}
    try:
        yield
    except StudyError:
        if carried is None:
            _take_off(encoder)
            for parameter, wanted in before.items():
                parameter.requires_grad_(wanted)
        raise


def _add(encoder: DualEncoder, method: Method, seed: int) -> None:
    name = name_of(method)
    encoder.requires_grad_(False)
    with torch.random.fork_rng(devices=[]), encoder.device:
        torch.manual_seed(seed)
        method.add_to(encoder)
    encoder.method.requires_grad_(True).eval()
    if name != "zero-shot" and not trained(encoder):
        raise StudyError(f"{name} would train nothing of {encoder.name}: choose another method")
    if encoder.own:
        if any(encoder.after_heads.values()):
            raise StudyError(
                f"{name} acts behind the heads, where an open_clip model ends: attach it to "
                "rsstudy.create(NAME), and embed by its embed_images and embed_texts"
            )
        if not set(encoder.method.parameters()) <= set(encoder.model.parameters()):
            encoder.model.method = encoder.method  # so that the model's own functions reach it


def detach(encoder: DualEncoder) -> list[str]:
    """Take the method off again: the encoder is the frozen base that it was.

    Returns:
        the base's own parameters that were trained, and that are again as they were.

    Raises:
        StudyError: the base's own parameters were trained, more of them than its temperature, and
            the base cannot be read again.
    """
    added, carried = set(encoder.method.parameters()), attached(encoder)
    own = [name for name, parameter in trained(encoder).items() if parameter not in added]
    kept: Mapping[str, Tensor] = carried.scalars if carried else {}
    if encoder.given and (lost := [name for name in own if name not in kept]):
        raise StudyError(
            f"{lost[0].removeprefix('model.')} was trained itself, and a model that was given "
            "cannot be read again: make the model anew"
        )
    _take_off(encoder)
    encoder.requires_grad_(False).eval()
    parameters = dict(encoder.named_parameters())
    if own:
        if not encoder.given:
            kept = dict(create(encoder.name, encoder.image_size).named_parameters())
        with torch.no_grad():
            for name in own:
                parameters[name].copy_(kept[name])
    return own


def merge(encoder: DualEncoder) -> None:
    """Write the method into the base's own weights: equal outputs, no cost, the base's keys.

    The encoder's ``weights`` are then those of a model that is given, whoever made it.

    Raises:
        StudyError: the method adds computations or tokens, which no weight can hold.
    """
    if is_added(encoder.model) or any(encoder.after_heads.values()):
        raise StudyError(
            "this method cannot be merged: it adds computations, not weights; it is used as it is"
        )
    _take_off(encoder, keep_weights=True)
    encoder.requires_grad_(False).eval()
    encoder.weights = given_weights(encoder.model)


def _take_off(encoder: DualEncoder, keep_weights: bool = False) -> None:
    remove_all(encoder.model, keep_weights)
    encoder.model._modules.pop("method", None)
    encoder.model.__dict__.pop(_ATTACHED, None)
    encoder.method = nn.Module()
    for changes in encoder.after_heads.values():
        changes.clear()
