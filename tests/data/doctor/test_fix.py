"""The corrected copy: valid, byte-identical for good files, and the source is unchanged."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.doctor import FixSummary, examine, fix_set, list_set, read_facts
from stylebridge.data.doctor.fix import written_ids
from stylebridge.data.domain import check_domain, open_domain
from stylebridge.data.images import read_image, read_label
from stylebridge.data.label_inference import infer_label_space
from stylebridge.data.label_space import IGNORE, LabelSpace
from support.sick import Sick, save, scene, write_sick


def digests(root: Path) -> dict[str, str]:
    return {
        str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in root.rglob("*")
        if f.is_file()
    }


def fix(root: Path, out: Path, space: LabelSpace | None = None) -> FixSummary:
    listed = list_set(root, "set")
    out.mkdir(parents=True)
    return fix_set(examine(listed, read_facts(listed.pairs), space), out)


def read_ids(out: Path) -> dict[str, np.ndarray]:
    """The copy's label maps as train ids by name, after the checks that training makes."""
    domain = open_domain(out, "copy", labelled=True)
    assert domain.labels is not None
    space, told = infer_label_space(domain.labels)
    assert "classes.yaml" in told
    check_domain(replace(domain, space=space), cache=False)
    return {Path(str(label)).stem: space.read(label) for label in domain.labels}


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Sick:
    return write_sick(tmp_path_factory.mktemp("sick"))


@pytest.fixture(scope="module")
def copy(sick: Sick, tmp_path_factory: pytest.TempPathFactory) -> FixSummary:
    before = digests(sick.train)
    done = fix(sick.train, tmp_path_factory.mktemp("fix") / "copy", LabelSpace.load(sick.space))
    assert digests(sick.train) == before
    return done


def test_the_copy_passes_the_checks_of_training_with_the_right_ids(copy: FixSummary):
    ids = read_ids(copy.folder)
    seeds = {f"ok-{i}": i for i in range(6)} | {
        "cmyk": 16, "glass": 17, "opaque": 18, "indexed": 19, "grey": 20, "deep": 21, "blank": 22, "upside-down": 15,
        "label-deep": 42, "label-synthia": 43, "label-palette": 44, "label-swapped": 45, "label-grey-rgb": 51,
        "label-colours": 40,
    }  # fmt: skip
    for name, seed in seeds.items():
        np.testing.assert_array_equal(ids[name], scene(seed)[1], err_msg=name)
    for name, seed in (("rotated", 13), ("rotated-early", 14)):
        np.testing.assert_array_equal(ids[name], scene(seed, (72, 96))[1], err_msg=name)
    unknown = scene(41)[1]
    unknown[10:12, 10:15] = unknown[20, 20] = IGNORE
    np.testing.assert_array_equal(ids["label-unknown"], unknown)
    half = np.kron(scene(47)[1][::2, ::2], np.ones((2, 2), np.uint8))
    np.testing.assert_array_equal(ids["label-half"], half)


def test_images_are_as_they_were_read(copy: FixSummary, sick: Sick):
    for file in (copy.folder / "images").iterdir():
        [source] = [f for f in (sick.train / "images").glob(f"{file.stem}.*") if f.name != "double.png"]
        np.testing.assert_array_equal(read_image(file), read_image(source))
        with Image.open(file) as image:
            assert image.mode in ("RGB", "L")
            assert image.getexif().get(0x0112, 1) == 1


def test_what_was_in_order_is_copied_byte_by_byte(copy: FixSummary, sick: Sick):
    changed = {file for file, _ in copy.changed}
    source, made = digests(sick.train), digests(copy.folder)
    same = {file for file in made if file in source and file not in changed}
    assert all(made[file] == source[file] for file in same)
    assert {f"{kind}/ok-{i}.png" for kind in ("images", "labels") for i in range(6)} <= same
    assert "labels/label-palette.png" in same
    assert copy.copied == len(same)


def test_every_file_is_accounted_for(copy: FixSummary, sick: Sick):
    every = {file for file in digests(sick.train) if not file.endswith(".txt")}
    left_out = dict(copy.left_out)
    assert left_out["images/double.png"] == "another file differs only in the suffix"
    assert left_out["images/cut.png"] == left_out["labels/cut.png"] == "image cannot be read"
    assert left_out["labels/label-crop.png"] == "label map has another aspect ratio than its image"
    assert len(every) == copy.copied + len(copy.changed) + len(left_out)
    assert sum(copy.changes.values()) == sum(what.count(",") + 1 for _, what in copy.changed)
    assert copy.changes["EXIF rotation applied"] == 3
    assert not (every & set(left_out)) & {file for file, _ in copy.changed}


# --- how ids are spelled ------------------------------------------------------------------------------------


def write_pair(root: Path, label: np.ndarray, name: str = "x") -> Path:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    save(root, name, scene(1)[0], label)
    return root


def test_raw_ids_are_kept_so_that_good_files_need_no_change(tmp_path: Path):
    space = LabelSpace.load("cityscapes-19")
    good, bad = np.full((72, 96), 7, np.uint8), np.full((72, 96), 26, np.uint8)
    good[0], bad[0], bad[1] = 0, 200, 11  # void, unknown, building
    root = write_pair(write_pair(tmp_path / "in", good, "good"), bad, "bad")
    done = fix(root, tmp_path / "out", space)
    assert done.changes == {"unknown ids ignored": 1}
    ids = read_ids(tmp_path / "out")
    assert set(np.unique(ids["good"])) == {0, 255}
    np.testing.assert_array_equal(np.unique(ids["bad"]), [2, 13, 255])
    assert (ids["bad"][0] == 255).all()


def test_colours_and_wide_ids_become_train_ids(tmp_path: Path):
    colours = LabelSpace(
        "c", ("a", "b"), ((9, 0, 0), (0, 9, 0)), {0: 0, 1: 1}, {(9, 0, 0): 0, (0, 9, 0): 1, (0, 0, 0): 255}
    )
    picture = np.zeros((72, 96, 3), np.uint8)
    picture[:30], picture[30:60, :, 1] = (9, 0, 0), 9
    root = write_pair(tmp_path / "in", picture)
    assert fix(root, tmp_path / "out", colours).changes == {"colours to ids": 1}
    ids = read_ids(tmp_path / "out")["x"]
    assert [int(ids[y, 0]) for y in (0, 30, 60)] == [0, 1, 255]
    wide = LabelSpace("w", ("a", "b"), ((9, 0, 0), (0, 9, 0)), {1000: 0, 2000: 1, 255: 255})
    label = np.full((72, 96), 1000, np.uint16)
    label[40:] = 2000
    root = write_pair(tmp_path / "wide", label)
    assert fix(root, tmp_path / "wide-out", wide).changes == {"16-bit labels to 8-bit": 1}
    assert (tmp_path / "wide-out/labels/x.png").stat().st_size > 0
    np.testing.assert_array_equal(read_ids(tmp_path / "wide-out")["x"], label // 1000 - 1)


def test_a_mask_of_0_and_255_keeps_255_as_a_class(tmp_path: Path):
    space = LabelSpace("mask", ("no", "yes"), ((0, 0, 0), (9, 9, 9)), {0: 0, 255: 1})
    written = written_ids(space)
    assert (written.ids.tolist(), written.ignore) == ([0, 255], 254)
    label = np.zeros((72, 96), np.uint8)
    label[9:], label[0, 0] = 255, 7
    fix(write_pair(tmp_path / "in", label), tmp_path / "out", space)
    ids = read_ids(tmp_path / "out")["x"]
    assert (ids[0, 0], ids[0, 1], ids[9, 0]) == (255, 0, 1)
    assert read_label(tmp_path / "out/labels/x.png")[0, 0] == 254


@pytest.mark.parametrize("name", ["cityscapes-19", "synthia-16", "camvid-11"])
def test_written_ids_are_read_back_as_the_same_classes(name: str):
    written = written_ids(LabelSpace.load(name))
    train = np.array([[*range(written.space.num_classes), 255]], np.uint8)
    np.testing.assert_array_equal(written.space.to_train_ids(written.spell(train), Path("x")), train)


def test_an_unlabelled_set_is_images_alone(tmp_path: Path):
    (tmp_path / "in").mkdir()
    Image.fromarray(scene(1)[0]).convert("CMYK").save(tmp_path / "in" / "a.jpg")
    done = fix(tmp_path / "in", tmp_path / "out")
    assert [f.relative_to(tmp_path / "out").as_posix() for f in (tmp_path / "out").rglob("*.*")] == [
        "images/a.png"
    ]
    assert done.changes == {"CMYK to RGB": 1}
