"""The Fréchet distance against closed forms, torchmetrics, and a formula that never forms a covariance."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from stylebridge.metrics.frechet import GaussianStatistics, frechet_distance, gaussian_distance

torch.set_num_threads(1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dims: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(draw(dims, dims, seed=seed)).Q


def gathered(features: Tensor, batch: int = 7) -> GaussianStatistics:
    statistics = GaussianStatistics(features.shape[1])
    for part in features.split(batch):
        statistics.update(part)
    return statistics


# --- mean and covariance --------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("batch", [1, 7, 50])
def test_statistics_equal_numpys(offset: float, batch: int) -> None:
    """An offset of a million deviations must not cost the covariance its digits."""
    features = draw(50, 6) @ draw(6, 6, seed=1) + offset
    statistics = gathered(features, batch)
    assert statistics.count == 50
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(statistics.covariance(), np.cov(features.numpy().T), rtol=1e-7, atol=1e-8)


def test_merging_equals_gathering_at_once() -> None:
    features = draw(31, 5)
    parts = [gathered(part) for part in (features[:4], features[4:4], features[4:])]
    for part in parts[1:]:
        parts[0].merge(part)
    whole = gathered(features, 31)
    assert parts[0].count == 31
    torch.testing.assert_close(parts[0].mean, whole.mean)
    torch.testing.assert_close(parts[0].covariance(), whole.covariance())


def test_float32_features_are_summed_in_float64() -> None:
    features = (draw(4000, 3) + 100).float()
    statistics = gathered(features)
    assert statistics.mean.dtype == torch.float64
    np.testing.assert_allclose(
        statistics.covariance(), np.cov(features.double().numpy().T), rtol=1e-11, atol=1e-11
    )


def test_what_is_not_a_set_of_vectors_is_refused() -> None:
    statistics = GaussianStatistics(4)
    for wrong in (torch.zeros(4), torch.zeros(2, 5), torch.zeros(1, 2, 4)):
        with pytest.raises(ValueError, match=r"must be \[B, 4\]"):
            statistics.update(wrong)
    statistics.update(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="two vectors"):
        statistics.covariance()


# --- the distance ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_covariances_with_the_same_axes(turned: bool) -> None:
    """|μ1 − μ2|² + Σ (√λ1 − √λ2)², whichever way the axes point; a zero among the λ is allowed."""
    dims = 30
    first, second = draw(2, dims, seed=3).abs()
    first[4] = second[5] = 0
    shift = draw(dims, seed=4)
    axes = rotation(dims) if turned else torch.eye(dims, dtype=torch.float64)
    found = gaussian_distance(
        shift,
        axes @ first.diag() @ axes.T,
        torch.zeros(dims, dtype=torch.float64),
        axes @ second.diag() @ axes.T,
    )
    expected = shift.square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    assert found == pytest.approx(expected.item(), rel=1e-7)


def test_two_dimensions_in_closed_form() -> None:
    """tr (AB)^½ = √(tr AB + 2·√det AB) for 2×2 matrices, also where A and B do not commute."""
    for seed in range(20):
        a, b = (x @ x.T for x in draw(2, 2, 2, seed=seed))
        mean = torch.zeros(2, dtype=torch.float64)
        root = ((a @ b).trace() + 2 * torch.linalg.det(a @ b).clamp(min=0).sqrt()).sqrt()
        expected = a.trace() + b.trace() - 2 * root
        assert gaussian_distance(mean, a, mean, b) == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)


def test_equals_torchmetrics_where_covariances_are_regular() -> None:
    first, second = gathered(draw(300, 40)), gathered(draw(200, 40, seed=1) @ draw(40, 40, seed=2) / 6 + 0.3)
    expected = _compute_fid(first.mean, first.covariance(), second.mean, second.covariance()).item()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("images", "others"), [(10, 10), (12, 5), (3, 200)])
def test_fewer_images_than_features(images: int, others: int) -> None:
    """With centred data X and Y, tr (Σ1·Σ2)^½ is the sum of the singular values of X·Yᵀ, which is a small matrix."""
    x, y = draw(images, 64).numpy(), (draw(others, 64, seed=1) * 2 + 1).numpy()
    first, second = x - x.mean(0), y - y.mean(0)
    scale = np.sqrt((images - 1) * (others - 1))
    common = np.linalg.svd(first @ second.T, compute_uv=False).sum() / scale
    spread = (first**2).sum() / (images - 1) + (second**2).sum() / (others - 1)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + spread - 2 * common
    found = frechet_distance(gathered(torch.from_numpy(x)), gathered(torch.from_numpy(y)))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("images", [2, 20, 500])
def test_a_set_is_at_no_distance_from_itself(images: int) -> None:
    features = draw(images, 96).abs() @ draw(96, 96, seed=5) + 3
    first, second = gathered(features, 7), gathered(features.flip(0), 11)
    assert 0 <= frechet_distance(first, second) <= 1e-6 * first.covariance().trace().item() * 1e-3
    assert frechet_distance(first, first) <= 1e-9 * first.covariance().trace().item()


def test_sets_without_spread() -> None:
    mean = torch.zeros(3, dtype=torch.float64)
    nothing = torch.zeros(3, 3, dtype=torch.float64)
    assert gaussian_distance(mean, nothing, mean + 2, nothing) == 12
    assert gaussian_distance(mean, nothing, mean, torch.eye(3)) == pytest.approx(3)
