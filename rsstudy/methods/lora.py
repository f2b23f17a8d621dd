"""LoRA: a low-rank change of the blocks' matrices (Hu et al., ICLR 2022).

``W -> W + (alpha / r) up @ down`` on matrices of attention and MLP. The alignment of the bench
encoder is made with it, since such a change fits in a small file.
"""

from collections.abc import Iterator

from torch import nn

from rsstudy.encoders import DualEncoder
from rsstudy.methods.parameters import train
from rsstudy.methods.placing import Towers, blocks_of
from rsstudy.methods.primitives import LowRank, reparameterise, rows_of
from rsstudy.methods.registry import Finite, Positive, register


def each_matrix(
    encoder: DualEncoder, matrices: str, towers: Towers = "both"
) -> Iterator[tuple[nn.Module, str, slice]]:
    """The named matrices of every block: module, name of the stored weight, rows of it.

    Args:
        matrices: q, k, v, o, fc1, fc2, with commas; or ``stored``: each as it is stored, q, k and v
            together where they are stored so.
    """
    for block in blocks_of(encoder, towers):
        if matrices == "stored":
            for module in list(block.module.modules()):
                for name, weight in list(module.named_parameters(recurse=False)):
                    if weight.dim() == 2:
                        yield module, name, slice(0, len(weight))
            continue
        for matrix in [block.matrix(name.strip()) for name in matrices.split(",")]:
            module = block.module.get_submodule(matrix.module)
            yield module, matrix.weight, rows_of(matrix, getattr(module, matrix.weight))


@register("lora", authors={"matrices": "q,v", "rank": 8, "alpha": 16})
class LoRA:
    """Trains ``r (out + in)`` parameters for each matrix: 3,932,160 on ViT-B/32; authors: 491,520.

    Attributes:
        rank: r.
        alpha: the change is scaled by alpha / r.
        norms_and_biases: train also the vectors of the towers (norms, biases, LayerScale).
        matrices: which, with commas: q, k, v, o, fc1, fc2; or stored: all, q, k and v as one where
            they are stored so.
        towers: both, image or text.
    """

    rank: Positive = 16
    alpha: Finite = 16.0
    norms_and_biases: bool = False
    matrices: str = "stored"
    towers: Towers = "both"

    def add_to(self, encoder: DualEncoder) -> None:
        if self.norms_and_biases:
            vectors = [f"model.{n}" for n, p in encoder.model.named_parameters() if p.dim() == 1]
            train(encoder, vectors)
        encoder.method.changes = nn.ModuleList()
        for module, name, rows in each_matrix(encoder, self.matrices, self.towers):
            change = LowRank(getattr(module, name), self.rank, self.alpha / self.rank, rows)
            reparameterise(module, name, change)
            encoder.method.changes.append(change)
