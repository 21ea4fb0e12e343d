"""Parts that autocast must not touch."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Inside, operations on ``device`` keep their inputs' types; nothing to do where autocast does not exist."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)  # type: ignore[return-value]
