"""Memory of a large tensor that is needed again and again, kept in between.

The system hands out new memory page by page and fills it with zeros first. For a gradient of 157 MB that can take
several times as long as to compute it; gradients are let go after each step and made anew in the next.
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
    """Hands out tensors on the CPU that lie, one after another, in the same memory. Copies of it start empty.

    Memory that any tensor still uses, a view of one or an array that shares its numbers, is never handed out: then
    there is a new piece, and that is kept from then on.

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
        """A tensor of this shape with the type and device of ``like``; its values are anything.

        On another device than the CPU it is new memory each time.
        """
        if like.device.type != "cpu" or 0 in shape:
            return like.new_empty(shape)
        size = math.prod(shape) * like.element_size()
        with self._lock:
            busy = self._lease is not None and self._lease() is not None
            if self._block is None or busy or len(self._block) < size:
                # Torch's memory is aligned to 64 bytes.
                self._block = torch.empty(size, dtype=torch.uint8).numpy()
            # The tensor's storage holds this array, and nothing else does: it lives as long as the numbers are in use.
            lease = self._block[:size]
            self._lease = weakref.ref(lease)
        return torch.from_numpy(lease).view(like.dtype).view(shape)

    def __reduce__(self) -> tuple[type[KeptMemory], tuple[()]]:
        return KeptMemory, ()
