"""Streams of batches for the trainer: a data set, drawn by a sampler, shared between processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from accelerate import Accelerator

from stylebridge.data.loader import Loader
from stylebridge.data.sampling import Sampler
from stylebridge.engine.config import TrainerConfig
from stylebridge.engine.method import Batch


def stream_opener(
    dataset: Any, sampler: Sampler, config: TrainerConfig, accelerator: Accelerator, workers: int
) -> Callable[[int], Iterator[Batch]]:
    """What the trainer opens a stream with: called with the number of the first micro-batch, it gives the batches of
    this process from there on."""
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
