"""Several processes: averaging gradients, synchronising state, and sharing other work.

Gradients are averaged once a phase, with one message for each network. torch's DistributedDataParallel would overlap
this with the backward pass, but expects one forward and one backward pass per step through every parameter, unlike
adversarial phases with frozen networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, gather_object
from torch import Tensor, nn

from stylebridge.errors import RunError, UserError
from stylebridge.layers.precision import at_least_float32

Item = TypeVar("Item")
Found = TypeVar("Found")
Kind = TypeVar("Kind", bound=Tensor)


def _by_type(tensors: Sequence[Kind]) -> Iterator[list[Kind]]:
    kinds = {tensor.dtype: None for tensor in tensors}
    for kind in kinds:
        yield [tensor for tensor in tensors if tensor.dtype == kind]


def _write_back(flat: Tensor, tensors: list[Tensor]) -> None:
    pieces = flat.split([t.numel() for t in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


@torch.no_grad()
def average_gradients(parameters: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace every gradient by its mean over the processes, computed in float32 at least. If only some processes have
    a gradient, the others count as zero; if none has, the parameter stays without one, so that no optimiser moves
    it."""
    if accelerator.num_processes == 1:
        return
    for alike in _by_type(parameters):
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in alike]
        flat = torch.cat([at_least_float32(g.reshape(-1)) for g in gradients])
        has = flat.new_tensor([p.grad is not None for p in alike])
        mean = accelerator.reduce(torch.cat((flat, has)), "mean")
        assert isinstance(mean, Tensor)
        _write_back(mean[: len(flat)], gradients)
        anywhere = mean[len(flat) :].tolist()
        for parameter, gradient, share in zip(alike, gradients, anywhere, strict=True):
            parameter.grad = gradient if share else None


@torch.no_grad()
def broadcast_state(networks: Iterable[nn.Module], accelerator: Accelerator, parameters: bool) -> None:
    """Give every process the main process's buffers of all types, and optionally its parameters."""
    if accelerator.num_processes == 1:
        return
    tensors: list[Tensor] = []
    for network in networks:
        tensors += network.buffers()
        if parameters:
            tensors += network.parameters()
    for alike in _by_type([t for t in tensors if t.numel()]):
        # As bytes: works for types that the backend does not support.
        flat = torch.cat([t.detach().reshape(-1) for t in alike])
        received = broadcast(flat.view(torch.uint8))
        assert isinstance(received, Tensor)
        _write_back(received.view(flat.dtype), alike)


class Share(Generic[Item]):
    """Work shared by all processes: each takes a part of the items, and the results are combined.

    If one process raises, all processes raise the same error at the end of the work, so that none waits forever.

    Example::

        share = Share(images, accelerator)
        with share.together():
            found = [measure(image) for image in share.mine]
        everything = share.gather(found)  # in the order of images, in every process
    """

    def __init__(self, items: Sequence[Item], accelerator: Accelerator, group: int = 1) -> None:
        """``group``: number of items that stay together, such as the images of a batch."""
        self.accelerator = accelerator
        count, rank = accelerator.num_processes, accelerator.process_index
        groups = -(-len(items) // group)
        self.first, self.stop = (
            min(groups * place // count * group, len(items)) for place in (rank, rank + 1)
        )
        #: This process's part, contiguous.
        self.mine = items[self.first : self.stop]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do the work: all processes enter, and continue when the last one is finished.

        Raises:
            Exception: the error of the first process that failed; in the other processes a :class:`UserError` with the
                same message if it was one, else a :class:`RunError`.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.accelerator.num_processes == 1:
            if failure is not None:
                raise failure
            return
        told = None if failure is None else (isinstance(failure, UserError), type(failure), str(failure))
        failures = [found for found in gather_object([told]) if found is not None]
        if failure is not None and failures[0][2] == str(failure):
            raise failure
        if failures:
            ours, kind, words = failures[0]
            raise kind(words) if ours else RunError(f"Another process failed: {kind.__name__}: {words}")

    def gather(self, own: list[Found]) -> list[Found]:
        """The lists of all processes, joined in the order of the items. All processes must call it."""
        if self.accelerator.num_processes == 1:
            return own
        return gather_object(own)

    def sum(self, own: Tensor) -> Tensor:
        """The sum of all processes' tensors. All processes must call it."""
        total = self.accelerator.reduce(own, "sum") if self.accelerator.num_processes > 1 else own
        assert isinstance(total, Tensor)
        return total


def agreed(value: Found, accelerator: Accelerator) -> Found:
    """The main process's value, in every process: data read from the disk may differ between processes."""
    if accelerator.num_processes == 1:
        return value
    return broadcast_object_list([value])[0]
