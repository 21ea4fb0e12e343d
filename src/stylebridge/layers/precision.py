"""Protection from autocast, and sums in sufficient precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Inside, operations on ``device`` keep their inputs' types; no effect where autocast does not exist."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)  # type: ignore[return-value]


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision tensors (from autocast) as float32; float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
