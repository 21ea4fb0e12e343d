"""Products of matrices, against the formula in float64."""

import pytest
import torch
from torch.autograd import gradcheck

from stylebridge.layers.products import rows_product


@pytest.mark.parametrize("rows", [0, 1, 3, 130])
@pytest.mark.parametrize("biased", [False, True])
def test_equals_the_formula_with_its_gradients(rows: int, biased: bool):
    torch.manual_seed(rows)
    exact = [torch.randn(rows, 24), torch.randn(40, 24), *([torch.randn(40)] if biased else [])]
    exact = [t.double().requires_grad_() for t in exact]
    ours = [t.detach().float().requires_grad_() for t in exact]
    wanted = exact[0] @ exact[1].T + (exact[2] if biased else 0)
    found = rows_product(*ours)
    assert found.shape == (rows, 40)
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    if rows:
        weights = torch.randn_like(wanted)
        (wanted * weights).sum().backward()
        (found * weights.float()).sum().backward()
        for mine, theirs in zip(ours, exact, strict=True):
            assert mine.grad is not None
            torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)


def test_weights_may_be_views():
    rows, weight = torch.randn(5, 6), torch.randn(6, 7).t()
    torch.testing.assert_close(rows_product(rows, weight), rows @ weight.t())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_go_the_plain_way(dtype: torch.dtype):
    rows, weight = torch.randn(5, 6, dtype=dtype), torch.randn(7, 6, dtype=dtype)
    assert torch.equal(rows_product(rows, weight), rows @ weight.t())


def test_gradcheck():
    inputs = [torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in ((3, 4), (5, 4), (5,))]
    assert gradcheck(rows_product, inputs)
