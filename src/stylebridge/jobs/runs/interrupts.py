"""Interrupted training: the error names the command that resumes the run."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stylebridge.errors import Interrupted, TrainingStopped
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.lock import release
from stylebridge.jobs.runs.start import discard_start
from stylebridge.launch import is_main


@contextmanager
def resumable(command: str, out: Path, resumes: bool) -> Iterator[None]:
    """Around a training: when it is interrupted, the error names the command that resumes it. However it ends, its
    folder's lock is released; if it failed before training, its files are removed.

    The outermost training decides: a translator inside an adaptation is resumed by resuming the adaptation.

    Args:
        command: such as ``translate train``.
        resumes: whether the run in ``out`` is resumed.

    Raises:
        Interrupted: instead of ``KeyboardInterrupt``.
    """
    before = _identity(out)
    try:
        yield
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        # An old run that was to be replaced is not the interrupted one.
        ours = _identity(out) is not None and (resumes or _identity(out) != before)
        line = f"stylebridge {command} --resume --out {shlex.quote(str(out))}" if ours else ""
        raise Interrupted(stopped.number, stopped.where, line) from None
    except Exception as error:
        if not isinstance(error, TrainingStopped) and _identity(out) not in (None, before) and is_main():
            discard_start(RunFolder(out))
        raise
    finally:
        release(out)


def _identity(out: Path) -> tuple[int, int] | None:
    """An identifier that differs between a run and its replacement; None: there is no run to resume."""
    try:
        found = (out / "run.yaml").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
