"""The tab that carries a photo into another look with a translation run."""

from __future__ import annotations

import time
from typing import Any

from stylebridge.errors import DataError
from stylebridge.studio.canvas import picture_url
from stylebridge.studio.desk import Desk, text
from stylebridge.studio.uploads import read_photo


class Translate:
    """What the tab asks for."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def translate(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run``, ``photo``, ``to`` (a or b) → the photo as it was used, and translated."""
        if request.get("photo") is None:
            raise DataError("No photo is chosen: choose one first.")
        photo = read_photo(request["photo"], self.desk.max_side)
        started = time.perf_counter()
        picture = self.desk.translate(text(request, "run"), text(request, "to") or "b", photo)
        return {
            "seconds": time.perf_counter() - started,
            "photo": picture_url(photo),
            "picture": picture_url(picture),
        }
