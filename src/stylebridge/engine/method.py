"""What a method is: its networks, and the phases of one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

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
        words = (self.seed, self.number, self.micro, self._draws)
        state = 0
        for word in words:  # a small mixing hash: neighbouring steps must not get neighbouring seeds
            state = (state * 6364136223846793005 + word + 1442695040888963407) % 2**64
        generator = torch.Generator().manual_seed((state ^ (state >> 31)) % 2**63)
        rows = torch.rand(images * self.process_count, *shape, generator=generator)
        first = images * self.process_index
        return rows[first : first + images].to(self.device)

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

    ``decay`` is reached gradually: step t uses ``min(decay, 1 − 1/(t + 1))`` (mean-teacher warm-up).
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
        #: Modules whose state differs between processes (image buffers); saved once a process.
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
