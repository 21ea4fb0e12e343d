"""Samples: one draw of one image, augmented with random numbers that depend on the draw only."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from stylebridge.data.augment import Augmentation, apply_to_arrays, resize
from stylebridge.data.domain import Domain, check_size
from stylebridge.data.image_cache import ImageCache
from stylebridge.data.images import read_image
from stylebridge.data.shards.reader import ShardSequence

#: Cache of decoded images in a dataset of files, in bytes.
CACHE_BYTES = 1_500_000_000


class Sample(TypedDict):
    """``image`` uint8 [3, H, W]; ``label`` uint8 [H, W] for labelled domains; the image's index; the draw's
    position."""

    image: Tensor
    label: NotRequired[Tensor]
    index: int
    position: int


class DomainDataset(Dataset[Sample]):
    """A domain's images with augmentation. An item is one draw, ``dataset[position, index]``.

    All random numbers of a sample come from ``numpy.random.default_rng([seed, position])``: they depend neither on the
    number of workers and processes nor on whether the run was resumed.

    Decoded images are cached up to ``cache_bytes``, after resizing if the augmentation begins with a fixed resize.
    Workers forked by a loader share the cache; workers started in another way get equal parts of it. By default images
    of shards are not cached: shards are for sets larger than memory, and a cache would grow with the part seen.

    Args:
        domain: the images; if labelled, with its label space.
        augmentation: applied to each sample.
        seed: seed of the augmentation.
        cache_bytes: memory for decoded images; 0 decodes each time; None: :data:`CACHE_BYTES`, or 0 for shards.
    """

    def __init__(
        self, domain: Domain, augmentation: Augmentation, seed: int, cache_bytes: int | None = None
    ) -> None:
        domain.ensure_space()
        if cache_bytes is None:
            cache_bytes = 0 if isinstance(domain.images, ShardSequence) else CACHE_BYTES
        self.domain, self.augmentation, self.seed, self.cache_bytes = domain, augmentation, seed, cache_bytes
        self._cache: ImageCache | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.domain.images)

    @property
    def cache(self) -> ImageCache:
        """The cache of decoded images, created on first access; workers forked after that share it."""
        if self._cache is None:
            worker = get_worker_info()
            room = self.cache_bytes // (worker.num_workers if worker is not None else 1)
            if self.augmentation.first_size is not None:
                width, height = self.augmentation.first_size
                channels = 3 if self.domain.labels is None else 4
                room = min(room, len(self) * width * height * channels)
            self._cache = ImageCache(len(self), room)
        return self._cache

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None}  # memory cannot be sent to another process

    def __getitem__(self, draw: tuple[int, int]) -> Sample:
        """One sample.

        Raises:
            DataError: the image or its label map is invalid.
        """
        position, index = draw
        image, label = self.arrays(position, index)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        sample: Sample = {"image": pixels, "index": index, "position": position}
        if label is not None:
            sample["label"] = torch.from_numpy(np.array(label))
        return sample

    def arrays(self, position: int, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """One sample as arrays, uint8 [h, w, 3] and [h, w] (None without labels). They may be views of the cache: do
        not write to them.

        Raises:
            DataError: the image or its label map is invalid.
        """
        image, label = self._load(index)
        return apply_to_arrays(self.augmentation, image, label, np.random.default_rng([self.seed, position]))

    def _load(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        kept = self.cache.get(index)
        if kept is not None:
            return kept
        image, label = read_pair(self.domain, index)
        if self.augmentation.first_size is not None:
            image, label = resize(image, label, self.augmentation.first_size, self.augmentation.resample)
        self.cache.put(index, image, label)
        return image, label


def read_pair(domain: Domain, index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """One image uint8 [H, W, 3] and its train ids uint8 [H, W] (None without labels), at the files' size.

    Raises:
        DataError: a file cannot be read, or the two differ in size.
    """
    path = domain.images[index]
    image = read_image(path)
    if domain.labels is None or domain.space is None:
        return image, None
    label_path = domain.labels[index]
    size = image.shape[1], image.shape[0]
    label = domain.space.read(label_path, size)
    check_size(path, size, label_path, label)
    return image, label
