"""Adversarial losses on raw scores."""

from collections.abc import Iterable

import torch
from torch import Tensor

from stylebridge.layers.precision import at_least_float32


def least_squares(scores: Tensor, target: float) -> Tensor:
    """mean((score − target)²) over all elements (LSGAN; Mao et al., ICCV 2017, arXiv 1611.04076).

    Args:
        scores: raw scores of any shape; computed in float32 at least.
        target: the label to train towards: 1 for real, 0 for fake.
    """
    return (at_least_float32(scores) - target).square().mean()


def sum_least_squares(heads: Iterable[Tensor], target: float) -> Tensor:
    """The sum of :func:`least_squares` over a discriminator's heads; heads weigh the same, whatever their size."""
    return torch.stack([least_squares(scores, target) for scores in heads]).sum()
