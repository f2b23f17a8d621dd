"""Full fine-tuning: every parameter of both towers, heads and temperature is trained."""

from typing import ClassVar

from rsstudy.encoders import DualEncoder
from rsstudy.methods.parameters import train
from rsstudy.methods.registry import register


@register("full")
class Full:
    """Trains all parameters of the base: 151,277,313 on ViT-B/32."""

    trains_heads: ClassVar[bool] = True

    def add_to(self, encoder: DualEncoder) -> None:
        train(encoder, [f"model.{name}" for name, _ in encoder.model.named_parameters()])
