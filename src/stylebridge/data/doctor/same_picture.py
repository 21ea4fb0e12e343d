"""Whether two files show the same picture, saved in two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from stylebridge.data.doctor.resize import same_shape
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.errors import DataError

#: Side of the square to which pictures are averaged, and what it is divided by for small ones, so that a value is the
#: mean over several pixels, which JPEG changes less than single ones.
_SIDE, _COARSER, _PIXELS = 48, (1, 2, 3), 6

#: By how much all but the most different thousandth of the averaged values may differ. Street photos (CamVid, IDD,
#: Cityscapes) that are compressed anew at quality 75 and scaled by a half differ by 8 at most, at quality 30 by 14;
#: frames of a standing car, in which a motorcycle comes and goes, by 16; frames of a moving car by 27 at least.
_MOST, _SHARE = 12.0, 99.9


@dataclass(frozen=True)
class Averaged:
    """A picture's (width, height), and RGB uint8 [48, 48, 3], each value the mean over its part of the picture."""

    size: tuple[int, int]
    pixels: np.ndarray

    def means(self, coarser: int) -> np.ndarray:
        """float32 [48 / coarser, 48 / coarser, 3]: the means over squares of ``coarser`` values."""
        side = _SIDE // coarser
        return self.pixels.reshape(side, coarser, side, coarser, 3).mean(axis=(1, 3), dtype=np.float32)


def averaged(file: FileRef) -> Averaged | None:
    """Read a picture; None if it cannot be read."""
    try:
        image = Image.fromarray(read_image(file))
    except DataError:
        return None
    return Averaged(image.size, np.array(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)))


def same_picture(first: Averaged, second: Averaged) -> bool:
    """Whether both are one picture, up to compression and scale: there is no local difference, as something that has
    moved makes."""
    if not same_shape(first.size, second.size):
        return False
    shortest = min(*first.size, *second.size)
    coarser = next((n for n in _COARSER if shortest * n >= _PIXELS * _SIDE), _COARSER[-1])
    difference = np.abs(first.means(coarser) - second.means(coarser))
    return float(np.percentile(difference, _SHARE)) <= _MOST
