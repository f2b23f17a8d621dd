"""An audit as text: the verdict first, then findings, counts and digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

APART = {"name", "images", "splits", "manifest_digest", "pixel_digest", "errors", "findings", "ok"}


def report(facts: Mapping[str, Any]) -> str:
    """The text of ``Audit.as_dict()`` (``facts``, which may have further counts), not wrapped."""
    lines = [f"{facts['name']}: {'usable' if facts['ok'] else 'broken'}"]
    lines += [f"- {error}" for error in facts["errors"]]
    if facts["findings"]:
        lines += ["", "To know when using it:" if facts["ok"] else "Also found:"]
        lines += [f"- {finding}" for finding in facts["findings"]]
    counted = [(name, of["images"], of["captions"]) for name, of in facts["splits"].items()]
    counted.append(("all", facts["images"], sum(captions for *_, captions in counted)))
    lines += ["", f"{'split':<8}{'images':>10}{'captions':>10}"]
    lines += [f"{name:<8}{images:>10,}{captions:>10,}" for name, images, captions in counted]
    words = "{least} to {most}, median {median:g}, mean {mean:.1f}"
    special = {
        "classes": _classes(facts["classes"]),
        "captions_per_image": _captions_per_image(facts["captions_per_image"]),
        "caption_words": words.format(**facts["caption_words"]),
    }
    rest = [(name, special.get(name) or _shown(facts[name])) for name in facts if name not in APART]
    lines += ["", *_aligned(rest)]
    pixels = facts["pixel_digest"] or "none: not every picture was decoded"
    digests = [("manifest_digest", facts["manifest_digest"]), ("pixel_digest", pixels)]
    return "\n".join([*lines, "", *_aligned(digests)])


def _aligned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    pairs = [(name.replace("_", " "), text) for name, text in pairs]
    width = max(len(name) for name, _ in pairs)
    return [f"{name:<{width}}  {text}" for name, text in pairs]


def _shown(value: Any) -> str:
    """A number, or the length of a list: the findings name its first items."""
    if value is None:
        return "not counted"
    if isinstance(value, list):
        return f"{len(value):,}"
    if isinstance(value, Mapping):
        parts = (f"{str(name).replace('_', ' ')}: {_shown(of)}" for name, of in value.items())
        return ", ".join(parts) or "none"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _classes(images: Mapping[str, int]) -> str:
    if not images:
        return "none given"
    each = " to ".join(f"{n:,}" for n in sorted({min(images.values()), max(images.values())}))
    return f"{len(images)}, of {each} images each"


def _captions_per_image(images: Mapping[int, int]) -> str:
    if len(images) < 2:
        return "".join(map(str, images)) or "none"
    return ", ".join(f"{captions} ({count:,} images)" for captions, count in images.items())
