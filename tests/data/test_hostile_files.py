"""Special files, circular links, and files that take hours to decode: reported at once, without waiting."""

import base64
import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from stylebridge.data.doctor.facts import image_facts, label_facts
from stylebridge.data.domain import check_domain, open_domain
from stylebridge.data.files import open_tree
from stylebridge.data.images import check_image, decode_image, read_header, read_image, read_label
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.jobs.apply.files.inputs import collect_inputs
from stylebridge.studio.uploads import take
from support import corrupt

READERS: list[Callable[[Path], object]] = [
    read_image,
    check_image,
    read_header,
    read_label,
    lambda path: decode_image(path, (8, 8)),
]


@pytest.fixture
def picture() -> bytes:
    return corrupt.seeds()["photo.jpg"]


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """A pipe, a socket, a device and a link to itself, each named as an image."""
    places = {
        kind: tmp_path / f"{kind}.png" for kind in ("pipe", "socket", "device", "link", "absent", "folder")
    }
    os.mkfifo(places["pipe"])
    places["device"].symlink_to("/dev/zero")
    places["link"].symlink_to(places["link"])
    places["absent"].symlink_to(tmp_path / "nowhere")
    places["folder"].mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        before = os.getcwd()
        os.chdir(tmp_path)  # the address of a socket is short
        try:
            bound.bind("socket.png")
        finally:
            os.chdir(before)
        yield places


REASONS = {
    "pipe": r"it is a pipe \(FIFO\), not a file",
    "socket": "it is a socket, not a file",
    "device": "it is a device, not a file",
    "link": "a link to itself",
    "absent": "it does not exist",
    "folder": "it is a folder",
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_is_not_a_file_is_named_at_once(odd: dict[str, Path], kind: str):
    for read in READERS:
        with pytest.raises(DataError, match=rf"{kind}\.png cannot be read as an image \({REASONS[kind]}\)"):
            read(odd[kind])
    assert image_facts(odd[kind]).error
    assert label_facts(odd[kind]).error


@pytest.mark.parametrize("kind", ["pipe", "socket", "link"])
def test_a_folder_with_what_is_not_a_file(odd: dict[str, Path], kind: str, tmp_path: Path, picture: bytes):
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "a.jpg").write_bytes(picture)
    os.rename(odd[kind], tmp_path / "data" / "images" / "b.png")
    if kind == "link":
        (tmp_path / "data" / "images" / "b.png").unlink()
        (tmp_path / "data" / "images" / "b.png").symlink_to("b.png")
    domain = open_domain(tmp_path / "data", "target", labelled=False)
    with pytest.raises(DataError, match=r"b\.png cannot be read as an image"):
        check_domain(domain, cache=False)


# --- links ---------------------------------------------------------------------------------------------------


def test_circles_of_links_are_walked_once(tmp_path: Path, picture: bytes):
    """Ten links to the top in each of ten folders: as a tree of paths it has 10⁴⁰ folders."""
    top = tmp_path / "top"
    for i in range(10):
        (top / f"f{i}").mkdir(parents=True)
        (top / f"f{i}" / f"{i}.jpg").write_bytes(picture)
        for j in range(10):
            (top / f"f{i}" / f"up{j}").symlink_to(top if j % 2 else tmp_path)
    wanted = [f"f{i}/{i}.jpg" for i in range(10)]
    assert list(open_tree(top).images()) == wanted
    found = collect_inputs([str(top / "**" / "*.jpg")])
    assert sorted(path.relative_to(top).as_posix() for path in found.images) == wanted  # type: ignore[union-attr]
    assert len(collect_inputs([top]).images) == 10


def test_linked_folders_are_followed(tmp_path: Path, picture: bytes):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "a.jpg").write_bytes(picture)
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "more").symlink_to(tmp_path / "elsewhere")
    assert list(open_tree(tmp_path / "top").images()) == ["more/deep/a.jpg"]
    found = collect_inputs([str(tmp_path / "top" / "**" / "*.jpg")])
    assert list(found.images) == [tmp_path / "top" / "more" / "deep" / "a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("**/*.jpg", {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        ("x/**/*.jpg", {"x/b.jpg", "x/y/c.jpg"}),
        ("**/y/*.jpg", {"x/y/c.jpg"}),
        ("*/**/[bc].jp?", {"x/b.jpg", "x/y/c.jpg"}),
        ("**", {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        ("**/.hidden/*.jpg", set()),
        ("x/*", {"x/b.jpg"}),
        ("**/x**/*.jpg", {"x/b.jpg"}),
    ],
)
def test_patterns_match_as_in_python(tmp_path: Path, picture: bytes, pattern: str, wanted: set[str]):
    for name in ("a.jpg", "x/b.jpg", "x/y/c.jpg", "x/.hidden.jpg", ".off/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture)
    if not wanted:
        with pytest.raises(DataError, match="No image or video matches"):
            collect_inputs([f"{tmp_path}/{pattern}"])
        return
    found = collect_inputs([f"{tmp_path}/{pattern}"])
    assert {Path(str(path)).relative_to(tmp_path).as_posix() for path in found.images} == wanted


# --- files that cost too much --------------------------------------------------------------------------------


def many_pages(count: int) -> bytes:
    """A TIFF of ``count`` pages of 1 × 1 pixel, 42 bytes each."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (273, 4, 1, 8)]
    page = 2 + 12 * len(entries) + 4
    parts, at = [b"II*\0" + struct.pack("<I", 12) + b"\0" * 4], 12
    for number in range(count):
        at += page
        parts.append(struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries))
        parts.append(struct.pack("<I", at if number + 1 < count else 0))
    return b"".join(parts)


def test_pages_of_a_tiff_are_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loads = 0
    original = TiffImagePlugin.ImageFileDirectory_v2.load

    def load(self, file):
        nonlocal loads
        loads += 1
        return original(self, file)

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", load)
    data = many_pages(50_000)
    (tmp_path / "x.tif").write_bytes(data)
    assert read_header(tmp_path / "x.tif").frames == 100
    assert read_image(tmp_path / "x.tif").shape == (1, 1, 3)
    assert check_image(tmp_path / "x.tif") == (1, 1)
    assert take({"name": "x.tif", "data": base64.b64encode(data).decode()}).name == "x.tif"
    assert loads < 1000  # all pages are 50,000
    for count in (1, 2, 99):
        (tmp_path / "x.tif").write_bytes(many_pages(count))
        assert read_header(tmp_path / "x.tif").frames == count


def many_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated many times."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        buffer, "JPEG", progressive=True, quality=60
    )
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_a_jpeg_of_many_scans_is_refused_and_usual_ones_are_read(tmp_path: Path):
    (tmp_path / "x.jpg").write_bytes(many_scans(5000))
    for read in (read_image, check_image, read_header):
        with pytest.raises(
            DataError, match=r"x\.jpg cannot be read as an image \(it has more than 200 scans"
        ):
            read(tmp_path / "x.jpg")
    whole = many_scans(1)
    # A video behind the picture, as telephones write it, holds the marker by chance.
    (tmp_path / "x.jpg").write_bytes(whole + b"\xff\xda" * 10_000)
    assert read_image(tmp_path / "x.jpg").shape == (64, 64, 3)
    exif = Image.Exif()
    exif[0x010E] = "ÿÚ" * 3000
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (8, 8, 3)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "LAB"]
)
def test_the_check_and_reading_agree_on_every_pixel_format(tmp_path: Path, mode: str):
    outcomes = []
    file = tmp_path / "x.tif"
    try:
        Image.new(mode, (6, 4)).save(file)
    except (OSError, KeyError):
        pytest.skip("Pillow does not write it")
    for read in (check_image, read_image):
        try:
            read(file)
            outcomes.append("read")
        except DataError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]
    if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"):
        assert outcomes[0] == ("refused" if mode == "F" else "read")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_that_unpacks_without_a_limit_is_refused(tmp_path: Path, method: int):
    """64 MB of zeros declared as 100 bytes: zipfile would unpack all of them before it checks the size."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w", method) as archive:
        archive.writestr("images/a.png", bytes(1 << 22))
    data = bytearray((tmp_path / "set.zip").read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = (100).to_bytes(4, "little")
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(DataError, match="compressed with a method other than deflate"):
        open_tree(tmp_path / "set.zip")


def test_a_zip_member_that_lies_about_its_size_is_unpacked_to_that_size_at_most(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.png", bytes(1 << 22))
    data = bytearray((tmp_path / "set.zip").read_bytes())
    for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + place
        data[at : at + 4] = (100).to_bytes(4, "little")
    (tmp_path / "set.zip").write_bytes(data)
    file = next(iter(open_tree(tmp_path / "set.zip").files().values()))
    with pytest.raises(DataError, match="cannot be read from its archive"):
        file.read_bytes()  # type: ignore[union-attr]


def test_text_chunks_of_a_png_do_not_unpack_without_a_limit(tmp_path: Path):
    text = b"Comment\0\0" + zlib.compress(bytes(80 << 20), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    (tmp_path / "x.png").write_bytes(corrupt.png(8, 8, 8, 0, b"\0" * 72, chunk))
    for read in (read_image, check_image, read_header):
        with pytest.raises(DataError, match=r"x\.png cannot be read as an image"):
            read(tmp_path / "x.png")


# --- names ---------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path, picture: bytes, space: LabelSpace):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(picture)
    Path(os.fsdecode(os.fsencode(tmp_path / "images") + b"/caf\xe9.txt")).write_bytes(b"passed over")
    assert len(open_domain(tmp_path, "target", labelled=False).images) == 1
    Path(os.fsdecode(os.fsencode(tmp_path / "images") + b"/caf\xe9.jpg")).write_bytes(picture)
    for call in (lambda: open_domain(tmp_path, "target", labelled=False), lambda: collect_inputs([tmp_path])):
        with pytest.raises(DataError, match=r"caf\\udce9\.jpg has a name that is not UTF-8: rename it"):
            call()
