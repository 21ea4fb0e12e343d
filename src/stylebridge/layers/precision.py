"""Parts that autocast must not touch, and sums that half precision cannot hold."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Inside, operations on ``device`` keep their inputs' types; nothing to do where autocast does not exist."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)  # type: ignore[return-value]


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32 (autocast gives such); float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
