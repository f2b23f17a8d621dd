"""Full fine-tuning: every parameter of both towers, heads and temperature is trained."""

from __future__ import annotations

from dataclasses import dataclass

from rsstudy.encoders import DualEncoder
from rsstudy.methods.registry import register, train


@register("full")
@dataclass(frozen=True)
class Full:
    """Trains all parameters of the base: 151,277,313 on ViT-B/32."""

    @property
    def trains_heads(self) -> bool:
        """Whether the heads are trained by the method itself."""
        return True

    def add_to(self, encoder: DualEncoder) -> None:
        train(encoder, [f"model.{name}" for name, _ in encoder.model.named_parameters()])
