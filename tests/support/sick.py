"""A labelled folder with every problem that the data doctor looks for."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((128, 64, 128), (70, 70, 70), (70, 130, 180))
SPACE = """name: streets
classes:
  - {name: road, colour: [128, 64, 128]}
  - {name: building, colour: [70, 70, 70]}
  - {name: sky, colour: [70, 130, 180]}
  - {name: boat, colour: [0, 0, 230]}
"""


@dataclass(frozen=True)
class Sick:
    """The folders, and the label space's file."""

    train: Path
    evaluation: Path
    space: Path


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture of road, building and sky with texture, and its label map."""
    rng = np.random.default_rng(seed)
    width, height = size
    label = np.full((height, width), 2, np.uint8)
    edges = np.sort(rng.integers(height // 6, height - height // 6, 2))
    label[edges[0] :, rng.integers(0, width // 2) :] = 1
    label[edges[1] :] = 0
    y, x = np.mgrid[:height, :width]
    wave = 30 * np.sin(x / rng.uniform(5, 20) + rng.uniform(0, 6)) + 30 * np.sin(y / rng.uniform(5, 20))
    image = np.array(COLOURS)[label] + wave[..., None] + rng.normal(0, 4, (height, width, 3))
    label[:3, :3] = 255
    return image.clip(0, 255).astype(np.uint8), label


def write_sick(root: Path) -> Sick:
    """Pairs ``ok-0`` to ``ok-5`` are good; the others are named by their problem."""
    train, evaluation = root / "train", root / "evaluation"
    for folder in (train, evaluation):
        (folder / "images").mkdir(parents=True)
        (folder / "labels").mkdir()
    for i in range(6):
        save(train, f"ok-{i}", *scene(i))
    _bad_images(train)
    _bad_labels(train)
    for i in range(3):
        save(evaluation, f"held-{i}", *scene(100 + i))
    (evaluation / "images" / "held-copy.png").write_bytes((train / "images" / "ok-1.png").read_bytes())
    Image.fromarray(scene(1)[1]).save(evaluation / "labels" / "held-copy.png")
    Image.fromarray(scene(2)[0]).save(evaluation / "images" / "held-again.jpg", quality=90)
    Image.fromarray(scene(2)[1]).save(evaluation / "labels" / "held-again.png")
    space = root / "streets.yaml"
    space.write_text(SPACE, encoding="utf-8")
    return Sick(train, evaluation, space)


def save(root: Path, name: str, image: np.ndarray, label: np.ndarray) -> None:
    """Write a pair of PNGs."""
    Image.fromarray(image).save(root / "images" / f"{name}.png")
    Image.fromarray(label).save(root / "labels" / f"{name}.png")


def _bad_images(root: Path) -> None:
    images, labels = root / "images", root / "labels"

    def labelled(name: str, seed: int) -> np.ndarray:
        image, label = scene(seed)
        Image.fromarray(label).save(labels / f"{name}.png")
        return image

    Image.fromarray(labelled("cut", 10)).save(images / "cut.png")
    (images / "cut.png").write_bytes((images / "cut.png").read_bytes()[:2000])
    labelled("empty", 11)
    (images / "empty.jpg").write_bytes(b"")
    labelled("text", 12)
    (images / "text.jpg").write_bytes(b"not a picture")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, label = scene(13, (72, 96))  # as shown
    Image.fromarray(np.rot90(turned).copy()).save(images / "rotated.jpg", exif=exif, quality=95)
    Image.fromarray(label).save(labels / "rotated.png")
    turned, label = scene(14, (72, 96))  # the label map drawn before the rotation
    Image.fromarray(np.rot90(turned).copy()).save(images / "rotated-early.jpg", exif=exif, quality=95)
    Image.fromarray(np.rot90(label).copy()).save(labels / "rotated-early.png")
    exif[0x0112] = 3
    Image.fromarray(labelled("upside-down", 15)).save(images / "upside-down.jpg", exif=exif)
    Image.fromarray(labelled("cmyk", 16)).convert("CMYK").save(images / "cmyk.jpg")
    glass = Image.fromarray(labelled("glass", 17))
    glass.putalpha(Image.fromarray(np.tile(np.arange(96, dtype=np.uint8) * 2, (72, 1))))
    glass.save(images / "glass.png")
    Image.fromarray(labelled("opaque", 18)).convert("RGBA").save(images / "opaque.png")
    Image.fromarray(labelled("indexed", 19)).convert("P").save(images / "indexed.png")
    Image.fromarray(labelled("grey", 20)).convert("L").save(images / "grey.png")
    deep = labelled("deep", 21)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(images / "deep.png")
    Image.fromarray(np.full_like(labelled("blank", 22), 9)).save(images / "blank.png")
    (images / "twin.png").write_bytes((images / "ok-0.png").read_bytes())
    Image.fromarray(scene(0)[1]).save(labels / "twin.png")
    (images / "false-twin.png").write_bytes((images / "ok-0.png").read_bytes())
    Image.fromarray(scene(1)[1]).save(labels / "false-twin.png")
    Image.fromarray(scene(23)[0]).save(images / "no-label.png")
    Image.fromarray(scene(24)[1]).save(labels / "no-image.png")
    save(root, "double", *scene(25))
    Image.fromarray(scene(25)[0]).save(images / "double.jpg")
    (images / "notes.txt").write_text("passed over")


def _bad_labels(root: Path) -> None:
    images, labels = root / "images", root / "labels"

    def pictured(name: str, seed: int, size: tuple[int, int] = (96, 72)) -> np.ndarray:
        image, label = scene(seed, size)
        Image.fromarray(image).save(images / f"{name}.png")
        return label

    label = pictured("label-colours", 40)
    table = np.zeros((256, 3), np.uint8)
    table[:3] = COLOURS
    Image.fromarray(table[label]).save(labels / "label-colours.png")
    label = pictured("label-unknown", 41)
    label[10:12, 10:15] = 77
    label[20, 20] = 99
    Image.fromarray(label).save(labels / "label-unknown.png")
    Image.fromarray(pictured("label-deep", 42).astype(np.uint16)).save(labels / "label-deep.png")
    write_rgb_16(labels / "label-synthia.png", pictured("label-synthia", 43))
    palette = Image.fromarray(pictured("label-palette", 44))
    # A palette of all 256 entries: with fewer Pillow writes fewer bits, and 255 is lost.
    palette.putpalette([*(v for colour in COLOURS for v in colour), *[0] * 759])
    palette.save(labels / "label-palette.png")
    swapped = Image.fromarray(pictured("label-swapped", 45))
    swapped.putpalette([*COLOURS[1], *COLOURS[0], *COLOURS[2], *[0] * 759])
    swapped.save(labels / "label-swapped.png")
    Image.fromarray(pictured("label-lossy", 46)).save(labels / "label-lossy.jpg")
    Image.fromarray(pictured("label-half", 47)[::2, ::2].copy()).save(labels / "label-half.png")
    Image.fromarray(pictured("label-crop", 48)[:, :50].copy()).save(labels / "label-crop.png")
    Image.fromarray(np.full_like(pictured("label-void", 49), 255)).save(labels / "label-void.png")
    Image.fromarray(pictured("label-cut", 50)).save(labels / "label-cut.png")
    whole = (labels / "label-cut.png").read_bytes()
    (labels / "label-cut.png").write_bytes(whole[: len(whole) // 2])
    label = pictured("label-grey-rgb", 51)
    Image.fromarray(np.repeat(label[..., None], 3, axis=2)).save(labels / "label-grey-rgb.png")


def write_rgb_16(path: Path, ids: np.ndarray) -> None:
    """A 16-bit RGB PNG whose first channel is the class, as SYNTHIA's."""
    height, width = ids.shape
    pixels = np.zeros((height, width, 3), ">u2")
    pixels[..., 0], pixels[..., 1] = ids, 500
    rows = b"".join(b"\0" + pixels[y].tobytes() for y in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
