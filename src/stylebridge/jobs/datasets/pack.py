"""Pack a domain into shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from stylebridge.data.domain import Domain, DomainSpec, open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.shards.writer import write_shards
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.domains import open_labelled
from stylebridge.jobs.runs.outputs import SHARDS, ensure_apart, ensure_free, replaced_folder
from stylebridge.terminal import open_console, open_progress


@dataclass(frozen=True)
class PackResult:
    """The result of packing: folder, numbers of shards and samples, and size of the shards in bytes."""

    path: Path
    shards: int
    samples: int
    bytes: int


def pack(
    data: str | Path,
    out: str | Path,
    *,
    label_space: str | Path | LabelSpace | None = None,
    read_as: str | None = None,
    unlabelled: bool = False,
    shard_mb: float = 256,
    workers: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> PackResult:
    """Pack a domain into WebDataset shards with an index (:mod:`stylebridge.data.shards`).

    Image files are copied unchanged; label maps are converted to train ids. Packing the same data twice gives the same
    bytes. The folder is written under a temporary name and renamed when it is complete.

    Args:
        data: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``; shards may be packed again.
        out: the folder to create.
        label_space: the label space of the label files: a built-in name or a YAML file; None: that of the layout, or
            inferred. Compared with the files' evidence.
        read_as: the label space regardless of the files' evidence.
        unlabelled: pack only the images.
        shard_mb: size limit of a shard, in MB (10⁶ bytes), unless a single sample is larger.
        workers: number of reading threads; None: one for each core.
        overwrite: replace the shards in ``out``.

    Raises:
        UserError: a path or value is wrong, or a file is invalid; names it.
    """
    console = console or open_console(stderr=True, quiet=quiet)
    folder = Path(out)
    if not shard_mb > 0:
        raise DataError(f"--shard-mb is {shard_mb}: choose a size above 0.")
    ensure_apart(folder, {"the data": DomainSpec.parse(data).path})
    ensure_free(folder, SHARDS, overwrite)
    domain = _open(data, label_space, read_as, unlabelled, console)
    with replaced_folder(folder, SHARDS) as beside, open_progress(console, quiet) as bar:
        task = bar.add_task("pack", total=len(domain.images))
        index = write_shards(
            domain,
            beside,
            int(shard_mb * 1e6),
            workers,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    shards = index["shards"]
    return PackResult(folder, len(shards), index["samples"], sum(shard["size"] for shard in shards))


def _open(
    data: str | Path,
    label_space: str | Path | LabelSpace | None,
    read_as: str | None,
    unlabelled: bool,
    console: Console,
) -> Domain:
    if unlabelled:
        return open_domain(data, "data", labelled=False)
    said = [read_as] if read_as else []
    return open_labelled(data, "data", console, label_space=label_space, read_as=said)
