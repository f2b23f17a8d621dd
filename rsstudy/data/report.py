"""What an audit found, as text: the verdict first, then findings, counts and digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

APART = {"name", "images", "splits", "manifest_digest", "pixel_digest", "errors", "findings", "ok"}


def report(facts: Mapping[str, Any]) -> str:
    """An audit to be read by a person; plain text, no line of which is broken to fit a screen.

    Args:
        facts: ``Audit.as_dict()``, with or without further counts.
    """
    lines = [f"{facts['name']}: {'usable' if facts['ok'] else 'broken'}"]
    lines += [f"- {error}" for error in facts["errors"]]
    if facts["findings"]:
        lines += ["", "To know when using it:" if facts["ok"] else "Also found:"]
        lines += [f"- {finding}" for finding in facts["findings"]]
    counted = [(name, of["images"], of["captions"]) for name, of in facts["splits"].items()]
    counted.append(("all", facts["images"], sum(captions for *_, captions in counted)))
    lines += ["", f"{'split':<8}{'images':>10}{'captions':>10}"]
    lines += [f"{name:<8}{images:>10,}{captions:>10,}" for name, images, captions in counted]
    special = {
        "classes": _classes(facts["classes"]),
        "captions_per_image": _captions_per_image(facts["captions_per_image"]),
        "caption_words": "{least} to {most}, median {median:g}, mean {mean:.1f}".format(
            **facts["caption_words"]
        ),
    }
    rest = [(name, special.get(name) or _shown(facts[name])) for name in facts if name not in APART]
    lines += ["", *_aligned(rest)]
    digests = [
        ("manifest_digest", facts["manifest_digest"]),
        ("pixel_digest", facts["pixel_digest"] or "none: not every picture was decoded"),
    ]
    return "\n".join([*lines, "", *_aligned(digests)])


def _aligned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    pairs = [(name.replace("_", " "), text) for name, text in pairs]
    width = max(len(name) for name, _ in pairs)
    return [f"{name:<{width}}  {text}" for name, text in pairs]


def _shown(value: Any) -> str:
    """A number; of a list its length, since the lines above name the first of what was found."""
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
    fewest, most = min(images.values()), max(images.values())
    each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{len(images)}, of {each} images each"


def _captions_per_image(images: Mapping[int, int]) -> str:
    if len(images) < 2:
        return "".join(map(str, images)) or "none"
    return ", ".join(f"{captions} ({count:,} images)" for captions, count in images.items())
