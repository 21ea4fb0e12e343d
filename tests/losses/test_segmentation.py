"""Cross-entropy of label maps against the formula in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylebridge.losses.segmentation import cross_entropy, cross_entropy_sum


def by_hand(logits, target, weight, temperature) -> tuple[float, int]:
    total, count = 0.0, 0
    batch, _, height, width = logits.shape
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                label = int(target[b, y, x])
                if label == 255:
                    continue
                scores = [v / temperature for v in logits[b, :, y, x].tolist()]
                loss = math.log(sum(math.exp(s) for s in scores)) - scores[label]
                total += loss * (1.0 if weight is None else float(weight[b, y, x]))
                count += 1
    return total, count


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), weighted=st.booleans(), temperature=st.sampled_from([1.0, 1.8]))
def test_formula(seed: int, weighted: bool, temperature: float) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=g, dtype=torch.float64) * 4
    target = torch.randint(0, 4, (2, 4, 5), generator=g)
    target[target == 3] = 255
    weight = torch.rand(2, 4, 5, generator=g, dtype=torch.float64) if weighted else None
    total, count = cross_entropy_sum(logits, target, weight, temperature)
    expected, expected_count = by_hand(logits, target, weight, temperature)
    assert total.item() == pytest.approx(expected, abs=1e-10)
    assert count.item() == expected_count
    assert cross_entropy(logits, target, weight, temperature).item() == pytest.approx(
        expected / max(expected_count, 1), abs=1e-10
    )


def test_published_oracle() -> None:
    """FADA's segmentation loss of two pixels, with the temperature inside it and without."""
    logits = torch.tensor([[3.6, 0.0], [9.0, 0.0]], dtype=torch.float64).T.reshape(1, 2, 1, 2)
    target = torch.tensor([[[0, 1]]])
    assert cross_entropy(logits, target, temperature=1.8).item() == pytest.approx(2.5668216798, abs=1e-10)
    assert cross_entropy(logits, target).item() == pytest.approx(4.5135402476, abs=1e-10)


@pytest.mark.parametrize("weight", [None, torch.full((1, 2, 2), math.inf)])
def test_no_valid_pixel_is_zero(weight: torch.Tensor | None) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 2, 2), 255), weight)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.abs().sum().item() == 0.0


def test_weights_do_not_change_the_count() -> None:
    logits, target = torch.randn(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 255]]])
    plain = cross_entropy(logits, target)
    assert cross_entropy(logits, target, torch.full((1, 2, 2), 0.25)).item() == pytest.approx(
        plain.item() / 4
    )


def test_float32_inside_autocast() -> None:
    logits = torch.randn(1, 3, 8, 8).bfloat16()
    target = torch.randint(0, 3, (1, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = cross_entropy_sum(logits, target, temperature=1.8)
    expected, _ = cross_entropy_sum(logits.double(), target, temperature=1.8)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_gradient() -> None:
    logits = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[[0, 1, 255], [2, 2, 0]]])
    weight = torch.rand(1, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, target, weight, 1.8), (logits,))
