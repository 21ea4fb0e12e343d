"""Label maps between the page and the networks: pure functions on uint8 [H, W] (255 = no class).

Painting itself happens in the page (``static/paint.js``), because a brush must not wait for the server.
"""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.errors import DataError

_DAMAGED = "The label map from the page is damaged: reload the page and open the map again."


def pack(labels: np.ndarray) -> dict[str, Any]:
    """A label map uint8 [H, W] as the page reads it: its size, and its bytes row by row, deflated, in base64.

    It is not sent as an image, because browsers may round or colour-manage the pixels of images.
    """
    height, width = labels.shape
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(labels, np.uint8).tobytes(), 1))
    return {"width": width, "height": height, "data": data.decode("ascii")}


def unpack(packed: Any, classes: int, longest: int) -> np.ndarray:
    """The inverse of :func:`pack`; checks everything.

    Args:
        classes: K; every value is below it, or 255.
        longest: upper limit of both sides.

    Raises:
        DataError: the sides, the bytes or a value are wrong.
    """
    try:
        width, height, data = packed["width"], packed["height"], packed["data"]
        if not all(type(side) is int and 1 <= side <= longest for side in (width, height)):
            raise DataError(f"A label map may have sides of 1 to {longest} pixels: open a smaller one.")
        # One byte more than expected: this stops decompression bombs and detects maps that are too long.
        raw = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), width * height + 1)
    except (KeyError, TypeError, binascii.Error, zlib.error, ValueError) as error:
        raise DataError(_DAMAGED) from error
    if len(raw) != width * height:
        raise DataError(_DAMAGED)
    labels = np.frombuffer(raw, np.uint8).reshape(height, width)
    if ((labels >= classes) & (labels != IGNORE)).any():
        raise DataError(f"The label map from the page has a class above {classes - 1}: reload the page.")
    return labels


def fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The (width, height) with the same aspect ratio whose longer side is at most ``longest``; no side is below 1."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shares(labels: np.ndarray, classes: int) -> list[float]:
    """The share of pixels of each of K classes, 0 to 1."""
    counts = np.bincount(labels.ravel(), minlength=256)[:classes]
    return (counts / labels.size).tolist()


def picture_url(picture: np.ndarray) -> str:
    """RGB uint8 [H, W, 3] as a PNG in a ``data:`` URL, so that no file is written or served."""
    return _url(Image.fromarray(picture))


def label_url(labels: np.ndarray, space: LabelSpace) -> str:
    """A label map as an 8-bit palette PNG in a ``data:`` URL: values are class indices."""
    return _url(space.as_picture(labels))


def _url(image: Image.Image) -> str:
    memory = io.BytesIO()
    image.save(memory, format="PNG", compress_level=2)
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode("ascii")
