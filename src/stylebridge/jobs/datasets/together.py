"""Work on whole sets of images that all processes of a job share: checks of data, and folders of files.

What comes out is that of one process. Progress is shown by the main process, of its own part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress

from stylebridge.atomic import RESUME, explained, open_folder, partial_path, put_in_place
from stylebridge.data.domain import Domain, DomainSummary, check_domain
from stylebridge.data.shards import ShardSequence
from stylebridge.data.statistics_cache import load_statistics, save_statistics, statistics_key
from stylebridge.engine.processes import Share, agreed
from stylebridge.jobs.runs.outputs import PART, mark

_ARRAYS = ("image_sizes", "pixel_counts", "ignored_counts")


@contextmanager
def progress_bar(
    title: str, total: int, console: Console, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """A bar, on a terminal, that goes away at the end; gives the function to call with the number of items done."""
    with Progress(console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)


def check_together(domain: Domain, accelerator: Accelerator, console: Console) -> DomainSummary:
    """:func:`~stylebridge.data.domain.check_domain` by all processes, each of which decodes a part of the files.

    Raises:
        DataError: the first file, in order, that is not what it should be, in every process.
    """
    total, main = len(domain.images), accelerator.is_main_process
    packed = isinstance(domain.images, ShardSequence)  # their statistics are in the index
    if accelerator.num_processes == 1 or packed:
        with progress_bar(f"check the {domain.name}", total, console, main) as advance:
            return check_domain(domain, progress=lambda done, of: advance(1))
    key = statistics_key(domain.images, domain.labels, domain.space)
    kept = load_statistics(key) if key else None
    if all(agreed_by_all(kept is not None, accelerator)):
        assert kept is not None
        return DomainSummary(**kept)
    share: Share[int] = Share(range(total), accelerator)
    found: dict[str, np.ndarray] = {}
    with (
        progress_bar(f"check the {domain.name}", len(share.mine), console, main) as advance,
        share.together(),
    ):
        rows = slice(share.first, share.stop)
        labels = None if domain.labels is None else domain.labels[rows]
        part = replace(domain, images=domain.images[rows], labels=labels)
        summary = check_domain(part, cache=False, progress=lambda done, of: advance(1))
        found = {name: getattr(summary, name) for name in _ARRAYS}
    parts = share.gather([found])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in _ARRAYS}
    if key and accelerator.is_local_main_process:
        save_statistics(key, arrays)
    accelerator.wait_for_everyone()  # who asks again finds them
    return DomainSummary(**arrays)


def agreed_by_all(value: bool, accelerator: Accelerator) -> list[bool]:
    """What each process says."""
    return Share((), accelerator).gather([value])


def make_together(
    folder: Path,
    items: Sequence[Any],
    accelerator: Accelerator,
    write: Callable[[Sequence[Any], Path], None],
    finish: Callable[[Path], None] | None = None,
    group: int = 1,
) -> None:
    """A folder of files that all processes write, unless it is there already. It is whole or not there.

    Args:
        items: what files are made of; each process gets a run of neighbours.
        write: called with a process's items and the folder to write into.
        finish: called by the main process with the folder when all have written.
        group: items that stay together.

    Raises:
        Exception: what ``write`` raised, in every process.
    """
    if agreed(folder.is_dir(), accelerator):
        return
    main = accelerator.is_main_process
    place = Path(os.path.realpath(folder))
    beside = partial_path(place)
    if main:
        with explained(folder, mend=RESUME):
            open_folder(place)
    accelerator.wait_for_everyone()
    share = Share(items, accelerator, group)
    with share.together():
        write(share.mine, beside)
    if main:
        if finish is not None:
            finish(beside)
        with explained(folder, mend=RESUME):
            mark(beside, PART)
            put_in_place(beside, place)
    accelerator.wait_for_everyone()
