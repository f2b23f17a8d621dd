"""DoRA: LoRA on a matrix's direction, its magnitude learned beside it (Liu et al., ICML 2024).

``W' = m * V / |V|`` by row, with ``V = W + (alpha / r) up @ down``; no gradient flows through the
norm, as the authors have it.

What differs: the authors drop out elements of the input of ``up @ down`` and of the rescaled part
with a probability of 0.05 (NVlabs/DoRA, commonsense_reasoning/finetune.py). That dropout is drawn
anew for each token, which no weight can express, and here the change is a weight: none is dropped.
"""

from torch import Tensor, nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.lora import each_matrix
from rsstudy.methods.placing import Towers
from rsstudy.methods.primitives import LowRank, Scaled, reparameterise
from rsstudy.methods.registry import Finite, Positive, register


class Decomposed(nn.Module):
    """(out, in) -> (out, in); the same at the start."""

    def __init__(self, weight: Tensor, rank: int, scale: float, rows: slice):
        super().__init__()
        self.direction, self.rows = LowRank(weight, rank, scale, rows), rows
        self.magnitude = nn.Parameter(weight.detach()[rows].norm(dim=1))

    def forward(self, weight: Tensor) -> Tensor:
        direction = self.direction(weight)
        norm = direction[self.rows].norm(dim=1).detach()
        return Scaled.by(direction, self.magnitude / norm, self.rows)


@register("dora")
class DoRA:
    """Trains ``r (out + in) + out`` parameters for each matrix: 4,055,040 on ViT-B/32.

    Attributes:
        rank: r.
        alpha: the change of direction is scaled by alpha / r.
        matrices: which, with commas: q, k, v, o, fc1, fc2.
        towers: both, image or text.
    """

    rank: Positive = 16
    alpha: Finite = 32.0
    matrices: str = "q,k,v,fc1,fc2"
    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        encoder.method.changes = nn.ModuleList()
        for module, name, rows in each_matrix(encoder, self.matrices, self.towers):
            weight = getattr(module, name)
            change = Decomposed(weight, self.rank, self.alpha / self.rank, rows)
            reparameterise(module, name, change)
            encoder.method.changes.append(change)
