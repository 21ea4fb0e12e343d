"""The base class of methods: networks, and the phases of one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stylebridge.engine.rng import mixed_seed

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Term:
    """One loss of a phase: a scalar, and its weight in the minimised sum. Logged without the weight."""

    name: str
    value: Tensor
    weight: float = 1.0


#: For each network and parameter: the conversion from an older checkpoint layout to the current one. Applied to the
#: weights and to the optimiser's moments, so it must keep the shape.
Conversions = dict[str, dict[str, Callable[[Tensor], Tensor]]]

#: The terms of a phase: single terms, or lists of terms that share a graph.
Losses = Iterator[Term | list[Term]]


@dataclass
class Step:
    """The input of the phases of one step (of one micro-batch).

    ``batch`` maps a stream's name to its batch on the device: ``image`` float [B, 3, H, W] in [0, 1],
    ``label`` int64 [B, H, W] where the stream is labelled (255 = ignore), ``index`` and ``position`` [B].
    ``memo`` passes tensors from one phase to later phases of the step, so that nothing is computed twice. These tensors
    must be detached: each phase frees its own graph.
    """

    number: int
    batch: dict[str, Batch]
    device: torch.device
    seed: int
    process_index: int = 0
    process_count: int = 1
    micro: int = 0
    sum_over_processes: Callable[[Tensor], Tensor] = lambda value: value
    memo: dict[str, Any] = field(default_factory=dict)
    _draws: int = 0

    def rand(self, images: int, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), one row for each image: [images, *shape] on the device.

        Row i belongs to image i of the *global* batch, so the numbers depend neither on the number of processes nor on
        whether the run was resumed.
        """
        self._draws += 1
        rows = self._drawn(images * self.process_count, *shape)
        return self.own(rows).to(self.device)

    def rand_of_step(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of this shape for the whole step, equal in all processes."""
        self._draws += 1
        return self._drawn(*shape).to(self.device)

    def _drawn(self, *shape: int) -> Tensor:
        seed = mixed_seed(self.seed, self.number, self.micro, self._draws)
        return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of a tensor with rows for the global batch."""
        return rows.chunk(self.process_count)[self.process_index]

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, without gradient; ``rows`` are this process's. All processes must call it."""
        if self.process_count == 1:
            return rows.detach()
        everywhere = rows.new_zeros(self.process_count * len(rows), *rows.shape[1:])
        self.own(everywhere).copy_(rows.detach())
        return self.sum_over_processes(everywhere)

    def mean(self, total: Tensor, count: Tensor) -> Tensor:
        """``total/count`` with the mean count of all processes.

        Averaged over processes (as gradients are) this equals the mean over the global batch, even if the processes
        have different numbers of valid pixels. 0 if nothing is counted.
        """
        everywhere = self.sum_over_processes(count.detach().to(torch.float64))
        return total * (self.process_count / everywhere.clamp(min=1)).to(total.dtype)


@dataclass(frozen=True)
class Phase:
    """One part of a step: the networks that it trains (all others are frozen), its losses, its interval.

    ``losses`` is a generator of terms. Each yielded item is backpropagated at once and its graph is freed, so that a
    phase never holds more graphs than needed; terms that share a graph are yielded together, as a list. After the last
    term the optimisers of ``trains`` step.
    """

    name: str
    trains: tuple[str, ...]
    losses: Callable[[Step], Losses]
    every: int = 1


@dataclass(frozen=True)
class Average:
    """An exponential moving average of a network, kept by the trainer as a separate network.

    ``decay`` is reached gradually: step t uses ``min(decay, 1 − 1/(t + 1))`` (mean-teacher warm-up). The average moves
    only in steps in which its network's optimiser stepped.
    ``copy_buffers``: copy the network's buffers (batch-norm statistics); else the average collects its own from its
    inputs.
    """

    of: str
    decay: float
    copy_buffers: bool = True


class Method(ABC):
    """A training method. It knows its networks and losses, but not the device, process count or checkpoints."""

    name: ClassVar[str]
    #: The streams of images that the method reads; True if it reads labels.
    streams: ClassVar[dict[str, bool]]
    #: The networks that some phase can train: each has an optimiser.
    trains: ClassVar[tuple[str, ...]] = ()
    #: Layout of the networks' weights, written into every checkpoint; incremented when the order of weights changes.
    layout: ClassVar[int] = 1

    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {}
        self.averages: dict[str, Average] = {}
        #: Modules besides the networks whose state is saved in checkpoints (image buffers), by each process.
        self.local: dict[str, nn.Module] = {}

    @classmethod
    def trained(cls, options: Any) -> tuple[str, ...]:
        """The networks that are trained with these options."""
        return cls.trains

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The phases of one step, in order."""

    def conversions(self, layout: int) -> Conversions:
        """The conversions for checkpoints of an older layout (1: checkpoints without a layout number)."""
        return {}

    def parameter_groups(self, network: str) -> dict[str, list[nn.Parameter]]:
        """Named groups of a network's parameters, for ``OptimizerConfig.group_lr``."""
        module = self.networks[network]
        groups = getattr(module, "parameter_groups", None)
        return groups() if groups is not None else {"all": list(module.parameters())}
