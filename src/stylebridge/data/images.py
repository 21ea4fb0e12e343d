"""Reading image and label files of every kind that people have, or saying why one cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from stylebridge.data.files import FileRef, LabelRef, MaskStack, open_file
from stylebridge.errors import DataError

# Only these decoders are tried: a renamed file must not reach others (some start programs).
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM")

_EXIF_ORIENTATION = 0x0112


@contextmanager
def _opened(path: FileRef) -> Iterator[Image.Image]:
    """Open a file. Whatever a decoder raises on a bad one, now or while it is in use, becomes a DataError."""
    try:
        with open_file(path) as file, Image.open(file, formats=_FORMATS) as image:
            yield image
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} cannot be read as an image (more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels): "
            f"cut it into smaller images."
        ) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, … alike
        raise DataError(
            f"{path} cannot be read as an image ({_reason(error, path)}): replace it or remove it from the "
            f"folder."
        ) from error


def _reason(error: Exception, path: FileRef) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if _is_empty(path):
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or damaged at its beginning"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _is_empty(path: FileRef) -> bool:
    with open_file(path) as file:
        return not file.read(1)


def _ref(path: FileRef | str) -> FileRef:
    return Path(path) if isinstance(path, str) else path


# --- images -------------------------------------------------------------------------------------------------


def read_image(path: FileRef | str) -> np.ndarray:
    """Read an image as RGB uint8 [H, W, 3].

    An EXIF rotation is applied, so that the array is what viewers and annotation tools show; a label map must
    fit the image as shown. Grey, palette, CMYK and 16-bit files are converted (16 bit: the whole range to
    0..255); transparency is dropped. Of a file with several images the first is taken.

    Raises:
        DataError: the file is not an image, is damaged, or has too many pixels.
    """
    path = _ref(path)
    with _opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(_to_rgb(image, path))


def check_image(path: FileRef | str) -> tuple[int, int]:
    """Decode a file to see that it is whole, as cheaply as its format allows.

    Returns:
        (width, height) of what :func:`read_image` would give.

    Raises:
        DataError: as :func:`read_image`.
    """
    path = _ref(path)
    with _opened(path) as image:
        if image.format not in ("JPEG", "MPO"):
            image.load()
            if image.mode == "F":
                _to_rgb(image, path)
            ImageOps.exif_transpose(image, in_place=True)
            return image.size
        width, height = image.size
        # The whole stream is still read (so truncation is found), but only an eighth of the size is computed.
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _to_rgb(image: Image.Image, path: FileRef) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise DataError(f"{path} is a floating-point image: save it with 8 or 16 bits a channel.")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when a transparent palette goes straight to RGB
    return image.convert("RGB")


# --- labels -------------------------------------------------------------------------------------------------


def read_label(path: LabelRef | str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label map: integer ids [H, W], uint8 for files of up to 8 bits, else int32.

    Read are index (palette) and grey files of 1 to 16 bits, grey saved as RGB, and 16-bit RGB files whose
    first channel is the class (SYNTHIA's form). The ids are those in the file: nothing is scaled. A
    :class:`~stylebridge.data.files.MaskStack` is painted; without masks it has ``size`` (width, height).

    Raises:
        DataError: the file cannot be read, is a JPEG (whose values are not exact), or holds colours, not ids.
    """
    if isinstance(path, MaskStack):
        return _paint(path, size)
    path = _ref(path)
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(
                f"{path} is a JPEG, which changes the ids of a label map: save label maps as PNG."
            )
        raw_mode = _raw_mode(image)
        if raw_mode in ("RGB;16B", "RGBA;16B"):
            return _first_channel_of_16_bit(image, raw_mode, path)
        image.load()
        mode, pixels = image.mode, np.array(image)
    if mode in ("RGB", "RGBA"):
        if (pixels[..., :1] != pixels[..., 1:3]).any():
            raise DataError(
                f"{path} holds colours instead of class ids: save the label map as an 8-bit grey or palette PNG "
                f"whose values are ids, or name a label space that lists raw_colours with --label-space."
            )
        return np.ascontiguousarray(pixels[..., 0])
    if mode == "LA":
        return np.ascontiguousarray(pixels[..., 0])
    if mode in ("L", "P", "1"):
        # Pillow stretches grey files of 2 and 4 bits to 0..255; ids must not be.
        return pixels.astype(np.uint8) // {"L;2": 85, "L;4": 17}.get(raw_mode, 1)
    if mode == "I" or mode.startswith("I;16"):
        return pixels.astype(np.int32)
    raise DataError(
        f"{path} has the pixel format {mode}: save the label map as an 8-bit grey or palette PNG."
    )


def read_label_colours(path: FileRef | str) -> np.ndarray | None:
    """A label map that is kept as colours: RGB uint8 [H, W, 3]; None if the file is grey, so that it holds ids.

    Palette files give the palette's colours.

    Raises:
        DataError: the file cannot be read, or is a JPEG.
    """
    path = _ref(path)
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(f"{path} is a JPEG, which changes the colours of a label map: save it as PNG.")
        if image.mode not in ("P", "RGB", "RGBA") or "16B" in _raw_mode(image):
            return None
        image.load()
        return np.array(image.convert("RGB"))


def _paint(stack: MaskStack, size: tuple[int, int] | None) -> np.ndarray:
    """uint8 [H, W] of raw ids (int32 where an id needs it)."""
    painted: np.ndarray | None = None
    kind = np.uint8 if max([stack.background, *(raw for _, raw in stack.files)]) < 256 else np.int32
    for file, raw in stack.files:
        with _opened(file) as image:
            mask = np.array(image.convert("L")) > 127
        if painted is None:
            painted = np.full(mask.shape, stack.background, kind)
        if mask.shape != painted.shape:
            sizes = f"{mask.shape[1]}×{mask.shape[0]}, the others {painted.shape[1]}×{painted.shape[0]}"
            raise DataError(f"{file} is {sizes}: the masks of an image must have one size.")
        painted[mask] = raw
    if painted is None:
        if size is None:
            raise DataError(f"{stack} has no mask at all: remove its image.")
        painted = np.full((size[1], size[0]), stack.background, kind)
    return painted


def read_palette(path: FileRef | str) -> list[tuple[int, int, int]] | None:
    """The RGB colours of a palette file by index, or None if it has no palette.

    Raises:
        DataError: the file is not an image.
    """
    path = _ref(path)
    with _opened(path) as image:
        if image.mode != "P":
            return None
        image.load()
        flat = image.getpalette("RGB") or []
    return [(r, g, b) for r, g, b in zip(flat[0::3], flat[1::3], flat[2::3], strict=True)]


def _raw_mode(image: Image.Image) -> str:
    """The layout of the pixels in the file, as Pillow's decoder is told it."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _first_channel_of_16_bit(image: Image.Image, raw_mode: str, path: FileRef) -> np.ndarray:
    """The first channel of a 16-bit colour PNG, int32 [H, W].

    Pillow keeps only the high byte of such files, which is 0 for every class id. Read as if it were
    little-endian the same decoder keeps the low byte, so two passes give all 16 bits.
    """
    with _opened(path) as opened:
        again: Any = opened  # Pillow does not declare tile
        again.tile = [tile._replace(args=raw_mode.replace("16B", "16L")) for tile in again.tile]
        low = np.array(again)[..., 0]
    image.load()
    return np.array(image)[..., 0].astype(np.int32) * 256 + low
