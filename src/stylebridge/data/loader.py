"""Batches: endless for training, one pass for evaluation."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stylebridge.data.augment import resize
from stylebridge.data.dataset import DomainDataset, read_pair
from stylebridge.data.domain import Domain
from stylebridge.data.sampling import Sampler
from stylebridge.errors import DataError, UserError, WorkerError, one_line

_Draw = tuple[int, int]


class Loader:
    """Endless batches of one process.

    A batch is a dict: ``image`` uint8 [B, 3, H, W] (channels-last memory), ``label`` uint8 [B, H, W] for labelled
    domains, ``index`` int64 [B] (the image) and ``position`` int64 [B] (the draw). Global step t takes the draws
    ``start_position`` + [t·B·P, (t + 1)·B·P) and process r the r-th B of them, so that the images do not depend on P.

    Closing the iterator (or dropping it) ends the workers.

    Args:
        dataset: the images.
        sampler: the image of each draw.
        batch_size: B, images in each step of a process.
        start_position: the first draw; for a resumed run, the number of draws already made by all processes.
        process_index: r.
        process_count: P.
        workers: data-loading processes; 0: load in the calling process.
        pin_memory: put batches into page-locked memory if there is a CUDA device.

    Raises:
        DataError: (while iterating) a file is invalid, or the images of a batch differ in size.
    """

    def __init__(
        self,
        dataset: DomainDataset,
        sampler: Sampler,
        batch_size: int,
        start_position: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.sampler, self.batch_size = dataset, sampler, batch_size
        self.start_position, self.workers = start_position, workers
        self.process_index, self.process_count = process_index, process_count
        self.pin_memory = pin_memory and torch.cuda.is_available()

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.dataset.cache  # noqa: B018 - made here, so that the workers share it
        return self._worker_batches() if self.workers > 0 else self._own_batches()

    def draws(self) -> Iterator[list[_Draw]]:
        """The (position, index) pairs of this process's batches."""
        for step in itertools.count():
            first = self.start_position + (step * self.process_count + self.process_index) * self.batch_size
            yield [(p, self.sampler.index(p)) for p in range(first, first + self.batch_size)]

    def _own_batches(self) -> Iterator[dict[str, Tensor]]:
        for draws in self.draws():
            batch = _collate(self.dataset, draws)
            yield {k: v.pin_memory() for k, v in batch.items()} if self.pin_memory else batch

    def _worker_batches(self) -> Iterator[dict[str, Tensor]]:
        loader = DataLoader(
            _Batches(self.dataset),
            batch_size=None,
            sampler=_Endless(self),  # type: ignore[arg-type]
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            # Forked workers share the image cache; they use neither CUDA nor torch's thread pools.
            multiprocessing_context="fork" if sys.platform == "linux" else None,
            # A separate generator: seeding the workers must not change the random numbers of training.
            generator=torch.Generator(),
            worker_init_fn=_leave_signals_to_the_main_process,
        )
        batches = iter(loader)
        try:
            while True:
                batch = next(batches)
                if isinstance(batch, _Failure):
                    raise batch.error from None
                yield batch
        finally:
            # Explicit, because the traceback of an error would keep the iterator alive.
            shutdown = getattr(batches, "_shutdown_workers", None)
            if shutdown is not None:
                shutdown()


@contextlib.contextmanager
def named_worker_deaths() -> Iterator[None]:
    """Inside, the death of a worker raises our error. torch raises its own at any point of the main process.

    Raises:
        WorkerError: a data-loading process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        reason = one_line(error).removeprefix("DataLoader worker ").partition(". ")[0].rstrip(".")
        raise WorkerError(
            f"A data-loading process died ({reason}), most often because memory ran out: continue with "
            f"--resume and fewer of them (--workers 1, or 0), or make the batch or the images smaller."
        ) from error


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Ignore SIGINT and defer SIGTERM in workers: terminals and schedulers send signals to all processes, and the main
    process needs the workers' batches to finish its step, then ends them. A second SIGTERM ends a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: signal.signal(number, signal.SIG_DFL))


@dataclass(frozen=True)
class _Failure:
    """A user error from a worker, passed to the main process as a value: torch would bury its message."""

    error: UserError


class _Batches(Dataset[Any]):
    """Whole batches as items, so that workers collate."""

    def __init__(self, dataset: DomainDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, draws: list[_Draw]) -> dict[str, Tensor] | _Failure:
        try:
            return _collate(self.dataset, draws)
        except UserError as error:
            return _Failure(error.with_traceback(None))


class _Endless:
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[list[_Draw]]:
        return self.loader.draws()


def _collate(dataset: DomainDataset, draws: list[_Draw]) -> dict[str, Tensor]:
    samples = [dataset.arrays(position, index) for position, index in draws]
    images = [image for image, _ in samples]
    _check_alike(dataset, draws, images)
    # Stacked by numpy in the pixels' order [B, H, W, 3]: one copy, and no thread pool in workers.
    batch = {"image": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)}
    if dataset.domain.labels is not None:
        batch["label"] = torch.from_numpy(np.stack([label for _, label in samples if label is not None]))
    positions, indices = np.array(draws, np.int64).T.copy()
    return batch | {"index": torch.from_numpy(indices), "position": torch.from_numpy(positions)}


def _check_alike(dataset: DomainDataset, draws: list[_Draw], images: list[np.ndarray]) -> None:
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        one, two = (f"{image.shape[1]}×{image.shape[0]}" for image in (images[0], images[odd]))
        paths = dataset.domain.images
        raise DataError(
            f"{paths[draws[odd][1]]} gives {two} and {paths[draws[0][1]]} gives {one}, but the images of a "
            f"batch must have the same size: set resize or crop in the {dataset.domain.name} augmentation."
        )


def evaluation_loader(
    domain: Domain, size: tuple[int, int] | None = None, batch_size: int = 4
) -> Iterator[dict[str, Any]]:
    """Every image of a domain once, in order, without augmentation.

    Yields dicts: ``image`` uint8 [B, 3, H, W], resized (bicubic) to ``size`` (width, height) if given; ``index`` int64
    [B]; and for a labelled domain ``labels``, a list of B uint8 [h, w] train ids at the *files'* size. A batch ends
    early if the next image has another size. A thread reads ahead.

    Raises:
        DataError: a file is invalid.
    """
    held: list[tuple[int, Tensor, Tensor | None]] = []
    for index, image, label in _read_ahead(domain, size, ahead=2 * batch_size):
        if held and (len(held) == batch_size or held[0][1].shape != image.shape):
            yield _evaluation_batch(held)
            held = []
        held.append((index, image, label))
    if held:
        yield _evaluation_batch(held)


def _evaluation_batch(held: list[tuple[int, Tensor, Tensor | None]]) -> dict[str, Any]:
    batch: dict[str, Any] = {
        "image": torch.stack([image for _, image, _ in held]).permute(0, 3, 1, 2),
        "index": torch.tensor([index for index, _, _ in held]),
    }
    if held[0][2] is not None:
        batch["labels"] = [label for _, _, label in held]
    return batch


def _read_ahead(
    domain: Domain, size: tuple[int, int] | None, ahead: int
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """(index, uint8 [H, W, 3], train ids uint8 [h, w] or None) of every image, in order."""

    def read(index: int) -> tuple[int, Tensor, Tensor | None]:
        image, label = read_pair(domain, index)
        if size is not None:
            image, _ = resize(image, None, size)
        return index, torch.from_numpy(image.copy()), None if label is None else torch.from_numpy(label)

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: list[Future[tuple[int, Tensor, Tensor | None]]] = []
        try:
            for index in range(len(domain.images)):
                waiting.append(pool.submit(read, index))
                if len(waiting) > ahead:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()
