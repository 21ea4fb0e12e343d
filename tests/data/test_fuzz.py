"""Damaged files: each is read, or gives one error that names it; the benchmark runs ten thousand of them."""

import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from stylebridge.data import images
from stylebridge.data.files import open_tree
from stylebridge.data.images import MAX_PIXELS, check_image, decode_image, read_header, read_image
from stylebridge.errors import DataError
from support import corrupt
from support.reading import judge


def test_whole_seeds_are_read(tmp_path: Path):
    for name, data in corrupt.seeds().items():
        (tmp_path / name).write_bytes(data)
        height, width = read_image(tmp_path / name).shape[:2]
        assert check_image(tmp_path / name) == (width, height)
        header, small, _ = decode_image(tmp_path / name, (16, 16))
        assert (header.shown_size, small.shape) == ((width, height), (16, 16)), name


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_damaged_files_give_a_named_error_or_are_read(
    tmp_path: Path, part: int, capfd: pytest.CaptureFixture[str]
):
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    outcomes = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, name, data in corrupt.corrupted(100 * (part + 1), seed=1, first=100 * part):
            place = outer / "inner" / f"{number}-{name}"
            place.write_bytes(data)
            found, faults = judge(place)
            outcomes += found
            assert not faults, (number, name)
            place.unlink()
    assert {"read", "refused"} == set(outcomes)
    assert [str(w.message) for w in caught if "PIL" in w.filename] == []
    assert capfd.readouterr().err == ""
    assert [path.name for path in outer.rglob("*")] == ["inner"]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_the_mutator_depends_on_seed_and_number_alone():
    whole = list(corrupt.corrupted(12, seed=4))
    assert whole[7:] == list(corrupt.corrupted(12, seed=4, first=7))
    assert whole != list(corrupt.corrupted(12, seed=5))


def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "large.png").write_bytes(corrupt.png(10_001, 10_000, 8, 0, bytes(200_000)))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for read in (read_image, check_image, read_header):
        with pytest.raises(
            DataError, match=r"large\.png cannot be read as an image \(more than 100,000,000 pixels\): cut"
        ):
            read(tmp_path / "large.png")
    assert MAX_PIXELS == 100_000_000


def test_an_image_at_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 60)
    Image.new("RGB", (10, 6)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (6, 10, 3)
    Image.new("RGB", (61, 1)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="more than 60 pixels"):
        read_image(tmp_path / "x.png")


def test_a_png_that_is_too_short_for_its_size_is_not_a_black_picture(tmp_path: Path):
    (tmp_path / "short.png").write_bytes(corrupt.png(4000, 4000, 8, 0, bytes(4001)))
    with pytest.raises(DataError, match="declares more pixels than a file of its length can hold"):
        read_image(tmp_path / "short.png")
    Image.new("L", (4000, 4000)).save(tmp_path / "black.png")  # packs as well as anything can
    assert read_image(tmp_path / "black.png").shape == (4000, 4000, 3)
    Image.new("1", (4000, 4000)).save(tmp_path / "bits.png")
    assert read_image(tmp_path / "bits.png").shape == (4000, 4000, 3)


def test_a_damaged_exif_block_turns_nothing(tmp_path: Path):
    data = corrupt.seeds()["photo.jpg"]
    at = data.index(b"Exif\0\0") + 6
    (tmp_path / "x.jpg").write_bytes(data[:at] + b"\xff" * 16 + data[at + 16 :])
    assert read_image(tmp_path / "x.jpg").shape == (72, 96, 3)


def test_memory_that_is_not_there_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(self: object) -> None:
        raise MemoryError

    Image.new("RGB", (4, 4)).save(tmp_path / "x.bmp")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(
        DataError, match=r"x\.bmp cannot be read as an image \(it takes more memory than there is\)"
    ):
        read_image(tmp_path / "x.bmp")


def test_filters_of_warnings_are_as_before(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    before = list(warnings.filters)
    read_image(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(DataError):
        read_image(tmp_path / "x.png")
    assert warnings.filters == before


@pytest.mark.slow
def test_nothing_is_written_on_stderr_by_decoders(tmp_path: Path):
    """libtiff and logging write past Python's warnings, so a separate process shows the user's output."""
    data = bytearray(corrupt.seeds()["tiff_lzw.tif"])
    data[200:240] = b"\xff" * 40
    (tmp_path / "x.tif").write_bytes(data)
    program = (
        "import sys\nfrom stylebridge.data.images import read_image\n"
        "try: read_image(sys.argv[1])\nexcept Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.tif")], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("UnreadableError", "")


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "images/../../out.png", "C:/out.png"])
def test_archives_do_not_lead_outside(tmp_path: Path, name: str):
    inner = tmp_path / "inner"
    inner.mkdir()
    with zipfile.ZipFile(inner / "set.zip", "w") as archive:
        archive.writestr(name, corrupt.seeds()["ids.png"])
    with pytest.raises(DataError, match=r"set\.zip holds .*, a path outside the archive"):
        open_tree(inner / "set.zip")
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "set.zip"]


def test_members_larger_than_an_image_are_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("images/a.png", b"x")
    data = bytearray((tmp_path / "set.zip").read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(DataError, match="unpacks to 1,073,741,824 bytes, more than any image"):
        open_tree(tmp_path / "set.zip")
