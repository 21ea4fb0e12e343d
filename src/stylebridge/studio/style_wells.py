"""The style of each class: photos opened as styles, and wells (choices) that name one or two of them."""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.styles import MEAN, RegionStyle, Row, rows_of
from stylebridge.jobs.apply.models.synthesizer import SEANSynthesizer, Style
from stylebridge.studio.sentences import ForgottenError

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


def parse_wells(sent: Any, classes: int) -> dict[int, RegionStyle]:
    """Read ``{"3": {"first": …, "second": …, "share": 0.3}, …}``; photos are named by their ids.

    Raises:
        DataError: the form is invalid.
    """
    wells: dict[int, RegionStyle] = {}
    try:
        for index, well in (sent or {}).items():
            second, share = well.get("second") or None, float(well.get("share") or 0)
            if not 0 <= int(index) < classes or not 0 <= share <= 1 or math.isnan(share):
                raise ValueError(index)
            second = str(second) if second and share else None
            wells[int(index)] = RegionStyle(int(index), str(well.get("first") or MEAN), second, share)
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError("The page sent invalid styles: reload the page.") from error
    return wells


def codes_for(
    synthesizer: SEANSynthesizer,
    labels: np.ndarray,
    wells: dict[int, RegionStyle],
    store: StyleStore,
    run: str,
) -> Tensor:
    """The style matrix [K, S] of a label map uint8 [H, W]: each class by its well; without a well, the class mean.

    The class mean also replaces classes that do not occur in a photo.

    Raises:
        DataError: a class of the map has no style, or a photo is no longer kept.
    """

    def one(source: str, index: int) -> Row:
        if source != MEAN:
            style = store.get(run, source)
            if bool(style.present[index]):
                return (style.codes[index],)
        means = synthesizer.means
        if means is None or not bool(means.present[index]):
            name = synthesizer.space.classes[index]
            raise DataError(
                f"This run has no mean style of {name!r}: choose the style of a photo that contains this class."
            )
        return (means.codes[index],)

    drawn = [k for k in np.unique(labels).tolist() if k < synthesizer.space.num_classes]
    rows = rows_of([wells.get(k, RegionStyle(k)) for k in drawn], one)
    if not rows:  # nothing but pixels without a class
        return synthesizer.complete(None)
    codes = torch.zeros(synthesizer.space.num_classes, len(rows[drawn[0]][0]))
    codes[drawn] = torch.stack([rows[k][0] for k in drawn])
    return codes
