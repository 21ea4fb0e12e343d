import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.files import IMAGE_SUFFIXES
from stylebridge.data.images import check_image, read_image, read_label
from stylebridge.errors import DataError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_format_is_read_as_rgb(tmp_path: Path, suffix: str):
    file = tmp_path / f"x{suffix}"
    smooth = np.full((6, 9, 3), (200, 90, 30), np.uint8)
    Image.fromarray(smooth).save(file, **({"lossless": True} if suffix == ".webp" else {}))
    image = read_image(file)
    assert (image.shape, image.dtype) == ((6, 9, 3), np.uint8)
    assert np.abs(image.astype(int) - smooth).max() <= (3 if "j" in suffix else 0)
    assert check_image(file) == (9, 6)


def test_other_modes_become_rgb(tmp_path: Path):
    grey = RGB[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    cases = {
        "grey": Image.fromarray(grey),
        "grey-alpha": Image.merge("LA", (Image.fromarray(grey), Image.fromarray(grey))),
        "bit-16": Image.fromarray(grey.astype(np.uint16) * 257),
    }
    for name, image in cases.items():
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png"), expected, err_msg=name)
    alpha = Image.fromarray(RGB)
    alpha.putalpha(Image.fromarray(grey))
    alpha.save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RGB)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([9, 8, 7, 6, 5, 4])
    palette.save(tmp_path / "p.png", transparency=b"\x00\xff")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), [[[9, 8, 7], [6, 5, 4]]])
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    red = read_image(tmp_path / "c.jpg")[0, 0]
    assert red[0] > 250
    assert red[1:].max() < 5


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str):
    left_dark = np.zeros((16, 32, 3), np.uint8)
    left_dark[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    file = tmp_path / f"x{suffix}"
    Image.fromarray(left_dark).save(file, exif=exif)
    image = read_image(file)
    assert image.shape == (32, 16, 3)
    assert image[:14].max() < 60
    assert image[18:].min() > 200
    assert check_image(file) == (16, 32)


def damaged(suffix: str, keep: float) -> bytes:
    buffer = io.BytesIO()
    noisy = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(buffer, {".jpg": "JPEG", ".png": "PNG"}[suffix])
    return buffer.getvalue()[: int(len(buffer.getvalue()) * keep)]


BAD_FILES = [
    ("cut.jpg", damaged(".jpg", 0.6), "truncated"),
    ("cut.png", damaged(".png", 0.6), "truncated"),
    ("head.png", damaged(".png", 0.002), "Truncated"),
    ("text.jpg", b"hello", "not an image, or damaged at its beginning"),
    ("empty.png", b"", "the file is empty"),
    ("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_FILES, ids=[name for name, _, _ in BAD_FILES])
def test_a_bad_file_is_named_with_reason_and_mend(tmp_path: Path, name: str, content: bytes, reason: str):
    (tmp_path / name).write_bytes(content)
    message = (
        rf"{name} cannot be read as an image \(.*{reason}.*\): replace it or remove it from the folder\."
    )
    # A whole JPEG label map is refused for being one, so a cut one is no case for read_label.
    for read in (read_image, check_image) if name == "cut.jpg" else (read_image, check_image, read_label):
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_a_missing_file_and_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match=r"gone\.png cannot be read as an image \(it does not exist\)"):
        read_image(tmp_path / "gone.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.fromarray(RGB).save(tmp_path / "bomb.png")
    with pytest.raises(
        DataError, match=r"bomb\.png cannot be read as an image \(more than 20 pixels\): cut it"
    ):
        read_image(tmp_path / "bomb.png")


def test_floating_point_images_are_refused(tmp_path: Path):
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "f.tif")
    for read in (read_image, check_image):
        with pytest.raises(DataError, match=r"f\.tif is a floating-point image: save it with 8 or 16 bits"):
            read(tmp_path / "f.tif")


# --- labels -------------------------------------------------------------------------------------------------

IDS = np.array([[0, 1, 2, 18], [255, 33, 5, 7]], np.uint8)


def test_eight_bit_labels_keep_their_ids(tmp_path: Path):
    grey = Image.fromarray(IDS)
    palette = Image.fromarray(IDS)
    palette.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    rgb = Image.fromarray(np.repeat(IDS[..., None], 3, axis=2))
    for name, image in {
        "l.png": grey,
        "p.png": palette,
        "rgb.png": rgb,
        "l.bmp": grey,
        "l.tif": grey,
    }.items():
        image.save(tmp_path / name)
        label = read_label(tmp_path / name)
        np.testing.assert_array_equal(label, IDS, err_msg=name)
        assert label.dtype == np.uint8


@pytest.mark.parametrize(("depth", "largest"), [(1, 1), (2, 3), (4, 15)])
def test_low_bit_grey_labels_are_not_stretched(tmp_path: Path, png, depth: int, largest: int):
    ids = [largest, 0, 1, largest, 0, 1, 1, 0]
    row = sum(v << (8 * depth - depth * (i + 1)) for i, v in enumerate(ids)).to_bytes(depth, "big")
    png(tmp_path / "x.png", 8, 1, depth, 0, b"\x00" + row)
    assert read_label(tmp_path / "x.png").tolist() == [ids]


def test_sixteen_bit_grey_labels_keep_all_bits(tmp_path: Path, png_16):
    ids = np.array([[0, 5, 255, 256, 1000, 65535]], np.uint16)
    png_16(tmp_path / "x.png", ids[..., None])
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), ids)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("filtered", [False, True])
def test_synthia_labels_give_the_first_channel_in_full(tmp_path: Path, png_16, channels: int, filtered: bool):
    values = RNG.integers(0, 65536, (7, 11, channels)).astype(np.uint16)
    values[..., 0] = RNG.integers(
        0, 23, (7, 11)
    )  # classes; the high byte is 0, which is all that Pillow gives
    values[0, 0, 0] = 0x1234
    png_16(tmp_path / "x.png", values, filtered)
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), values[..., 0])


def test_labels_that_are_not_ids_are_refused(tmp_path: Path):
    Image.fromarray(RGB).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour\.png holds colours instead of class ids: save"):
        read_label(tmp_path / "colour.png")
    Image.fromarray(IDS).save(tmp_path / "lossy.jpg")
    with pytest.raises(DataError, match=r"lossy\.jpg is a JPEG, which changes the ids"):
        read_label(tmp_path / "lossy.jpg")
