"""LIN and AdaLIN against the specification's numbers, the formula written out, and numerical gradients."""

import pytest
import torch
from torch import Tensor

from stylebridge.layers.lin import LIN, AdaLIN, layer_instance_norm

X = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]], dtype=torch.float64)


def written_out(x: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
    """Pixel by pixel as in the specification, section 3; gamma and beta [B, C]."""
    instance = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + eps).sqrt()
    layer = (x - x.mean((1, 2, 3), keepdim=True)) / (x.var((1, 2, 3), keepdim=True) + eps).sqrt()
    share = rho.exp() / rho.exp().sum(-1, keepdim=True)
    mixed = share[..., 0, None, None] * instance + share[..., 1, None, None] * layer
    return mixed * gamma[..., None, None] + beta[..., None, None]


def random_inputs(layout: torch.memory_format = torch.contiguous_format) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(4)
    shapes = ((2, 3, 4, 5), (1, 3, 2), (2, 3), (2, 3))
    x, rho, gamma, beta = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return (x * 2 + 7).contiguous(memory_format=layout), rho, gamma, beta


def test_the_specifications_numbers() -> None:
    lin, adaptive = LIN(2).double(), AdaLIN(2).double()
    with torch.no_grad():  # 3.2 as float64 has it
        lin.rho[..., 1] = adaptive.rho[..., 0] = 3.2
    expected = [-0.9930132021, -0.3248148838, 0.0612487376, 1.2565793482]
    assert lin(X).flatten().tolist() == pytest.approx(expected, abs=1e-10)
    gamma, beta = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[0.0, -1.0]]).double()
    expected = [-0.7387798281, 0.5927603140, -2.2439379821, 0.5359770103]
    assert adaptive(X, gamma, beta).flatten().tolist() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_forward_and_backward_equal_the_formula(layout: torch.memory_format) -> None:
    ours = [t.requires_grad_() for t in random_inputs(layout)]
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    y, expected = layer_instance_norm(*ours), written_out(*theirs)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weights = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-11)


def test_gradcheck() -> None:
    torch.autograd.gradcheck(layer_instance_norm, [t.requires_grad_() for t in random_inputs()])


def test_gradients_of_frozen_parts_are_not_asked_for() -> None:
    x, rho, gamma, beta = random_inputs()
    gamma.requires_grad_()
    layer_instance_norm(x, rho, gamma, beta).sum().backward()
    assert gamma.grad is not None
    assert x.grad is None
    assert rho.grad is None


def test_invariants() -> None:
    """Shift and scale of the input change nothing (except for eps); only-instance ignores each channel's own."""
    x, rho, gamma, beta = random_inputs()
    torch.testing.assert_close(
        layer_instance_norm(x * 100 + 5, rho, gamma, beta, eps=0.0),
        layer_instance_norm(x, rho, gamma, beta, eps=0.0),
    )
    only = torch.tensor([50.0, -50.0]).double().expand(1, 3, 2)
    each = torch.tensor([1.0, 3.0, 9.0]).double().view(3, 1, 1)
    torch.testing.assert_close(
        layer_instance_norm(x * each + each, only, gamma, beta, eps=0.0),
        layer_instance_norm(x, only, gamma, beta, eps=0.0),
    )


def test_flat_maps_are_finite() -> None:
    x = torch.full((1, 4, 8, 8), 3.0, requires_grad=True)
    y = LIN(4)(x)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_half_precision_keeps_its_type_and_takes_statistics_in_float32() -> None:
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 300
    y = LIN(4)(x.half())
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), LIN(4)(x.half().float()), rtol=2e-3, atol=2e-3)


def test_keys_and_starting_shares() -> None:
    assert {k: tuple(v.shape) for k, v in LIN(5).state_dict().items()} == {
        "rho": (1, 5, 2),
        "gamma": (1, 5, 1, 1),
        "beta": (1, 5, 1, 1),
    }
    assert set(AdaLIN(5).state_dict()) == {"rho"}
    assert LIN(1).rho.softmax(-1).flatten().tolist() == pytest.approx([0.0998, 0.9002], abs=1e-4)
    assert AdaLIN(1).rho.softmax(-1).flatten().tolist() == pytest.approx([0.9002, 0.0998], abs=1e-4)
