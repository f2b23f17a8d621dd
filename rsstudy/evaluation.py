"""From an encoder and a split to retrieval scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.pixels import pixels
from rsstudy.encoders import DualEncoder
from rsstudy.retrieval import Ranks, distinct, distinct_rows, rank, scores


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

    def words(self, *rows: np.ndarray) -> list[Tensor]:
        """Token ids of some texts, cut behind the longest among all: (B, l) for each ``rows``."""
        longest = max(int(self.lengths[of].max()) for of in rows)
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
    bar = tqdm(
        total=len(pairs.images) + len(pairs.tokens),
        desc="embedding",
        unit="item",
        delay=2,
        leave=False,
        disable=not progress,
    )

    def run(embed_chunk: Callable[[Tensor], Tensor], chunks: Iterable[Tensor]) -> Tensor:
        parts = []
        for items in chunks:
            parts.append(embed_chunk(items))
            bar.update(len(items))
        return torch.cat(parts)

    # Texts of one length together, so that hardly any padding is read.
    by_length = np.argsort(pairs.lengths, kind="stable")
    chunks = (by_length[at : at + chunk] for at in range(0, len(by_length), chunk))
    with bar:
        images = run(encoder.embed_images, pairs.images.split(chunk))
        sorted_texts = run(encoder.embed_texts, (pairs.words(rows)[0] for rows in chunks))
    if pairs.first_of is not None:  # a shorter last batch rounds differently: copies would not tie
        images = take(images, pairs.first_of)
    texts = torch.empty_like(sorted_texts)
    texts[torch.as_tensor(by_length, device=texts.device)] = sorted_texts
    return images, texts


def evaluate(encoder: DualEncoder, pairs: Pairs, progress: bool = False) -> Evaluation:
    """Rank the captions of a split for its images, and the images for its captions."""
    images, texts = embed(encoder, pairs, progress=progress)
    standard, relaxed = rank(images, texts, pairs.text_of, pairs.image_of)
    return Evaluation(scores(*standard), scores(*relaxed), standard, relaxed, pairs.text_of)


def query_counts(
    evaluation: Evaluation,
    image_of: np.ndarray,
    classes: Sequence[str | None],
    relaxed: bool = True,
) -> dict[str, Any]:
    """For every query the counts its recalls come from, which captions are alike, and the classes.

    By the standard protocol a caption query owns one image; ``relaxed`` holds the counts of that
    protocol. The captions stand image by image; ``image_of`` gives the image of each. Captions with
    one text have one number in ``text_of_caption``. ``classes`` has one name an image, or none.
    """

    def counts(ranks: Ranks, *names: str) -> dict[str, list[int]]:
        return {name: getattr(ranks, name).tolist() for name in names}

    i2t, t2i = evaluation.standard
    i2t_relaxed, t2i_relaxed = evaluation.relaxed
    found = {
        "image_to_text": counts(i2t, "above", "tie", "own"),
        "text_to_image": counts(t2i, "above", "tie"),
        "captions_of_image": np.bincount(image_of, minlength=len(i2t.above)).tolist(),
        "text_of_caption": evaluation.text_of.tolist(),
        "classes": list(classes),
    }
    if relaxed:
        found["relaxed"] = {
            "image_to_text": counts(i2t_relaxed, "above", "tie", "own"),
            "text_to_image": counts(t2i_relaxed, "above", "tie", "own"),
        }
    return found
