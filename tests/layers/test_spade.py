"""The SPADE norm, and convolutions of label maps by index, against plain convolutions of one-hot maps."""

import pytest
import torch
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.layers.spade import SPADE, LabelMaps, RowSums, label_convolution, modulate, neighbourhoods
from support.published_label_gan import blocks_of_labels, one_hot, published_norm, shaken, spade

K = 5


@pytest.mark.parametrize("size", [(12, 20), (1, 1), (3, 2)])
def test_a_convolution_by_index_is_that_of_the_one_hot_map(size: tuple[int, int]) -> None:
    labels = blocks_of_labels(2, *size, K)
    weight = torch.randn(7, K, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(7, dtype=torch.float64, requires_grad=True)
    ours = label_convolution(LabelMaps(labels, K).at(*size), weight, bias)
    expected = F.conv2d(one_hot(labels, K), weight, bias, padding=1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    g = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(ours, (weight, bias), g),
        torch.autograd.grad(expected, (weight, bias), g),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_a_single_class_that_is_everywhere_or_nowhere() -> None:
    weight, bias = torch.randn(3, 1, 3, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    everywhere = LabelMaps(torch.zeros(1, 4, 4, dtype=torch.uint8), 1).at(4, 4)
    expected = F.conv2d(torch.ones(1, 1, 4, 4, dtype=torch.float64), weight, bias, padding=1)
    torch.testing.assert_close(label_convolution(everywhere, weight, bias), expected)
    nowhere = LabelMaps(torch.full((1, 4, 4), 255), 1).at(4, 4)
    torch.testing.assert_close(
        label_convolution(nowhere, weight, bias), bias.view(1, 3, 1, 1).expand(1, 3, 4, 4)
    )


def test_row_sums_and_their_transpose() -> None:
    index, starts = (
        torch.tensor([4, 0, 0, 2, 4, 3]),
        torch.tensor([0, 2, 2, 3]),
    )  # the second result has no rows
    matrix = torch.zeros(4, 6, dtype=torch.float64)
    for result, rows in enumerate(([4, 0], [], [0], [2, 4, 3])):
        for row in rows:
            matrix[result, row] += 1
    sums = RowSums(index, starts, 6)
    table, results = torch.randn(6, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(sums(table), matrix @ table)
    torch.testing.assert_close(sums.transposed(results), matrix.t() @ results)


@pytest.mark.parametrize("size", [(24, 40), (6, 10), (5, 7)])
def test_sizes_are_made_once_and_by_nearest_neighbour(size: tuple[int, int]) -> None:
    labels = blocks_of_labels(2, 24, 40, K)
    maps = LabelMaps(labels, K)
    grid = maps.at(*size)
    expected = F.interpolate(one_hot(labels, K), size=size, mode="nearest")
    assert torch.equal(one_hot(grid.labels, K), expected)
    assert maps.at(*size) is grid
    assert grid.taps is grid.taps


def test_modulation_and_its_gradients() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    both = torch.randn(2, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    for slope in (1.0, 0.2):
        expected = F.leaky_relu(x * both[:, :3] + both[:, 3:], slope)
        torch.testing.assert_close(modulate(x, both, slope), expected)
        assert torch.autograd.gradcheck(lambda a, b, s=slope: modulate(a, b, s), (x, both))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", [1.0, 0.2])
def test_the_norm_equals_the_specification(training: bool, slope: float) -> None:
    norm = shaken(SPADE(4, K, hidden=6)).train(training)
    labels = blocks_of_labels(2, 24, 16, K, seed=1)
    x = torch.randn(2, 4, 12, 8, dtype=torch.float64, requires_grad=True)
    expected = F.leaky_relu(spade(published_norm(norm, False), x, one_hot(labels, K), training), slope)
    ours = norm(x, labels, slope=slope)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)
    leaves = (x, *norm.parameters())
    g = torch.randn_like(x)
    for one, other in zip(
        torch.autograd.grad(ours, leaves, g), torch.autograd.grad(expected, leaves, g), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("labels", ["edges", "uniform", "noise"])
def test_equal_surroundings_are_computed_once_and_give_the_same(labels: str) -> None:
    maps = torch.full((2, 30, 40), 1)
    if labels == "edges":  # straight, slanted, and void; another class at single pixels
        maps[0, :, 17:], maps[1, 11:, 20:] = 2, 255
        maps[0, torch.ones(30, 40).tril().bool()] = 3
        maps[1, 5, 5] = maps[0, 0, 39] = 4
    elif labels == "noise":
        maps = torch.randint(K, (2, 30, 40), generator=torch.Generator().manual_seed(0))
    grid = LabelMaps(maps, K).at(30, 40)
    assert (grid.patterns is None) == (labels == "noise")
    if grid.patterns is not None:
        assert grid.patterns.pixels.rows < 2400 / 2
    norm = shaken(SPADE(4, K, hidden=6))
    x = torch.randn(2, 4, 30, 40, dtype=torch.float64, requires_grad=True)
    expected = spade(published_norm(norm, False), x, one_hot(maps, K), True)
    ours = norm(x, maps)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)
    leaves, g = (x, *norm.parameters()), torch.randn_like(x)
    found, wanted = (torch.autograd.grad(y, leaves, g) for y in (ours, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_surroundings_are_numbered_apart() -> None:
    ids = torch.randint(3, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    found = neighbourhoods(ids, 3)
    around = (
        F.unfold(F.pad(ids[:, None].double(), (1, 1, 1, 1), value=3), 3).transpose(1, 2).reshape(60, 9).long()
    )
    assert torch.equal(found.members[found.ids.flatten()], around)
    assert len(found.members) == len(torch.unique(around, dim=0))


def test_prepared_maps_give_the_same_and_must_have_the_same_classes() -> None:
    norm, x = SPADE(4, K), torch.randn(2, 4, 8, 8)
    labels = blocks_of_labels(2, 8, 8, K)
    torch.testing.assert_close(norm(x, LabelMaps(labels, K)), norm(x, labels))
    with pytest.raises(DataError, match=r"6 classes.*a network of 5"):
        norm(x, LabelMaps(labels, 6))


def test_batch_norm_can_be_synchronised() -> None:
    norm = torch.nn.SyncBatchNorm.convert_sync_batchnorm(SPADE(4, K))
    assert isinstance(norm.norm, torch.nn.SyncBatchNorm)


@pytest.mark.parametrize("value", [K, 254])
def test_labels_of_no_class_are_refused(value: int) -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 1, 2] = value
    with pytest.raises(DataError, match=rf"class {value}, but the network knows 0 to {K - 1}"):
        LabelMaps(labels, K)


@pytest.mark.parametrize("wrong", [torch.zeros(1, 4, 4), torch.zeros(4, 4, dtype=torch.long)])
def test_what_is_not_a_batch_of_label_maps_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"integers \[B, H, W\]"):
        LabelMaps(wrong, K)
