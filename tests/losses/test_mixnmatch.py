"""MixNMatch's losses against loops and formulas."""

import pytest
import torch
from torch import Tensor, nn

from stylebridge.losses.mixnmatch import (
    background_real_sum,
    background_units,
    cross_entropy_of_logits,
    gradient_penalty,
    units_of,
)

torch.set_num_threads(1)


def test_cross_entropy_is_that_of_the_sigmoid() -> None:
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    p = torch.sigmoid(logits)
    torch.testing.assert_close(cross_entropy_of_logits(logits, 1.0), -p.log().mean())
    torch.testing.assert_close(cross_entropy_of_logits(logits, 0.0), -(1 - p).log().mean())
    assert cross_entropy_of_logits(logits.bfloat16(), 1.0).dtype == torch.float32


@pytest.mark.parametrize(
    ("side", "units", "field", "stride"), [(126, 24, 34, 4), (62, 8, 34, 4), (62, 27, 10, 2)]
)
def test_background_units_are_those_that_do_not_touch_the_box(
    side: int, units: int, field: int, stride: int
) -> None:
    """Unit r sees pixels 4r … 4r + 33 (stride 4, field 34): from 4r to 4r + 34 as edges; a common edge touches."""
    assert units_of(side, field, stride) == units
    torch.manual_seed(0)
    corners = (torch.rand(40, 2, 2) * side).sort(1).values
    boxes = torch.stack((corners[:, 0, 0], corners[:, 0, 1], corners[:, 1, 0], corners[:, 1, 1]), 1)
    boxes = torch.cat((boxes, torch.tensor([[0, 0, side, side], [34.0, 8, 40, 20]])))
    found = background_units(boxes, side, field, stride)
    assert found.shape == (42, 1, units, units)
    for mask, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
        for row in range(units):
            for column in range(units):
                down = stride * row <= bottom and stride * row + field >= top
                across = stride * column <= right and stride * column + field >= left
                assert bool(mask[0, row, column]) == (not (down and across))


def test_formula_of_the_sheet() -> None:
    """Rows from ceil((y1 − 34)/4) to floor(23 − ((126 − 34) − y2)/4), clamped."""
    box = torch.tensor([[0.0, 50.0, 126.0, 71.0]])
    rows = (~background_units(box, 126)).any(3)[0, 0].nonzero()[:, 0].tolist()
    assert rows == list(range(4, 18))  # (50 − 34)/4 = 4; 23 − (92 − 71)/4 = 17.75
    box = torch.tensor([[0.0, 3.0, 126.0, 126.0]])
    assert (~background_units(box, 126)).any(3).all()


def test_a_box_without_area_covers_nothing() -> None:
    assert background_units(torch.tensor([[5.0, 5, 5, 60], [5, 60, 60, 60]]), 126).all()


def test_real_backgrounds_are_the_rescaled_mean_of_the_published_code() -> None:
    logits = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    keep = torch.rand(3, 1, 4, 4) < 0.4
    total, count = background_real_sum(logits, keep)
    published = (-torch.sigmoid(logits).log() * keep).mean() * (keep.numel() / keep.sum())
    torch.testing.assert_close(total / count, published)
    total, count = background_real_sum(logits, torch.zeros_like(keep))
    assert (total.item(), count.item()) == (0, 0)


class Pair(nn.Module):
    """score = a·Σ image² + b·Σ code² + image·code mixed, whose gradients can be written down."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a).double()), nn.Parameter(torch.tensor(b).double())

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        return self.a * image.square().sum((1, 2, 3)) + self.b * code.square().sum(1)


def test_gradient_penalty_is_one_term_for_each_input_of_each_discriminator() -> None:
    torch.manual_seed(0)
    pairs = [Pair(0.3, 0.7), Pair(1.1, 0.2)]
    image, other = torch.randn(2, 3, 3, 4, 4, dtype=torch.float64)
    codes = [torch.randn(3, n, dtype=torch.float64) for n in (5, 2)]
    others = [torch.randn(3, n, dtype=torch.float64) for n in (5, 2)]
    alphas = list(torch.rand(3, 3, dtype=torch.float64).split(1, dim=1))
    found = gradient_penalty(pairs, (image, codes), (other, others), alphas)
    x = alphas[0][..., None, None] * image + (1 - alphas[0][..., None, None]) * other
    expected = torch.zeros((), dtype=torch.float64)
    for pair, code, more, alpha in zip(pairs, codes, others, alphas[1:], strict=True):
        y = alpha * code + (1 - alpha) * more
        expected = expected + ((2 * pair.a * x).flatten(1).norm(dim=1) - 1).square().mean()
        expected = expected + ((2 * pair.b * y).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(found, expected)
    weights = [p for pair in pairs for p in pair.parameters()]
    torch.testing.assert_close(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights))


def test_gradient_penalty_reaches_no_encoder() -> None:
    code = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    image = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    alphas = [torch.full((2, 1), 0.5, dtype=torch.float64)] * 2
    gradient_penalty([Pair(1.0, 1.0)], (image, [code]), (image, [code]), alphas).backward()
    assert code.grad is None
    assert image.grad is None
