"""Generated scenes, from above and from the ground: see ``rsstudy.scenes``."""

from typing import Any

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.sources import register
from rsstudy.scenes import scenes


@register("scenes", images=800, captions=4_000, settings=scenes)
def aerial(**settings: Any) -> ImageTextSet:
    """Scenes from above."""
    return scenes(**settings, domain="aerial")


@register("scenes-ground", images=800, captions=4_000, settings=scenes)
def ground(**settings: Any) -> ImageTextSet:
    """Scenes from the ground."""
    return scenes(**settings, domain="ground")
