"""The Fréchet distance between two sets of features, each modelled as one Gaussian.

d² = |μ1 − μ2|² + tr(Σ1 + Σ2 − 2·(Σ1·Σ2)^½) (Dowson and Landau 1982; on Inception features it is the
FID of Heusel et al., NeurIPS 2017, arXiv 1706.08500).
"""

from __future__ import annotations

import torch
from torch import Tensor


class GaussianStatistics:
    """Running mean and covariance of feature vectors, in float64 and constant memory.

    Batches are merged by their means and scatter matrices (Chan, Golub and LeVeque 1979); unlike sums of squares, this
    loses no precision when the vectors share a large offset.

    Attributes:
        count: number of vectors so far.
        mean: [D].
    """

    def __init__(self, dims: int, device: torch.device | str | None = None) -> None:
        self.count = 0
        self.mean = torch.zeros(dims, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dims, dims, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Add vectors [B, D]; B may be 0. Raises ValueError for another shape."""
        if features.dim() != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features must be [B, {len(self.mean)}], not {list(features.shape)}")
        if len(features) == 0:
            return
        features = features.to(self.mean)
        mean = features.mean(0)
        centred = features - mean
        self._merge(len(features), mean, centred.T @ centred)

    def merge(self, other: GaussianStatistics) -> None:
        """Add the vectors of another instance (of another process, say)."""
        if other.count:
            self._merge(other.count, other.mean.to(self.mean), other._scatter.to(self.mean))

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        shift = mean - self.mean
        self._scatter += scatter
        self._scatter.addr_(shift, shift, alpha=self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def covariance(self) -> Tensor:
        """[D, D], divided by n − 1. Raises ValueError for fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two vectors, not {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance(first: GaussianStatistics, second: GaussianStatistics) -> float:
    """The squared distance d² of two sets' Gaussians (the value reported as FID); not negative."""
    return gaussian_distance(first.mean, first.covariance(), second.mean, second.covariance())


@torch.no_grad()
def gaussian_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """d² of two Gaussians: means [D], covariances [D, D], computed in float64.

    With Σ = F·Fᵀ the eigenvalues of Σ1·Σ2 are the squared singular values of F1ᵀ·F2, so that tr (Σ1·Σ2)^½ is their
    sum. Unlike square roots of eigenvalues this stays accurate for singular covariances (fewer images than features): a
    zero with a rounding error keeps an error of that size.
    """
    mean1, mean2 = mean1.double(), mean2.double().to(mean1.device)
    factor1, factor2 = _factor(covariance1.double()), _factor(covariance2.double().to(mean1.device))
    common = torch.linalg.svdvals(factor1.T @ factor2).sum()
    spread = covariance1.double().trace() + covariance2.double().to(mean1.device).trace()
    return max(0.0, float((mean1 - mean2).square().sum() + spread - 2 * common))


def _factor(covariance: Tensor) -> Tensor:
    """F [D, R] with F·Fᵀ = Σ, one column for each of the R eigenvalues above the rounding error."""
    values, vectors = torch.linalg.eigh(covariance)
    noise = len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    kept = values > noise
    return vectors[:, kept] * values[kept].sqrt()
