import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylebridge.data.sampling import (
    ClassBalancedSampler,
    RareClassSampler,
    Sampler,
    UniformSampler,
    class_weights,
    rare_class_probabilities,
)
from stylebridge.errors import DataError

PRESENCE = np.random.default_rng(3).random((40, 5)) < [0.9, 0.5, 0.3, 0.1, 0.05]
PRESENCE[0] = True


def sampler(kind: str, seed: int = 1) -> Sampler:
    if kind == "uniform":
        return UniformSampler(7, seed)
    if kind == "class-balanced":
        return ClassBalancedSampler(PRESENCE, seed, sub_epoch=50)
    return RareClassSampler(PRESENCE * np.array([900, 500, 300, 50, 9]), seed)


@pytest.mark.parametrize("kind", ["uniform", "class-balanced", "rare-class"])
@given(position=st.integers(0, 400), back=st.integers(0, 400))
@settings(max_examples=20, deadline=None)
def test_a_draw_is_a_function_of_seed_and_position(kind: str, position: int, back: int):
    whole = list(islice(sampler(kind).iterate(), 420))
    restarted = sampler(kind)
    assert list(islice(restarted.iterate(position), 20)) == whole[position : position + 20]
    assert restarted.index(back) == whole[back]  # going back gives the same again


@pytest.mark.parametrize("kind", ["uniform", "class-balanced", "rare-class"])
def test_another_seed_is_another_sequence(kind: str):
    one, other = (list(islice(sampler(kind, seed).iterate(), 200)) for seed in (1, 2))
    assert one != other


# --- uniform ------------------------------------------------------------------------------------------------


def test_uniform_epochs_hold_every_image_once():
    draws = list(islice(UniformSampler(13, 4).iterate(), 130))
    epochs = [draws[i : i + 13] for i in range(0, 130, 13)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 10


def test_the_first_image_of_an_epoch_is_uniform():
    firsts = [UniformSampler(5, seed).index(0) for seed in range(1000)]
    counts = np.bincount(firsts, minlength=5)
    assert ((counts - 200) ** 2 / 200).sum() < 18.5  # chi-square, 4 degrees, p = 0.001


def test_an_empty_domain_is_refused():
    with pytest.raises(DataError, match="the domain is empty"):
        UniformSampler(0, 1)


# --- class-balanced (FADA) ----------------------------------------------------------------------------------


def test_weights_are_the_published_ones():
    weights = class_weights(np.array([0, 0.01, 0.05, 0.1]))
    assert [round(w, 2) for w in weights.tolist()] == [100.50, 50.50, 17.16, 9.58]
    assert weights[0] == pytest.approx(1 / math.log(1.01), rel=1e-12)


def test_the_second_draw_of_a_sub_epoch_follows_the_law():
    # Image c holds class c alone: after one draw the shares are 1 and 0, so the weights are known.
    again, first_again = class_weights(np.array([1.0, 0.0]))
    expected = again / (again + 2 * first_again)
    draws = np.array(list(islice(ClassBalancedSampler(np.eye(3), 11, sub_epoch=2).iterate(), 20_000)))
    same = np.mean(draws[0::2] == draws[1::2])
    assert abs(same - expected) < 4 * math.sqrt(expected * (1 - expected) / 10_000)
    counts = np.bincount(draws, minlength=3)
    assert abs(counts / 20_000 - 1 / 3).max() < 4 * math.sqrt(2 / 9 / 20_000)


def test_presences_of_all_classes_of_an_image_count():
    # Images {a, b} and {c}. After {a, b}: shares ½, ½, 0. After {c}: 0, 0, 1.
    presence = np.array([[1, 1, 0], [0, 0, 1]])
    half, none, one = class_weights(np.array([0.5, 0.0, 1.0]))
    both = 2 / 3 * (2 * half) / (2 * half + none) + 1 / 3 * one / (one + 2 * none)
    draws = np.array(list(islice(ClassBalancedSampler(presence, 2, sub_epoch=2).iterate(), 20_000)))
    same = np.mean(draws[0::2] == draws[1::2])
    assert abs(same - both) < 4 * math.sqrt(both * (1 - both) / 10_000)


def test_lists_are_gone_through_from_the_first_item_before_they_are_shuffled_anew():
    draws = list(islice(ClassBalancedSampler(np.ones((6, 1)), 3, sub_epoch=6).iterate(), 60))
    turns = [draws[i : i + 6] for i in range(0, 60, 6)]
    assert all(sorted(turn) == list(range(6)) for turn in turns)  # item 0 included, in every turn
    in_order = list(islice(ClassBalancedSampler(np.ones((6, 1)), 3, sub_epoch=1).iterate(), 60))
    assert len({tuple(in_order[i : i + 6]) for i in range(0, 60, 6)}) > 5


def test_rare_classes_are_drawn_more_often_than_uniformly():
    presence = np.zeros((200, 2), bool)
    presence[:, 0] = True
    presence[:4, 1] = True
    draws = np.array(list(islice(ClassBalancedSampler(presence, 3).iterate(), 6000)))
    assert np.mean(draws < 4) > 0.2  # 0.02 uniformly
    assert set(range(4)) <= set(draws.tolist())


def test_empty_classes_are_skipped_with_a_warning_and_a_single_image_is_enough():
    presence = np.zeros((5, 4), bool)
    presence[:, 0] = True
    presence[2, 3] = True
    with pytest.warns(UserWarning, match="never drawn: number 1, 2 of"):
        balanced = ClassBalancedSampler(presence, 0)
    assert 2 in list(islice(balanced.iterate(), 50))
    with pytest.raises(DataError, match="No label map has a class"):
        ClassBalancedSampler(np.zeros((5, 4)), 0)


# --- rare class (DAFormer) ----------------------------------------------------------------------------------


def test_rare_class_probabilities_are_the_softmax_of_one_minus_the_share():
    pixels = np.array([700, 200, 100, 0])
    expected = [math.exp((1 - f) / 0.5) for f in (0.7, 0.2, 0.1)]
    np.testing.assert_allclose(
        rare_class_probabilities(pixels, 0.5), [*(e / sum(expected) for e in expected), 0], rtol=1e-12
    )
    sharp = rare_class_probabilities(pixels, 0.001)  # exp(900) would overflow
    assert sharp[2] == pytest.approx(1)


def test_images_of_the_drawn_class_are_uniform():
    counts = np.array([[100, 0], [100, 0], [100, 300], [0, 300], [0, 100]])
    expected = np.zeros(5)
    share = rare_class_probabilities(counts.sum(axis=0), 0.2)
    expected[[0, 1, 2]] += share[0] / 3
    expected[[2, 3, 4]] += share[1] / 3
    rare = RareClassSampler(counts, 5, temperature=0.2, min_pixels=3000)
    seen = np.bincount(list(islice(rare.iterate(), 8000)), minlength=5)
    assert ((seen - 8000 * expected) ** 2 / (8000 * expected)).sum() < 18.5  # 4 degrees, p = 0.001


def test_images_with_too_few_pixels_serve_only_if_there_are_no_others():
    frame = RareClassSampler.REFERENCE_PIXELS
    enough, few = 3000, 2999
    counts = np.array([[frame - enough, enough, 0], [frame - few, few, 0], [frame - 1, 0, 1]])
    draws = set(islice(RareClassSampler(counts, 0, temperature=0.01).iterate(), 3000))
    # Image 1 has too little of class 1 and is drawn for class 0 alone, which hardly ever comes up.
    assert draws == {0, 2}
    quarter = RareClassSampler(counts[:2, :2] // 4, 0)  # the same pictures at half the size
    assert set(islice(quarter.iterate(), 300)) == {0}
