"""What a training says when Ctrl-C or SIGTERM ended it: the command that continues the run."""

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
    However it ends, the lock of its folder is given back; of a start that failed before training, nothing is left.

    The outermost job wins: a translator that an adaptation trains is continued by resuming the adaptation.

    Args:
        command: such as ``translate train``.

    Raises:
        Interrupted: in place of ``KeyboardInterrupt``, by the decorated job.
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
                # A run of before, which was to be replaced, is not the one that was interrupted.
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
    """What tells a run from the one that replaced it; None: there is no run that could be resumed."""
    try:
        found = (out / "run.yaml").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
