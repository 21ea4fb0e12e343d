"""Ctrl-C and SIGTERM during training: the request is carried out at the end of a step."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from stylebridge.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A launcher forwards a signal that the terminal has already sent to all its processes: within this time (seconds) a
#: second signal counts as the same one if there are several processes.
_ECHO = 1.0


class StopRequest:
    """Inside, the first signal is recorded and the second one ends the process at once.

    Signal handlers are only possible in the main thread; in other threads none is installed. A signal that the process
    was started to ignore stays ignored.

    Attributes:
        heard: the number of the signal that this process received, or 0.
        agreed: all processes know that one of them received a signal.
    """

    def __init__(self, processes: int) -> None:
        self.heard = 0
        self.agreed = False
        self._echo = _ECHO if processes > 1 else 0.0
        self._owner = os.getpid()
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._hear) for number in heeded}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if kind is None and self.heard and not self.agreed:  # received after the last step
            raise Interrupted(self.heard)

    def interruption(self, where: str) -> Interrupted:
        """The error to raise once the state is saved. ``where``: the stage and step, for the message."""
        return Interrupted(self.heard or signal.SIGTERM, where)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a data-loading process that inherited the handler
            return
        now = time.monotonic()
        if self.heard:
            if now - self._when >= self._echo:
                raise Interrupted(number)
            return
        self.heard, self._when = number, now
        # Not `print`: the signal may have interrupted one.
        os.write(2, b"\nStopping at the end of this step. Press Ctrl-C again to stop at once.\n")
