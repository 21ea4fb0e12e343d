"""The doctor's findings in a folder with every problem, and none in a good folder."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.doctor import (
    Examined,
    Finding,
    Severity,
    duplicate_findings,
    examine,
    image_findings,
    label_findings,
    list_set,
    read_facts,
    set_findings,
    summarise,
)
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from support.sick import Sick, save, scene, write_sick


def look(
    path: Path | str, space: LabelSpace | None = None, role: str = "training", name: str = "set"
) -> Examined:
    listed = list_set(path, name, role)
    return examine(listed, read_facts(listed.pairs, 2), space)


def found(examined: Examined) -> dict[str, Finding]:
    findings = [*examined.listed.findings, *label_findings(examined), *image_findings(examined)]
    assert len({f.kind for f in findings}) == len(findings)
    return {f.kind: f for f in findings}


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Sick:
    return write_sick(tmp_path_factory.mktemp("sick"))


@pytest.fixture(scope="module")
def examined(sick: Sick) -> Examined:
    return look(sick.train, LabelSpace.load(sick.space))


STOPS, MISLEADS, KNOW = Severity

#: kind: severity, count, whether --fix mends it, and what the first examples say.
EXPECTED = {
    "same-name": (STOPS, 1, True, ["images/double.png beside images/double.jpg"]),
    "missing-label": (STOPS, 1, True, ["images/no-label.png"]),
    "missing-image": (STOPS, 1, True, ["labels/no-image.png"]),
    "passed-over": (KNOW, 1, False, ["images/notes.txt"]),
    "unreadable-image": (STOPS, 3, True, ["images/cut.png: image file is truncated"]),
    "unreadable-label": (STOPS, 1, True, ["labels/label-cut.png: image file is truncated"]),
    "jpeg-label": (STOPS, 1, True, ["labels/label-lossy.jpg"]),
    "colour-labels": (STOPS, 1, True, ["labels/label-colours.png: 4 colours"]),
    "unknown-ids": (STOPS, 1, True, ["labels/label-unknown.png: 11 pixels"]),
    "label-size": (STOPS, 2, True, ["labels/label-half.png: 48×36, its image 96×72"]),
    "label-shape": (STOPS, 1, True, ["labels/label-crop.png: 50×72, its image 96×72"]),
    "palette-disagrees": (MISLEADS, 1, False, ["labels/label-swapped.png: id 0 is road, but has the"]),
    "nothing-labelled": (MISLEADS, 1, False, ["labels/label-void.png"]),
    "unseen": (MISLEADS, 1, False, []),
    "sixteen-bit-label": (KNOW, 2, True, ["labels/label-deep.png", "labels/label-synthia.png"]),
    "palette-label": (KNOW, 2, False, ["labels/label-palette.png", "labels/label-swapped.png"]),
    "exif-rotation": (KNOW, 2, True, ["images/rotated.jpg: by 90°", "images/rotated-early.jpg: by 90°"]),
    "exif-rotation-labelled": (MISLEADS, 1, True, ["images/upside-down.jpg: by 180°"]),
    "transparent": (MISLEADS, 1, True, ["images/glass.png"]),
    "alpha": (KNOW, 1, True, ["images/opaque.png"]),
    "cmyk": (MISLEADS, 1, True, ["images/cmyk.jpg"]),
    "sixteen-bit-image": (KNOW, 1, True, ["images/deep.png"]),
    "palette-image": (KNOW, 1, True, ["images/indexed.png"]),
    "grey-image": (KNOW, 1, False, ["images/grey.png"]),
    "blank": (MISLEADS, 1, False, ["images/blank.png: grey value 9"]),
    "sizes": (KNOW, 2, False, ["images/rotated.jpg: 72×96"]),
}  # fmt: skip


def test_each_thing_wrong_is_found_and_nothing_else(examined: Examined):
    findings = found(examined)
    assert findings.keys() == EXPECTED.keys()
    for kind, (severity, count, fixable, lines) in EXPECTED.items():
        finding = findings[kind]
        assert (finding.severity, finding.count, finding.fixable) == (severity, count, fixable), kind
        for line, expected in zip(finding.examples, lines, strict=False):
            assert line.startswith(expected), kind
        assert finding.what.endswith("."), kind
        assert finding.advice.endswith("."), kind


def test_ids_outside_the_space_are_counted(examined: Examined):
    finding = found(examined)["unknown-ids"]
    assert finding.columns == ("id", "pixels", "files", "for example")
    assert finding.rows == (
        ("77", "10", "1", "labels/label-unknown.png"),
        ("99", "1", "1", "labels/label-unknown.png"),
    )


def test_a_folder_in_order_has_no_finding_and_exact_counts(tmp_path: Path):
    root = tmp_path / "good"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    labels = []
    for i in range(3):
        image, label = scene(i)
        label[0, 10:12] = (0, 1)  # each class in each image, so that none is rare
        label[40:60, 20:40] = 1
        save(root, f"{i}", image, label)
        labels.append(label)
    examined = look(root)
    assert found(examined) == {}
    summary = summarise(examined)
    every = np.stack(labels)
    assert [c.pixels for c in summary.classes] == [(every == k).sum() for k in range(3)]
    assert [c.images for c in summary.classes] == [(every == k).any(axis=(1, 2)).sum() for k in range(3)]
    assert (summary.ignored, summary.unknown, summary.images, summary.labels) == (
        (every == 255).sum(),
        0,
        3,
        3,
    )
    assert dict(summary.sizes) == {(96, 72): 3}
    assert summary.bytes == sum(f.stat().st_size for f in root.rglob("*.png"))


def test_a_class_never_seen_is_reported(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    image, label = scene(1)
    save(tmp_path, "a", image, np.where(label == 1, 0, label).astype(np.uint8))
    (tmp_path / "classes.yaml").write_text(
        "classes: [{name: ground}, {name: wall}, {name: sky}]", encoding="utf-8"
    )
    finding = found(look(tmp_path))["unseen"]
    assert (finding.severity, finding.what) == (MISLEADS, "1 class of classes never seen: wall.")


def test_plain_ids_with_a_stray_one(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    image, label = scene(1)
    label[5, 5] = 40
    save(tmp_path, "a", image, label)
    finding = found(look(tmp_path))["gaps"]
    assert finding.count == 37
    assert "used ids are 0, 1, 2, 40" in finding.what


@pytest.mark.parametrize("values", [(0, 255), (7, 7)])
def test_labels_that_make_no_space_are_reported(tmp_path: Path, values: tuple[int, int]):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    image, label = scene(1)
    save(tmp_path, "a", image, np.where(label == 1, *values).astype(np.uint8))
    assert found(look(tmp_path))["no-space"].severity is STOPS


def test_colours_of_a_space_that_lists_them(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    space = LabelSpace("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)), {0: 0, 1: 1}, {(1, 2, 3): 0, (4, 5, 6): 1})
    image, label = scene(1)
    colours = np.array(space.colours, np.uint8)[np.where(label == 1, 1, 0)]
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    Image.fromarray(colours).save(tmp_path / "labels" / "a.png")
    findings = found(look(tmp_path, space))
    assert {f.kind: f.severity for f in findings.values()} == {"colour-labels": KNOW}
    colours[0, 0] = (9, 9, 9)
    Image.fromarray(colours).save(tmp_path / "labels" / "a.png")
    assert found(look(tmp_path, space))["unknown-ids"].rows == (("(9, 9, 9)", "1", "1", "labels/a.png"),)


# --- names --------------------------------------------------------------------------------------------------


def rename(root: Path, folder: str, new: Callable[[str], str]) -> None:
    for file in list((root / folder).iterdir()):
        file.rename(file.with_name(new(file.stem) + file.suffix))


@pytest.mark.parametrize(
    ("image", "label", "told"),
    [
        ("{}", "{}_mask", "the label maps end in '_mask'"),
        ("{}_rgb", "{}_ids", "the images end in '_rgb' and the label maps end in '_ids'"),
        ("IMG{}", "img{}", "upper and lower case differ"),
    ],
)
def test_names_that_almost_match(tmp_path: Path, image: str, label: str, told: str):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for i in range(3):
        save(tmp_path, f"{i}", *scene(i))
    rename(tmp_path, "images", image.format)
    rename(tmp_path, "labels", label.format)
    examined = look(tmp_path)
    findings = found(examined)
    assert "missing-label" not in findings
    assert findings["names-differ"].what == f"3 label maps are not named like the image: {told}."
    assert [counts.counts.sum() > 0 for _, _, counts in examined.counted()] == [True] * 3


def test_an_unlabelled_folder_and_an_empty_one(tmp_path: Path):
    Image.fromarray(scene(1)[0]).save(tmp_path / "a.png")
    examined = look(tmp_path)
    assert found(examined) == {}
    assert summarise(examined).labels == 0
    (tmp_path / "empty").mkdir()
    assert found(look(tmp_path / "empty"))["empty"].severity is STOPS
    with pytest.raises(DataError, match="does not exist"):
        look(tmp_path / "nowhere")


def test_a_zip_file_is_read_in_place(tmp_path: Path, sick: Sick):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted(sick.train.rglob("*.*")):
            archive.write(file, f"streets/{file.relative_to(sick.train)}")
    findings = found(look(tmp_path / "set.zip", LabelSpace.load(sick.space)))
    assert {kind: f.count for kind, f in findings.items()} == {kind: e[1] for kind, e in EXPECTED.items()}


# --- between sets -------------------------------------------------------------------------------------------


def test_duplicates_within_and_between_sets(sick: Sick, examined: Examined):
    evaluation = look(sick.evaluation, LabelSpace.load(sick.space), "evaluation", "held")
    findings = {f.kind: f for f in duplicate_findings([examined, evaluation])}
    assert {kind: f.examples for kind, f in findings.items()} == {
        "leak": ("held: images/held-copy.png = set: images/ok-1.png",),
        "near-leak": ("held: images/held-again.jpg = set: images/ok-2.png",),
        "duplicates": ("set: images/twin.png = set: images/ok-0.png",),
        "conflicting-duplicates": ("set: images/ok-0.png = set: images/false-twin.png",),
    }
    assert {f.severity for f in findings.values()} == {MISLEADS, KNOW}


def test_scaled_copies_are_near_and_other_scenes_are_not(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    for i in range(40):
        Image.fromarray(scene(i)[0]).save(tmp_path / "a" / f"{i}.png")
        Image.fromarray(scene(1000 + i)[0]).save(tmp_path / "b" / f"{i}.png")
    Image.fromarray(scene(7)[0]).resize((192, 144)).save(tmp_path / "b" / "scaled.jpg", quality=85)
    sets = [look(tmp_path / "a", name="a"), look(tmp_path / "b", None, "evaluation", "b")]
    assert [(f.kind, f.examples) for f in duplicate_findings(sets)] == [
        ("near-leak", ("b: scaled.jpg = a: 7.png",))
    ]


def test_classes_that_are_scored_but_never_trained_on(tmp_path: Path):
    space = LabelSpace("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)), {0: 0, 1: 1})
    sets = []
    for role, ids in (("training", 0), ("evaluation", 1)):
        root = tmp_path / role
        (root / "images").mkdir(parents=True)
        (root / "labels").mkdir()
        save(root, "x", scene(1)[0], np.full((72, 96), ids, np.uint8))
        sets.append(summarise(look(root, space, role, role)))
    [finding] = set_findings(sets)
    assert finding.what == "1 class of the evaluation never in training: b."
