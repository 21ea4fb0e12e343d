import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data import domain as domain_module
from stylebridge.data.domain import Domain, check_domain, open_domain, titles
from stylebridge.data.images import read_label
from stylebridge.data.shards.place import UrlPath
from stylebridge.errors import DataError


def save(path: Path, size: tuple[int, int] = (4, 3), value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def test_pairs_are_matched_below_the_folders_and_sorted(tmp_path: Path):
    for name in ("b/2", "a", "b/1"):
        save(tmp_path / "images" / f"{name}.jpg")
        save(tmp_path / "labels" / f"{name}.png")
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "images" / "._a.jpg").write_bytes(b"x")
    domain = open_domain(tmp_path, "source", labelled=True)
    assert [p.relative_to(tmp_path).as_posix() for p in domain.images] == [
        "images/a.jpg", "images/b/1.jpg", "images/b/2.jpg",
    ]  # fmt: skip
    assert domain.labels is not None
    assert [p.relative_to(tmp_path).as_posix() for p in domain.labels] == [
        "labels/a.png", "labels/b/1.png", "labels/b/2.png",
    ]  # fmt: skip


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path):
    save(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "data" / "images").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "images" / "city")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "loop")
    assert [p.name for p in open_domain(tmp_path / "data", "target", labelled=False).images] == ["x.png"]


@pytest.mark.parametrize("inside", ["images", "."])
def test_an_unlabelled_domain_never_touches_labels(tmp_path: Path, inside: str, touched_paths, space):
    for i in range(3):
        save(tmp_path / inside / f"{i}.PNG")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.png").write_bytes(b"never read")
    with touched_paths() as touched:
        domain = open_domain(tmp_path, "target", labelled=False, space=space)
        summary = check_domain(domain)
    assert [p.name for p in domain.images] == ["0.PNG", "1.PNG", "2.PNG"]
    assert domain.labels is None
    assert summary.sizes == {(4, 3): 3}
    assert summary.pixel_counts.shape == (3, 0)
    assert any("0.PNG" in path for path in touched)
    assert not [path for path in touched if "labels" in path]


def spoil(root: Path, how: str) -> Path:
    """Break a good labelled folder; returns the folder to open."""
    if how == "missing":
        return root / "nowhere"
    if how == "file":
        return root / "images" / "000.png"
    if how == "inside":
        return root / "images"
    if how in ("images", "labels"):
        shutil.rmtree(root / how)
    if how == "empty":
        shutil.rmtree(root / "images")
        (root / "images").mkdir()
    if how == "bare":
        (root / "labels" / "001.png").unlink()
        (root / "labels" / "004.png").unlink()
    if how == "spare":
        save(root / "labels" / "zoo" / "9.png")
    if how == "same":
        save(root / "images" / "002.jpg")
    return root


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"The source folder .*nowhere does not exist: check the path\."),
        ("file", r"The source .*000\.png is a file: give the folder"),
        ("inside", r"The source folder .*images has no folder images/ .*: give .*domain\."),
        ("images", r"The source folder .*domain has no folder images/ .*: put the images there\."),
        ("labels", r"The source folder .*domain has no folder labels/ .*: put the labels there\."),
        ("empty", r"The folder .*images holds no images \(\.bmp .*\): add images or check the path\."),
        ("bare", r"2 images in .*images have no label map in .*labels \(the first is 001\.png\): add"),
        ("spare", r"1 label map in .*labels has no image in .*images \(the first is zoo/9\.png\): add"),
        ("same", r"002\.(jpg|png) and .*002\.(png|jpg) have the same name except for the suffix.*: rename"),
    ],
)
def test_a_wrong_folder_is_named_with_its_mend(make_domain, how: str, message: str):
    with pytest.raises(DataError, match=message) as caught:
        open_domain(spoil(make_domain(), how), "source", labelled=True)
    assert str(caught.value).count("\n") == 0


# --- checking -----------------------------------------------------------------------------------------------


def test_summary_counts_every_pixel(make_domain, space):
    domain = open_domain(make_domain(5), "source", True, space)
    seen: list[tuple[int, int]] = []
    summary = check_domain(domain, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert domain.labels is not None
    raw = np.stack([read_label(path) for path in domain.labels])
    for k in range(3):
        np.testing.assert_array_equal(summary.pixel_counts[:, k], (raw == k).sum(axis=(1, 2)))
    assert summary.pixel_counts.dtype == np.int64
    assert summary.ignored_pixels == (raw == 255).sum()
    assert summary.pixel_counts.sum() + summary.ignored_pixels == raw.size
    np.testing.assert_allclose(summary.class_shares.sum(), 1)
    assert summary.sizes == {(16, 12): 5}
    assert seen == [(i, 5) for i in range(1, 6)]


def spoil_file(root: Path, how: str) -> None:
    label, image = root / "labels" / "002.png", root / "images" / "002.png"
    if how == "size":
        save(label, (12, 12))
    if how == "turned":
        save(label, (12, 16))
    if how == "id":
        save(label, (16, 12), 7)
    if how == "cut":
        image.write_bytes(image.read_bytes()[:300])
    if how == "cut label":
        label.write_bytes(label.read_bytes()[:60])
    if how == "empty":
        image.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "size",
            r"labels/002\.png is 12×12 but its image .*images/002\.png is 16×12: give the label map the",
        ),
        (
            "turned",
            r"labels/002\.png is 12×16 but .* is 16×12: .* as viewers show it, with its EXIF rotation\.",
        ),
        ("id", r"labels/002\.png has the id 7, which label space three does not have"),
        ("cut", r"images/002\.png cannot be read as an image \(.*truncated"),
        ("cut label", r"labels/002\.png cannot be read as an image \(.*[tT]runcated"),
        ("empty", r"images/002\.png cannot be read as an image \(the file is empty\)"),
    ],
)
def test_a_wrong_file_is_named(make_domain, space, how: str, message: str):
    root = make_domain()
    domain = open_domain(root, "source", True, space)
    check_domain(domain)  # what is kept of the good files must not hide the change
    spoil_file(root, how)
    with pytest.raises(DataError, match=message):
        check_domain(domain, workers=2)


def test_labels_without_a_space_are_refused(make_domain):
    with pytest.raises(DataError, match=r"source labels of .* have no label space"):
        check_domain(open_domain(make_domain(), "source", True))


def test_unchanged_data_is_read_once(make_domain, space, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    domain = open_domain(make_domain(), "source", True, space)
    first = check_domain(domain)
    reads: list[Path] = []

    def counting(path: Path) -> tuple[int, int]:
        reads.append(path)
        return 16, 12

    monkeypatch.setattr(domain_module, "check_image", counting)
    again = check_domain(domain)
    assert not reads
    for field in ("image_sizes", "pixel_counts", "ignored_counts"):
        np.testing.assert_array_equal(getattr(again, field), getattr(first, field))
    assert [p.suffix for p in (own_cache / "stylebridge" / "statistics").iterdir()] == [".npz"]

    other = replace(space, raw_ids={**space.raw_ids, 2: 255})
    assert check_domain(replace(domain, space=other)).pixel_counts[:, 2].sum() == 0
    assert len(reads) == 6  # another reading of the labels is another count
    os.utime(domain.images[3], (1, 1))
    check_domain(domain)
    assert len(reads) == 12
    next((own_cache / "stylebridge" / "statistics").glob("*.npz")).write_bytes(b"cut sho")
    for file in (own_cache / "stylebridge" / "statistics").glob("*.npz"):
        file.write_bytes(file.read_bytes()[:40])
    np.testing.assert_array_equal(check_domain(domain).pixel_counts, first.pixel_counts)
    assert len(reads) == 18


def test_a_cache_that_cannot_be_written_is_not_an_error(make_domain, space, own_cache: Path):
    own_cache.write_text("a file where the folder should be")
    domain = open_domain(make_domain(2), "source", True, space)
    assert check_domain(domain).sizes == {(16, 12): 2}
    assert own_cache.read_text().startswith("a file")


@pytest.mark.parametrize(
    ("root", "layout", "split", "title"),
    [
        ("/sets/idd/train", "folder", None, "idd/train"),
        ("/sets/idd", "folder", None, "idd"),
        ("/sets/idd/train/images", "folder", None, "idd/train/images"),
        ("/data/train/images", "folder", None, "data/train/images"),
        ("/train", "folder", None, "train"),
        ("/sets/night/val.zip", "folder", None, "night/val"),
        ("/sets/cs", "cityscapes", "train", "cityscapes/train"),
        ("/sets/cs", "cityscapes", None, "cityscapes"),
        ("/sets/packed/train", "shards", None, "packed/train"),
    ],
)
def test_a_domains_title_identifies_it(root: str, layout: str, split: str | None, title: str) -> None:
    assert Domain("source", Path(root), [], None, None, layout, split).title == title


def test_a_relative_path_and_an_address_have_titles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "idd" / "train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "idd")
    assert Domain("source", Path("train"), [], None, None).title == "idd/train"
    address = Domain("source", UrlPath("https://example.com/night/train"), [], None, None, "shards")  # type: ignore[arg-type]
    assert address.title == "night/train"


def test_two_sets_of_one_layout_are_distinguished() -> None:
    clear, foggy, other = (
        Domain("x", Path("/sets") / name, [], None, None, layout, "train")
        for name, layout in (("cs", "cityscapes"), ("foggy", "cityscapes"), ("c", "camvid"))
    )
    assert titles(clear, other) == ("cityscapes/train", "camvid/train")
    assert titles(clear, foggy) == ("cs (cityscapes/train)", "foggy (cityscapes/train)")
