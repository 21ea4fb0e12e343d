"""Distances of pairs of images by the features of a network's stages, and diversity: their mean over random pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Keeps the direction of a feature vector that is 0 defined.
EPS = 1e-10


def stage_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Σ over stages of the mean over pixels of |x/‖x‖ − y/‖y‖|², norms over channels: [B].

    LPIPS with all its weights 1 (Zhang et al., CVPR 2018, arXiv 1801.03924, equation 1); each stage adds 0 to 4.

    Args:
        first, second: of each stage, features [B, C, h, w].
    """
    total = first[0].new_zeros(len(first[0]))
    for x, y in zip(first, second, strict=True):
        total = total + (_unit(x) - _unit(y)).square().sum(1).mean((1, 2))
    return total


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(1, keepdim=True) + EPS).rsqrt()


def random_pairs(images: int, pairs: int, seed: int = 0) -> Tensor:
    """``pairs`` different unordered pairs of different images, at random; all of them where there are no more.

    Returns:
        int64 [P, 2], the first of each pair below the second.

    Raises:
        ValueError: there are fewer than two images, or no pair is asked for.
    """
    if images < 2 or pairs < 1:
        raise ValueError(f"{pairs} pairs of {images} images cannot be drawn")
    every = images * (images - 1) // 2
    generator = torch.Generator().manual_seed(seed)
    if every <= max(2 * pairs, 1000):
        numbers = torch.randperm(every, generator=generator)[:pairs]
    else:  # few of many: draw until enough different ones are there
        numbers = torch.empty(0, dtype=torch.int64)
        while len(numbers) < pairs:
            more = torch.randint(every, (pairs,), generator=generator)
            numbers = torch.unique(torch.cat((numbers, more)))
        numbers = numbers[torch.randperm(len(numbers), generator=generator)[:pairs]]
    # Pair number p stands at (i, j), j < i, of the triangle read row by row: i(i − 1)/2 + j = p.
    i = ((1 + (1 + 8 * numbers.double()).sqrt()) / 2).long()
    i = torch.where(i * (i - 1) // 2 > numbers, i - 1, i)
    i = torch.where(i * (i + 1) // 2 <= numbers, i + 1, i)
    return torch.stack((numbers - i * (i - 1) // 2, i), 1)
