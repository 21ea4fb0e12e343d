"""Files that a command writes one by one into a folder with other files: label maps, pictures.

The rule is that of :mod:`stylebridge.jobs.runs.outputs`: only files listed in the folder's marker are overwritten.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stylebridge.atomic import explained
from stylebridge.errors import RunError
from stylebridge.jobs.runs.outputs import (
    MARKER,
    WRITTEN,
    contents,
    is_listed,
    read_marker,
    refuse_links,
    write_marker,
)


@contextlib.contextmanager
def claimed_files(folder: Path, kind: str) -> Iterator[Callable[[Path], None]]:
    """While the block runs, files are written below ``folder``, which is marked as the place of these outputs. Call
    :func:`ensure_unclaimed` before.

    Yields a function to call with each finished file (for numbered frames, with ``frames_of(path)``), from any thread.
    Only these are listed, also if the process is killed.
    """
    written: set[str] = set()
    guard = threading.Lock()
    with explained(folder, mend="choose another --out"):
        made = not os.path.lexists(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_marker(folder, {kind: (), **read_marker(folder)})

    def wrote(path: Path) -> None:
        entry = _entry(folder, path)
        with guard, explained(folder, mend="choose another --out"):
            if entry not in written:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
                descriptor = os.open(folder / WRITTEN, flags, 0o666)
                try:
                    os.write(descriptor, f"{json.dumps([kind, entry])}\n".encode())
                finally:
                    os.close(descriptor)
                written.add(entry)

    try:
        yield wrote
    finally:
        with contextlib.suppress(OSError):
            listed = read_marker(folder)  # again: another process may have written in between
            kept = {f for f in (*listed.get(kind, ()), *written) if os.path.lexists(folder / f)}
            listed[kind] = sorted(kept)
            if not kept:
                del listed[kind]
            if listed:
                write_marker(folder, listed)
            else:
                (folder / MARKER).unlink(missing_ok=True)
            (folder / WRITTEN).unlink(missing_ok=True)
            if made and not contents(folder):
                shutil.rmtree(folder)


def frames_of(folder: Path) -> Path:
    """The entry of a folder of numbered frames among outputs."""
    return folder / "*"


def _entry(folder: Path, path: Path) -> str:
    below = path.relative_to(folder)
    return f"{below.parent.as_posix()}/" if below.name == "*" else below.as_posix()


def ensure_unclaimed(folder: Path, kind: str, outputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse to overwrite files: without ``overwrite`` any, with it those that are not ours.

    Raises:
        RunError: names the file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give a folder as --out.")
    refuse_links(folder)
    entries = set(read_marker(folder).get(kind, ()))
    top = Path(os.path.realpath(folder))
    for output in outputs:
        frames = output.name == "*"
        path = output.parent if frames else output
        if not os.path.lexists(path):
            continue
        inside = [path / name for name in sorted(contents(path))] if frames and path.is_dir() else [path]
        for file in inside:
            plain = Path(os.path.realpath(file.parent)) == top / file.parent.relative_to(folder)
            own = plain and not file.is_symlink() and is_listed(file.relative_to(folder).as_posix(), entries)
            if not overwrite:
                raise RunError(
                    f"{file if own else path} exists already: choose another --out or give --overwrite."
                )
            if not own:
                raise RunError(
                    f"{file} exists already and was not written by this command, so --overwrite leaves it alone: "
                    f"choose another --out, or move the file away."
                )
