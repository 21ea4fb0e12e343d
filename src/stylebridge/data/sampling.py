"""Samplers: the image of each draw. A sampler is a pure function of its seed and the draw's position, so that a resumed
or shared run takes the same images as an uninterrupted one."""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from stylebridge.errors import DataError

# The first word of every generator's seed, so that no two kinds of draws share random numbers. Not 0, and first,
# because numpy gives [seed, position] and [seed, position, 0] the same generator.
_UNIFORM, _CLASS_LIST, _CLASS_DRAW, _RARE, _SHARDS, _SHARD_WINDOW = 101, 102, 103, 104, 105, 106


class Sampler(ABC):
    """The image index of every draw 0, 1, 2, …, endless."""

    @abstractmethod
    def index(self, position: int) -> int:
        """The image of the draw at ``position`` (>= 0)."""

    def iterate(self, start: int = 0) -> Iterator[int]:
        """The images of all draws from ``start`` on."""
        return map(self.index, itertools.count(start))


class UniformSampler(Sampler):
    """Epochs in which each of ``count`` images is drawn once, in a new random order for each epoch."""

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise DataError("There is no image to draw: the domain is empty.")
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def index(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            rng = np.random.default_rng([_UNIFORM, self.seed, epoch])
            self._epoch, self._order = epoch, rng.permutation(self.count)
        return int(self._order[place])


class ShardSampler(Sampler):
    """Epochs in which every sample is drawn once, a few shards at a time, for shards that are downloaded.

    Each epoch shuffles the shards and takes them in windows; inside a window the samples of all shards are shuffled
    together. Only the shards of one window (of two at a boundary) are read at a time, by all processes, since they
    share the positions. Memory: 8 bytes for each sample of a window.

    Args:
        counts: int [S], samples of each shard; samples are numbered shard by shard.
        seed: seed of all draws.
        window: number of shards mixed. More mix better and need a larger cache.
    """

    def __init__(self, counts: Sequence[int] | np.ndarray, seed: int, window: int = 4) -> None:
        self.counts = np.asarray(counts, np.int64)
        self.total = int(self.counts.sum())
        if self.total < 1 or window < 1:
            raise DataError("There is no image to draw: the domain is empty.")
        self.seed, self.window = seed, window
        self._first = np.cumsum(self.counts) - self.counts
        self._epoch, self._ends = -1, np.empty(0, np.int64)
        self._windows: list[np.ndarray] = []
        self._order_of, self._order = (-1, -1), np.empty(0, np.int64)

    def index(self, position: int) -> int:
        epoch, place = divmod(position, self.total)
        if epoch != self._epoch:
            shards = np.random.default_rng([_SHARDS, self.seed, epoch]).permutation(len(self.counts))
            self._windows = [shards[i : i + self.window] for i in range(0, len(shards), self.window)]
            self._ends = np.cumsum([self.counts[window].sum() for window in self._windows])
            self._epoch = epoch
        number = int(np.searchsorted(self._ends, place, side="right"))
        if self._order_of != (epoch, number):
            shards = self._windows[number].tolist()
            samples = [int(self._first[s]) + np.arange(int(self.counts[s])) for s in shards]
            rng = np.random.default_rng([_SHARD_WINDOW, self.seed, epoch, number])
            self._order_of, self._order = (epoch, number), rng.permutation(np.concatenate(samples))
        return int(self._order[place - int(self._ends[number]) + len(self._order)])


def class_weights(shares: np.ndarray) -> np.ndarray:
    """Unnormalised probability of each class, 1/ln(1.01 + p) for its share p in [0, 1] of the presences so far (FADA's
    data programs; not in the paper): float64."""
    return 1 / np.log(1.01 + np.asarray(shares, np.float64))


class ClassBalancedSampler(Sampler):
    """FADA's class-balanced source sampling (from the official data programs).

    In sub-epochs of 3,000 draws: class c is drawn with probability ∝ 1/ln(1.01 + p_c), with p_c its share of the class
    presences so far in the sub-epoch; the next image of that class's shuffled list is taken (a list at its end is
    shuffled again); every class in the image counts as present once more.

    Differences: lists start at their first item, classes in no image are skipped (with a warning) instead of stopping
    the program, and draws are made on demand. The original shuffles the whole run's list at the end; here each
    sub-epoch is shuffled separately.

    To reach a later position, all earlier draws are repeated (about 80,000 per second).

    Args:
        class_presence: bool [N, K], whether class k occurs in image n.
        seed: seed of all draws.
        sub_epoch: draws after which the presences are reset.
    """

    def __init__(self, class_presence: np.ndarray, seed: int, sub_epoch: int = 3000) -> None:
        presence = np.asarray(class_presence, bool)
        self.seed, self.sub_epoch = seed, sub_epoch
        self._presence = presence
        self._present = presence.sum(axis=1).tolist()
        self._members = [np.flatnonzero(column) for column in presence.T]
        self._drawable = np.array([len(m) > 0 for m in self._members], np.float64)
        _warn_of_empty(self._drawable > 0)
        self._taken = [0] * len(self._members)  # images taken from each class's list so far
        self._lists: list[tuple[int, np.ndarray]] = [(-1, m) for m in self._members]
        self._draws: list[np.ndarray] = []  # finished sub-epochs

    def index(self, position: int) -> int:
        sub_epoch, place = divmod(position, self.sub_epoch)
        while len(self._draws) <= sub_epoch:
            self._draws.append(self._make_sub_epoch(len(self._draws)))
        return int(self._draws[sub_epoch][place])

    def _make_sub_epoch(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([_CLASS_DRAW, self.seed, number])
        counts, total = np.zeros(len(self._members)), 0
        draws = np.empty(self.sub_epoch, np.int32)
        # A loop is needed: each draw depends on the images drawn before it.
        for i, u in enumerate(rng.random(self.sub_epoch)):
            reach = np.cumsum(class_weights(counts / max(total, 1)) * self._drawable)
            image = self._next_of_class(int(np.searchsorted(reach, u * reach[-1], side="right")))
            draws[i] = image
            counts += self._presence[image]
            total += self._present[image]
        return rng.permutation(draws)

    def _next_of_class(self, c: int) -> int:
        turn, place = divmod(self._taken[c], len(self._members[c]))
        self._taken[c] += 1
        if turn != self._lists[c][0]:
            rng = np.random.default_rng([_CLASS_LIST, self.seed, c, turn])
            self._lists[c] = turn, rng.permutation(self._members[c])
        return int(self._lists[c][1][place])


class RareClassSampler(Sampler):
    """Rare class sampling (DAFormer, Hoyer et al. 2022, section 3.3, equations 6 and 7).

    A class is drawn with P(c) ∝ exp((1 − f_c)/T), with f_c its share of all labelled pixels; then an image, uniformly
    among those with enough pixels of it. If no image has enough, any image with the class is taken.

    Args:
        pixel_counts: int [N, K], pixels of class k in image n.
        seed: seed of all draws.
        temperature: T; small values favour rare classes.
        min_pixels: enough pixels, for a GTA5 frame (1914×1052), for which the published 3,000 was chosen; scaled to the
            labelled pixels of each image.
    """

    REFERENCE_PIXELS = 1914 * 1052

    def __init__(
        self, pixel_counts: np.ndarray, seed: int, temperature: float = 0.01, min_pixels: int = 3000
    ) -> None:
        counts = np.asarray(pixel_counts)  # for shards a memory-mapped file: not copied
        self.seed = seed
        totals = counts.sum(axis=0)
        _warn_of_empty(totals > 0)
        self.probabilities = rare_class_probabilities(totals, temperature)
        self._reach = np.cumsum(self.probabilities)
        enough = np.maximum(1, min_pixels / self.REFERENCE_PIXELS * counts.sum(axis=1, keepdims=True))
        self._images = [
            np.flatnonzero(plenty if plenty.any() else some)
            for plenty, some in zip((counts >= enough).T, (counts > 0).T, strict=True)
        ]

    def index(self, position: int) -> int:
        u = np.random.default_rng([_RARE, self.seed, position]).random(2)
        images = self._images[int(np.searchsorted(self._reach, u[0] * self._reach[-1], side="right"))]
        return int(images[int(u[1] * len(images))])


def rare_class_probabilities(pixels: np.ndarray, temperature: float) -> np.ndarray:
    """P(c) of rare class sampling from the pixels of each class, [K]; 0 for a class without pixels."""
    scaled = (1 - pixels / pixels.sum()) / temperature
    weights = np.exp(scaled - scaled.max()) * (pixels > 0)
    return weights / weights.sum()


def _warn_of_empty(present: np.ndarray) -> None:
    """Warn about classes in no image; raises DataError if no image has any class."""
    if not present.any():
        raise DataError("No label map has a class of the label space: check --label-space.")
    empty = np.flatnonzero(~present).tolist()
    if empty:
        listed = ", ".join(map(str, empty))
        message = f"Classes in no label map are never drawn: number {listed} of the label space."
        warnings.warn(message, stacklevel=3)
