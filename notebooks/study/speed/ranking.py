"""Ranking for retrieval: ours against a loop of argsorts and against CLIP_benchmark's way.

The loop is what research code does: sort the candidates of every query, look for its own among
them. CLIP_benchmark takes the k best of every query in batches, for recall at k alone. The three
must agree on recall before their seconds count; with random vectors nothing ties but copies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rsstudy.experiments.cost import Meter
from rsstudy.retrieval import KS, rank, scores
from study.speed.common import Given, benchmark, compared


def drawn(images: int, captions: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Unit vectors; those of a picture's captions lie about it."""
    generator = torch.Generator().manual_seed(0)
    seen = functional.normalize(torch.randn(images, width, generator=generator), dim=1)
    of = torch.arange(captions) * images // captions
    read = seen[of]
    for part in read.split(50_000):
        part += torch.randn(part.shape, generator=generator) * 0.15
    return seen.to(device), functional.normalize(read, dim=1).to(device)


def ours(seen: Tensor, read: Tensor, image_of: np.ndarray) -> dict[str, float]:
    return scores(*rank(seen, read, np.arange(len(read)), image_of)[0])


def argsort_loop(seen: Tensor, read: Tensor, image_of: np.ndarray) -> dict[str, float]:
    similarity = seen.cpu().numpy() @ read.cpu().numpy().T
    i2t, t2i = np.zeros(len(seen)), np.zeros(len(read))
    for image in range(len(seen)):
        order = np.argsort(similarity[image])[::-1]
        own = np.flatnonzero(image_of == image)
        i2t[image] = min(np.where(order == caption)[0][0] for caption in own)
    for caption in range(len(read)):
        order = np.argsort(similarity[:, caption])[::-1]
        t2i[caption] = np.where(order == image_of[caption])[0][0]
    return recalls(lambda way, k: ({"i2t": i2t, "t2i": t2i}[way] < k).mean())


def k_best(seen: Tensor, read: Tensor, image_of: np.ndarray, batch: int = 64) -> dict[str, float]:
    """As CLIP_benchmark: a matrix of the pairs; for each k anew the k best of every query."""
    similarity = read @ seen.T
    positive = torch.zeros_like(similarity, dtype=torch.bool)
    positive[torch.arange(len(read)), torch.as_tensor(image_of, device=seen.device)] = True

    def hits(way: str, k: int) -> Tensor:
        of, right = (m.T if way == "i2t" else m for m in (similarity, positive))
        parts = zip(of.split(batch), right.split(batch), strict=True)
        found = [mine.gather(1, part.topk(k, dim=1).indices).any(dim=1) for part, mine in parts]
        return torch.cat(found).float().mean()

    return recalls(hits)


def recalls(hits: Callable[[str, int], Any]) -> dict[str, float]:
    """The recalls and their mean, in percent, from the share of queries with a hit among k."""
    found = {f"{way}_r{k}": 100 * float(hits(way, k)) for way in ("i2t", "t2i") for k in KS}
    return {**found, "mean_recall": sum(found.values()) / len(found)}


WAYS = {"ours": ours, "argsort loop": argsort_loop, "k best": k_best}


@benchmark("ranking", rounds=5, width=384, images=1000, large=0)
def ranking(given: Given) -> Any:
    image_of = np.arange(5 * given.images) // 5
    seen, read = drawn(given.images, len(image_of), given.width, given.device)
    works: dict[str, Any] = {n: partial(way, seen, read, image_of) for n, way in WAYS.items()}
    found = {name: work() for name, work in works.items()}
    for name, recalls in found.items():
        assert all(abs(recalls[k] - found["ours"][k]) < 1e-3 for k in recalls), (name, found)
    works["the product alone"] = lambda: seen @ read.T
    over = {f"{name} over ours": (name, "ours") for name in works if name != "ours"}
    rows, ratios = compared(given, works, over)
    sizes = {"images": given.images, "captions": len(image_of)}
    rows = {**sizes, "recalls": found["ours"], **rows, **ratios}
    if given.large:
        rows["large"] = large(given)
    return rows, {}


def large(given: Given) -> dict[str, Any]:
    """Seconds and peak memory of one ranking, too large for the other ways."""
    image_of = np.arange(5 * given.large) // 5
    seen, read = drawn(given.large, len(image_of), given.width, given.device)
    with Meter(given.device) as meter:
        found = ours(seen, read, image_of)
    print(f"{given.large} x {len(image_of)}: {meter.seconds:.0f} s")
    return {
        "images": given.large,
        "captions": len(image_of),
        "recalls": found,
        "seconds": round(meter.seconds, 2),
        "peak_bytes": meter.peak_bytes,
        "whole_matrix_bytes": 4 * given.large * len(image_of),
    }
