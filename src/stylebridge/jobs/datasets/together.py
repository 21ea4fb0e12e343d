"""Work on whole image sets, shared by all processes of a job: checks of data, and folders of files.

Results are those of a single process. The main process shows progress, of its own part.
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
    """A temporary progress bar on a terminal; yields a function to call with the number of finished items."""
    with Progress(console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)


def check_together(domain: Domain, accelerator: Accelerator, console: Console) -> DomainSummary:
    """:func:`~stylebridge.data.domain.check_domain` shared by all processes: each decodes a part of the files.

    Raises:
        DataError: the first invalid file, in order; raised in every process.
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
    accelerator.wait_for_everyone()  # the next call finds them
    return DomainSummary(**arrays)


def agreed_by_all(value: bool, accelerator: Accelerator) -> list[bool]:
    """The values of all processes."""
    return Share((), accelerator).gather([value])


def make_together(
    folder: Path,
    items: Sequence[Any],
    accelerator: Accelerator,
    write: Callable[[Sequence[Any], Path], None],
    finish: Callable[[Path], None] | None = None,
    group: int = 1,
) -> None:
    """Create a folder of files with all processes, unless it exists. The folder is written atomically.

    Args:
        items: the inputs; each process gets a contiguous part.
        write: called with the items of a process and the folder to write to.
        finish: called in the main process with the folder when all are finished.
        group: items that stay together.

    Raises:
        Exception: that of ``write``, in every process.
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
