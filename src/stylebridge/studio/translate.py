"""The tab that carries a photo into another look with a translation run."""

from __future__ import annotations

import time
from typing import Any

import torch

from stylebridge.errors import DataError
from stylebridge.jobs.translator_folder import as_pixels, as_tensor
from stylebridge.studio.canvas import picture_url
from stylebridge.studio.desk import Desk, text
from stylebridge.studio.uploads import read_photo


class Translate:
    """What the tab asks for."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    @torch.inference_mode()
    def translate(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run``, ``photo``, ``to`` (a or b) → the photo as it was used, and translated."""
        if request.get("photo") is None:
            raise DataError("No photo is chosen: choose one first.")
        translator = self.desk.translator(text(request, "run"), text(request, "to") or "b")
        photo = read_photo(request["photo"], self.desk.max_side)
        device = next(translator.parameters()).device
        started = time.perf_counter()
        with self.desk.models.lock:
            picture = as_pixels(translator(as_tensor(photo)[None].to(device))[0].float().cpu())
        return {
            "seconds": time.perf_counter() - started,
            "photo": picture_url(photo),
            "picture": picture_url(picture),
        }
