"""Reuse of memory for a large tensor that is needed repeatedly.

The system allocates new memory page by page and zeroes it first. For a gradient of 157 MB this can take several times
as long as computing it; gradients are freed after each step and allocated again in the next.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class KeptMemory:
    """Returns CPU tensors that use, one after another, the same memory. Copies of it start empty.

    Memory still in use, by a tensor, a view or an array, is never reused: then new memory is allocated and kept
    instead.

    Example::

        memory = KeptMemory()
        gradient = torch.mul(a, b, out=memory.take((1000, 1000), a))
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.release()

    def release(self) -> None:
        """Keep nothing."""
        self._block: np.ndarray | None = None
        self._lease: weakref.ref[np.ndarray] | None = None

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of this shape with the type and device of ``like``, uninitialised.

        On devices other than the CPU it is always new memory.
        """
        if like.device.type != "cpu" or 0 in shape:
            return like.new_empty(shape)
        size = math.prod(shape) * like.element_size()
        with self._lock:
            busy = self._lease is not None and self._lease() is not None
            if self._block is None or busy or len(self._block) < size:
                # Torch's memory is aligned to 64 bytes.
                self._block = torch.empty(size, dtype=torch.uint8).numpy()
            # Only the tensor's storage refers to this array: it lives as long as the memory is in use.
            lease = self._block[:size]
            self._lease = weakref.ref(lease)
        return torch.from_numpy(lease).view(like.dtype).view(shape)

    def __reduce__(self) -> tuple[type[KeptMemory], tuple[()]]:
        return KeptMemory, ()
