"""Ranking for retrieval: ours against a loop of argsorts and against CLIP_benchmark's way.

The loop is what research code does: sort the candidates of every query, look for its own among
them. CLIP_benchmark takes the k best of every query in batches, for recall at k alone. The three
must agree on recall before their seconds count; with random vectors nothing ties but copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import arguments, in_turns, middle, ratio, write
from torch import Tensor
from torch.nn import functional

from rsstudy.devices import pick_device
from rsstudy.experiments.cost import Meter
from rsstudy.retrieval import KS, rank, scores


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
    found = {
        f"{way}_r{k}": 100 * float((ranks < k).mean())
        for way, ranks in (("i2t", i2t), ("t2i", t2i))
        for k in KS
    }
    return {**found, "mean_recall": sum(found.values()) / len(found)}


def k_best(seen: Tensor, read: Tensor, image_of: np.ndarray, batch: int = 64) -> dict[str, float]:
    """As CLIP_benchmark: a matrix of the pairs; for each k anew the k best of every query."""
    similarity = read @ seen.T
    positive = torch.zeros_like(similarity, dtype=torch.bool)
    positive[torch.arange(len(read)), torch.as_tensor(image_of, device=seen.device)] = True

    def recall(of: Tensor, right: Tensor, k: int) -> float:
        hits = [
            mine.gather(1, part.topk(k, dim=1).indices).any(dim=1)
            for part, mine in zip(of.split(batch), right.split(batch), strict=True)
        ]
        return 100 * float(torch.cat(hits).float().mean())

    found = {f"i2t_r{k}": recall(similarity.T, positive.T, k) for k in KS}
    found |= {f"t2i_r{k}": recall(similarity, positive, k) for k in KS}
    return {**found, "mean_recall": sum(found.values()) / len(found)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--large", type=int, default=0, help="rank so many pictures, too; 100000")
    given = parser.parse_args()
    device = pick_device(given.device)
    ways: dict[str, Callable[..., dict[str, float]]] = {
        "ours": ours,
        "argsort loop": argsort_loop,
        "k best": k_best,
    }
    image_of = np.arange(5 * given.images) // 5
    seen, read = drawn(given.images, len(image_of), given.width, device)
    found = {name: way(seen, read, image_of) for name, way in ways.items()}
    for name, recalls in found.items():
        assert all(abs(recalls[k] - found["ours"][k]) < 1e-3 for k in recalls), (name, found)
    works: dict[str, Callable[[], object]] = {
        name: lambda way=way: way(seen, read, image_of) for name, way in ways.items()
    }
    works["the product alone"] = lambda: seen @ read.T
    seconds = in_turns(works, given.rounds, device)
    rows: dict[str, Any] = {
        "images": given.images,
        "captions": len(image_of),
        "recalls": found["ours"],
    }
    rows |= {name: middle(taken) for name, taken in seconds.items()}
    rows |= {
        f"{name} over ours": ratio(seconds[name], seconds["ours"])
        for name in works
        if name != "ours"
    }
    for name in ("argsort loop", "k best"):
        print(f"{name} over ours: {rows[f'{name} over ours']}")
    if given.large:
        image_of = np.arange(5 * given.large) // 5
        seen, read = drawn(given.large, len(image_of), given.width, device)
        with Meter(device) as meter:
            recalls = ours(seen, read, image_of)
        rows["large"] = {
            "images": given.large,
            "captions": len(image_of),
            "recalls": recalls,
            "seconds": round(meter.seconds, 2),
            "peak_bytes": meter.peak_bytes,
            "whole_matrix_bytes": 4 * given.large * len(image_of),
        }
        print(f"{given.large} x {len(image_of)}: {meter.seconds:.0f} s")
    settings = {"width": given.width, "rounds": given.rounds}
    print(write("ranking", given.device, given.out, settings, rows))


if __name__ == "__main__":
    main()
