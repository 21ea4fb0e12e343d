"""A seeded mutator of image and zip files: damage by disks, networks and attackers."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

_SIZE = (64, 48)


def seeds() -> dict[str, bytes]:
    """Whole files of every format that is read, by name."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (_SIZE[1], _SIZE[0], 3), dtype=np.uint8)).resize((96, 72))
    ids = Image.fromarray(np.kron(rng.integers(0, 4, (6, 8), dtype=np.uint8), np.ones((8, 8), np.uint8)))
    palette = ids.copy()
    palette.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    deep = Image.fromarray(np.array(ids).astype(np.uint16) * 300)
    alpha = colour.copy()
    alpha.putalpha(128)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "description " * 20
    files = {
        "photo.jpg": _saved(colour, "JPEG", quality=80, exif=exif),
        "progressive.jpg": _saved(colour, "JPEG", progressive=True),
        "cmyk.jpg": _saved(colour.convert("CMYK"), "JPEG"),
        "photo.png": _saved(colour, "PNG", exif=exif),
        "alpha.png": _saved(alpha, "PNG"),
        "ids.png": _saved(ids, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=0),
        "deep.png": _saved(deep, "PNG"),
        "deep-rgb.png": png(24, 16, 16, 2, b"".join(b"\0" + rng.bytes(24 * 6) for _ in range(16))),
        "interlaced.png": interlaced_png(16, 16),
        "photo.bmp": _saved(colour, "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "photo.webp": _saved(colour, "WEBP", exif=exif),
        "alpha.webp": _saved(alpha, "WEBP", lossless=True),
        "photo.ppm": _saved(colour, "PPM"),
        "plain.ppm": b"P3\n# a comment\n4 2\n255\n" + b" ".join(b"%d" % v for v in range(24)),
    }
    for kind in ("raw", "tiff_lzw", "jpeg", "tiff_deflate", "packbits"):
        files[f"{kind}.tif"] = _saved(colour, "TIFF", compression=kind)
    files["deep.tif"] = _saved(deep, "TIFF")
    files["many.tif"] = _saved(colour, "TIFF", save_all=True, append_images=[alpha, colour])
    return files


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"", interlace: int = 0
) -> bytes:
    """A PNG of filtered rows, with further chunks behind its header."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    body = _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + body


def interlaced_png(width: int, height: int) -> bytes:
    """An 8-bit grey PNG in Adam7 order."""
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    pixels = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    rows = b"".join(
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size
    )
    return png(width, height, 8, 0, rows, interlace=1)


# --- bombs --------------------------------------------------------------------------------------------------


def bomb(rng: np.random.Generator) -> tuple[str, bytes]:
    """A small file that declares, or unpacks to, far too much."""
    side = int(rng.integers(10_001, 65_000))
    kind = int(rng.integers(0, 9))
    if kind == 0:  # wide and high, with zeros that pack well
        return "bomb.png", png(side, side, 8, 2, bytes(1_000_000))
    if kind == 1:  # below the limit as declared, and far too few pixels
        wide = int(rng.integers(2_000, 9_000))
        return "short.png", png(wide, wide, 8, 0, bytes((wide + 1) * int(rng.integers(1, 50))))
    if kind == 2:  # text that unpacks to a thousand times its size
        text = b"Comment\0\0" + zlib.compress(bytes(int(rng.integers(2, 30)) << 20), 9)
        return "text.png", png(8, 8, 8, 0, b"\0" * 72, _chunk(b"zTXt", text))
    if kind == 3:
        many = b"".join(_chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(900_000), 9)) for _ in range(80))
        return "texts.png", png(8, 8, 8, 0, b"\0" * 72, many)
    if kind == 4:
        data = bytearray(_saved(Image.new("RGB", (32, 32)), "JPEG"))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
        return "bomb.jpg", bytes(data)
    if kind == 5:
        header = b"P6\n" + b"#" * int(rng.integers(0, 100_000)) + b"\n"
        return "bomb.ppm", header + b"%d %d\n255\n" % (side, side) + bytes(1000)
    if kind == 6:
        return "digits.ppm", b"P6\n" + b"9" * int(rng.integers(5, 100_000)) + b" 9\n255\n"
    if kind == 7:
        return "bomb.tif", _tiff_bomb(rng, side)
    data = bytearray(_saved(Image.new("RGB", (32, 32)), "BMP"))
    data[18:26] = struct.pack("<ii", side, -side)
    return "bomb.bmp", bytes(data)


def _tiff_bomb(rng: np.random.Generator, side: int) -> bytes:
    """A tag that claims up to 4 billion values, or an image far too large."""
    large = rng.random() < 0.5
    tags = [
        (256, 4, 1, side if large else 16),
        (257, 4, 1, side if large else 16),
        (258, 3, 1, 8),
        (259, 3, 1, int(rng.choice([1, 5, 7, 8]))),
        (262, 3, 1, 1),
        (273, 4, 1 if large else int(rng.integers(1 << 20, 1 << 32)), 8),
        (277, 3, 1, 1),
        (278, 4, 1, side),
        (279, 4, 1, int(rng.integers(1, 1 << 32))),
        (34675, 7, int(rng.integers(1 << 20, 1 << 32)), 8),
    ]
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + bytes(4) + bytes(200)


# --- mutations ----------------------------------------------------------------------------------------------

_HEADERS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"II*\0\x08\0\0\0",
    b"BM",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"P6\n4 4\n",
    b"PK\3\4",
    b"%PDF-1.7",
    b"GIF89a",
    b"\0\0\0\x0cjP  ",
)

_LEAD_OUTSIDE = ("../out.png", "/out.png", "images/../../out.png", "C:/out.png", "\\\\out\\x.png")


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, flip bits, overwrite, repeat, remove, or put another format's header in front."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind, at = int(rng.integers(0, 8)), int(rng.integers(0, max(1, len(changed))))
        if kind == 0:
            del changed[at:]
        elif kind in (1, 2):  # flip bits, in the whole file or near its beginning
            reach = len(changed) if kind == 1 else min(len(changed), 200)
            for place in rng.integers(0, max(1, reach), int(rng.integers(1, 30))).tolist():
                if place < len(changed):
                    changed[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 3:
            changed[at : at + int(rng.integers(1, 16))] = rng.bytes(int(rng.integers(1, 16)))
        elif kind == 4:  # numbers at the end of their range
            changed[at : at + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")[
                int(rng.integers(0, 3))
            ]
        elif kind == 5:
            piece = changed[at : at + int(rng.integers(1, 400))]
            changed[at:at] = piece * int(rng.integers(1, 20))
        elif kind == 6:
            del changed[at : at + int(rng.integers(1, 200))]
        else:
            header = _HEADERS[int(rng.integers(0, len(_HEADERS)))]
            changed[: len(header)] = header
    return bytes(changed)


def mutated_zip(rng: np.random.Generator, image: bytes) -> bytes:
    """A zip file with members that are misleading, outside the archive or too large; or one cut off, or with flipped
    bits."""
    kind = int(rng.integers(0, 7))
    names = ["images/a.png", "images/b.png", "labels/a.png", "labels/b.png"]
    if kind == 0:
        names[int(rng.integers(0, 4))] = _LEAD_OUTSIDE[int(rng.integers(0, len(_LEAD_OUTSIDE)))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(_member(name), image)
        if kind == 1:  # a bomb that says how large it is
            archive.writestr(_member("images/c.png"), bytes(int(rng.integers(1, 12)) << 20))
    data = bytearray(buffer.getvalue())
    if kind == 2:  # one that lies about it
        for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
            place = data.index(signature)
            data[place + at : place + at + 4] = struct.pack("<I", int(rng.integers(1 << 20, 1 << 32)))
    if kind == 3:  # encrypted, or packed by a method unknown
        place = data.index(b"PK\1\2")
        data[place + int(rng.choice([8, 10]))] |= int(rng.choice([1, 99]))
    return bytes(data) if kind in (0, 1, 2, 3) else mutate(bytes(data), rng)


def _member(name: str) -> zipfile.ZipInfo:
    """A packed member with a fixed date: otherwise the file would depend on the clock."""
    info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def corrupted(count: int, seed: int = 0, first: int = 0) -> Iterator[tuple[int, str, bytes]]:
    """Files ``first`` to ``count - 1`` as (number, name, content).

    Each depends on the seed and its number alone. Of ten, eight are mutated images, one is a bomb, one a zip file.
    """
    whole = list(seeds().items())
    for number in range(first, count):
        rng = np.random.default_rng((seed, number))
        kind = number % 10
        if kind == 8:
            name, data = bomb(rng)
        elif kind == 9:
            name, data = "set.zip", mutated_zip(rng, whole[int(rng.integers(0, len(whole)))][1])
        else:
            name, data = whole[int(rng.integers(0, len(whole)))]
            data = mutate(data, rng)
        yield number, name, data
