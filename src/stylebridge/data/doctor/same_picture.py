"""Decide whether two files are the same picture, saved in two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from stylebridge.data.doctor.resize import same_shape
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.errors import DataError

#: Side of the square of mean values for an image, and the divisor for small images: each value is the mean over several
#: pixels, which JPEG changes less than single pixels.
_SIDE, _COARSER, _PIXELS = 48, (1, 2, 3), 6

#: Largest difference of the mean values, without the most different thousandth. Street photos (CamVid, IDD, Cityscapes)
#: recompressed at quality 75 and scaled by a half differ by at most 8, at quality 30 by 14; frames of a standing car
#: with a passing motorcycle by 16; frames of a moving car by at least 27.
_MOST, _SHARE = 12.0, 99.9


@dataclass(frozen=True)
class Averaged:
    """An image's (width, height), and RGB uint8 [48, 48, 3], each value the mean over its part of the image."""

    size: tuple[int, int]
    pixels: np.ndarray

    def means(self, coarser: int) -> np.ndarray:
        """float32 [48 / coarser, 48 / coarser, 3]: the means over squares of ``coarser`` values."""
        side = _SIDE // coarser
        return self.pixels.reshape(side, coarser, side, coarser, 3).mean(axis=(1, 3), dtype=np.float32)


def averaged(file: FileRef) -> Averaged | None:
    """Read an image; None if it cannot be read."""
    try:
        image = Image.fromarray(read_image(file))
    except DataError:
        return None
    return Averaged(image.size, np.array(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)))


def same_picture(first: Averaged, second: Averaged) -> bool:
    """Whether both are the same picture, up to compression and scale: without local differences, such as moved
    objects."""
    if not same_shape(first.size, second.size):
        return False
    shortest = min(*first.size, *second.size)
    coarser = next((n for n in _COARSER if shortest * n >= _PIXELS * _SIDE), _COARSER[-1])
    difference = np.abs(first.means(coarser) - second.means(coarser))
    return float(np.percentile(difference, _SHARE)) <= _MOST
