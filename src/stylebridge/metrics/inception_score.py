"""The inception score: classifier confidence for each image, and diversity of the images (higher is better).

exp(mean KL(p(class | image) ‖ p(class))), averaged over splits of the set (Salimans et al., NeurIPS 2016,
arXiv 1606.03498).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class InceptionScore(NamedTuple):
    """Mean and standard deviation (divisor: number of splits) over splits."""

    mean: float
    deviation: float


class SplitEntropies:
    """What the score needs of each split, accumulated over batches: memory is splits × classes.

    The mean divergence from the mean is H(mean p) − mean H(p), so no image has to be kept.
    """

    def __init__(self, splits: int, classes: int, device: torch.device | str | None = None) -> None:
        self._negative_entropy = torch.zeros(splits, dtype=torch.float64, device=device)
        self._probabilities = torch.zeros(splits, classes, dtype=torch.float64, device=device)
        self._counts = torch.zeros(splits, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, logits: Tensor, split: Tensor) -> None:
        """Add images: logits [B, K], and the split of each, integers [B]."""
        split = split.to(self._counts.device)
        log = logits.to(self._probabilities).log_softmax(1)
        probabilities = log.exp()
        self._negative_entropy.index_add_(0, split, (probabilities * log).sum(1))
        self._probabilities.index_add_(0, split, probabilities)
        self._counts.index_add_(0, split, torch.ones_like(split, dtype=torch.float64))

    def score(self) -> InceptionScore:
        """Raises ValueError if a split has no image."""
        if not bool((self._counts > 0).all()):
            raise ValueError("a split has no image")
        mean = self._probabilities / self._counts[:, None]
        scores = (self._negative_entropy / self._counts - torch.xlogy(mean, mean).sum(1)).exp()
        return InceptionScore(float(scores.mean()), float(scores.std(correction=0)))


def split_evenly(count: int, splits: int, seed: int) -> Tensor:
    """A random split for each of ``count`` images, with sizes that differ by at most one: int64 [N]."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    bounds = torch.arange(count) * splits // count
    return torch.empty(count, dtype=torch.int64).scatter_(0, order, bounds)
