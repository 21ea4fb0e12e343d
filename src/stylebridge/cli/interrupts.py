"""Ctrl-C and SIGTERM on the command line: one sentence, and the exit code that a shell expects."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from typer.core import TyperGroup

from stylebridge.errors import Interrupted
from stylebridge.launch import is_main


class _Ended(BaseException):
    """Carries an interruption past typer, which would drop the message and know the exit code of Ctrl-C only."""

    def __init__(self, interrupted: Interrupted) -> None:
        super().__init__(interrupted)
        self.interrupted = interrupted


class InterruptibleGroup(TyperGroup):
    """The root group: an interruption of any command reaches :func:`ended_by_signals`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            known = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
            raise _Ended(known) from None


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM ends the work like Ctrl-C; both print a sentence and exit with their own code.

    While a stage trains, the trainer handles both (:mod:`stylebridge.engine.stopping`).
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if main else None
    try:
        yield
    except _Ended as ended:
        if is_main():
            print(ended.interrupted, file=sys.stderr)
        sys.exit(ended.interrupted.exit_code)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
