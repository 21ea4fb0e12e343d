"""The SEAN norm and region-wise pooling, against the specification written out: full convolutions of style maps."""

import copy

import pytest
import torch
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.layers.sean import SEANNorm, class_linear, noise_like, region_means
from support.published_label_gan import ace, blocks_of_labels, one_hot, published_norm, shaken

K, S = 5, 6


def labels_of(kind: str) -> torch.Tensor:
    """Label maps [2, 24, 16]: patches; noise at every pixel; one class each; none at all."""
    if kind == "patches":
        return blocks_of_labels(2, 24, 16, K, seed=1)
    if kind == "noise":
        return blocks_of_labels(2, 24, 16, K, seed=2, side=1)
    if kind == "uniform":
        return torch.tensor([1, 4])[:, None, None].expand(2, 24, 16)
    return torch.full((2, 24, 16), 255)


@pytest.mark.parametrize("kind", ["patches", "noise", "uniform", "void"])
@pytest.mark.parametrize("training", [True, False])
def test_the_norm_equals_the_specification(kind: str, training: bool) -> None:
    norm = shaken(SEANNorm(4, K, S, hidden=3)).train(training)
    labels = labels_of(kind)
    x = torch.randn(2, 4, 12, 8, dtype=torch.float64, requires_grad=True)
    codes = torch.randn(2, K, S, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(3)).double()
    draw = lambda _: noise.transpose(1, 2)[:, None]  # noqa: E731
    expected = ace(published_norm(norm, True), x, one_hot(labels, K), codes, draw, training)
    ours = norm(x, labels, codes, torch.Generator().manual_seed(3))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)
    leaves = (x, codes, *norm.parameters())
    g = torch.randn_like(x)
    found = torch.autograd.grad(ours, leaves, g, allow_unused=True)
    for one, other in zip(found, torch.autograd.grad(expected, leaves, g, allow_unused=True), strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_layer_without_style_equals_the_specification() -> None:
    norm = shaken(SEANNorm(4, K, 0, hidden=3))
    labels = labels_of("patches")
    x = torch.randn(2, 4, 12, 8, dtype=torch.float64)
    noise = noise_like(x, torch.Generator().manual_seed(3))
    expected = ace(published_norm(norm, True), x, one_hot(labels, K), torch.empty(0), lambda _: noise, True)
    ours = norm(x, labels, None, torch.Generator().manual_seed(3), slope=0.2)
    torch.testing.assert_close(ours, F.leaky_relu(expected, 0.2), rtol=0, atol=1e-11)


def test_the_published_size_in_float32() -> None:
    torch.manual_seed(0)
    norm = SEANNorm(64, 19)
    labels = blocks_of_labels(1, 32, 32, 19, side=8)
    x, codes = torch.randn(1, 64, 32, 32), torch.randn(1, 19, 512)
    ours = norm(x, labels, codes)
    double = norm.double()
    no_noise = lambda z: torch.zeros_like(z[:, :1])  # noqa: E731  (it starts at 0)
    expected = ace(
        published_norm(double, True), x.double(), one_hot(labels, 19), codes.double(), no_noise, True
    )
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-5)


def test_at_the_start_style_and_mask_count_the_same_and_there_is_no_noise() -> None:
    norm = SEANNorm(4, K, S)
    assert torch.equal(norm.blending, torch.zeros(2))
    x, labels, codes = torch.randn(2, 4, 8, 8), blocks_of_labels(2, 8, 8, K), torch.randn(2, K, S)
    torch.testing.assert_close(norm(x, labels, codes), norm(x, labels, codes))
    with torch.no_grad():
        norm.noise_scale.fill_(1.0)
    norm.eval()
    assert not torch.allclose(norm(x, labels, codes), norm(x, labels, codes))  # in evaluation too
    first, second = (norm(x, labels, codes, torch.Generator().manual_seed(5)) for _ in range(2))
    torch.testing.assert_close(first, second)


def test_few_of_many_classes_equal_the_specification() -> None:
    norm = shaken(SEANNorm(4, 40, S, hidden=3))
    labels = blocks_of_labels(2, 24, 16, K, seed=1)
    labels = torch.where(labels == 255, 255, labels * 7 + 3)  # 3, 10, 17, 24 and 31 of 40
    x = torch.randn(2, 4, 24, 16, dtype=torch.float64)
    codes = torch.randn(2, 40, S, dtype=torch.float64, requires_grad=True)
    noise = noise_like(x, torch.Generator().manual_seed(3))
    expected = ace(published_norm(norm, True), x, one_hot(labels, 40), codes, lambda _: noise, True)
    ours = norm(x, labels, codes, torch.Generator().manual_seed(3))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)
    leaves, g = (codes, *norm.parameters()), torch.randn_like(x)
    found, wanted = (torch.autograd.grad(y, leaves, g) for y in (ours, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_regions_style_changes_nothing_elsewhere() -> None:
    norm = shaken(SEANNorm(4, 2, S, hidden=3)).eval()
    labels = torch.zeros(1, 8, 16, dtype=torch.long)
    labels[..., 8:] = 1
    x, codes = torch.randn(1, 4, 8, 16, dtype=torch.float64), torch.randn(1, 2, S, dtype=torch.float64)
    other = codes.clone()
    other[:, 1] += 1
    one, two = (norm(x, labels, c, torch.Generator().manual_seed(0)) for c in (codes, other))
    assert torch.equal(one[..., :7], two[..., :7])
    assert not torch.allclose(one[..., 8:], two[..., 8:])


# --- the linear layers of the classes -------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("chosen", [None, [0, 2, 3], [4]])
def test_a_linear_layer_for_each_class(images: int, chosen: list[int] | None) -> None:
    codes = torch.randn(images, K, S, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(K, 4, S, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(K, 4, dtype=torch.float64, requires_grad=True)
    numbers = chosen if chosen is not None else list(range(K))
    expected = torch.stack([F.linear(codes[:, k], weight[k], bias[k]) for k in numbers], 1)
    ours = class_linear(codes, weight, bias, None if chosen is None else torch.tensor(chosen))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    g, leaves = torch.randn_like(expected), (codes, weight, bias)
    found, wanted = (torch.autograd.grad(y, leaves, g) for y in (ours, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def gradient_of(norm: SEANNorm, labels: torch.Tensor) -> torch.Tensor:
    """Of the classes' weights, from inputs that depend on nothing but the labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(labels), 4, *labels.shape[1:], generator=generator, dtype=torch.float64)
    codes = torch.randn(len(labels), norm.classes, S, generator=generator, dtype=torch.float64)
    y = norm(x, labels, codes, torch.Generator().manual_seed(0))
    return torch.autograd.grad(y.square().sum(), norm.code_weight)[0]


def test_gradients_that_are_held_are_never_written_over() -> None:
    norm = shaken(SEANNorm(4, 12, S, hidden=3))
    all_classes = blocks_of_labels(1, 24, 16, 12, side=2)
    few = torch.where(all_classes > 1, 255, all_classes)
    fresh = {
        name: gradient_of(copy.deepcopy(norm), labels)
        for name, labels in (("all", all_classes), ("few", few))
    }
    held = [gradient_of(norm, labels) for labels in (all_classes, few, all_classes, few)]
    for one, name in zip(held, ("all", "few", "all", "few"), strict=True):
        assert torch.equal(one, fresh[name])
    assert fresh["all"][2:].any()
    assert fresh["few"][:2].any()
    assert not fresh["few"][2:].any()
    # None is held: the next lies where the last did, and nothing of it is left.
    del one, held
    where = gradient_of(norm, all_classes).data_ptr()
    again = gradient_of(norm, few)
    assert again.data_ptr() == where
    assert torch.equal(again, fresh["few"])


def test_gradients_of_steps_add_up_and_lie_in_memory_kept_from_the_last() -> None:
    norm = shaken(SEANNorm(4, 12, S, hidden=3))
    labels = blocks_of_labels(1, 24, 16, 12, side=2)
    once = gradient_of(copy.deepcopy(norm), labels)

    def step() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        x, codes = (
            torch.randn(1, *n, generator=generator, dtype=torch.float64) for n in ((4, 24, 16), (12, S))
        )
        norm(x, labels, codes, torch.Generator().manual_seed(0)).square().sum().backward()
        assert norm.code_weight.grad is not None
        return norm.code_weight.grad

    first = step().data_ptr()
    norm.zero_grad()
    assert step().data_ptr() == first  # taken as it is, not copied
    for times in (2, 3, 4):
        torch.testing.assert_close(step(), times * once)
    norm.zero_grad()
    torch.testing.assert_close(step(), once)


# --- pooling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["patches", "uniform", "void"])
def test_region_means(kind: str) -> None:
    labels = labels_of(kind)
    features = torch.randn(2, S, 12, 8, dtype=torch.float64, requires_grad=True)
    m = F.interpolate(one_hot(labels, K), size=(12, 8), mode="nearest")
    counts = m.sum((2, 3))
    expected = torch.einsum("bkhw,bshw->bks", m, features) / counts.clamp(min=1)[..., None]
    codes, present = region_means(features, labels, K)
    torch.testing.assert_close(codes, expected, rtol=0, atol=1e-12)
    assert torch.equal(present, counts > 0)
    g = torch.randn_like(codes)
    ours, other = torch.autograd.grad(codes, features, g), torch.autograd.grad(expected, features, g)
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-12)


def test_labels_of_no_class_are_refused() -> None:
    with pytest.raises(DataError, match="class 9"):
        region_means(torch.rand(1, S, 4, 4), torch.full((1, 4, 4), 9), K)
