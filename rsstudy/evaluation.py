"""From an encoder and a split to retrieval scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import pixels
from rsstudy.encoders import DualEncoder
from rsstudy.progress import Progress
from rsstudy.retrieval import Ranks, distinct, distinct_rows, rank, scores

Chunk = TypeVar("Chunk", Tensor, np.ndarray)


@dataclass(frozen=True)
class Pairs:
    """A split ready for an encoder.

    Attributes:
        images: uint8 (N, 3, size, size), on the encoder's device where it fits.
        tokens: ids of the D distinct texts (D, L), likewise.
        text_of, image_of: for each of the M captions its text in 0..D and its image in 0..N.
        pixel_digest: of the decoded pictures.
        lengths: for each of the D texts how many of its tokens an encoder needs.
        first_of: for each image the first that shows the same picture (N); None where all differ.
    """

    images: Tensor
    tokens: Tensor
    text_of: np.ndarray
    image_of: np.ndarray
    pixel_digest: str
    lengths: np.ndarray
    first_of: np.ndarray | None = None

    def words(self, *rows: np.ndarray, multiple: int = 1) -> list[Tensor]:
        """Token ids of some texts, cut behind the longest among all: (B, l) for each ``rows``.

        Args:
            multiple: l is a multiple of it, unless it is the encoder's whole context.
        """
        longest = max(int(self.lengths[of].max()) for of in rows)
        longest = -(-longest // multiple) * multiple
        return [take(self.tokens, of)[:, :longest] for of in rows]


def take(items: Tensor, rows: np.ndarray) -> Tensor:
    """Some rows of a tensor, on its device."""
    return items[torch.as_tensor(rows, device=items.device)]


@dataclass(frozen=True)
class Evaluation:
    """Scores in percent, and for every query the counts they come from.

    Attributes:
        scores, scores_relaxed: by the standard and by the relaxed protocol.
        standard, relaxed: the counts of the image queries and of the caption queries.
        text_of: for each of the M captions its distinct text.
    """

    scores: dict[str, float]
    scores_relaxed: dict[str, float]
    standard: tuple[Ranks, Ranks]
    relaxed: tuple[Ranks, Ranks]
    text_of: np.ndarray


def prepare(encoder: DualEncoder, split: ImageTextSet) -> Pairs:
    """Decode a split's pictures at the encoder's size and tokenise each distinct caption once."""
    decoded = pixels(split, encoder.image_size)
    texts, text_of, image_of = distinct(split.captions)
    images = decoded.images
    if encoder.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(encoder.device)
        if images.nbytes < free / 2:  # leave the other half to training
            images = images.to(encoder.device)
    tokens = encoder.tokenizer(texts)
    lengths = encoder.lengths(tokens).numpy()
    tokens = tokens.to(encoder.device)
    first, row_of = distinct_rows(decoded.digests)
    first_of = first[row_of] if len(first) < len(row_of) else None
    return Pairs(images, tokens, text_of, image_of, decoded.digest, lengths, first_of)


@torch.no_grad()
def embed(
    encoder: DualEncoder, pairs: Pairs, chunk: int = 128, progress: bool = False
) -> tuple[Tensor, Tensor]:
    """Unit vectors of the images (N, d) and of the distinct texts (D, d), in full precision."""
    encoder.eval()
    # Texts of one length together, so that hardly any padding is read.
    by_length = np.argsort(pairs.lengths, kind="stable")
    rows = np.split(by_length, range(chunk, len(by_length), chunk))
    total = len(pairs.images) + len(pairs.tokens)
    style: dict[str, Any] = {"desc": "embedding", "unit": "item", "delay": 2, "leave": False}
    with Progress(total=total, disable=not progress, **style) as bar:

        def shown(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
            for items in chunks:
                yield items
                bar.update(len(items))

        images = torch.cat([encoder.embed_images(i) for i in shown(pairs.images.split(chunk))])
        texts = torch.cat([encoder.embed_texts(pairs.words(of)[0]) for of in shown(rows)])
    if pairs.first_of is not None:  # a shorter last batch rounds differently: copies would not tie
        images = take(images, pairs.first_of)
    return images, take(texts, np.argsort(by_length))


def evaluate(
    encoder: DualEncoder, pairs: Pairs, progress: bool = False, ks: Iterable[int] = ()
) -> Evaluation:
    """Rank the captions of a split for its images, and the images for its captions.

    Args:
        ks: ranks whose recalls are scored beside those at 1, 5 and 10.
    """
    return evaluate_vectors(*embed(encoder, pairs, progress=progress), pairs, ks)


def evaluate_vectors(
    images: Tensor, texts: Tensor, pairs: Pairs, ks: Iterable[int] = ()
) -> Evaluation:
    """``evaluate``, from what ``embed`` gives."""
    ks = tuple(ks)
    standard, relaxed = rank(images, texts, pairs.text_of, pairs.image_of)
    return Evaluation(scores(*standard, ks), scores(*relaxed, ks), standard, relaxed, pairs.text_of)
