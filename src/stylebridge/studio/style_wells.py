"""The style of each class: photos opened as styles, and wells (choices) that name one or two of them."""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.synthesizer import Style, Synthesizer, mix
from stylebridge.studio.sentences import ForgottenError

#: Instead of a photo id: the mean style of the class.
MEAN = "mean"

_KEPT = 64


class StyleStore:
    """The most recent styles of photos, by random ids; the photos are not kept.

    A style can only be used by the networks that encoded it.
    """

    def __init__(self) -> None:
        self._styles: OrderedDict[str, tuple[str, Style]] = OrderedDict()

    def add(self, run: str, style: Style) -> str:
        """Keep the style of a photo; ``run`` identifies the networks that encoded it."""
        key = secrets.token_urlsafe(9)
        self._styles[key] = (run, style)
        while len(self._styles) > _KEPT:
            self._styles.popitem(last=False)
        return key

    def get(self, run: str, key: str) -> Style:
        """The style of a photo.

        Raises:
            ForgottenError: it is no longer kept, or was made with another run.
        """
        owner, style = self._styles.get(key, ("", None))
        if style is None or owner != run:
            raise ForgottenError("A style photo is no longer available: remove it and add it again.")
        self._styles.move_to_end(key)
        return style


@dataclass(frozen=True)
class Well:
    """The style of one class: ``first``, or ``(1 − share)·first + share·second``; ids of photos, or :data:`MEAN`."""

    first: str = MEAN
    second: str | None = None
    share: float = 0.0


def parse_wells(sent: Any, classes: int) -> dict[int, Well]:
    """Read ``{"3": {"first": …, "second": …, "share": 0.3}, …}``.

    Raises:
        DataError: the form is invalid.
    """
    wells: dict[int, Well] = {}
    try:
        for index, well in (sent or {}).items():
            second, share = well.get("second") or None, float(well.get("share") or 0)
            if not 0 <= int(index) < classes or not 0 <= share <= 1 or math.isnan(share):
                raise ValueError(index)
            wells[int(index)] = Well(str(well.get("first") or MEAN), second and str(second), share)
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError("The page sent invalid styles: reload the page.") from error
    return wells


def codes_for(
    synthesizer: Synthesizer, labels: np.ndarray, wells: dict[int, Well], store: StyleStore, run: str
) -> Tensor:
    """The style matrix [K, S] of a label map uint8 [H, W]: each class by its well; without a well, the class mean.

    The class mean also replaces classes that do not occur in a photo.

    Raises:
        DataError: a class of the map has no style, or a photo is no longer kept.
    """
    drawn = [k for k in np.unique(labels).tolist() if k < synthesizer.space.num_classes]
    rows = {k: _row(synthesizer, k, wells.get(k, Well()), store, run) for k in drawn}
    some = next(iter(rows.values()), None)
    if some is None:  # only pixels without a class
        return synthesizer.complete(None)
    codes = torch.zeros(synthesizer.space.num_classes, len(some))
    codes[drawn] = torch.stack([rows[k] for k in drawn])
    return codes


def _row(synthesizer: Synthesizer, index: int, well: Well, store: StyleStore, run: str) -> Tensor:
    first = _code(synthesizer, index, well.first, store, run)
    if well.second is None or well.share == 0:
        return first
    return mix(first, _code(synthesizer, index, well.second, store, run), well.share)


def _code(synthesizer: Synthesizer, index: int, source: str, store: StyleStore, run: str) -> Tensor:
    if source != MEAN:
        style = store.get(run, source)
        if bool(style.present[index]):
            return style.codes[index]
    means = synthesizer.means
    if means is None or not bool(means.present[index]):
        name = synthesizer.space.classes[index]
        raise DataError(
            f"This run has no mean style of {name!r}: choose the style of a photo that contains this class."
        )
    return means.codes[index]
