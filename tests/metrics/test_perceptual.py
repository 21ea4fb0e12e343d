"""Distances of pairs by features, against loops over pixels; and random pairs."""

import math

import pytest
import torch
from torch import Tensor

from stylebridge.metrics.perceptual import random_pairs, stage_distance

torch.set_num_threads(1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(x: Tensor, y: Tensor) -> float:
    """The mean over pixels of the squared distance of the two directions; x, y [C, H, W]."""
    total = 0.0
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            p, q = x[:, row, column].tolist(), y[:, row, column].tolist()
            length_p, length_q = math.hypot(*p), math.hypot(*q)
            total += sum((a / length_p - b / length_q) ** 2 for a, b in zip(p, q, strict=True))
    return total / (x.shape[1] * x.shape[2])


def test_equals_loops_over_pixels() -> None:
    shapes = ((2, 3, 5, 4), (2, 7, 2, 2))
    first = [draw(*shape, seed=n) for n, shape in enumerate(shapes)]
    second = [draw(*shape, seed=n + 5) for n, shape in enumerate(shapes)]
    found = stage_distance(first, second)
    expected = [sum(by_hand(x[i], y[i]) for x, y in zip(first, second, strict=True)) for i in range(2)]
    assert found.tolist() == pytest.approx(expected, rel=1e-8)


def test_bounds() -> None:
    x = [draw(3, 4, 2, 2)]
    assert stage_distance(x, [2 * x[0]]).tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    assert stage_distance(x, [-x[0]]).tolist() == pytest.approx([4, 4, 4])
    nothing = [torch.zeros(3, 4, 2, 2)]
    assert stage_distance(nothing, nothing).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("images", "pairs", "drawn"), [(5, 100, 10), (5, 4, 4), (2, 1, 1), (3000, 50, 50)])
def test_pairs_are_different_pairs_of_different_images(images: int, pairs: int, drawn: int) -> None:
    found = random_pairs(images, pairs, seed=1)
    assert found.shape == (drawn, 2)
    assert (found[:, 0] < found[:, 1]).all()
    assert found.min() >= 0
    assert found.max() < images
    assert len({tuple(pair) for pair in found.tolist()}) == drawn
    assert torch.equal(found, random_pairs(images, pairs, seed=1))


@pytest.mark.parametrize(("images", "pairs"), [(6, 5), (100, 300)])
def test_pairs_are_drawn_evenly(images: int, pairs: int) -> None:
    counts = torch.zeros(images)
    for seed in range(200):
        counts += torch.bincount(random_pairs(images, pairs, seed).flatten(), minlength=images)
    expected = 200 * 2 * pairs / images
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)


def test_the_last_pairs_of_large_sets_are_numbered_rightly() -> None:
    """All pairs of a few images, one by one, and a large set's, whose numbers are near 2³⁴."""
    every = {tuple(pair) for pair in random_pairs(40, 780).tolist()}
    assert every == {(j, i) for i in range(40) for j in range(i)}
    found = random_pairs(200_000, 1000)
    assert (found[:, 0] < found[:, 1]).all()
    assert found.max() < 200_000


@pytest.mark.parametrize(("images", "pairs"), [(1, 3), (4, 0)])
def test_what_cannot_be_drawn(images: int, pairs: int) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        random_pairs(images, pairs)
