"""Sampling from two labelled domains as one: the source, and some labelled images of the target."""

from __future__ import annotations

import numpy as np

from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain
from stylebridge.data.image_cache import ImageCache
from stylebridge.data.sampling import Sampler


class JoinedSampler(Sampler):
    """Draws from two samplers in a fixed pattern: of any n consecutive draws, ⌊n·share⌋ or one more are the second's.

    The second sampler's indices follow the ``first_count`` indices of the first. Like every sampler it is a pure
    function of the position, so it can be resumed and shared.
    """

    def __init__(self, first: Sampler, second: Sampler, first_count: int, share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, not {share}")
        self.first, self.second, self.first_count, self.share = first, second, first_count, share

    def index(self, position: int) -> int:
        before, after = (int(np.floor(p * self.share)) for p in (position, position + 1))
        if after > before:
            return self.first_count + self.second.index(before)
        return self.first.index(position - before)


class JoinedDataset(DomainDataset):
    """The images of two datasets, the second's indices after the first's. Both must give samples of the same size."""

    def __init__(self, first: DomainDataset, second: DomainDataset) -> None:
        self.parts = first, second
        domains = first.domain, second.domain
        assert domains[0].labels is not None
        assert domains[1].labels is not None
        joined = Domain(
            name=f"{domains[0].name} and {domains[1].name}",
            root=domains[0].root,
            images=[*domains[0].images, *domains[1].images],
            labels=[*domains[0].labels, *domains[1].labels],
            space=domains[0].space,
        )
        super().__init__(joined, first.augmentation, first.seed, cache_bytes=0)

    @property
    def cache(self) -> ImageCache:
        """The first dataset's cache; the second's is created too, so that forked workers share both."""
        _ = self.parts[1].cache
        return self.parts[0].cache

    def arrays(self, position: int, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        count = len(self.parts[0])
        return self.parts[index >= count].arrays(position, index if index < count else index - count)
