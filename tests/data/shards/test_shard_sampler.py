"""Draws a few shards at a time: every sample once per epoch, for any number of processes."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylebridge.data.sampling import ShardSampler
from stylebridge.errors import DataError

COUNTS = [5, 1, 7, 3, 4, 6, 2, 5, 5, 1]
TOTAL, WINDOW = sum(COUNTS), 3


def draws(start: int, count: int, seed: int = 1) -> list[int]:
    return list(islice(ShardSampler(COUNTS, seed, WINDOW).iterate(start), count))


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    window=st.integers(1, 14),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_epochs_hold_every_sample_once(counts: list[int], window: int, seed: int):
    total = sum(counts)
    made = list(islice(ShardSampler(counts, seed, window).iterate(), 3 * total))
    for epoch in range(3):
        assert sorted(made[epoch * total : (epoch + 1) * total]) == list(range(total))


@given(position=st.integers(0, 3 * TOTAL), back=st.integers(0, 3 * TOTAL))
@settings(max_examples=40, deadline=None)
def test_a_draw_is_a_function_of_seed_and_position(position: int, back: int):
    whole = draws(0, 3 * TOTAL + 20)
    sampler = ShardSampler(COUNTS, 1, WINDOW)
    assert list(islice(sampler.iterate(position), 20)) == whole[position : position + 20]
    assert sampler.index(back) == whole[back]


def test_only_a_window_of_shards_is_read_at_a_time():
    shard_of = np.repeat(np.arange(len(COUNTS)), COUNTS)
    for epoch in range(5):
        order = shard_of[draws(epoch * TOTAL, TOTAL)]
        # A shard lives from its first draw to its last: at no draw are there more than a window of them.
        lives = [(np.flatnonzero(order == s).min(), np.flatnonzero(order == s).max()) for s in set(order)]
        alive = [sum(first <= place <= last for first, last in lives) for place in range(TOTAL)]
        assert max(alive) == WINDOW
        # And the samples of a window are mixed, not taken shard by shard.
        assert (np.diff(order) != 0).sum() > len(COUNTS)


def test_epochs_and_seeds_differ():
    epochs = {tuple(draws(epoch * TOTAL, TOTAL)) for epoch in range(10)}
    assert len(epochs) == 10
    assert draws(0, TOTAL, seed=1) != draws(0, TOTAL, seed=2)


def test_nothing_to_draw_is_reported():
    with pytest.raises(DataError, match="domain is empty"):
        ShardSampler([], 0)
