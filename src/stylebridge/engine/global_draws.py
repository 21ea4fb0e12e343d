"""Several processes act as one: random draws and batch norm of networks depend on the global batch only.

Networks call torch for random numbers: dropout, noise, timm's DropPath. :func:`one_of` intercepts these calls while the
losses of a phase are computed. All processes have the same state of torch's generator (set anew for each phase, see
:mod:`stylebridge.engine.rng`); each draws for the global batch, as one process would, and takes its own images' rows.
Batch norm in training mode uses the statistics of the global batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from stylebridge.layers.global_batch import Part, batch_norm, global_batch


@contextmanager
def one_of(part: Part, draws: bool = True) -> Iterator[None]:
    """Inside, this process does its part of the work of one process. With a single process nothing changes.

    Intercepted are ``torch.rand``, ``randn`` and their ``_like`` forms, ``Tensor.normal_``, ``uniform_``,
    ``bernoulli_`` and ``exponential_`` with numbers as arguments, ``F.dropout`` … ``F.dropout3d`` and ``F.batch_norm``,
    wherever they are called. A tensor is drawn by image if its first axis is a multiple of the images. Other tensors,
    calls with their own generator and draws inside other operations (attention with dropout) are left alone: they are
    the same in every process.
    same in every process.

    Args:
        draws: False: calls are not intercepted (compiled networks), so draws and batch norm are local to this process;
            sums of layers over the global batch still are global.
    """
    if part.count == 1:
        yield
        return
    with global_batch(part), _Mode(part) if draws else nullcontext():
        yield


class _Mode(TorchFunctionMode):
    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        handler = _HANDLERS.get(func)
        if handler is None:  # nearly always: costs microseconds a call
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        return handler(self.part, func, *args, **kwargs)


def _by_image(part: Part, shape: Sequence[int]) -> bool:
    return len(shape) > 0 and shape[0] > 0 and shape[0] % part.images == 0


def _own(part: Part, drawn: Tensor) -> Tensor:
    return drawn.chunk(part.count)[part.index]


def _for_all(part: Part, x: Tensor) -> Tensor:
    """An empty tensor for the global batch, in the memory layout of a single process."""
    shape = [x.shape[0] * part.count, *x.shape[1:]]
    strides, stride = [0] * x.dim(), 1
    for axis in sorted(range(x.dim()), key=lambda a: (x.stride(a), -a)):
        strides[axis] = stride
        stride *= shape[axis]
    return torch.empty_strided(shape, strides, dtype=x.dtype, device=x.device)


def _of_size(part: Part, func: Callable[..., Tensor], *size: Any, **kwargs: Any) -> Tensor:
    """``torch.rand`` and ``torch.randn``."""
    given = kwargs.pop("size", None)
    shape = list(
        given if given is not None else size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    )
    if not _by_image(part, shape):
        return func(shape, **kwargs)
    gradient = kwargs.pop("requires_grad", False)
    mine = _own(part, func([shape[0] * part.count, *shape[1:]], **kwargs))
    return mine.requires_grad_() if gradient else mine


def _like(part: Part, func: Callable[..., Tensor], x: Tensor, **kwargs: Any) -> Tensor:
    """``torch.rand_like`` and ``torch.randn_like``."""
    if not _by_image(part, x.shape):
        return func(x, **kwargs)
    return _own(part, func(_for_all(part, x.detach()), **kwargs))


@torch.no_grad()
def _in_place(part: Part, func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor.normal_`` and the like."""
    numbers = not any(isinstance(value, Tensor) for value in (*args, *kwargs.values()))
    if not numbers or not _by_image(part, x.shape):
        return func(x, *args, **kwargs)
    return x.copy_(_own(part, func(_for_all(part, x), *args, **kwargs)))


def _dropout(
    part: Part,
    func: Callable[..., Tensor],
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """``F.dropout``, and its forms for whole channels, whose masks have one number for each channel."""
    if not training or p == 0 or not _by_image(part, input.shape):
        return func(input, p, training, inplace)
    ones = input.detach()
    if func is not F.dropout:
        ones = ones[(slice(None), slice(None), *[slice(0, 1)] * (input.dim() - 2))].contiguous()
    mask = _own(part, func(_for_all(part, ones).fill_(1), p, True, False))
    return input.mul_(mask) if inplace else input * mask


def _batch_norm(
    part: Part,
    func: Callable[..., Tensor],
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return func(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if math.prod(input.shape) * part.count <= input.shape[1]:  # torch raises its error
        return func(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return batch_norm(input, running_mean, running_var, weight, bias, momentum, eps)


_HANDLERS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    **dict.fromkeys((torch.rand, torch.randn), _of_size),
    **dict.fromkeys((torch.rand_like, torch.randn_like), _like),
    **dict.fromkeys((Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.exponential_), _in_place),
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d), _dropout),
    F.batch_norm: _batch_norm,
}
