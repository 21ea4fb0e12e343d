"""Streams of batches for the trainer, and the seeds that everything random of a stage starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from accelerate import Accelerator

from stylebridge.data.loader import Loader
from stylebridge.data.sampling import Sampler
from stylebridge.engine.config import TrainerConfig
from stylebridge.engine.method import Batch

#: Called with the number of the first micro-batch, it gives the batches of this process from there on.
StreamOpener = Callable[[int], Iterator[Batch]]


class Seeds(NamedTuple):
    """How a recipe's seed becomes those of its stages and streams.

    Tasks differ, so that a recipe and a seed give the same bits as in the versions in which each task had its own
    training job. New tasks take the defaults.
    """

    a_stage: int = 1000
    a_stream: int = 10
    first: int = 1

    def of_stage(self, seed: int, index: int) -> int:
        """The seed of a stage: of its networks, its steps, its methods' draws."""
        return seed * self.a_stage + index

    def of_stream(self, stage_seed: int, number: int = 0) -> int:
        """The seed of a stage's stream: of its order and its augmentation."""
        return stage_seed * self.a_stream + self.first + number


def stream_opener(
    dataset: Any, sampler: Sampler, config: TrainerConfig, accelerator: Accelerator, workers: int
) -> StreamOpener:
    """A stream of a data set, drawn by a sampler and shared between processes."""
    processes = accelerator.num_processes
    images = config.batch // (processes * config.accumulate)

    def open_stream(first_micro_batch: int) -> Iterator[Batch]:
        return iter(
            Loader(
                dataset,
                sampler,
                batch_size=images,
                start_position=first_micro_batch * images * processes,
                process_index=accelerator.process_index,
                process_count=processes,
                workers=workers,
                pin_memory=accelerator.device.type == "cuda",
            )
        )

    return open_stream
