"""The second view of a batch: other pictures and other captions of the same content."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rsstudy.evaluation import Pairs


def augmented(images: Tensor) -> Tensor:
    """Each picture cropped (half of its area at least), flipped and turned by quarters at random.

    uint8 (B, 3, S, S) in and out. A picture from above has no upright: all eight orientations are
    its own.
    """
    from torchvision.transforms import v2  # with the other imports of torchvision: see compat

    crop = v2.RandomResizedCrop(images.shape[-1], scale=(0.5, 1.0), antialias=True)
    turned = []
    for image in images:
        quarters, mirror = torch.randint(4, ()).item(), torch.rand(()).item() < 0.5
        image = torch.rot90(crop(image), int(quarters), (1, 2))
        turned.append(image.flip(2) if mirror else image)
    return torch.stack(turned)


def siblings(pairs: Pairs, images: np.ndarray, texts: np.ndarray, seed: list[int]) -> np.ndarray:
    """For each row of ``texts`` another text of its image, at random; itself if there is none."""
    random = np.random.default_rng(seed)
    drawn = []
    for image, text in zip(images, texts, strict=True):
        first, last = np.searchsorted(pairs.image_of, [image, image + 1])
        others = pairs.text_of[first:last]
        others = others[others != text]
        drawn.append(random.choice(others) if len(others) else text)
    return np.array(drawn)
