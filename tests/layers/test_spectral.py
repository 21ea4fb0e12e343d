"""Spectral normalisation against torch's hook: values, gradients, and the course of the power iteration."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from stylebridge.layers.spectral import (
    SpectralConv2d,
    SpectralLinear,
    add_windows,
    prefers_product,
    window_rows,
)

LAYOUTS = [torch.contiguous_format, torch.channels_last]
#: Image sides for which the layer below is computed as a matrix product, and as a convolution.
SMALL, LARGE = 5, 14


def pair(stride: int, layout: torch.memory_format) -> tuple[SpectralConv2d, nn.Module]:
    """Our layer and torch's with the same numbers."""
    torch.manual_seed(3)
    ours = SpectralConv2d(3, 12, 4, stride).double().to(memory_format=layout)
    theirs = torch.nn.utils.spectral_norm(nn.Conv2d(3, 12, 4, stride)).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def images(side: int, number: int, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    x = torch.randn(number, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(side))
    return x.contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_several_passes_in_a_batch_equal_torchs_hook_one_at_a_time(
    side: int, stride: int, layout: torch.memory_format
) -> None:
    ours, theirs = pair(stride, layout)
    x, other = images(side, 2, layout), images(side, 2)
    assert prefers_product(x, ours.weight_orig, stride) == (side == SMALL)
    y = ours(x, passes=2)
    expected = torch.cat([theirs(other[:1]), theirs(other[1:])])
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weights = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, other.grad, rtol=0, atol=1e-12)
    others = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, others[name].grad, rtol=0, atol=1e-11)
    for name, value in ours.state_dict().items():  # u and v have advanced twice
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_gradcheck(side: int) -> None:
    layer = SpectralConv2d(3, 8, 4).double().eval()
    with torch.no_grad():
        layer.weight_u += 0.3  # no singular vector, so that u and v matter by themselves
    x = images(side, 1).detach()[..., : side if side == SMALL else 7].requires_grad_()
    names = ("weight_orig", "bias")

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    torch.autograd.gradcheck(call, (x, *(getattr(layer, name) for name in names)), fast_mode=True)


def test_evaluation_mode_stands_still() -> None:
    layer = pair(1, torch.contiguous_format)[0].eval()
    before = copy.deepcopy(layer.state_dict())
    x = images(LARGE, 2).detach()
    torch.testing.assert_close(layer(x, passes=2), layer(x))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_advance_does_what_a_forward_pass_does_to_u_and_v() -> None:
    one, _ = pair(1, torch.contiguous_format)
    other = copy.deepcopy(one)
    one(images(LARGE, 1).detach())
    other.advance()
    assert torch.equal(one.weight_u, other.weight_u)
    assert torch.equal(one.weight_v, other.weight_v)


def test_the_norm_is_reached() -> None:
    layer, _ = pair(1, torch.channels_last)
    sigma = layer.advance(200).sigma[-1].item()
    assert sigma == pytest.approx(torch.linalg.matrix_norm(layer.weight_orig.flatten(1), 2).item(), rel=1e-6)


def test_frozen_weights_get_no_gradient_but_the_input_does() -> None:
    for side in (SMALL, LARGE):
        layer = pair(1, torch.contiguous_format)[0].requires_grad_(False)
        x = images(side, 1)
        layer(x).sum().backward()
        assert x.grad is not None
        assert layer.weight_orig.grad is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_and_their_transpose(layout: torch.memory_format) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩, and a window is the kernel's support."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 8, generator=generator).double()
    weight = torch.randn(5, 3, 4, 4, generator=generator).double().contiguous(memory_format=layout)
    rows = window_rows(x, weight, 2)
    y = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((rows * y).sum(), (x * add_windows(y, x.shape, weight, 2)).sum())
    first = x[0, :, :4, :4]
    torch.testing.assert_close(rows[0], (first.movedim(0, -1) if layout == LAYOUTS[1] else first).flatten())


def test_linear_equals_torchs_hook() -> None:
    torch.manual_seed(0)
    ours = SpectralLinear(6, 1, bias=False).double()
    theirs = torch.nn.utils.spectral_norm(nn.Linear(6, 1, bias=False)).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 6, dtype=torch.float64)
    (ours(x) ** 2).sum().backward()
    (theirs(x) ** 2).sum().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.weight_orig.grad, theirs.weight_orig.grad)


def test_keys() -> None:
    shapes = {k: tuple(v.shape) for k, v in SpectralConv2d(3, 8, 4).state_dict().items()}
    assert shapes == {"weight_orig": (8, 3, 4, 4), "bias": (8,), "weight_u": (8,), "weight_v": (48,)}
    assert set(SpectralConv2d(3, 8, 4, bias=False).state_dict()) == {"weight_orig", "weight_u", "weight_v"}
