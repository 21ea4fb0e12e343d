"""Folders and zip files as trees; archives that are damaged or malicious."""

import io
import os
import pickle
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data import zip_files
from stylebridge.data.files import FolderTree, PackedFile, fingerprint, open_file, open_tree, path_below
from stylebridge.data.images import read_image
from stylebridge.errors import DataError

NAMES = ["a/x.png", "a/b/y.png", "c.txt", "d/z.png"]


def picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(out, "PNG")
    return out.getvalue()


def write_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "zip", "zips", "below"])
def tree(request, tmp_path: Path):
    """The same four files as a folder, in a zip file, in two, and below another folder; with hidden files beside."""
    content = {name: picture(i) for i, name in enumerate(NAMES)}
    hidden = {".hidden/x.png": b"", "a/._x.png": b"", "__MACOSX/a/._x.png": b""}
    if request.param == "zip":
        return open_tree(write_zip(tmp_path / "all.zip", content | hidden))
    if request.param == "zips":
        parts = list(content.items())
        (tmp_path / "zips").mkdir()
        write_zip(tmp_path / "zips" / "1.zip", dict(parts[:2]) | hidden)
        write_zip(tmp_path / "zips" / "2.zip", dict(parts[2:]))
        return open_tree(tmp_path / "zips")
    root = tmp_path / "root" / ("inside" if request.param == "below" else "")
    for name, data in (content | {n: d for n, d in hidden.items() if "MACOSX" not in n}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return open_tree(tmp_path / "root").below("inside") if request.param == "below" else open_tree(root)


def test_a_tree_is_the_same_wherever_it_lies(tree) -> None:
    assert list(tree.files()) == sorted(NAMES)
    assert list(tree.images("a")) == ["a/b/y.png", "a/x.png"]
    assert list(tree.files("a", recursive=False)) == ["a/x.png"]
    assert (tree.folders(), tree.folders("a"), tree.folders("none")) == (["a", "d"], ["b"], [])
    assert (tree.names(), tree.names("a"), tree.names("none")) == (["c.txt"], ["x.png"], [])
    assert tree.has("a/b")
    assert not tree.has("a/x.png")
    assert not tree.has("b")
    below = tree.below("a")
    assert list(below.files()) == ["b/y.png", "x.png"]
    assert below.has("b")
    for name, file in tree.files().items():
        with open_file(file) as opened:
            assert opened.read() == picture(NAMES.index(name))
        assert file.name == name.rpartition("/")[2]


def test_images_in_an_archive_are_read_and_named(tmp_path: Path) -> None:
    tree = open_tree(write_zip(tmp_path / "all.zip", {"a/x.png": picture(7), "a/y.png": b"no image"}))
    found = tree.files()
    assert read_image(found["a/x.png"])[0, 0].tolist() == [7, 7, 7]
    assert str(found["a/x.png"]) == f"{tmp_path / 'all.zip'}!a/x.png"
    assert path_below(found["a/x.png"], tmp_path).as_posix() == "a/x.png"
    with pytest.raises(DataError, match=r"all\.zip!a/y\.png cannot be read as an image"):
        read_image(found["a/y.png"])


def test_members_travel_to_other_processes_and_threads(tmp_path: Path) -> None:
    tree = open_tree(write_zip(tmp_path / "all.zip", {f"{i}.png": picture(i) for i in range(60)}))
    members = list(tree.files().values())
    assert pickle.loads(pickle.dumps(members)) == members
    values = [int(member.stem) for member in members]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_shade, members * 5)) == values * 5
    with get_context("fork").Pool(2) as processes:  # while this one holds the archive open
        assert processes.map(_shade, members) == values


def _shade(member: PackedFile) -> int:
    return int(read_image(member)[0, 0, 0])


def test_fingerprints_tell_contents_apart(tmp_path: Path) -> None:
    first = open_tree(write_zip(tmp_path / "a.zip", {"x.png": picture(1)})).files()["x.png"]
    second = open_tree(write_zip(tmp_path / "a.zip", {"x.png": picture(2)})).files()["x.png"]
    assert fingerprint(first) != fingerprint(second)


def test_linked_folders_are_followed_but_no_circle(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.png").write_bytes(picture(1))
    (tmp_path / "data" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "data")
    assert list(open_tree(tmp_path / "root").files()) == ["linked/x.png"]


# --- damage and harm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/etc/out.png", "C:/out.png", "\\\\host\\out.png"]
)
def test_paths_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    archive = write_zip(tmp_path / "bad.zip", {"good.png": picture(1), name: picture(2)})
    with pytest.raises(DataError, match=r"bad\.zip holds .*, a path outside the archive"):
        open_tree(archive)
    assert os.listdir(tmp_path) == ["bad.zip"]


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(9))
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(tmp_path / "secret.png"))
    member = open_tree(tmp_path / "links.zip").files()["link.png"]
    with pytest.raises(DataError, match=r"link\.png cannot be read as an image"):
        read_image(member)


def test_a_bomb_is_refused_by_what_it_says_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_files, "MAX_MEMBER_BYTES", 10_000)
    archive = write_zip(tmp_path / "bomb.zip", {"x.png": bytes(1_000_000)})
    assert archive.stat().st_size < 2_000
    with pytest.raises(DataError, match=r"bomb\.zip!x\.png unpacks to 1,000,000 bytes"):
        open_tree(archive)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "liar.zip", {"x.png": bytes(50_000_000)})
    data = bytearray(archive.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 100)  # uncompressed size in the directory
    archive.write_bytes(data)
    member = open_tree(archive).files()["x.png"]
    with pytest.raises(DataError, match=r"liar\.zip!x\.png"):
        read_image(member)


def test_an_encrypted_member_reports_it(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "locked.zip", {"x.png": picture(1)})
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"locked\.zip!x\.png is encrypted: unpack the archive"):
        open_tree(archive)


@pytest.mark.parametrize("how", ["empty", "text", "cut", "flipped"])
def test_a_damaged_archive_is_named(tmp_path: Path, how: str) -> None:
    archive = write_zip(
        tmp_path / "bad.zip", {f"{i}.png": np.random.default_rng(i).bytes(3000) for i in range(4)}
    )
    data = bytearray(archive.read_bytes())
    if how == "flipped":
        for i in range(60, 2500, 7):
            data[i] ^= 255
    archive.write_bytes(
        {"empty": b"", "text": b"hello", "cut": bytes(data[: len(data) // 2])}.get(how, bytes(data))
    )
    with pytest.raises(DataError, match=r"bad\.zip") as caught:
        _read_all(archive)
    assert "\n" not in str(caught.value)


def _read_all(archive: Path) -> None:
    for member in open_tree(archive).files().values():
        assert isinstance(member, PackedFile)
        member.read_bytes()


def test_what_is_not_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=r"source folder .*none does not exist"):
        open_tree(tmp_path / "none", "source")
    with pytest.raises(DataError, match=r"The source .*x\.txt is a file: give the folder \(or zip file\)"):
        open_tree(tmp_path / "x.txt", "source")


def test_a_folder_is_listed_only_where_it_is_asked(tmp_path: Path, touched_paths) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with touched_paths() as touched:
        assert FolderTree(tmp_path).has("a")
    assert str(tmp_path / "a") not in touched
