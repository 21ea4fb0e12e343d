"""The convolution to few channels against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from stylebridge.layers.conv import FewChannelConv2d


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("outputs", "k"), [(3, 7), (1, 1), (2, 4)])
def test_equals_an_ordinary_convolution(outputs: int, k: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = FewChannelConv2d(5, outputs, k).double().to(memory_format=layout)
    x = torch.randn(2, 5, 9, 11, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    y, expected = conv(x), F.conv2d(x, conv.weight)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weights = torch.randn(y.shape, dtype=torch.float64)
    ours = torch.autograd.grad((y * weights).sum(), (x, conv.weight))
    theirs = torch.autograd.grad((expected * weights).sum(), (x, conv.weight))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_keys_are_those_of_a_convolution() -> None:
    state = FewChannelConv2d(5, 3, 7).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {"weight": (3, 5, 7, 7)}
