"""Scores of a segmenter on images without labels: certainty, and agreement of its predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class LabelFreeScore:
    """Accumulates predictions batch by batch and scores them. Higher is better; both scores lie in [0, 1].

    * ``certainty``: the mutual information of pixel and class over log K: entropy of the mean prediction minus mean
      entropy of the predictions. High if predictions are confident *and* cover many classes; a model that predicts one
      class everywhere scores 0, and so does a uniform prediction.
    * ``agreement``: the mean over classes of the intersection over union of two predictions for each image, one of them
      made on an altered copy (or by another model).
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.entropy, self.pixels = 0.0, 0
        self.mean = torch.zeros(classes, dtype=torch.float64)
        self.counts = torch.zeros(classes, classes, dtype=torch.int64)

    @torch.no_grad()
    def update(self, logits: Tensor, other: Tensor) -> None:
        """Add logits [B, K, H, W] of images and label maps [B, H, W] of their altered copies.

        Raises:
            ValueError: the shapes do not match.
        """
        if (
            logits.shape[1] != self.classes
            or logits.shape[2:] != other.shape[1:]
            or len(logits) != len(other)
        ):
            raise ValueError(
                f"logits {list(logits.shape)} and label maps {list(other.shape)} do not match: they must be "
                f"[B, {self.classes}, H, W] and [B, H, W]"
            )
        logs = logits.double().log_softmax(1)
        shares = logs.exp()
        self.entropy += float(-(shares * logs).sum())
        self.mean += shares.sum((0, 2, 3)).cpu()
        self.pixels += other.numel()
        pairs = logits.argmax(1) * self.classes + other.long()
        self.counts += torch.bincount(pairs.flatten().cpu(), minlength=self.classes**2).view_as(self.counts)

    def add(self, other: LabelFreeScore) -> None:
        """Add the counts of another score with the same number of classes."""
        self.entropy += other.entropy
        self.mean += other.mean
        self.pixels += other.pixels
        self.counts += other.counts

    @property
    def certainty(self) -> float:
        """See the class; 0 without data."""
        if not self.pixels or self.classes < 2:
            return 0.0
        mean = self.mean / self.pixels
        spread = float(-torch.special.xlogy(mean, mean).sum())
        return max(0.0, spread - self.entropy / self.pixels) / math.log(self.classes)

    @property
    def agreement(self) -> float:
        """See the class; averaged over the classes in either prediction."""
        both = self.counts.diagonal().double()
        either = self.counts.sum(0) + self.counts.sum(1) - both
        held = either > 0
        return float((both[held] / either[held]).mean()) if held.any() else 0.0


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's ρ of two lists of numbers, ties at their mean rank; NaN if one of them is constant.

    Raises:
        ValueError: the lists differ in length, or have fewer than two numbers.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"the lists must have equal length, at least 2, not {len(first)} and {len(second)}")
    a, b = (_ranks(torch.tensor(list(values), dtype=torch.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm else math.nan


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, ties at their mean."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double() - 1
    return (last - (counts.double() - 1) / 2)[inverse]
