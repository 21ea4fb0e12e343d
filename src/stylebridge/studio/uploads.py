"""Photos and label maps that the page sends: read from memory, within the sizes that the page states."""

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
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.label_options import space_of_map
from stylebridge.studio.canvas import fitted, resize_labels, resize_picture

#: What the studio accepts; the page says so.
MAX_MEGABYTES, MAX_MEGAPIXELS = 20, 24


class Upload(PackedFile):
    """A file in memory, called as the visitor's file was; it is never written to the disk."""

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
    """What is wrong with a file, said to somebody who chose it on a page: no folder, no option of a command."""
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
        DataError: it is no image, or larger than the studio accepts.
    """
    try:
        # Browsers send a bare name; another program may send anything, and messages repeat it.
        name = str(sent["name"]).replace("\\", "/").rsplit("/", 1)[-1][-80:] or "the file"
        text = sent["data"]
        too_large = len(text) > 2 * MAX_MEGABYTES * 2**20
        data = b"" if too_large else base64.b64decode(text, validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise DataError("The file did not arrive whole: choose it again.") from error
    if too_large or len(data) > MAX_MEGABYTES * 2**20:
        raise DataError(
            f"{name} is larger than {MAX_MEGABYTES} MB: save it smaller, or as a JPEG if it is a photo."
        )
    upload = Upload(name, data)
    with _saying():
        width, height = read_header(upload).size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise DataError(
            f"{name} has {width}×{height} pixels, more than {MAX_MEGAPIXELS} megapixels: make it smaller."
        )
    return upload


def read_photo(sent: Any, longest: int) -> np.ndarray:
    """RGB uint8 [H, W, 3], made smaller where a side is longer than ``longest``.

    Raises:
        DataError: see :func:`take`, or it cannot be decoded.
    """
    upload = take(sent)
    with _saying():
        photo = read_image(upload)
    return resize_picture(photo, fitted((photo.shape[1], photo.shape[0]), longest))


def read_map(sent: Any, space: LabelSpace, size: tuple[int, int] | None, longest: int) -> np.ndarray:
    """A label map uint8 [H, W] (255 = no class) as train ids.

    Args:
        size: the (width, height) of its photo, which it is brought to; None: it stands alone.

    Raises:
        DataError: see :func:`take`; it holds other classes, or its shape is not the photo's.
    """
    upload = take(sent)
    with _saying():
        labels = space_of_map(upload, space).read(upload)
    height, width = labels.shape
    if size is None:
        return resize_labels(labels, fitted((width, height), longest))
    # A photo made smaller has rounded sides: its shape is the map's to within a pixel.
    wanted = fitted((width, height), max(size))
    if abs(wanted[0] - size[0]) > 1 or abs(wanted[1] - size[1]) > 1:
        raise DataError(
            f"{upload} is {width}×{height}, of another shape than its photo: give the label map of this photo."
        )
    return resize_labels(labels, size)
