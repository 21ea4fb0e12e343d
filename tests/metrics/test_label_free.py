"""Scores without labels, against their definitions in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylebridge.metrics.label_free import LabelFreeScore, rank_correlation


def score_of(logits: torch.Tensor, other: torch.Tensor) -> LabelFreeScore:
    score = LabelFreeScore(logits.shape[1])
    score.update(logits, other)
    return score


def test_certainty_is_the_mutual_information_over_log_k():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    p = logits.softmax(1).movedim(1, -1).reshape(-1, 4)
    mean = p.mean(0)
    expected = (-(mean * mean.log()).sum() + (p * p.log()).sum(1).mean()) / math.log(4)
    score = LabelFreeScore(4)
    for one in logits:  # batches add up
        score.update(one[None], one[None].argmax(1))
    assert score.certainty == pytest.approx(float(expected), rel=1e-9)


def test_certainty_is_1_for_sure_and_balanced_and_0_for_one_class_or_no_idea():
    sure = 200 * torch.nn.functional.one_hot(torch.arange(12).view(1, 3, 4) % 4, 4).movedim(3, 1).double()
    assert score_of(sure, sure.argmax(1)).certainty == pytest.approx(1)
    one = torch.zeros(1, 4, 3, 4)
    one[:, 2] = 200
    assert score_of(one, one.argmax(1)).certainty == pytest.approx(0, abs=1e-9)
    assert score_of(torch.zeros(1, 4, 3, 4), one.argmax(1)).certainty == pytest.approx(0, abs=1e-9)
    assert LabelFreeScore(4).certainty == LabelFreeScore(4).agreement == 0


def test_agreement_is_the_mean_iou_of_the_two_predictions():
    first = torch.tensor([[[0, 0, 1, 1], [0, 2, 1, 1]]])
    second = torch.tensor([[[0, 1, 1, 1], [0, 2, 2, 1]]])
    logits = torch.nn.functional.one_hot(first, 4).movedim(3, 1).float()
    assert score_of(logits, second).agreement == pytest.approx((2 / 3 + 3 / 5 + 1 / 2) / 3)
    assert score_of(logits, first).agreement == 1


def test_shapes_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        LabelFreeScore(4).update(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="do not match"):
        LabelFreeScore(4).update(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 3))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.integers(0, 1000))
def test_rank_correlation_is_pearsons_of_mean_ranks(first, seed):
    generator = torch.Generator().manual_seed(seed)
    second = torch.randint(0, 5, (len(first),), generator=generator).tolist()
    ranks = [
        [sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]
        for values in (first, second)
    ]
    table = torch.tensor(ranks, dtype=torch.float64)
    got = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(float(torch.corrcoef(table)[0, 1]))


def test_rank_correlation_of_orders():
    assert rank_correlation([1, 2, 3], [10, 30, 100]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    with pytest.raises(ValueError, match="equal length"):
        rank_correlation([1, 2], [1])
