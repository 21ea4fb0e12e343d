"""The global batch of several processes: sums and batch norm over all of its images.

The trainer sets this process's part with :func:`global_batch`. Outside of it, and with one process, all functions act
on the given tensors only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stylebridge.layers.precision import at_least_float32, without_autocast


@dataclass(frozen=True)
class Part:
    """Process ``index`` of ``count`` has ``images`` images of each stream: the rows from ``index·images`` on."""

    index: int
    count: int
    images: int


_parts: list[Part] = []


@contextmanager
def global_batch(part: Part) -> Iterator[None]:
    """Inside, batches are this process's part of the global batch."""
    _parts.append(part)
    try:
        yield
    finally:
        _parts.pop()


def several_processes() -> bool:
    """Whether the current batch is a part of a larger one."""
    return bool(_parts) and _parts[-1].count > 1


class _SumOverProcesses(torch.autograd.Function):
    """The gradient of a sum over processes is the sum of the processes' gradients; differentiable twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _SumOverProcesses.apply(grad_outputs[0])  # type: ignore[no-any-return]


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of all processes' tensors (all must call it); ``x`` itself with a single process."""
    return _SumOverProcesses.apply(x) if several_processes() else x  # type: ignore[no-any-return]


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch norm in training mode, with the statistics of the global batch.

    Uses basic operations and runs on any device; the synchronised layers of torch and timm are faster but need a GPU.
    Statistics are computed in float32 at least: first the mean, then the deviations from it.

    Args:
        x: [B, C] or [B, C, …]. The other arguments are those of :func:`torch.nn.functional.batch_norm`.

    Returns:
        A tensor of the shape and type of x.
    """
    with without_autocast(x.device):
        exact = at_least_float32(x)
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        values = exact.new_full((1,), x.numel() / x.shape[1])
        sums = sum_over_processes(torch.cat((values, exact.sum(axes))))
        count = sums[0].detach()
        mean = sums[1:] / count
        centred = exact - mean.view(shape)
        var = sum_over_processes(centred.square().sum(axes)) / count
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                unbiased = var * (count / (count - 1).clamp(min=1))
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        scale = (var + eps).rsqrt()
        if weight is not None:
            scale = scale * weight.to(scale.dtype)
        y = centred * scale.view(shape)
        return (y if bias is None else y + bias.to(y.dtype).view(shape)).to(x.dtype)
