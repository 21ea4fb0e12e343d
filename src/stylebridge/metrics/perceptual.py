"""Perceptual distance of image pairs by a network's features, and diversity: its mean over random pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Avoids a division by 0 for feature vectors that are 0.
EPS = 1e-10


def stage_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Σ over stages of the mean over pixels of |x/‖x‖ − y/‖y‖|², norms over channels: [B].

    LPIPS with all its weights 1 (Zhang et al., CVPR 2018, arXiv 1801.03924, equation 1); each stage adds 0 to 4.

    Args:
        first, second: one tensor of features [B, C, h, w] for each stage.
    """
    total = first[0].new_zeros(len(first[0]))
    for x, y in zip(first, second, strict=True):
        total = total + (_unit(x) - _unit(y)).square().sum(1).mean((1, 2))
    return total


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(1, keepdim=True) + EPS).rsqrt()


def random_pairs(images: int, pairs: int, seed: int = 0) -> Tensor:
    """``pairs`` random, distinct, unordered pairs of different images; all pairs if there are no more.

    Returns:
        int64 [P, 2], first index below second.

    Raises:
        ValueError: there are fewer than two images, or ``pairs`` is below 1.
    """
    if images < 2 or pairs < 1:
        raise ValueError(f"{pairs} pairs of {images} images cannot be drawn")
    every = images * (images - 1) // 2
    generator = torch.Generator().manual_seed(seed)
    if every <= max(2 * pairs, 1000):
        numbers = torch.randperm(every, generator=generator)[:pairs]
    else:  # few of many: draw until enough are distinct
        numbers = torch.empty(0, dtype=torch.int64)
        while len(numbers) < pairs:
            more = torch.randint(every, (pairs,), generator=generator)
            numbers = torch.unique(torch.cat((numbers, more)))
        numbers = numbers[torch.randperm(len(numbers), generator=generator)[:pairs]]
    # Pair number p is entry (i, j), j < i, of the triangle in row order: i(i − 1)/2 + j = p.
    i = ((1 + (1 + 8 * numbers.double()).sqrt()) / 2).long()
    i = torch.where(i * (i - 1) // 2 > numbers, i - 1, i)
    i = torch.where(i * (i + 1) // 2 <= numbers, i + 1, i)
    return torch.stack((numbers - i * (i - 1) // 2, i), 1)
