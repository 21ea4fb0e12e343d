"""One process at a time trains in a run folder; a second one stops with a message that names the first.

The lock is held by the operating system, so it ends with its process, however that ends. The holder is described in a
file beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stylebridge.atomic import write_text
from stylebridge.data.text_files import TextFileError, read_json
from stylebridge.errors import RunError
from stylebridge.jobs.runs.files import HOLDER, LOCK

#: Seconds to wait for the data-loading processes of a killed process, which inherit its lock, to end.
_ORPHANS = 15.0
_held: dict[str, FileLock] = {}


def hold(run: Path) -> None:
    """Take the lock of an existing run folder for this process; no effect if it has the lock.

    Raises:
        RunError: another process holds it; names that process.
    """
    key = os.path.realpath(run)
    if key in _held:
        return
    lock = FileLock(os.path.join(key, LOCK), timeout=0, thread_local=False)
    deadline = time.monotonic() + _ORPHANS
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            holder = _holder(run)
            if not _is_dead(holder) or time.monotonic() > deadline:
                raise RunError(_in_use(run, holder)) from None
            time.sleep(0.2)
    _held[key] = lock
    facts = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    if os.path.islink(os.path.join(key, HOLDER)):  # its target is not ours
        os.unlink(os.path.join(key, HOLDER))
    write_text(Path(key, HOLDER), json.dumps(facts, indent=1))


def release(run: Path) -> None:
    """Release the lock, if this process holds it."""
    lock = _held.pop(os.path.realpath(run), None)
    if lock is not None:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(os.path.realpath(run), HOLDER))
        lock.release()


def _holder(run: Path) -> dict[str, Any]:
    try:
        facts = read_json(run / HOLDER)
    except (OSError, TextFileError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_dead(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _in_use(run: Path, holder: dict[str, Any]) -> str:
    who = "another process"
    if holder:
        who = (
            f"process {holder.get('pid')} on {holder.get('host')} (since {holder.get('since')}: "
            f"{holder.get('command')})"
        )
    return f"{run} is in use by {who}: wait for it to end, stop it, or choose another --out."
