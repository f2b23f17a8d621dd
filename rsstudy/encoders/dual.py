"""``DualEncoder``: an image tower and a text tower that end in one joint space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsstudy.encoders.given import GIVEN
from rsstudy.encoders.places import MODALITIES, Block, Modality, find_blocks

# nn.MultiheadAttention has a fused path in eval mode that rounds differently from the path used in
# training and skips hooks; one path everywhere keeps equal things bit-equal.
torch.backends.mha.set_fastpath_enabled(False)


class DualEncoder(nn.Module):
    """Two towers of any library behind one interface.

    Args:
        name: the encoder's full name, weights included.
        model: has ``encode_image`` ((B, 3, H, W) normalised -> (B, d)), ``encode_text``
            ((B, L) token ids -> (B, d)) and a parameter ``logit_scale`` (log inverse temperature).
        towers: the model's image tower and text tower, for finding blocks.
        heads: names of the parameters of ``model`` that project into the joint space.
        joint_width: d, the width of that space.
        tokenizer: texts -> (B, L) token ids.
        image_size: pixels a side.
        mean, std: of the channels, on the scale 0 to 1.
        weights: where each weights file came from -> its sha256.
        architecture: tells apart models that the same weights would fit.
        length_of: token ids (B, L) -> (B,), the number of tokens that the model needs of each
            text; None where it reads them all.
    """

    mean: Tensor
    std: Tensor
    method: Any  # an nn.Module with the modules that a method adds
    own = False  # whether the model is the user's own, trained and called by its own functions

    def __init__(
        self,
        name: str,
        model: Any,
        towers: dict[Modality, nn.Module],
        heads: Sequence[str],
        joint_width: int,
        tokenizer: Callable[[list[str]], Tensor],
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        weights: dict[str, str] | None = None,
        architecture: str = "",
        length_of: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.name = name
        self.model = model
        self.method = nn.Module()  # what a method adds lives here, apart from the base
        self.heads = tuple(f"model.{head}" for head in heads)
        self.joint_width = joint_width
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.weights = weights or {}
        self.architecture = architecture or name
        self._length_of = length_of
        self._towers = [towers["image"], towers["text"]]  # a list: already registered in model
        # What a method does to the joint space's vectors before they get unit length.
        self.after_heads: dict[Modality, list[Callable[[Tensor], Tensor]]]
        self.after_heads = {modality: [] for modality in MODALITIES}
        for channels, values in (("mean", mean), ("std", std)):  # beside the weights, on meta too
            buffer = torch.tensor(values, device=self.device)
            self.register_buffer(channels, buffer, persistent=False)

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    @property
    def logit_scale(self) -> nn.Parameter:
        """Log of the inverse temperature: the scalar that CLIP learns."""
        return self.model.logit_scale

    @property
    def given(self) -> bool:
        """Whether its weights came in a model: then ``create`` cannot read them again."""
        return any(source.startswith(GIVEN) for source in self.weights)

    def tower(self, modality: Modality) -> nn.Module:
        return self._towers[0 if modality == "image" else 1]

    def blocks(self, modality: Modality) -> list[Block]:
        """The transformer blocks of one tower, from the input on."""
        return find_blocks(self.tower(modality), modality)

    @property
    def cuts(self) -> bool:
        """Whether captions may be cut behind their last word; see ``lengths``."""
        return self._length_of is not None

    def lengths(self, tokens: Tensor) -> Tensor:
        """The number of tokens (B, L) that the model needs of each text, (B,)."""
        if self._length_of is None:
            return torch.full((len(tokens),), tokens.shape[1])
        return self._length_of(tokens)

    def embed_images(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, size, size) -> unit vectors (B, d) in float32."""
        mean, std = (v.to(self.device)[:, None, None] for v in (self.mean, self.std))
        normalised = (images.to(self.device, mean.dtype) / 255 - mean) / std
        # A user's own model may have moved, or changed its type, without this wrapper.
        return self._unit("image", self.model.encode_image(normalised.to(self.logit_scale.dtype)))

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Token ids (B, L) -> unit vectors (B, d) in float32."""
        return self._unit("text", self.model.encode_text(tokens.to(self.device)))

    def frozen_as(self, dtype: torch.dtype) -> StoredAs:
        """Within the block, the frozen matrices of linear layers are stored as ``dtype``.

        Autocast to that type casts them anew in every step; the cast ones are the same to the bit.
        Normalisations, embeddings and whatever a method reparameterises stay as they are.
        """
        layers = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
        return StoredAs(
            dtype,
            [
                parameter
                for module in self.model.modules()
                if isinstance(module, layers) and not hasattr(module, "parametrizations")
                for parameter in module.parameters(recurse=False)
                if not parameter.requires_grad
            ],
        )

    def _unit(self, modality: Modality, vectors: Tensor) -> Tensor:
        for change in self.after_heads[modality]:
            vectors = change(vectors)
        return functional.normalize(vectors.float(), dim=-1)

    @contextmanager
    def token_dropout(
        self, probability: float, rows: int, whole_tokens: bool = False
    ) -> Iterator[None]:
        """Within the block, drop parts of the embedded tokens, not in the first ``rows`` rows.

        The tokens (B, L, d) are those that enter the first transformer block: behind positions and,
        where the tower has one, the normalisation before the blocks. Any token may be dropped, the
        class token and the end of text, too. What stays is divided by 1 - ``probability``.

        Args:
            whole_tokens: one draw a token (B, L, 1), as figure 1 of the paper shows it; else one
                draw an element, as the public code has it.
        """

        def drop(_module, args):
            first, second = args[0][:rows], args[0][rows:]
            if whole_tokens:
                second = second * functional.dropout(torch.ones_like(second[..., :1]), probability)
            else:
                second = functional.dropout(second, probability)
            return (torch.cat([first, second]), *args[1:])

        firsts = [self.blocks(modality)[0].module for modality in MODALITIES]
        handles = [module.register_forward_pre_hook(drop) for module in firsts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class StoredAs:
    """Within the block, these parameters are stored as ``dtype``. The block may be entered again.

    The cast tensors are the same each time, since a CUDA graph reads them by their addresses.
    """

    def __init__(self, dtype: torch.dtype, parameters: Sequence[nn.Parameter]) -> None:
        self.stored = [(p, p.data, p.data.to(dtype)) for p in parameters]

    def __enter__(self) -> None:
        for parameter, _, cast in self.stored:
            parameter.data = cast

    def __exit__(self, *error: object) -> None:
        for parameter, whole, _ in self.stored:
            parameter.data = whole


@contextmanager
def seeded(meta: bool = False) -> Iterator[None]:
    """Within the block, modules are built with weights from seed 0, or on the meta device."""
    with torch.random.fork_rng(devices=[]), torch.device("meta" if meta else "cpu"):
        torch.manual_seed(0)
        yield
