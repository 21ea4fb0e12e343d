"""What a file may cost to decode beyond its number of pixels: small files can declare, repeat or chain very much."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from PIL import Image

from stylebridge.data.packed import MAX_FILE_BYTES

#: No stream of deflate unpacks to more times its length (RFC 1951: 258 bytes from 2 bits). Pillow takes one that ends
#: too early for a black picture.
_MOST_DEFLATED = 1032

#: A JPEG costs a pass over all its pixels for each scan, and a scan can be a few bytes. Encoders write about ten.
#: (libtiff limits those inside TIFF files itself.)
_MOST_SCANS = 200
#: A marker that has a segment, or the last one: not a filled byte, a stuffed zero or a restart.
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_SCAN, _END = 0xDA, 0xD9

#: Pages of a TIFF file that are counted: Pillow compares each with all before it.
_MOST_PAGES = 100


def refuse_costly(image: Image.Image, file: BinaryIO) -> None:
    """Look at an opened, not yet decoded image. Raises OSError with the reason where decoding it would take far more
    time or memory than a picture of its size needs."""
    if image.format in ("JPEG", "MPO") and _scans(file) > _MOST_SCANS:
        raise OSError(f"it has more than {_MOST_SCANS} scans, which can take hours to decode")
    if image.format == "PNG" and _packed_bytes(image) > _MOST_DEFLATED * _length(file):
        raise OSError("it declares more pixels than a file of its length can hold")


def raw_mode(image: Image.Image) -> str:
    """The layout of the pixels in the file, as Pillow's decoder is told it."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _packed_bytes(image: Image.Image) -> int:
    """Bytes of a PNG's pixels before they are packed, at least."""
    depth = {"1": 1, "2": 2, "4": 4}.get(raw_mode(image).rpartition(";")[2], 8)
    return image.width * image.height * (1 if image.mode == "1" else depth * len(image.getbands())) // 8


def _scans(file: BinaryIO) -> int:
    """How many scans the first image of a JPEG file has, counted up to some more than the most."""
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
        # A segment begins with its length. Behind that of a scan come its bits, in which no marker occurs.
        at = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    return scans


def pages(image: Image.Image) -> int:
    """Images in a file; of a TIFF file at most :data:`_MOST_PAGES`."""
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
