"""What all tabs share: the runs, the opened models, and how a photo gets its label map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.model import Model, open_model
from stylebridge.jobs.apply.models.segmenter import AdaptedModel
from stylebridge.jobs.apply.models.synthesizer import Synthesizer
from stylebridge.studio.runs import Models, Runs, identity
from stylebridge.studio.style_wells import StyleStore
from stylebridge.studio.uploads import read_map, read_photo


def text(request: dict[str, Any], key: str) -> str:
    """A text of the request; empty where there is none."""
    value = request.get(key)
    return value if isinstance(value, str) else ""


def whole(request: dict[str, Any], key: str, default: int) -> int:
    """A whole number of the request."""
    value = request.get(key)
    return value if type(value) is int else default


@dataclass
class Desk:
    """The state of a studio.

    Attributes:
        max_side: no picture is worked on with a side longer than this, in pixels.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    runs: Runs
    max_side: int = 1024
    device: str = "auto"
    models: Models = field(default_factory=Models)
    styles: StyleStore = field(default_factory=StyleStore)

    def model(self, name: str, capability: str) -> Model:
        """A run that can do something; weights are read when they are first used. Raises RunError."""
        path = self.runs.find(name, capability)
        return self.models.get(path, lambda: open_model(path, self.device)).require(capability)

    def identity(self, name: str) -> str:
        """What changes when a run is made anew. Raises RunError."""
        return identity(self.runs.find(name))

    def synthesizer(self, name: str) -> Synthesizer:
        """The synthesizer of a run. Raises RunError."""
        model = self.model(name, "synthesize")
        with self.models.lock:
            return model.synthesizer

    def segmenter(self, name: str) -> AdaptedModel:
        """The segmenter of a run. Raises RunError."""
        model = self.model(name, "segment")
        with self.models.lock:
            return model.segmenter

    def translate(self, name: str, to: str | None, photo: np.ndarray) -> np.ndarray:
        """A photo uint8 [H, W, 3] translated to a domain, in its usual style. Raises UserError."""
        model = self.model(name, "translate")
        with self.models.lock:
            return model.translate(photo, to)

    def predict(self, model: AdaptedModel, photo: np.ndarray) -> np.ndarray:
        """The label map uint8 [H, W] that a segmenter gives a photo uint8 [H, W, 3]."""
        with self.models.lock:
            return model.predict(photo)

    def photo_and_map(
        self, request: dict[str, Any], space: LabelSpace
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """The ``photo`` of a request and its label map: the file ``labels``, or predicted by the run ``segmenter``.

        Returns:
            RGB uint8 [H, W, 3], or None where only a label map was sent; and uint8 [H, W].

        Raises:
            UserError: a file or the segmenter is not what it should be, or there is no way to a label map.
        """
        longest = max(8, min(self.max_side, whole(request, "side", self.max_side)))
        sent, labels = request.get("photo"), request.get("labels")
        if sent is None and labels is None:
            raise DataError("No file is chosen: choose a photo, a label map, or both.")
        photo = read_photo(sent, longest) if sent is not None else None
        size = (photo.shape[1], photo.shape[0]) if photo is not None else None
        if labels is not None:
            return photo, read_map(labels, space, size, longest)
        if not text(request, "segmenter"):
            raise DataError(
                "The photo has no label map: choose its label map, or a segmenter that predicts one."
            )
        model = self.segmenter(text(request, "segmenter"))
        if model.space.classes != space.classes:
            raise DataError(
                f"The segmenter knows the classes of {model.space.name}, this run those of {space.name}: choose one of "
                f"the same classes, or give a label map."
            )
        assert photo is not None
        return photo, self.predict(model, photo)


def described(space: LabelSpace) -> list[dict[str, Any]]:
    """The classes of a label space for the page: names and colours."""
    return [
        {"name": name, "colour": list(colour)}
        for name, colour in zip(space.classes, space.colours, strict=True)
    ]
