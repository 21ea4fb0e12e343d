"""Pictures of label maps: overlays, captioned grids, and small files embedded in pages.

Images are RGB uint8 [H, W, 3]; label maps are uint8 [H, W] with classes 0..K-1 and 255 = ignore.
"""

import base64
import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stylebridge.data.label_space import IGNORE
from stylebridge.data.resizing import resized

Picture = NDArray[np.uint8]

_PAPER = (250, 250, 250)
_INK = (32, 34, 40)
_GAP = 6
_MIN_CELL = 192  # px: in narrower cells captions do not fit


class Palette(Protocol):
    """The part of `stylebridge.data.label_space.LabelSpace` that pictures use."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names."""
        ...

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """One RGB colour for each class, 0..255."""
        ...

    def colourise(self, labels: Picture) -> Picture:
        """[H, W] label map to [H, W, 3] RGB, ignore = black."""
        ...


def overlay(image: Picture, labels: Picture, space: Palette, alpha: float = 0.6) -> Picture:
    """The image [H, W, 3] tinted by the class colours of its label map [H, W]; ignored pixels are unchanged.

    alpha: weight of the class colour, 0 (photo only) to 1 (colours only).
    Raises ValueError if the sizes differ.
    """
    check_sizes(image, {"labels": labels})
    mixed = (1 - alpha) * image.astype(np.float32) + alpha * space.colourise(labels).astype(np.float32)
    return np.where((labels == IGNORE)[..., None], image, np.rint(mixed).astype(np.uint8))


def sample_grid(rows: Sequence[Sequence[Picture]], captions: Sequence[str] = ()) -> Picture:
    """Rows of pictures as one picture [H, W, 3], with a caption above each column.

    Pictures [h, w, 3] may differ in size and rows in length; each is centred in its cell. A grid of small pictures is
    enlarged by an integer factor, so that captions stay readable. Long captions are shortened with an ellipsis. Raises
    ValueError if there is no picture or one is not uint8 RGB.
    """
    flat = [cell for row in rows for cell in row]
    if not flat:
        raise ValueError("a sample grid needs at least one picture")
    for cell in flat:
        check_image(cell)
    columns = max(len(row) for row in rows)
    height = max(cell.shape[0] for cell in flat)
    width = max(cell.shape[1] for cell in flat)
    zoom = max(1, -(-_MIN_CELL // width))
    cell_h, cell_w = height * zoom, width * zoom
    font_size = min(28, max(13, cell_w // 18))
    header = round(font_size * 1.9) if any(captions) else _GAP
    canvas = Image.new(
        "RGB",
        (columns * (cell_w + _GAP) + _GAP, header + len(rows) * (cell_h + _GAP)),
        _PAPER,
    )
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            picture = Image.fromarray(np.ascontiguousarray(cell))
            picture = picture.resize((cell.shape[1] * zoom, cell.shape[0] * zoom), Image.Resampling.NEAREST)
            left = _GAP + x * (cell_w + _GAP) + (cell_w - picture.width) // 2
            canvas.paste(picture, (left, header + y * (cell_h + _GAP) + (cell_h - picture.height) // 2))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(font_size)
    for x, caption in enumerate(captions[:columns]):
        where = (_GAP + x * (cell_w + _GAP) + 2, header / 2)
        draw.text(where, _fit(draw, caption, font, cell_w - 4), fill=_INK, font=font, anchor="lm")
    return np.array(canvas)


def _fit(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def check_image(image: Picture) -> None:
    """Raises ValueError unless the image is uint8 [H, W, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")


def check_sizes(image: Picture, maps: dict[str, Picture]) -> None:
    """Raises ValueError unless the image is uint8 [H, W, 3] and each label map is [H, W] of the same size."""
    check_image(image)
    for name, labels in maps.items():
        if labels.shape != image.shape[:2]:
            raise ValueError(f"{name} is {list(labels.shape)}, but its image is {list(image.shape[:2])}")


def shrink(picture: Picture, max_width: int) -> Picture:
    """The picture at most `max_width` px wide: images [H, W, 3] smoothed, label maps [H, W] by nearest neighbour."""
    height, width = picture.shape[:2]
    if width <= max_width:
        return picture
    size = (max_width, max(1, round(height * max_width / width)))
    return resized(picture, size, "lanczos")


def photo_uri(image: Picture, quality: int = 85) -> str:
    """An image [H, W, 3] as a WebP data URI."""
    return _data_uri(Image.fromarray(np.ascontiguousarray(image)), "WEBP", quality=quality)


def map_uri(labels: Picture, space: Palette) -> str:
    """A label map [H, W] as a palette PNG data URI in the class colours; ignored pixels are transparent.

    Raises ValueError if a label is neither a class nor 255.
    """
    num_classes = len(space.colours)
    outside = np.setdiff1d(labels[labels != IGNORE], np.arange(num_classes))
    if outside.size:
        raise ValueError(f"label map has {outside[:5].tolist()}, outside the classes 0..{num_classes - 1}")
    # Ignore becomes the entry after the last class: a short palette lets PNG pack two pixels in a byte.
    indices = np.where(labels == IGNORE, num_classes, labels).astype(np.uint8)
    return _palette_uri(indices, [*space.colours, (0, 0, 0)], transparent=num_classes)


def mask_uri(mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> str:
    """A mask [H, W] as a two-colour PNG data URI: `colour` where true, transparent elsewhere."""
    return _palette_uri(mask.astype(np.uint8), [(0, 0, 0), colour], transparent=0)


def _palette_uri(indices: Picture, colours: Sequence[tuple[int, int, int]], transparent: int) -> str:
    picture = Image.fromarray(np.ascontiguousarray(indices))
    picture.putpalette([channel for colour in colours for channel in colour])
    return _data_uri(picture, "PNG", optimize=True, transparency=transparent)


def _data_uri(picture: Image.Image, kind: str, **options: int | bool) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
