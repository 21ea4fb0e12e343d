"""Limits on the cost of decoding a file: a small file can declare many pixels, scans or pages."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from PIL import Image

from stylebridge.data.packed import MAX_FILE_BYTES

#: Largest compression ratio of deflate (RFC 1951: 258 bytes from 2 bits). Pillow reads a stream that ends early as a
#: black image.
_MOST_DEFLATED = 1032

#: Most scans of a JPEG: each costs a pass over all pixels, and can be a few bytes long. Encoders write about ten.
#: (libtiff limits those inside TIFF files itself.)
_MOST_SCANS = 200
#: A marker with a segment, or the last marker: not a fill byte, a stuffed zero or a restart.
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_SCAN, _END = 0xDA, 0xD9

#: Most pages of a TIFF file that are counted: Pillow compares each with all earlier ones.
_MOST_PAGES = 100


def refuse_costly(image: Image.Image, file: BinaryIO) -> None:
    """Check an opened, not yet decoded image. Raises OSError with the reason if decoding would take far more time or
    memory than is usual for an image of its size."""
    if image.format in ("JPEG", "MPO") and _scans(file) > _MOST_SCANS:
        raise OSError(f"it has more than {_MOST_SCANS} scans, which can take hours to decode")
    if image.format == "PNG" and _packed_bytes(image) > _MOST_DEFLATED * _length(file):
        raise OSError("it declares more pixels than a file of its length can hold")


def raw_mode(image: Image.Image) -> str:
    """The pixel layout in the file, as passed to Pillow's decoder."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _packed_bytes(image: Image.Image) -> int:
    """Lower bound of the uncompressed size of a PNG's pixels, in bytes."""
    depth = {"1": 1, "2": 2, "4": 4}.get(raw_mode(image).rpartition(";")[2], 8)
    return image.width * image.height * (1 if image.mode == "1" else depth * len(image.getbands())) // 8


def _scans(file: BinaryIO) -> int:
    """The number of scans of a JPEG file's first image; counting stops above the limit."""
    place = file.tell()
    file.seek(0)
    data = file.read(MAX_FILE_BYTES)
    file.seek(place)
    scans, at = 0, 2
    while scans <= _MOST_SCANS:
        marker = _MARKER.search(data, at)
        if marker is None or data[marker.end() - 1] == _END:
            break
        scans += data[marker.end() - 1] == _SCAN
        # A segment begins with its length. A scan's segment is followed by its data, which holds no marker.
        at = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    return scans


def pages(image: Image.Image) -> int:
    """The number of images in a file; for TIFF at most :data:`_MOST_PAGES`."""
    if image.format == "MPO":  # further images of a JPEG are previews and depth maps
        return 1
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    pages = 1
    try:
        while pages < _MOST_PAGES:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    image.seek(0)
    return pages


def _length(file: BinaryIO) -> int:
    place = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(place)
    return length
