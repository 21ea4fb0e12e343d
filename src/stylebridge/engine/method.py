"""What a method is: its networks, and the phases of one training step."""

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
    """One loss of a phase: a scalar, and its weight in the sum that is minimised. Logged unweighted."""

    name: str
    value: Tensor
    weight: float = 1.0


#: For each network, for each of its parameters: from an older layout of checkpoints to today's. Applied to the weights
#: and to the optimiser's moments alike, so it must keep the shape.
Conversions = dict[str, dict[str, Callable[[Tensor], Tensor]]]

#: What a phase yields: single terms, or lists of terms that share a graph.
Losses = Iterator[Term | list[Term]]


@dataclass
class Step:
    """What the phases of one step (of one micro-batch) see.

    ``batch`` maps a stream's name to its batch on the device: ``image`` float [B, 3, H, W] in [0, 1],
    ``label`` int64 [B, H, W] where the stream is labelled (255 = ignore), ``index`` and ``position`` [B].
    ``memo`` carries tensors from one phase to the later phases of the same step, so that nothing is computed
    twice. Tensors left there must be detached: each phase frees its own graph.
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
        """Uniform numbers in [0, 1), one row an image: [images, *shape] on the device.

        Row i belongs to the i-th image of the *global* batch, so the numbers depend neither on how many
        processes share the batch nor on whether the run was resumed.
        """
        self._draws += 1
        rows = self._drawn(images * self.process_count, *shape)
        return self.own(rows).to(self.device)

    def rand_of_step(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of this shape that belong to the step as a whole: every process has the same."""
        self._draws += 1
        return self._drawn(*shape).to(self.device)

    def _drawn(self, *shape: int) -> Tensor:
        seed = mixed_seed(self.seed, self.number, self.micro, self._draws)
        return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of a tensor that has rows for the global batch."""
        return rows.chunk(self.process_count)[self.process_index]

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of the global batch, of which this process has ``rows``; no gradient. All processes must ask."""
        if self.process_count == 1:
            return rows.detach()
        everywhere = rows.new_zeros(self.process_count * len(rows), *rows.shape[1:])
        self.own(everywhere).copy_(rows.detach())
        return self.sum_over_processes(everywhere)

    def mean(self, total: Tensor, count: Tensor) -> Tensor:
        """``total/count`` with the count taken over all processes.

        Averaged over processes (as gradients are) this equals the mean over the global batch, also where
        the processes hold different numbers of valid pixels. 0 where nothing is counted.
        """
        everywhere = self.sum_over_processes(count.detach().to(torch.float64))
        return total * (self.process_count / everywhere.clamp(min=1)).to(total.dtype)


@dataclass(frozen=True)
class Phase:
    """One part of a step: which networks it trains (all others are frozen), what it minimises, how often.

    ``losses`` is a generator of terms. What is yielded is backpropagated at once and its graph is freed, so a
    phase never holds more graphs than it must; terms that share a graph are yielded together, as a list.
    After the last term the optimisers of ``trains`` step.
    """

    name: str
    trains: tuple[str, ...]
    losses: Callable[[Step], Losses]
    every: int = 1


@dataclass(frozen=True)
class Average:
    """An exponential moving average of a network, kept by the trainer as a network of its own.

    ``decay`` is reached gradually: step t uses ``min(decay, 1 − 1/(t + 1))`` (mean-teacher warm-up). The average moves
    in those steps in which its network's optimiser stepped, and only then.
    ``copy_buffers``: buffers (batch-norm statistics) are the network's; else the average keeps its own, which
    it gathers from what it is shown.
    """

    of: str
    decay: float
    copy_buffers: bool = True


class Method(ABC):
    """A training method. It knows its networks and losses, and no device, process count or checkpoint."""

    name: ClassVar[str]
    #: Streams of images the method draws from; True where it reads labels.
    streams: ClassVar[dict[str, bool]]
    #: Layout of the networks' weights, written into every checkpoint; raised when the order of some weights changes.
    layout: ClassVar[int] = 1

    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {}
        self.averages: dict[str, Average] = {}
        #: Modules besides the networks whose state a checkpoint keeps (image buffers); saved by each process.
        self.local: dict[str, nn.Module] = {}

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The phases of one step, in the order in which they run."""

    def conversions(self, layout: int) -> Conversions:
        """How a checkpoint of an older layout is read (1: that of checkpoints without a number)."""
        return {}

    def parameter_groups(self, network: str) -> dict[str, list[nn.Parameter]]:
        """Named groups of a network's parameters, for ``OptimizerConfig.group_lr``."""
        module = self.networks[network]
        groups = getattr(module, "parameter_groups", None)
        return groups() if groups is not None else {"all": list(module.parameters())}
