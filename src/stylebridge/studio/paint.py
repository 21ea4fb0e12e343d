"""The Paint tab: a label map, a style for each class, and the image made from both."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from stylebridge.data.resizing import resized
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.synthesizer import SEANSynthesizer
from stylebridge.studio.canvas import (
    fitted,
    label_url,
    pack,
    picture_url,
    unpack,
)
from stylebridge.studio.desk import Desk, described, text, whole
from stylebridge.studio.style_wells import codes_for, parse_wells

#: Longest side of the thumbnails of style photos, in pixels.
_THUMBNAIL = 144


class Paint:
    """The calls of the tab; each method takes and returns JSON values, and raises UserError."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def open_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run`` → its classes, whether it takes styles, which classes have a mean style, and its size."""
        synthesizer = self.desk.synthesizer(text(request, "run"))
        means = synthesizer.means if isinstance(synthesizer, SEANSynthesizer) else None
        count = synthesizer.space.num_classes
        width, height = fitted(synthesizer.size, self.desk.max_side)
        return {
            "run": text(request, "run"),
            "classes": described(synthesizer.space),
            "styles": synthesizer.styles == "region",
            "means": means.present.tolist() if means is not None else [False] * count,
            "width": width,
            "height": height,
        }

    def open_picture(self, request: dict[str, Any]) -> dict[str, Any]:
        """``photo`` and (or) ``labels`` or ``segmenter``, ``side`` → the photo and its label map at that size."""
        space = self.desk.synthesizer(text(request, "run")).space
        photo, labels = self.desk.photo_and_map(request, space)
        return {"photo": picture_url(photo) if photo is not None else None, "map": pack(labels)}

    def add_style(self, request: dict[str, Any]) -> dict[str, Any]:
        """``photo`` with ``labels`` or ``segmenter`` → an ``id`` for its styles, and the classes it contains."""
        synthesizer = self.desk.synthesizer(text(request, "run"))
        # Encoders were trained at this size: a larger photo would give another style.
        sized = request | {"side": max(synthesizer.size)}
        photo, labels = self.desk.photo_and_map(sized, synthesizer.space)
        if photo is None:
            raise DataError("A style needs a photo: choose one together with its label map.")
        if not isinstance(synthesizer, SEANSynthesizer):
            raise DataError("This run takes no styles of regions: choose another run.")
        with self.desk.models.lock:
            style = synthesizer.encode(photo, labels)
        small = resized(photo, fitted((photo.shape[1], photo.shape[0]), _THUMBNAIL), "lanczos")
        return {
            "id": self.desk.styles.add(self.desk.identity(text(request, "run")), style),
            "thumbnail": picture_url(small),
            "present": np.flatnonzero(style.present.numpy()).tolist(),
        }

    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """``map``, ``wells``, ``seed`` → the picture, and how long the networks took."""
        synthesizer = self.desk.synthesizer(text(request, "run"))
        labels = unpack(request.get("map"), synthesizer.space.num_classes, self.desk.max_side)
        started = time.perf_counter()
        with self.desk.models.lock:
            codes = None
            if isinstance(synthesizer, SEANSynthesizer):
                run = self.desk.identity(text(request, "run"))
                wells = parse_wells(request.get("wells"), synthesizer.space.num_classes)
                codes = codes_for(synthesizer, labels, wells, self.desk.styles, run)
            picture = synthesizer.render(labels, codes, max(0, whole(request, "seed", 0)))
        return {"picture": picture_url(picture), "seconds": time.perf_counter() - started}

    def save_map(self, request: dict[str, Any]) -> dict[str, Any]:
        """``map`` → an 8-bit palette PNG, values are class indices."""
        space = self.desk.synthesizer(text(request, "run")).space
        return {"file": label_url(unpack(request.get("map"), space.num_classes, self.desk.max_side), space)}
