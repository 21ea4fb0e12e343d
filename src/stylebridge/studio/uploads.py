"""Photos and label maps sent by the page: read from memory, within the limits that the page states."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from stylebridge.data.files import PackedFile
from stylebridge.data.images import UnreadableError, read_header, read_image
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.label_options import space_of_map
from stylebridge.studio.canvas import fitted

#: Limits of the studio, shown on the page.
MAX_MEGABYTES, MAX_MEGAPIXELS = 20, 24


class Upload(PackedFile):
    """A file in memory under the name of the user's file; it is never written to the disk."""

    def __init__(self, name: str, data: bytes) -> None:
        self.path, self._data = PurePosixPath(name), data

    def __str__(self) -> str:
        return self.path.name

    def read_bytes(self) -> bytes:
        """The whole content."""
        return self._data

    def fingerprint(self) -> tuple[str | int, ...]:
        """The name and the content."""
        return str(self.path), hash(self._data)


@contextmanager
def _saying() -> Iterator[None]:
    """Error messages about a file for a user of the page: without folders and options of commands."""
    try:
        yield
    except UnreadableError as error:
        raise DataError(error.problem.rstrip("."), "choose another file") from error
    except DataError as error:
        if error.option is None:
            raise
        raise DataError(error.problem, "choose a label map that holds this run's class ids") from error


def take(sent: Any) -> Upload:
    """The file in ``{"name": …, "data": base64}``, its size checked before a pixel is decoded.

    Raises:
        DataError: it is not an image, or larger than the studio accepts.
    """
    try:
        # Browsers send a bare name; other programs may send anything, and messages contain it.
        name = str(sent["name"]).replace("\\", "/").rsplit("/", 1)[-1][-80:] or "the file"
        text = sent["data"]
        too_large = len(text) > 2 * MAX_MEGABYTES * 2**20
        data = b"" if too_large else base64.b64decode(text, validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise DataError("The file arrived incomplete: choose it again.") from error
    if too_large or len(data) > MAX_MEGABYTES * 2**20:
        raise DataError(
            f"{name} is larger than {MAX_MEGABYTES} MB: reduce its size, or save a photo as JPEG."
        )
    upload = Upload(name, data)
    with _saying():
        width, height = read_header(upload).size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise DataError(
            f"{name} has {width}×{height} pixels, more than {MAX_MEGAPIXELS} megapixels: scale it down."
        )
    return upload


def read_photo(sent: Any, longest: int) -> np.ndarray:
    """RGB uint8 [H, W, 3], scaled down if a side is longer than ``longest``.

    Raises:
        DataError: see :func:`take`, or it cannot be decoded.
    """
    upload = take(sent)
    with _saying():
        photo = read_image(upload)
    return resized(photo, fitted((photo.shape[1], photo.shape[0]), longest), "lanczos")


def read_map(sent: Any, space: LabelSpace, size: tuple[int, int] | None, longest: int) -> np.ndarray:
    """A label map uint8 [H, W] (255 = no class) as train ids.

    Args:
        size: the (width, height) of its photo, to which it is resized; None: it has no photo.

    Raises:
        DataError: see :func:`take`; it has other classes, or another aspect ratio than the photo.
    """
    upload = take(sent)
    with _saying():
        labels = space_of_map(upload, space).read(upload)
    height, width = labels.shape
    if size is None:
        return resized(labels, fitted((width, height), longest))
    # The sides of a scaled photo are rounded: the shapes agree to within a pixel.
    wanted = fitted((width, height), max(size))
    if abs(wanted[0] - size[0]) > 1 or abs(wanted[1] - size[1]) > 1:
        raise DataError(
            f"{upload} is {width}×{height} and has another aspect ratio than its photo: choose the label map of "
            "this photo."
        )
    return resized(labels, size)
