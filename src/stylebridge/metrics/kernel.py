"""The kernel distance between two sets of features: an unbiased estimate of MMD² with a cubic kernel.

On Inception features it is the KID of Bińkowski et al., ICLR 2018, arXiv 1801.01401:
k(x, y) = (xᵀy/D + 1)³, averaged over random subsets of 1,000 images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

DEGREE, COEFFICIENT = 3, 1.0
#: Rows of a kernel matrix held in memory at once.
BLOCK = 1024


class KernelDistance(NamedTuple):
    """Mean and standard deviation (divisor: number of subsets) over subsets; the mean may be negative."""

    mean: float
    deviation: float


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (xᵀy/D + 1)³ of vectors [M, D] and [N, D]: [M, N]."""
    return (x @ y.T).div_(x.shape[1]).add_(COEFFICIENT).pow_(DEGREE)


@torch.no_grad()
def kernel_distance(
    first: Tensor, second: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """The distance between feature vectors [M, D] and [N, D], in float64, as the mean over random subsets.

    Each subset has ``size`` vectors of each set, drawn without replacement. All subsets share the kernel matrices, of
    which ``BLOCK`` rows are held at once.

    Raises:
        ValueError: ``size`` is below 2 or above the size of a set.
    """
    if not 2 <= size <= min(len(first), len(second)):
        raise ValueError(f"subsets of {size} cannot be drawn from {len(first)} and {len(second)} vectors")
    generator = torch.Generator().manual_seed(seed)
    chosen = [_choose(len(vectors), subsets, size, generator) for vectors in (first, second)]
    return distance_of_subsets(first, second, *chosen)


def distance_of_subsets(first: Tensor, second: Tensor, chosen1: Tensor, chosen2: Tensor) -> KernelDistance:
    """:func:`kernel_distance` over given subsets.

    Args:
        first: [M, D].
        second: [N, D].
        chosen1: bool [S, M], the members of each subset of ``first``; subsets have equal size.
        chosen2: bool [S, N], the same for ``second``.
    """
    x, y = first.double(), second.double().to(first.device)
    p, q = chosen1.to(x), chosen2.to(x)
    m, n = p[0].sum(), q[0].sum()
    within = _sums(x, x, p, p) - p @ _diagonal(x)
    within_other = _sums(y, y, q, q) - q @ _diagonal(y)
    values = within / (m * (m - 1)) + within_other / (n * (n - 1)) - 2 * _sums(x, y, p, q) / (m * n)
    return KernelDistance(float(values.mean()), float(values.std(correction=0)))


def _choose(count: int, subsets: int, size: int, generator: torch.Generator) -> Tensor:
    """bool [S, N] with ``size`` true entries a row, uniformly at random."""
    places = torch.rand(subsets, count, generator=generator).topk(size, dim=1).indices
    return torch.zeros(subsets, count, dtype=torch.bool).scatter_(1, places, True)


def _diagonal(x: Tensor) -> Tensor:
    """k(x, x) of each vector: [N]."""
    return (x.square().sum(1) / x.shape[1] + COEFFICIENT) ** DEGREE


def _sums(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Σ k(x_i, y_j) over each subset's pairs: [S], computed as p·K·qᵀ with 0/1 rows for subsets."""
    total = x.new_zeros(len(p))
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        total += ((p[:, rows] @ polynomial_kernel(x[rows], y)) * q).sum(1)
    return total
