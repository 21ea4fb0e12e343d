"""The tab that labels a photo with a segmentation run."""

from __future__ import annotations

import time
from typing import Any

from stylebridge.errors import DataError
from stylebridge.studio.canvas import label_url, pack, picture_url, shares
from stylebridge.studio.desk import Desk, described, text
from stylebridge.studio.uploads import read_photo


class Segment:
    """What the tab asks for."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def segment(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run``, ``photo`` → the photo as it was used, its label map to show and to keep, each class's share."""
        if request.get("photo") is None:
            raise DataError("No photo is chosen: choose one first.")
        model = self.desk.segmenter(text(request, "run"))
        photo = read_photo(request["photo"], self.desk.max_side)
        started = time.perf_counter()
        labels = self.desk.predict(model, photo)
        return {
            "seconds": time.perf_counter() - started,
            "photo": picture_url(photo),
            "map": pack(labels),
            "file": label_url(labels, model.space),
            "classes": described(model.space),
            "shares": shares(labels, model.space.num_classes),
        }
