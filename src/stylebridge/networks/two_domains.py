"""What translators between two domains, ``a`` and ``b``, share."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from stylebridge.errors import DataError

#: The two domains, each with the domain it is translated to.
OTHER = {"a": "b", "b": "a"}
#: Sides of images must be multiples of this: the ratio of image size to code size.
STRIDE = 4
#: The shortest side that all reflection paddings of the networks accept.
SMALLEST_TRANSLATED = 8


def ensure_domain(to: str) -> None:
    """Raises DataError if there is no such domain."""
    if to not in OTHER:
        raise DataError(f"There is no domain {to!r}: translate to a or to b.")


def ensure_size_fits(image_size: int, layers: int, smallest: int) -> None:
    """Raises ValueError unless a discriminator of ``layers`` has an output for images of this size."""
    if image_size < smallest or image_size % STRIDE:
        raise ValueError(
            f"image_size {image_size} does not fit {layers} layers: take a multiple of {STRIDE} from {smallest} on"
        )


def translate_padded(translate: Callable[[Tensor], Tensor], image: Tensor, method: str) -> Tensor:
    """Translate images [B, 3, H, W] in [0, 1] by a network for [-1, 1].

    Sides that are not multiples of :data:`STRIDE`, or below :data:`SMALLEST_TRANSLATED`, are padded with their last
    rows and columns, and cropped back.

    Raises:
        DataError: the images do not have three channels.
    """
    if image.dim() != 4 or image.shape[1] != 3:
        raise DataError(
            f"{method} translates RGB images [B, 3, H, W], not {list(image.shape)}: convert them to RGB."
        )
    height, width = image.shape[-2:]
    right, below = (max(SMALLEST_TRANSLATED, -(-side // STRIDE) * STRIDE) - side for side in (width, height))
    if right or below:
        image = F.pad(image, (0, right, 0, below), mode="replicate")
    out = translate(image * 2 - 1)[..., :height, :width]
    return (out * 0.5 + 0.5).clamp(0, 1)
