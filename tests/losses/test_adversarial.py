"""Least-squares losses against sums written out."""

import pytest
import torch

from stylebridge.losses.adversarial import least_squares, sum_least_squares


def test_formula() -> None:
    scores = torch.tensor([[1.0, 3.0], [-2.0, 0.5]], dtype=torch.float64)
    assert least_squares(scores, 1.0).item() == pytest.approx((0 + 4 + 9 + 0.25) / 4)
    assert least_squares(scores, 0.0).item() == pytest.approx((1 + 9 + 4 + 0.25) / 4)


def test_heads_count_the_same_whatever_their_size() -> None:
    heads = [torch.full((1, 1, 30, 30), 3.0), torch.full((1, 1), 2.0)]
    assert sum_least_squares(heads, 1.0).item() == pytest.approx(4 + 1)


def test_half_precision_scores_do_not_overflow() -> None:
    assert least_squares(torch.full((4,), 300.0, dtype=torch.float16), 0.0).item() == 90_000.0
