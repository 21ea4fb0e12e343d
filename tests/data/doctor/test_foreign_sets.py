"""The doctor's findings about folders of other layouts, and label maps that contradict most others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.doctor import (
    Examined,
    Finding,
    Severity,
    examine,
    image_findings,
    label_findings,
    list_set,
    read_facts,
)
from stylebridge.data.label_space import LabelSpace
from support.sick import save, scene

STOPS, MISLEADS, KNOW = Severity

#: SegNet's colours of the eleven classes of CamVid, and of Cityscapes' raw ids 7, 11, 23, 26, written out.
CAMVID = [
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0),
]  # fmt: skip
CITYSCAPES = {7: (128, 64, 128), 11: (70, 70, 70), 23: (70, 130, 180), 26: (0, 0, 142)}


def look(path: Path | str) -> Examined:
    listed = list_set(path, "set")
    return examine(listed, read_facts(listed.pairs, 2), None)


def found(examined: Examined) -> dict[str, Finding]:
    findings = [*examined.listed.findings, *label_findings(examined), *image_findings(examined)]
    return {f.kind: f for f in findings}


def pairs(root: Path, images: str = "images", labels: str = "labels", count: int = 3) -> Path:
    for folder in (images, labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image, label = scene(i)
        label[0, 10:12] = (0, 1)
        label[40:60, 20:40] = 1
        Image.fromarray(image).save(root / images / f"{i}.png")
        Image.fromarray(label).save(root / labels / f"{i}.png")
    return root


@pytest.mark.parametrize(("images", "labels"), [("images", "masks"), ("img", "mask"), ("rgb", "annotations")])
def test_customary_names_are_looked_at_in_full(tmp_path: Path, images: str, labels: str):
    examined = look(pairs(tmp_path / "set", images, labels))
    assert found(examined) == {}
    assert examined.listed.layout == f"folder/{images}+{labels}"
    assert [counts.counts.sum() > 0 for _, _, counts in examined.counted()] == [True] * 3


def test_several_folders_of_masks_are_reported_by_name(tmp_path: Path):
    root = pairs(pairs(tmp_path / "set"), labels="masks")
    finding = found(look(root))["several-folders"]
    assert (finding.severity, finding.count) == (STOPS, 2)
    assert (
        f"labels/ (3 image files) and masks/ (3 image files): name one, as folder/labels:{root}"
        in finding.what
    )
    assert found(look(f"folder/masks:{root}")) == {}


def test_an_unknown_layout_is_described_and_can_be_named(tmp_path: Path):
    root = pairs(tmp_path / "set", "pictures", "classes")
    (root / "readme.md").write_text("x")
    examined = look(root)
    finding = found(examined)["unknown-layout"]
    assert finding.severity is STOPS
    assert "holds classes/ (3 image files), pictures/ (3 image files), 1 .md file." in finding.what
    assert f"folder/IMAGES+LABELS:PATH, for example folder/classes+pictures:{root}" in finding.advice
    assert found(look(f"folder/pictures+classes:{root}")) == {}


def test_a_folder_beside_the_images_that_may_hold_labels_is_reported(tmp_path: Path):
    root = pairs(tmp_path / "set", labels="classes")
    finding = found(look(root))["other-folders"]
    assert finding.severity is KNOW
    assert finding.advice.endswith(f"name the folder, as folder/images+classes:{root}.")


def test_splits_that_are_read_as_one_set_are_reported(tmp_path: Path):
    root = tmp_path / "set"
    for split in ("train", "val"):
        pairs(root, f"images/{split}", f"masks/{split}")
    finding = found(look(root))["read-together"]
    assert finding.what == "images/ holds train/, val/, which are read as one set."
    assert f"folder/images/train+masks/train:{root}" in finding.advice
    assert found(look(f"folder/images/val+masks/val:{root}")) == {}


def test_a_labelmap_gives_the_classes_and_a_damaged_one_is_reported(tmp_path: Path):
    root = pairs(tmp_path / "set", labels="SegmentationClass")
    (root / "labelmap.txt").write_text("ground:9,0,0::\nwall:0,9,0::\nsky:0,0,9::\n", encoding="utf-8")
    examined = look(root)
    assert examined.space is not None
    assert examined.space.classes == ("ground", "wall", "sky")
    (root / "labelmap.txt").write_text("ground:9,0\n", encoding="utf-8")
    finding = found(look(root))["class-list"]
    assert "labelmap.txt, line 1: 'ground:9,0' is not name:red,green,blue" in finding.what


# --- label maps that do not fit the others ------------------------------------------------------------------


def palette_set(root: Path, count: int) -> Path:
    """Label maps with CamVid's palette, each with all of its classes and void."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        picture = Image.fromarray(scene(i)[0])
        picture.save(root / "images" / f"{i:02}.png")
        write(
            root,
            f"{i:02}",
            np.tile(np.arange(12, dtype=np.uint8).repeat(8), (72, 1)),
            dict(enumerate(CAMVID)),
        )
    return root


def write(root: Path, name: str, ids: np.ndarray, palette: dict[int, tuple[int, int, int]] | None) -> None:
    picture = Image.fromarray(ids)
    if palette is not None:
        flat = np.zeros((256, 3), np.uint8)
        for index, colour in palette.items():
            flat[index] = colour
        picture.putpalette(flat.tobytes())
    picture.save(root / "labels" / f"{name}.png")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """31 pairs, 28 of which are CamVid's: one has a stray id, one is Cityscapes', one is grey with other ids."""
    root = palette_set(tmp_path / "set", 31)
    columns = np.arange(12, dtype=np.uint8).repeat(8)
    stray = np.tile(columns, (72, 1))
    stray[3, 3] = 40
    write(root, "05", stray, dict(enumerate(CAMVID)))
    foreign = np.array([7, 11, 23, 26], np.uint8)[np.arange(96) // 24]
    write(root, "11", np.tile(foreign, (72, 1)), CITYSCAPES)
    write(root, "20", np.tile(foreign, (72, 1)), None)
    return root


def test_a_few_label_maps_do_not_discard_the_space_of_the_rest(odd: Path):
    examined = look(odd)
    assert examined.space is not None
    assert examined.space.name == "camvid-11"
    finding = found(examined)["odd-labels"]
    assert (finding.severity, finding.count) == (STOPS, 3)
    assert finding.what == "28 label maps are camvid-11, these 3 are not."
    assert finding.examples == (
        "labels/05.png: holds the id 40",
        "labels/11.png: holds the ids 23, 26",
        "labels/20.png: holds the ids 23, 26",
    )
    assert finding.files == tuple(("set", f"labels/{n}.png") for n in ("05", "11", "20"))


def test_ids_that_the_space_knows_do_not_hide_another_palette(tmp_path: Path):
    root = palette_set(tmp_path / "set", 5)
    swapped = {i: CAMVID[(i + 1) % 11] for i in range(11)}
    write(root, "03", np.tile(np.arange(11, dtype=np.uint8).repeat(9), (72, 1))[:, :96].copy(), swapped)
    examined = look(root)
    assert found(examined)["odd-labels"].examples == ("labels/03.png: its palette has other classes",)


def test_label_maps_that_agree_are_not_odd(tmp_path: Path):
    root = palette_set(tmp_path / "set", 3)
    write(root, "01", np.full((72, 96), 11, np.uint8), dict(enumerate(CAMVID)))
    write(root, "02", np.full((72, 96), 255, np.uint8), None)
    examined = look(root)
    assert examined.space is not None
    assert examined.space.name == "camvid-11"
    findings = found(examined)
    assert "odd-labels" not in findings
    assert findings["nothing-labelled"].examples == ("labels/01.png", "labels/02.png")


def test_a_palette_that_is_in_many_tools_is_no_evidence(tmp_path: Path):
    root = palette_set(tmp_path / "set", 3)
    voc = dict(enumerate(LabelSpace.load("voc-21").colours))
    for i in range(3):
        write(root, f"{i:02}", np.tile(np.array([0, 1, 2, 3], np.uint8).repeat(24), (72, 1)), voc)
    examined = look(root)
    assert examined.space is not None
    assert examined.space.nameless


def test_ids_that_are_shifted_against_their_palette_are_reported(tmp_path: Path):
    root = palette_set(tmp_path / "set", 2)
    late = {i + 1: colour for i, colour in enumerate(CAMVID[:11])}
    for i in range(2):
        write(root, f"{i:02}", np.tile(np.arange(12, dtype=np.uint8).repeat(8), (72, 1)).clip(1, 11), late)
    finding = found(look(root))["contradiction"]
    assert finding.severity is STOPS
    assert "off by one" in finding.what


def test_a_set_of_ignored_pixels_alone_is_reported(tmp_path: Path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(2):
        save(tmp_path, f"{i}", scene(i)[0], np.full((72, 96), 255, np.uint8))
    findings = found(look(tmp_path))
    assert findings["nothing-labelled"].count == 2
    assert findings["no-space"].severity is STOPS


# --- copies that were saved anew ----------------------------------------------------------------------------


@pytest.mark.slow
def test_recompressed_and_scaled_copies_are_found_and_moving_scenes_are_not(tmp_path: Path):
    from stylebridge.data.doctor import duplicate_findings

    root = tmp_path / "set"
    root.mkdir()
    rng = np.random.default_rng(0)
    patches = Image.fromarray(rng.integers(0, 255, (15, 30, 3), np.uint8))
    street = np.array(patches.resize((720, 360), Image.Resampling.BICUBIC))
    for i in range(6):  # a camera that moves by a few pixels a frame
        frame = street[:, 24 * i // 3 : 24 * i // 3 + 480]
        Image.fromarray(frame).save(root / f"frame-{i}.png")
    standing = street[:, 200:680].copy()
    for i in range(4):  # a standing camera before which something small moves
        walking = standing.copy()
        walking[150:230, 40 + 30 * i : 70 + 30 * i] = 10
        Image.fromarray(walking).save(root / f"walk-{i}.png")
    Image.fromarray(street[:, :480]).save(root / "frame-0-again.jpg", quality=50)
    Image.fromarray(standing).save(root / "still.png")
    Image.fromarray(standing).resize((300, 225), Image.Resampling.LANCZOS).save(
        root / "still-small.jpg", quality=85
    )
    shutil.copy(root / "walk-2.png", root / "walk-2-equal.png")
    findings = {f.kind: f for f in duplicate_findings([look(root)])}
    assert findings.keys() == {"near-duplicates", "duplicates"}
    finding = findings["near-duplicates"]
    assert finding.severity is MISLEADS
    assert set(finding.examples) == {"frame-0-again.jpg = frame-0.png", "still-small.jpg = still.png"}
