"""Exponential moving averages of networks."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylebridge.engine.method import Average


def make_average(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in evaluation mode, without gradients."""
    average = copy.deepcopy(network)
    average.requires_grad_(False)
    return average.eval()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, setting: Average, step: int) -> None:
    """Move ``average`` towards ``network``: ``a ← d·a + (1 − d)·w`` with ``d = min(decay, 1 − 1/(step+1))``.

    Call it after steps in which the network was updated; otherwise the average would decay towards weights that are
    already counted.

    Buffers (batch-norm statistics, which are averages already) are copied if the setting says so.
    """
    decay = min(setting.decay, 1.0 - 1.0 / (step + 1))
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]
    if not setting.copy_buffers:
        return
    for mine, source in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(source)
