"""Interrupted training: the error names the command that resumes the run."""

from __future__ import annotations

import functools
import inspect
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from stylebridge.errors import Interrupted, TrainingStopped
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.lock import release
from stylebridge.jobs.runs.start import discard_start
from stylebridge.launch import is_main

_P = ParamSpec("_P")
_R = TypeVar("_R")


def resumable(command: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a job with ``out`` and ``resume``: when it is interrupted, the error names the command that resumes.
    However it ends, its folder's lock is released; if it failed before training, its files are removed.

    The outermost job decides: a translator inside an adaptation is resumed by resuming the adaptation.

    Args:
        command: such as ``translate train``.

    Raises:
        Interrupted: instead of ``KeyboardInterrupt``, by the decorated job.
    """

    def decorate(job: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(job)

        @functools.wraps(job)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            given = signature.bind_partial(*args, **kwargs)
            given.apply_defaults()
            out, resumes = Path(given.arguments["out"]), given.arguments["resume"]
            before = _identity(out)
            try:
                return job(*args, **kwargs)
            except KeyboardInterrupt as error:
                stopped = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
                # An old run that was to be replaced is not the interrupted one.
                ours = _identity(out) is not None and (resumes or _identity(out) != before)
                line = f"stylebridge {command} --resume --out {shlex.quote(str(out))}" if ours else ""
                raise Interrupted(stopped.number, stopped.where, line) from None
            except Exception as error:
                if (
                    not isinstance(error, TrainingStopped)
                    and _identity(out) not in (None, before)
                    and is_main()
                ):
                    discard_start(RunFolder(out))
                raise
            finally:
                release(out)

        return run

    return decorate


def _identity(out: Path) -> tuple[int, int] | None:
    """An identifier that differs between a run and its replacement; None: there is no run to resume."""
    try:
        found = (out / "run.yaml").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
