"""Decoded images in memory, shared with the loader's worker processes."""

from __future__ import annotations

import mmap
import multiprocessing

import numpy as np


class ImageCache:
    """Keeps images and label maps by index until its memory is full; nothing is evicted.

    The memory is one anonymous shared mapping, so that processes forked after the cache was created fill and read it
    together. The system allocates pages when they are written.

    Args:
        count: number of indices.
        capacity: bytes for pixels. 0, or more than the system grants: nothing is kept.
    """

    def __init__(self, count: int, capacity: int) -> None:
        self._pixels = None
        self._lock = multiprocessing.Lock()
        if capacity <= 0:
            return
        try:
            self._pixels = np.frombuffer(mmap.mmap(-1, capacity), np.uint8)
            # A row for each index: offset, height, width, whether there is a label map. Height 0: not cached.
            self._entries = np.frombuffer(mmap.mmap(-1, max(1, count) * 32), np.int64).reshape(-1, 4)
            self._used = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.int64)[:1]
        except (OSError, ValueError, OverflowError):
            self._pixels = None

    def get(self, index: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """The image uint8 [H, W, 3] and label map uint8 [H, W] (or None) of an index, as read-only views; None if they
        are not cached."""
        if self._pixels is None:
            return None
        with self._lock:
            offset, height, width, labelled = self._entries[index].tolist()
        if height == 0:
            return None
        middle, area = offset + 3 * height * width, height * width
        image = self._pixels[offset:middle].reshape(height, width, 3)
        label = self._pixels[middle : middle + area].reshape(height, width) if labelled else None
        return image, label

    def put(self, index: int, image: np.ndarray, label: np.ndarray | None) -> None:
        """Keep an image uint8 [H, W, 3] and its label map uint8 [H, W], if there is room."""
        size = image.size + (0 if label is None else label.size)
        if self._pixels is None:
            return
        with self._lock:
            offset = int(self._used[0])
            if self._entries[index, 1] or offset + size > len(self._pixels):
                return
            self._used[0] = offset + size
            self._pixels[offset : offset + image.size] = image.ravel()
            if label is not None:
                self._pixels[offset + image.size : offset + size] = label.ravel()
            self._entries[index] = offset, *image.shape[:2], label is not None
