"""The kernel distance against double sums over pairs, and torchmetrics."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from stylebridge.metrics import kernel
from stylebridge.metrics.kernel import distance_of_subsets, kernel_distance, polynomial_kernel

torch.set_num_threads(1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(x: list[list[float]], y: list[list[float]]) -> float:
    """The unbiased MMD², pair by pair: no vector is paired with itself within a set."""

    def k(p: list[float], q: list[float]) -> float:
        return (math.fsum(a * b for a, b in zip(p, q, strict=True)) / len(p) + 1) ** 3

    m, n = len(x), len(y)
    within = math.fsum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    other = math.fsum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    across = math.fsum(k(p, q) for p in x for q in y) / (m * n)
    return within + other - 2 * across


def members(*rows: list[int], count: int) -> Tensor:
    chosen = torch.zeros(len(rows), count, dtype=torch.bool)
    for row, places in zip(chosen, rows, strict=True):
        row[places] = True
    return chosen


def test_equals_double_sums_over_each_subset() -> None:
    x, y = draw(7, 5), draw(6, 5, seed=1) * 1.5 + 0.4
    first, second = ([0, 2, 6], [1, 2, 3]), ([5, 0, 1, 4], [2, 3, 4, 5])
    found = distance_of_subsets(x, y, members(*first, count=7), members(*second, count=6))
    values = [by_hand(x[p].tolist(), y[q].tolist()) for p, q in zip(first, second, strict=True)]
    assert found.mean == pytest.approx(sum(values) / 2, rel=1e-12)
    assert found.deviation == pytest.approx(abs(values[0] - values[1]) / 2, rel=1e-10)


def test_equals_torchmetrics() -> None:
    x, y = draw(60, 32).abs(), draw(60, 32, seed=1).abs() * 1.1
    every = torch.ones(1, 60, dtype=torch.bool)
    expected = poly_mmd(x, y, degree=3, gamma=None, coef=1.0).item()
    assert distance_of_subsets(x, y, every, every).mean == pytest.approx(expected, rel=1e-10)


def test_kernel() -> None:
    x = torch.tensor([[1.0, 2.0]])
    assert polynomial_kernel(x, torch.tensor([[3.0, -1.0], [0.0, 0.0]])).tolist() == [[1.5**3, 1.0]]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    x, y = draw(40, 8), draw(23, 8, seed=1)
    expected = kernel_distance(x, y, subsets=5, size=10)
    monkeypatch.setattr(kernel, "BLOCK", block)
    found = kernel_distance(x, y, subsets=5, size=10)
    assert found.mean == pytest.approx(expected.mean, rel=1e-11)
    assert found.deviation == pytest.approx(expected.deviation, rel=1e-9)


def test_float32_features_are_compared_in_float64() -> None:
    x, y = draw(50, 16).float() + 10, draw(50, 16, seed=1).float() + 10
    expected = by_hand(x.double().tolist(), y.double().tolist())
    assert kernel_distance(x, y, subsets=1, size=50).mean == pytest.approx(expected, rel=1e-9)


def test_subsets_are_drawn_without_replacement_evenly_and_by_seed() -> None:
    chosen = kernel._choose(20, 4000, 5, torch.Generator().manual_seed(0))
    assert (chosen.sum(1) == 5).all()
    # Each vector is in a quarter of 4000 subsets; four deviations of that count are 110.
    assert (chosen.sum(0) - 1000).abs().max() < 110
    x, y = draw(30, 4), draw(30, 4, seed=1)
    assert kernel_distance(x, y, 3, 10, seed=1) == kernel_distance(x, y, 3, 10, seed=1)
    assert kernel_distance(x, y, 3, 10, seed=1) != kernel_distance(x, y, 3, 10, seed=2)


def test_subsets_that_are_the_whole_set_do_not_deviate() -> None:
    x, y = draw(12, 4), draw(12, 4, seed=1)
    found = kernel_distance(x, y, subsets=6, size=12)
    assert found.mean == pytest.approx(by_hand(x.tolist(), y.tolist()), rel=1e-11)
    assert found.deviation == pytest.approx(0, abs=1e-12)


def test_unbiased() -> None:
    """Over many pairs of sets of one distribution the mean is 0, within four deviations of the mean; with the
    diagonals it would be far above."""
    values = torch.tensor([kernel_distance(draw(8, 3, seed=2 * s), draw(8, 3, seed=2 * s + 1), 1, 8).mean
                           for s in range(400)])  # fmt: skip
    error = values.std().item() / 20
    assert abs(values.mean().item()) < 4 * error
    assert error < 0.2


@pytest.mark.parametrize("size", [1, 13])
def test_subsets_that_cannot_be_drawn(size: int) -> None:
    with pytest.raises(ValueError, match=f"subsets of {size}"):
        kernel_distance(draw(20, 4), draw(12, 4), subsets=2, size=size)
