"""The inception score against its definition, its bounds, and torch-fidelity."""

import math

import pytest
import torch
from torch import Tensor

from stylebridge.metrics.inception_score import SplitEntropies, split_evenly

torch.set_num_threads(1)


def draw(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def score(logits: Tensor, split: Tensor, batch: int = 5):
    gathered = SplitEntropies(int(split.max()) + 1, logits.shape[1])
    for rows, places in zip(logits.split(batch), split.split(batch), strict=True):
        gathered.update(rows, places)
    return gathered.score()


def by_hand(logits: Tensor) -> float:
    """exp of the mean over images of Σ p(y|x)·(log p(y|x) − log p(y))."""
    p = logits.softmax(1).tolist()
    marginal = [math.fsum(column) / len(p) for column in zip(*p, strict=True)]
    divergences = [math.fsum(a * math.log(a / m) for a, m in zip(row, marginal, strict=True)) for row in p]
    return math.exp(math.fsum(divergences) / len(p))


def test_equals_the_definition_on_each_split() -> None:
    logits, split = draw(23, 6), torch.arange(23) % 3
    values = [by_hand(logits[split == s]) for s in range(3)]
    mean = sum(values) / 3
    found = score(logits, split)
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.deviation == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 3), rel=1e-9)


def test_equals_torch_fidelity() -> None:
    metric = pytest.importorskip("torch_fidelity.metric_isc", reason="torch-fidelity is not installed")
    logits = draw(57, 20).float()
    expected = metric.isc_features_to_metric(logits, splits=10, shuffle=False)
    # Its splits are runs of images: the i-th ends before i·N/10.
    ends = torch.tensor([i * 57 // 10 for i in range(1, 11)])
    found = score(logits, torch.bucketize(torch.arange(57), ends, right=True))
    assert found.mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert found.deviation == pytest.approx(expected["inception_score_std"], rel=1e-7)


def test_bounds() -> None:
    """1 for uniform predictions, the number of classes for certain and evenly distributed ones."""
    split = torch.zeros(12, dtype=torch.int64)
    assert score(torch.zeros(12, 4), split).mean == pytest.approx(1)
    sure = torch.eye(4).repeat(3, 1) * 2000  # so sure that other classes have a probability of 0
    assert score(sure, split).mean == pytest.approx(4)
    assert score(sure, split).deviation == 0


def test_batches_do_not_matter() -> None:
    logits, split = draw(23, 6), torch.arange(23) % 3
    assert score(logits, split, 1) == pytest.approx(score(logits, split, 23), rel=1e-12)


@pytest.mark.parametrize(("count", "splits"), [(10, 10), (57, 10), (103, 10), (7, 3)])
def test_splits_are_even_and_by_seed(count: int, splits: int) -> None:
    split = split_evenly(count, splits, seed=3)
    sizes = torch.bincount(split, minlength=splits)
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() <= 1
    assert torch.equal(split, split_evenly(count, splits, seed=3))
    assert not torch.equal(split, split_evenly(count, splits, seed=4))


def test_an_empty_split_is_an_error() -> None:
    gathered = SplitEntropies(2, 3)
    gathered.update(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="no image"):
        gathered.score()
