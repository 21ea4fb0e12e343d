"""Read image and label files of many formats, with a reason if a file cannot be read."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylebridge.data.files import FileRef, LabelRef, MaskStack, open_file
from stylebridge.data.image_limits import pages, raw_mode, refuse_costly
from stylebridge.data.quiet import quiet
from stylebridge.data.regular import NoRegularFileError
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError, one_line

#: Larger images are rejected before decoding; a file of a few bytes can declare any size.
MAX_PIXELS = 100_000_000

# Only these decoders are tried: a renamed file must not reach others (some run programs).
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM")

_EXIF_ORIENTATION = 0x0112

#: The transposition that turns stored pixels upright, by EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableError(DataError):
    """A file that cannot be decoded. ``reason``: why, in a few words without the file's name."""

    reason: str = ""

    @classmethod
    def of(cls, path: FileRef, reason: str, mend: str) -> UnreadableError:
        """The error with its message."""
        error = cls(f"{path} cannot be read as an image ({reason})", mend)
        error.reason = reason
        return error


@contextmanager
def _opened(path: FileRef) -> Iterator[Image.Image]:
    """Open a file. Any error of a decoder, now or while the file is in use, becomes a DataError."""
    mend = "replace it or remove it from the folder"
    try:
        with quiet, open_file(path) as file, Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > _most_pixels():
                raise Image.DecompressionBombError
            refuse_costly(image, file)
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        reason = f"more than {_most_pixels():,} pixels"
        raise UnreadableError.of(path, reason, "cut it into smaller images") from error
    except MemoryError as error:
        raise UnreadableError.of(path, "it takes more memory than there is", mend) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise UnreadableError.of(path, _reason(error, path), mend) from error


def _most_pixels() -> int:
    """Our limit, or Pillow's if the user has lowered it."""
    return min(MAX_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS))


def _reason(error: Exception, path: FileRef) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, NoRegularFileError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a link to itself"
    if _is_empty(path):
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or damaged at its beginning"
    return one_line(error).rstrip(".")[:200] or type(error).__name__


def _is_empty(path: FileRef) -> bool:
    try:
        with open_file(path) as file:
            return not file.read(1)
    except OSError:
        return False


def _ref(path: FileRef | str) -> FileRef:
    return Path(path) if isinstance(path, str) else path


# --- images -------------------------------------------------------------------------------------------------


def read_image(path: FileRef | str) -> np.ndarray:
    """Read an image as RGB uint8 [H, W, 3].

    The EXIF rotation is applied, so that the array matches what viewers and annotation tools show; label maps must fit
    the rotated image. Grey, palette, CMYK and 16-bit files are converted (16 bit: the full range to 0..255);
    transparency is dropped. The first image of a file is read.

    Raises:
        DataError: the file is not an image, is damaged, or has too many pixels.
    """
    path = _ref(path)
    with _opened(path) as image:
        image.load()
        return np.array(_to_rgb(_upright(image), path))


def check_image(path: FileRef | str) -> tuple[int, int]:
    """Decode a file to check that it is intact, as cheaply as its format allows.

    Returns:
        (width, height) as from :func:`read_image`.

    Raises:
        DataError: as :func:`read_image`.
    """
    path = _ref(path)
    with _opened(path) as image:
        width, height = image.size
        if image.format in ("JPEG", "MPO"):
            # Still reads the whole stream (and finds truncation), but computes only an eighth of the size.
            image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
        _to_rgb(image.crop((0, 0, 1, 1)), path)  # fails if the pixel format cannot be converted
        return (height, width) if _orientation(image) >= 5 else (width, height)


@dataclass(frozen=True)
class ImageHeader:
    """The metadata of an image file.

    Attributes:
        format: the decoder's name, such as "PNG".
        mode: Pillow's name for the pixel format.
        raw_mode: the pixel layout in the file, as passed to Pillow's decoder.
        size: (width, height) as stored.
        orientation: EXIF orientation, 1 (upright, also if absent) to 8.
        frames: number of images in the file; for TIFF, 100 means 100 or more.
        alpha: whether it has a transparency channel, palette or colour.
    """

    format: str
    mode: str
    raw_mode: str
    size: tuple[int, int]
    orientation: int
    frames: int
    alpha: bool

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) after the EXIF rotation."""
        return (self.size[1], self.size[0]) if self.orientation >= 5 else self.size

    @property
    def sixteen_bit(self) -> bool:
        """Whether a channel has more than 8 bits (and is not floating point)."""
        return self.mode == "I" or self.mode.startswith("I;16") or "16" in self.raw_mode


def read_header(path: FileRef | str) -> ImageHeader:
    """Read the metadata without decoding. The EXIF rotation of a PNG is found only if it is before the pixels.

    Raises:
        DataError: the file is not an image, or has too many pixels.
    """
    with _opened(_ref(path)) as image:
        return header_of(image)


def header_of(image: Image.Image) -> ImageHeader:
    """The metadata of an opened, not yet decoded image."""
    late = (
        image.format == "PNG" and "exif" not in image.info
    )  # Pillow would decode the pixels to look behind them
    return ImageHeader(
        format="JPEG" if image.format == "MPO" else image.format or "",
        mode=image.mode,
        raw_mode=raw_mode(image),
        size=image.size,
        orientation=1 if late else _orientation(image),
        frames=pages(image),
        alpha=image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info,
    )


def decode_image(path: FileRef | str, thumbnail: tuple[int, int]) -> tuple[ImageHeader, np.ndarray, bool]:
    """Decode a whole file as cheaply as its format allows.

    Returns:
        Its header, including a rotation stored behind the pixels; a thumbnail of size ``thumbnail`` (width, height),
        grey uint8, upright; and whether any pixel is transparent.

    Raises:
        DataError: as :func:`read_image`.
    """
    path = _ref(path)
    with _opened(path) as image:
        header = header_of(image)
        if header.format == "JPEG":
            # Still reads the whole stream (and finds truncation), but computes only what is needed.
            image.draft(None, (4 * thumbnail[0], 4 * thumbnail[1]))
        image.load()
        header = replace(header, orientation=_orientation(image))
        transparent = header.alpha and _is_transparent(image)
        # Reduced first: converting the full image to RGB would take longer than decoding it.
        plain = image.mode in ("L", "RGB", "CMYK")
        small = image.reduce(_reduction(image.size, thumbnail)) if plain else image
        grey = _upright_as(_to_rgb(small, path), header.orientation).convert("L")
        # Bilinear, because a box filter over whole pixels gives different means for copies of other sizes.
        return header, np.array(grey.resize(thumbnail, Image.Resampling.BILINEAR)), transparent


def turn_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels [H, W] or [H, W, 3] upright by an EXIF orientation, 1 to 8."""
    return np.array(_upright_as(Image.fromarray(pixels), orientation))


def _reduction(size: tuple[int, int], thumbnail: tuple[int, int]) -> tuple[int, int]:
    return max(1, size[0] // (4 * thumbnail[0])), max(1, size[1] // (4 * thumbnail[1]))


def _is_transparent(image: Image.Image) -> bool:
    alpha = image.convert("RGBA").getchannel("A") if "A" not in image.getbands() else image.getchannel("A")
    return alpha.getextrema()[0] != 255


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8. A damaged EXIF block counts as 1: the pixels are intact."""
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # struct.error, SyntaxError, OverflowError, …, depending on the damage
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    return _upright_as(image, _orientation(image))


def _upright_as(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, path: FileRef) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise DataError(f"{path} is a floating-point image: save it with 8 or 16 bits a channel.")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if a transparent palette is converted directly to RGB
    return image.convert("RGB")


# --- labels -------------------------------------------------------------------------------------------------


def read_label(path: LabelRef | str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label map: integer ids [H, W], uint8 for files of up to 8 bits, else int32.

    Supported are palette and grey files of 1 to 16 bits, grey saved as RGB, and 16-bit RGB files whose first channel is
    the class (SYNTHIA). Ids are not scaled. A :class:`~stylebridge.data.files.MaskStack` is painted; without masks it
    has ``size`` (width, height).

    Raises:
        DataError: the file cannot be read, is a JPEG (whose values are not exact), or holds colours instead of ids.
    """
    if isinstance(path, MaskStack):
        return _paint(path, size)
    path = _ref(path)
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(
                f"{path} is a JPEG, which changes the ids of a label map: save label maps as PNG."
            )
        raw = raw_mode(image)
        if raw in ("RGB;16B", "RGBA;16B"):
            return _first_channel_of_16_bit(image, raw, path)
        image.load()
        mode, pixels = image.mode, np.array(image)
    if mode in ("RGB", "RGBA"):
        if (pixels[..., :1] != pixels[..., 1:3]).any():
            raise DataError(
                f"{path} holds colours instead of class ids",
                "save the label map as an 8-bit grey or palette PNG whose values are ids",
                "name a label space that lists raw_colours with --label-space",
            )
        return np.ascontiguousarray(pixels[..., 0])
    if mode == "LA":
        return np.ascontiguousarray(pixels[..., 0])
    if mode in ("L", "P", "1"):
        # Pillow scales grey files of 2 and 4 bits to 0..255, which must not happen to ids.
        return pixels.astype(np.uint8) // {"L;2": 85, "L;4": 17}.get(raw, 1)
    if mode == "I" or mode.startswith("I;16"):
        return pixels.astype(np.int32)
    raise DataError(
        f"{path} has the pixel format {mode}: save the label map as an 8-bit grey or palette PNG."
    )


def read_label_colours(path: FileRef | str) -> np.ndarray | None:
    """A label map stored as colours: RGB uint8 [H, W, 3]; None if the file is grey and holds ids.

    Palette files are converted to the palette's colours.

    Raises:
        DataError: the file cannot be read, or is a JPEG.
    """
    path = _ref(path)
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(f"{path} is a JPEG, which changes the colours of a label map: save it as PNG.")
        if image.mode not in ("P", "RGB", "RGBA") or "16B" in raw_mode(image):
            return None
        image.load()
        return np.array(image.convert("RGB"))


def _paint(stack: MaskStack, size: tuple[int, int] | None) -> np.ndarray:
    """uint8 [H, W] of raw ids (int32 if needed); resized to ``size`` if the aspect ratio is the same."""
    painted: np.ndarray | None = None
    kind = np.uint8 if max([stack.background, *(raw for _, raw in stack.files)]) < 256 else np.int32
    for file, raw in stack.files:
        with _opened(file) as image:
            mask = np.array(image.convert("L")) > 127
        if painted is None:
            painted = np.full(mask.shape, stack.background, kind)
        if mask.shape != painted.shape:
            sizes = f"{mask.shape[1]}×{mask.shape[0]}, the others {painted.shape[1]}×{painted.shape[0]}"
            raise DataError(f"{file} is {sizes}: all masks of an image must have the same size.")
        painted[mask] = raw
    if painted is None:
        if size is None:
            raise DataError(f"{stack} has no mask: remove its image.")
        return np.full((size[1], size[0]), stack.background, kind)
    height, width = painted.shape
    if size is not None and width * size[1] != height * size[0]:
        return painted  # the caller rejects another aspect ratio
    return resized(painted, size)


def read_palette(path: FileRef | str) -> list[tuple[int, int, int]] | None:
    """The RGB colours of a palette file by index, or None if it has no palette.

    Raises:
        DataError: the file is not an image.
    """
    path = _ref(path)
    with _opened(path) as image:
        if image.mode != "P":
            return None
        # A PNG's palette is before its pixels, which need not be decoded.
        mode, data = image.palette.getdata() if image.format == "PNG" and image.palette else ("", b"")
        if mode == "RGB":
            flat = list(data)
        else:
            image.load()
            flat = image.getpalette("RGB") or []
    return [(r, g, b) for r, g, b in zip(flat[0::3], flat[1::3], flat[2::3], strict=True)]


def _first_channel_of_16_bit(image: Image.Image, raw: str, path: FileRef) -> np.ndarray:
    """The first channel of a 16-bit colour PNG, int32 [H, W].

    Pillow keeps only the high byte of such files, which is 0 for every class id. Declared little-endian, the same
    decoder keeps the low byte, so that two passes give all 16 bits.
    """
    with _opened(path) as opened:
        again: Any = opened  # Pillow does not declare tile
        again.tile = [tile._replace(args=raw.replace("16B", "16L")) for tile in again.tile]
        low = np.array(again)[..., 0]
    image.load()
    return np.array(image)[..., 0].astype(np.int32) * 256 + low
