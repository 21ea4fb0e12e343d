"""Several processes: gradients are averaged, states are kept equal.

Gradients are averaged once a phase, in one message a network. torch's DistributedDataParallel would overlap
this with the backward pass, but expects one forward and one backward a step through every parameter, which
adversarial phases with frozen networks do not have.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn


def _flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1).float() for t in tensors])


def _write_back(flat: Tensor, tensors: list[Tensor]) -> None:
    pieces = flat.split([t.numel() for t in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


@torch.no_grad()
def average_gradients(parameters: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace every gradient by its mean over the processes. A parameter without gradient counts as zero,
    so that all processes send messages of the same length."""
    if accelerator.num_processes == 1 or not parameters:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
    mean = accelerator.reduce(_flatten(gradients), "mean")
    assert isinstance(mean, Tensor)
    _write_back(mean, gradients)


@torch.no_grad()
def broadcast_state(networks: Iterable[nn.Module], accelerator: Accelerator, parameters: bool) -> None:
    """Give every process the main process's floating-point buffers, and its parameters if asked."""
    if accelerator.num_processes == 1:
        return
    for network in networks:
        tensors: list[Tensor] = [b for b in network.buffers() if b.is_floating_point()]
        if parameters:
            tensors += list(network.parameters())
        if tensors:
            flat = broadcast(_flatten(tensors))
            assert isinstance(flat, Tensor)
            _write_back(flat, tensors)
