"""What the page says when something goes wrong: a sentence, never a traceback or a path of the machine."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stylebridge.errors import DataError, StylebridgeError

_LOG = logging.getLogger("stylebridge.studio")

_SURPRISE = "Something went wrong inside the studio: the terminal in which it was started says what."
_MEMORY = "There is not enough memory for that: use a smaller image, and close what else is open."

#: An absolute path: from a root or a drive, at least one folder, the last part kept.
_PATH = re.compile(r"(?<![\w.~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:'\"()]+[/\\])+([^\s/\\:'\"()]*)")

Handler = Callable[[dict], dict]


def without_paths(message: str, below: Path | None = None) -> str:
    """The message with absolute paths as places below a folder; those elsewhere shortened to their last part."""
    if below is not None:
        message = message.replace(f"{below}{os.sep}", "")
    return _PATH.sub(lambda found: found[1] or "the folder", message)


def told(handler: Callable[[Any], dict[str, Any]], below: Path | None = None) -> Handler:
    """The handler, with what goes wrong in it returned as ``{"error": sentence}``.

    Args:
        below: the folder that sentences may name paths from.
    """

    @functools.wraps(handler)
    def wrapped(request: dict) -> dict:
        try:
            if not isinstance(request, dict):
                raise DataError("The page sent something else than was asked for: reload it.")
            return handler(request)
        except StylebridgeError as error:
            return {"error": without_paths(str(error), below)}
        except MemoryError:
            return {"error": _MEMORY}
        except Exception as error:
            if "out of memory" in str(error).lower() or "can't allocate memory" in str(error):
                return {"error": _MEMORY}
            _LOG.exception("studio")
            return {"error": _SURPRISE}

    # What is asked of it by name (type hints, defaults) is asked of the wrapper, not of a bound method.
    wrapped.__annotations__ = {"request": dict, "return": dict}
    del wrapped.__wrapped__  # type: ignore[attr-defined]
    return wrapped
