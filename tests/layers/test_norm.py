"""Frozen batch normalisation against its formula in float64 and against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stylebridge.layers.norm import FrozenBatchNorm2d


def filled(channels: int = 5, eps: float = 0.0, dtype: torch.dtype = torch.float64) -> FrozenBatchNorm2d:
    generator = torch.Generator().manual_seed(3)
    norm = FrozenBatchNorm2d(channels, eps).to(dtype)
    for name, buffer in norm.named_buffers():
        values = torch.rand(channels, generator=generator, dtype=torch.float64)
        buffer.copy_(values + 0.1 if name == "running_var" else values - 0.5)
    return norm


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.1])
def test_formula(eps: float) -> None:
    norm = filled(eps=eps)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for c in range(5):
        deviation = (norm.running_var[c].item() + eps) ** 0.5
        w, b, mean = norm.weight[c].item(), norm.bias[c].item(), norm.running_mean[c].item()
        expected[:, c] = x[:, c] * w / deviation + (b - mean * w / deviation)
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("variance", "percent"), [(1e-3, 0.5), (1e-4, 4.9), (1e-5, 41.4)])
def test_how_much_eps_matters(variance: float, percent: float) -> None:
    """FADA's frozen models have no eps: torch's 1e-5 would shrink channels of small variance (spec, T3)."""
    norm = FrozenBatchNorm2d(1).double()
    norm.running_var.fill_(variance)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    other = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)
    assert (norm(x) / other - 1).item() * 100 == pytest.approx(percent, abs=0.05)


def test_equals_torch_in_evaluation_mode() -> None:
    norm, reference = filled(eps=1e-5), nn.BatchNorm2d(5).double().eval()
    reference.load_state_dict(norm.state_dict(), strict=False)
    x = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(norm(x), reference(x), rtol=0, atol=1e-12)


def test_nothing_is_learnt_and_nothing_moves() -> None:
    norm = filled().train()
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    x = torch.randn(4, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    norm(x).sum().backward()
    assert list(norm.parameters()) == []
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())
    scale = (norm.weight / norm.running_var.sqrt()).view(1, -1, 1, 1)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, scale.expand_as(x))


def test_takes_a_batch_norm_state() -> None:
    state = nn.BatchNorm2d(5).state_dict()
    assert "num_batches_tracked" in state
    FrozenBatchNorm2d(5).load_state_dict(state, strict=True)
    assert "num_batches_tracked" in state  # the caller's dictionary is left as it was


def test_keeps_the_type_of_its_input() -> None:
    norm = filled(dtype=torch.float32)
    x = torch.randn(1, 5, 2, 2)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm(x), rtol=0.05, atol=0.05)
