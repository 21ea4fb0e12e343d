"""Files that the page sends."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.studio import uploads
from stylebridge.studio.uploads import MAX_MEGABYTES, read_map, read_photo

SPACE = LabelSpace.generic(4)


def test_a_photo_is_read_and_made_smaller(sent) -> None:
    photo = np.full((30, 60, 3), (9, 99, 199), np.uint8)
    np.testing.assert_array_equal(read_photo(sent(photo), 64), photo)
    small = read_photo(sent(photo), 20)
    assert small.shape == (10, 20, 3)
    np.testing.assert_array_equal(small[5, 5], (9, 99, 199))


def test_a_photo_is_turned_as_its_camera_says(sent) -> None:
    memory = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(memory, "JPEG", exif=exif)
    assert read_photo(sent(memory.getvalue(), "photo.jpg"), 64).shape == (40, 20, 3)


def bomb() -> bytes:
    """A PNG of a few bytes that declares 90 megapixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 9000, 10000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_what_is_too_large_or_no_image_is_refused(sent) -> None:
    many = bytes(MAX_MEGABYTES * 2**20 + 1)
    for content, name, said in [
        (many, "huge.png", f"huge.png is larger than {MAX_MEGABYTES} MB"),
        (bomb(), "bomb.png", "bomb.png"),
        (
            b"%PDF-1.7 no image",
            "paper.pdf",
            r"^paper\.pdf cannot be read as an image \(.*\): choose another file\.$",
        ),
        (b"", "empty.png", "the file is empty"),
    ]:
        with pytest.raises(DataError, match=said):
            read_photo(sent(content, name), 64)


def test_megapixels_are_counted_before_decoding(sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_MEGAPIXELS", 0.001)
    with pytest.raises(DataError, match=r"photo.png has 40×30 pixels, more than 0.001 megapixels"):
        read_photo(sent(np.zeros((30, 40, 3), np.uint8)), 64)


@pytest.mark.parametrize(
    "sent", [None, 3, {}, {"name": "a"}, {"name": "a", "data": 1}, {"name": "a", "data": "%%"}]
)
def test_what_is_not_a_file_is_refused(sent: object) -> None:
    with pytest.raises(DataError, match="arrived incomplete"):
        read_photo(sent, 64)


def test_messages_name_the_file_without_its_folders(sent) -> None:
    for name in ("/etc/secret/x.png", "C:\\Users\\someone\\x.png"):
        with pytest.raises(DataError, match=r"^x\.png cannot"):
            read_photo(sent(b"nothing", name), 64)


def test_a_label_map_takes_the_size_of_its_photo(sent) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[:10] = 3
    labels[0] = 255
    np.testing.assert_array_equal(read_map(sent(labels), SPACE, (30, 20), 64), labels)
    small = read_map(sent(labels), SPACE, (15, 10), 64)
    assert small.shape == (10, 15)
    assert (small[2:5] == 3).all()
    assert read_map(sent(labels), SPACE, None, 15).shape == (10, 15)


def test_a_label_map_that_does_not_fit_is_refused(sent) -> None:
    labels = np.zeros((20, 30), np.uint8)
    with pytest.raises(DataError, match="30×20 and has another aspect ratio than its photo"):
        read_map(sent(labels, "m.png"), SPACE, (20, 20), 64)
    # A page has no options: what the command line would advise is said in another way.
    coloured = np.zeros((20, 30, 3), np.uint8) + np.array([200, 10, 10], np.uint8)
    for content, said in [
        (labels + 9, "has the id 9, which label space plain-4 does not have"),
        (coloured, "holds colours instead of class ids"),
    ]:
        mend = "choose a label map that holds this run's class ids"
        with pytest.raises(DataError, match=rf"^m\.png {said}: {mend}\.$"):
            read_map(sent(content, "m.png"), SPACE, (30, 20), 64)
    with pytest.raises(DataError, match="JPEG"):
        read_map(sent(labels, "m.jpg", "JPEG"), SPACE, (30, 20), 64)


def test_a_label_map_of_another_data_set_is_refused_by_its_palette(sent) -> None:
    """A street map, whose ids the run has too, is not a map of the run's faces; no option of a command is named."""
    image = Image.fromarray(np.arange(4, dtype=np.uint8).repeat(150).reshape(20, 30))
    image.putpalette([128, 128, 128, 128, 0, 0, 192, 192, 128, 128, 64, 128])  # CamVid's first classes
    memory = io.BytesIO()
    image.save(memory, "PNG")
    with pytest.raises(
        DataError, match=r"^street\.png is a label map of camvid-11 .* class ids\.$"
    ) as caught:
        read_map(sent(memory.getvalue(), "street.png"), LabelSpace.load("celebamask-19"), None, 64)
    assert "--" not in str(caught.value)
    assert (
        read_map(sent(memory.getvalue(), "street.png"), LabelSpace.load("camvid-11"), None, 64)[-1, -1] == 3
    )
