"""Augmentation: colour, size and position, drawn from a given generator; image and label map stay aligned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from pydantic import Field, field_validator
from torch import Tensor

from stylebridge.data.label_space import IGNORE
from stylebridge.data.resizing import Resample, resized
from stylebridge.settings import Settings

_Side = Annotated[int, Field(gt=0)]
_Size = tuple[_Side, _Side]


class Jitter(Settings):
    """Colour jitter like torchvision's ``ColorJitter``: four changes in random order; brightness, contrast and
    saturation by a factor from U(max(0, 1 − x), 1 + x), hue by a shift from U(−x, x) of the colour circle."""

    brightness: float = Field(default=0.0, ge=0)
    contrast: float = Field(default=0.0, ge=0)
    saturation: float = Field(default=0.0, ge=0)
    hue: float = Field(default=0.0, ge=0, le=0.5)


class Blur(Settings):
    """Gaussian blur with a ``probability``; its standard deviation, in pixels of the augmented image, is uniform in
    ``sigma``."""

    probability: float = Field(default=0.5, ge=0, le=1)
    sigma: tuple[float, float] = (0.15, 1.15)

    @field_validator("sigma")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        return _check_range(value)


class Augmentation(Settings):
    """Augmentation of an image and its label map, in FADA's order: jitter, resize, crop, blur, flip.

    Images are resized with an antialiased filter, bicubic unless ``resample`` says otherwise, label maps with nearest
    neighbour. Sizes are (width, height). The blur is not part of FADA.
    """

    resize: _Size | None = Field(default=None, description="size after resizing; None: the file's size")
    scale: tuple[float, float] | None = Field(
        default=None, description="a random factor on that size, uniform in (low, high)"
    )
    crop: _Size | None = Field(
        default=None, description="size of a random crop; padded with 0, labels with 255"
    )
    flip: float = Field(default=0.0, ge=0, le=1, description="probability of a horizontal flip")
    resample: Resample = "bicubic"
    jitter: Jitter | None = None
    blur: Blur | None = None

    @field_validator("scale")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else _check_range(value)

    @property
    def first_size(self) -> _Size | None:
        """The (width, height) of every image before the random steps; None: its own size."""
        return self.resize if self.jitter is None and self.scale is None else None


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not 0 < low <= high:
        raise ValueError(f"must be [low, high] with 0 < low <= high, not [{low}, {high}]")
    return value


@dataclass(frozen=True)
class Draw:
    """All random decisions of one sample."""

    order: tuple[int, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float
    scale: float
    place: tuple[float, float]
    blur: float | None
    flip: bool


def draw(augmentation: Augmentation, rng: np.random.Generator) -> Draw:
    """Draw one sample's decisions, always the same number of random numbers, so that changing one setting does not
    change the random numbers of the others."""
    u = rng.random(10).tolist()
    order = tuple(rng.permutation(4).tolist())
    jitter = augmentation.jitter or Jitter()
    factors = (
        max(0.0, 1 - x) + v * (1 + x - max(0.0, 1 - x))
        for x, v in zip((jitter.brightness, jitter.contrast, jitter.saturation), u[:3], strict=True)
    )
    brightness, contrast, saturation = factors
    low, high = augmentation.scale or (1.0, 1.0)
    blur = augmentation.blur
    return Draw(
        order=order,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=(2 * u[3] - 1) * jitter.hue,
        scale=low + u[4] * (high - low),
        place=(u[5], u[6]),
        blur=blur.sigma[0] + u[8] * (blur.sigma[1] - blur.sigma[0])
        if blur is not None and u[7] < blur.probability
        else None,
        flip=bool(u[9] < augmentation.flip),
    )


def apply(
    augmentation: Augmentation,
    image: Image.Image | np.ndarray,
    label: Image.Image | np.ndarray | None,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor | None]:
    """Augment one image and its label map.

    Args:
        image: RGB, uint8 [H, W, 3] as an array.
        label: train ids, uint8 [H, W] (255 = ignore), of the image's size; or None.
        rng: the generator of this sample.

    Returns:
        uint8 [3, h, w] and uint8 [h, w] (or None). The image is a view of [h, w, 3] memory (channels last).
    """
    pixels, classes = apply_to_arrays(augmentation, np.asarray(image), _array(label), rng)
    return (
        torch.from_numpy(np.array(pixels)).permute(2, 0, 1),
        None if classes is None else torch.from_numpy(np.array(classes)),
    )


def _array(label: Image.Image | np.ndarray | None) -> np.ndarray | None:
    return None if label is None else np.asarray(label)


def apply_to_arrays(
    augmentation: Augmentation, image: np.ndarray, label: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """:func:`apply` from arrays to arrays: uint8 [h, w, 3] and uint8 [h, w] (or None).

    The results may be views of the arguments: copy them before changing them.
    """
    drawn = draw(augmentation, rng)
    if augmentation.jitter is not None:
        image = jitter_image(image, augmentation.jitter, drawn)
    size = _scaled_size(augmentation, image.shape, drawn)
    image, label = resize(image, label, size, augmentation.resample)
    if augmentation.crop is not None:
        image, label = crop(image, label, augmentation.crop, drawn.place)
    if drawn.blur is not None:
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(drawn.blur)))
    if drawn.flip:
        image, label = image[:, ::-1], None if label is None else label[:, ::-1]
    return image, label


def _scaled_size(augmentation: Augmentation, shape: tuple[int, ...], drawn: Draw) -> _Size:
    width, height = augmentation.resize or (shape[1], shape[0])
    if augmentation.scale is None:
        return width, height
    return max(1, round(width * drawn.scale)), max(1, round(height * drawn.scale))


def resize(
    image: np.ndarray, label: np.ndarray | None, size: _Size, resample: Resample = "bicubic"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resize an image and its label map to (width, height); see :func:`~stylebridge.data.resizing.resized`."""
    return resized(image, size, resample), None if label is None else resized(label, size)


def crop(
    image: np.ndarray, label: np.ndarray | None, size: _Size, place: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Crop a window of (width, height), placed by two numbers in [0, 1) (across, down); every position inside the image
    is equally likely. A smaller image is padded at the right and bottom with 0, its label map with 255."""
    width, height = size
    left = math.floor(place[0] * (max(0, image.shape[1] - width) + 1))
    top = math.floor(place[1] * (max(0, image.shape[0] - height) + 1))
    window = (slice(top, top + height), slice(left, left + width))
    image, label = image[window], None if label is None else label[window]
    missing = ((0, height - image.shape[0]), (0, width - image.shape[1]))
    if missing != ((0, 0), (0, 0)):
        image = np.pad(image, (*missing, (0, 0)), constant_values=0)
        label = None if label is None else np.pad(label, missing, constant_values=IGNORE)
    return image, label


def jitter_image(image: np.ndarray, jitter: Jitter, drawn: Draw) -> np.ndarray:
    """Jitter uint8 [H, W, 3] by the drawn factors, in the drawn order; a strength of 0 changes nothing."""
    picture = Image.fromarray(image)
    for change in drawn.order:
        if change == 0 and jitter.brightness:
            picture = ImageEnhance.Brightness(picture).enhance(drawn.brightness)
        elif change == 1 and jitter.contrast:
            picture = ImageEnhance.Contrast(picture).enhance(drawn.contrast)
        elif change == 2 and jitter.saturation:
            picture = ImageEnhance.Color(picture).enhance(drawn.saturation)
        elif change == 3 and jitter.hue:
            picture = _shift_hue(picture, drawn.hue)
    return np.asarray(picture)


def _shift_hue(picture: Image.Image, shift: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(i + int(shift * 255)) % 256 for i in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
