"""Error messages of the page: one sentence, never a traceback or a path of the machine."""

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

_SURPRISE = "An error occurred inside the studio: see the terminal in which it was started."
_MEMORY = "There is not enough memory: use a smaller image, or close other programs."

#: An absolute path: from a root or a drive, at least one folder, the last part kept.
_PATH = re.compile(r"(?<![\w.~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:'\"()]+[/\\])+([^\s/\\:'\"()]*)")

Handler = Callable[[dict], dict]


class ForgottenError(DataError):
    """The studio no longer keeps a photo that the page refers to."""


def without_paths(message: str, below: Path | None = None) -> str:
    """The message with paths relative to a folder; absolute paths elsewhere are shortened to their last part."""
    if below is not None:
        message = message.replace(f"{below}{os.sep}", "")
    return _PATH.sub(lambda found: found[1] or "the folder", message)


def told(handler: Callable[[Any], dict[str, Any]], below: Path | None = None) -> Handler:
    """The handler, which returns errors as ``{"error": sentence}``.

    ``{"error": sentence, "forgotten": True}`` tells the page to send its photos again.

    Args:
        below: the folder to which paths in messages are relative.
    """

    @functools.wraps(handler)
    def wrapped(request: dict) -> dict:
        try:
            if not isinstance(request, dict):
                raise DataError("The page sent an invalid request: reload it.")
            return handler(request)
        except StylebridgeError as error:
            reply = {"error": without_paths(str(error), below)}
            return reply | ({"forgotten": True} if isinstance(error, ForgottenError) else {})
        except MemoryError:
            return {"error": _MEMORY}
        except Exception as error:
            if "out of memory" in str(error).lower() or "can't allocate memory" in str(error):
                return {"error": _MEMORY}
            _LOG.exception("studio")
            return {"error": _SURPRISE}

    # gradio reads type hints and defaults from the wrapper, not from the bound method.
    wrapped.__annotations__ = {"request": dict, "return": dict}
    del wrapped.__wrapped__  # type: ignore[attr-defined]
    return wrapped
