"""The tab that mixes the pose, background, shape and texture of photos with a MixNMatch run."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.mixer import FACTORS, Coded, Mixed, Mixing, pixels, squared
from stylebridge.networks.mixnmatch import Mixer
from stylebridge.studio.canvas import picture_url
from stylebridge.studio.desk import Desk, text
from stylebridge.studio.sentences import ForgottenError
from stylebridge.studio.uploads import read_photo

#: Largest number of photos for one factor, and of photos that are kept.
MAX_VARIED, _KEPT = 24, 128

_NOT_AS_SET = "The page sent an invalid list of photos: reload the page."


@dataclass
class _Photo:
    """A photo at the networks' size, uint8 [S, S, 3], and its codes by factor and mode, computed on demand."""

    run: str
    pixels: np.ndarray
    coded: dict[tuple[str, str], Coded] = field(default_factory=dict)


class Mix:
    """The calls of the tab. The most recent photos are kept, each under a random id."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._photos: OrderedDict[str, _Photo] = OrderedDict()

    def mix_photo(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run``, ``photo`` → an ``id`` for :meth:`mix`, and the photo at the networks' size."""
        if request.get("photo") is None:
            raise DataError("No photo is chosen: choose one first.")
        mixer, run = self._opened(text(request, "run"))
        photo = squared(read_photo(request["photo"], self.desk.max_side), mixer.config.image_size)
        key = secrets.token_urlsafe(9)
        with self.desk.models.lock:
            self._photos[key] = _Photo(run, photo)
            while len(self._photos) > _KEPT:
                self._photos.popitem(last=False)
        return {"id": key, "picture": picture_url(photo)}

    def mix(self, request: dict[str, Any]) -> dict[str, Any]:
        """``run``, ``mode``, ``wells`` (lists of photo ids by factor; one factor may have several), ``masks`` →
        ``mixes``: a ``picture`` each, with ``masks`` also ``shape_mask`` and ``texture_mask``."""
        mixer, run = self._opened(text(request, "run"))
        mode = "feature" if text(request, "mode") == "feature" else "code"
        mixing = Mixing(mixer, mode)
        wells = _wells(request.get("wells"), mixing.factors)
        varied = next((factor for factor, ids in wells.items() if len(ids) > 1), mixing.factors[0])
        count = len(wells[varied])
        started = time.perf_counter()
        with self.desk.models.lock:
            coded = {f: self._coded(mixing, f, ids, run) for f, ids in wells.items()}
            picks = {f: list(range(count)) if f == varied else [0] * count for f in wells}
            batches = list(mixing.paint(coded, picks))
        shown = [each for made in batches for each in _shown(made, request.get("masks") is True)]
        return {"seconds": time.perf_counter() - started, "varied": varied, "mixes": shown}

    def _opened(self, name: str) -> tuple[Mixer, str]:
        """The networks of a run on the device, and the identity of the run. Raises RunError."""
        model = self.desk.model(name, "mix")
        with self.desk.models.lock:
            return model.mixer, self.desk.identity(name)

    def _coded(self, mixing: Mixing, factor: str, ids: list[str], run: str) -> Coded:
        """The codes of photos; missing ones are encoded in one batch."""
        photos = [self._photo(key, run) for key in ids]
        name = (factor, mixing.mode)
        missing = {id(photo): photo for photo in photos if name not in photo.coded}
        if missing:
            made = mixing.encode(factor, np.stack([photo.pixels for photo in missing.values()]))
            for number, photo in enumerate(missing.values()):
                photo.coded[name] = tuple(part[number : number + 1] for part in made)
        return _joined([photo.coded[name] for photo in photos])

    def _photo(self, key: str, run: str) -> _Photo:
        photo = self._photos.get(key)
        if photo is None or photo.run != run:
            raise ForgottenError("A photo is no longer available: remove it and choose it again.")
        self._photos.move_to_end(key)
        return photo


def _joined(coded: list[Coded]) -> Coded:
    return tuple(torch.cat(parts) for parts in zip(*coded, strict=True))


def _wells(sent: Any, factors: tuple[str, ...]) -> dict[str, list[str]]:
    """The ids of each factor's photos.

    Raises:
        DataError: the form is invalid, a factor has no photo, or more than one factor has several.
    """
    if not isinstance(sent, dict):
        raise DataError(_NOT_AS_SET)
    wells: dict[str, list[str]] = {}
    for factor in factors:
        ids = sent.get(factor) or []
        if not isinstance(ids, list) or not all(isinstance(key, str) for key in ids):
            raise DataError(_NOT_AS_SET)
        if not ids:
            only = ", or choose 'pixel by pixel from one'" if factor == FACTORS[0] else ""
            raise DataError(f"The {factor} has no photo: choose one{only}.")
        wells[factor] = ids
    several = [factor for factor, ids in wells.items() if len(ids) > 1]
    if len(several) > 1:
        raise DataError(
            f"{several[0].capitalize()} and {several[1]} have several photos: use several photos for one factor only."
        )
    if several and len(wells[several[0]]) > MAX_VARIED:
        raise DataError(f"The {several[0]} has more than {MAX_VARIED} photos: remove some.")
    return wells


def _shown(made: Mixed, masks: bool) -> list[dict[str, str]]:
    kinds = {"picture": made.image}
    if masks:
        kinds |= {"shape_mask": made.shape_mask, "texture_mask": made.texture_mask}
    columns = {name: [picture_url(picture) for picture in pixels(kind)] for name, kind in kinds.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
