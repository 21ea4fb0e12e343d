"""The tab that translates a photo into another domain."""

from __future__ import annotations

import time
from typing import Any

from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.model import domains_of
from stylebridge.studio.canvas import picture_url
from stylebridge.studio.desk import Desk, text
from stylebridge.studio.uploads import read_photo


class Translate:
    """What the tab asks for."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def domains(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run`` → the names of its two domains."""
        return {"names": list(domains_of(self.desk.runs.find(text(request, "run"), "translate")).names)}

    def translate(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run``, ``photo``, ``to`` (a domain) → the photo as it was used, and translated."""
        if request.get("photo") is None:
            raise DataError("No photo is chosen: choose one first.")
        photo = read_photo(request["photo"], self.desk.max_side)
        started = time.perf_counter()
        picture = self.desk.translate(text(request, "run"), text(request, "to") or None, photo)
        return {
            "seconds": time.perf_counter() - started,
            "photo": picture_url(photo),
            "picture": picture_url(picture),
        }
