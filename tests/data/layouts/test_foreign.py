"""Layouts that other tools write: several customary names of folders, Pascal VOC, CVAT's and labelme's exports."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.domain import DomainSpec, check_domain, open_domain
from stylebridge.data.label_inference import infer_label_space
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError

from .conftest import SIZE, Miniature, ids

I = 255  # noqa: E741 - ignored

#: The development kit's colours of ids 0 to 20 and 255, written out.
VOC_COLOURS = {
    0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128),
    6: (0, 128, 128), 7: (128, 128, 128), 8: (64, 0, 0), 9: (192, 0, 0), 10: (64, 128, 0), 11: (192, 128, 0),
    12: (64, 0, 128), 13: (192, 0, 128), 14: (64, 128, 128), 15: (192, 128, 128), 16: (0, 64, 0),
    17: (128, 64, 0), 18: (0, 192, 0), 19: (128, 192, 0), 20: (0, 64, 128), 255: (224, 224, 192),
}  # fmt: skip

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad surface:10,128,0::\ncar:0,108,128:wheel,door:\n"


def first_row(path: Path | str, role: str = "source") -> tuple[LabelSpace, list[list[int]]]:
    """The label space that a labelled domain is read in, and the first row of each of its label maps as train ids."""
    domain = open_domain(path, role, labelled=True)
    assert domain.labels is not None
    space = domain.space or infer_label_space(domain.labels)[0]
    domain = open_domain(domain.spec, role, labelled=True, space=space)
    assert domain.labels is not None
    check_domain(domain, cache=False)
    return space, [space.read(label, SIZE)[0].tolist() for label in domain.labels]


def striped(*values: int) -> list[int]:
    return np.repeat(values, SIZE[0] // len(values)).tolist()


def paired(m: Miniature, images: str, labels: str, stems: str = "ab") -> None:
    for stem in stems:
        m.image(f"{images}/{stem}.jpg")
        m.label(f"{labels}/{stem}.png", ids(0, 1, 2, 255))


def painted(m: Miniature, path: str, *colours: tuple[int, int, int]) -> None:
    """A label map of stripes in these colours."""
    m.label(path, np.array(colours, np.uint8)[ids(*range(len(colours)))])


# --- names of folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "masks"),
        ("images", "annotations"),
        ("images", "gt"),
        ("images", "SegmentationClass"),
        ("images", "segmentation"),
        ("img", "mask"),
        ("Images", "Labels"),
        ("img_dir", "ann_dir"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_customary_folders_are_read_and_recognised(
    miniature: Miniature, tmp_path: Path, images: str, labels: str, zipped: bool
):
    paired(miniature, images, labels)
    path = miniature.zip(tmp_path / "set.zip", "top/") if zipped else miniature.root
    domain = open_domain(path, "source", labelled=True)
    assert domain.layout == "folder"
    assert [image.stem for image in domain.images] == ["a", "b"]
    assert domain.labels is not None
    assert [label.name for label in domain.labels] == ["a.png", "b.png"]
    assert {str(label).replace("!", "/").split("/")[-2] for label in domain.labels} == {labels}
    assert first_row(path)[1] == [striped(0, 1, 2, I)] * 2
    assert len(open_domain(path, "target", labelled=False).images) == 2


def test_images_that_lie_beside_the_folder_of_masks(miniature: Miniature):
    for stem in "ab":
        miniature.image(f"{stem}.jpg")
        miniature.label(f"masks/{stem}.png", ids(0, 1, 2, 255))
    assert first_row(miniature.root)[1] == [striped(0, 1, 2, I)] * 2
    assert len(open_domain(miniature.root, "target", labelled=False).images) == 2


def test_of_several_folders_of_masks_one_must_be_named(miniature: Miniature):
    paired(miniature, "images", "labels")
    paired(miniature, "images", "masks")
    miniature.label("masks/a.png", ids(3, 3, 4, 4))
    miniature.text("annotations/instances.json")  # holds no image, so it is not in question
    with pytest.raises(
        DataError,
        match=r"several folders of label maps, labels/ \(2 image files\) and masks/ \(2 image files\): name one, as "
        r"folder/labels:.*set or folder/masks:.*set\.$",
    ):
        open_domain(miniature.root, "source", labelled=True)
    assert first_row(f"folder/labels:{miniature.root}")[1][0] == striped(0, 1, 2, I)
    assert first_row(f"folder/masks:{miniature.root}")[1][0] == striped(3, 3, 4, 4)
    assert (
        open_domain(f"folder/masks:{miniature.root}", "s", labelled=True).spec
        == f"folder/masks:{miniature.root}"
    )
    # Label maps are not asked for, so nothing is unclear.
    assert len(open_domain(miniature.root, "target", labelled=False).images) == 2


def test_labels_that_are_not_images_leave_the_masks(miniature: Miniature):
    """As exports for detection have them: labels/*.txt beside masks/*.png."""
    paired(miniature, "images", "masks")
    miniature.text("labels/a.txt", "labels/b.txt")
    assert first_row(miniature.root)[1] == [striped(0, 1, 2, I)] * 2


def test_folders_of_any_name_can_be_named(miniature: Miniature):
    paired(miniature, "pictures/day", "classes/day")
    with pytest.raises(
        DataError,
        match=r"it holds classes/ \(2 image files\), pictures/ \(2 image files\)\. Name the folders .* as "
        r"folder/IMAGES\+LABELS:PATH",
    ):
        open_domain(miniature.root, "source", labelled=True)
    with pytest.raises(
        DataError, match=r"holds no images .* It holds classes/ .*images alone as .*set/classes"
    ):
        open_domain(miniature.root, "target", labelled=False)
    spec = f"folder/pictures/day+classes/day:{miniature.root}"
    assert first_row(spec)[1] == [striped(0, 1, 2, I)] * 2
    assert [i.stem for i in open_domain(spec, "target", labelled=False).images] == ["a", "b"]
    with pytest.raises(
        DataError, match=r"has no folder shapes/: it holds classes/ \(2 image files\), pictures/"
    ):
        open_domain(f"folder/pictures+shapes:{miniature.root}", "source", labelled=True)
    with pytest.raises(DataError, match="has no folder"):
        open_domain(f"folder/pictures+../set/classes:{miniature.root}", "source", labelled=True)


def test_split_folders_are_pointed_at(miniature: Miniature):
    paired(miniature, "part1/images", "part1/masks")
    paired(miniature, "part2/images", "part2/masks")
    with pytest.raises(DataError, match=r"Give one of its folders, such as .*set/part1"):
        open_domain(miniature.root, "source", labelled=True)


def test_of_several_folders_of_images_one_must_be_named(miniature: Miniature):
    paired(miniature, "images", "masks")
    paired(miniature, "rgb", "masks")
    with pytest.raises(
        DataError, match=r"several folders of images, images/ .* and rgb/ .*folder/images\+masks:"
    ):
        open_domain(miniature.root, "source", labelled=True)
    domain = open_domain(f"folder/rgb+masks:{miniature.root}", "source", labelled=True)
    assert {Path(str(image)).parent.name for image in domain.images} == {"rgb"}


def test_classes_beside_masks_are_found(miniature: Miniature):
    paired(miniature, "img", "mask")
    miniature.text("classes.yaml")
    text = "classes: [{name: ground}, {name: wall}, {name: sky}]"
    (miniature.root / "classes.yaml").write_text(text, encoding="utf-8")
    assert first_row(miniature.root)[0].classes == ("ground", "wall", "sky")


def test_classes_beside_masks_are_found_in_a_zip_file(miniature: Miniature, tmp_path: Path):
    paired(miniature, "img", "mask")
    text = "classes: [{name: ground}, {name: wall}, {name: sky}]"
    (miniature.root / "classes.yaml").write_text(text, encoding="utf-8")
    archive = Path(
        shutil.make_archive(str(tmp_path / "set"), "zip", miniature.root.parent, miniature.root.name)
    )
    assert first_row(archive)[0].classes == ("ground", "wall", "sky")
    (miniature.root / "classes.yaml").write_text("classes: 3", encoding="utf-8")
    archive = Path(
        shutil.make_archive(str(tmp_path / "wrong"), "zip", miniature.root.parent, miniature.root.name)
    )
    with pytest.raises(DataError, match=r"wrong\.zip!.*classes\.yaml"):
        first_row(archive)


# --- Pascal VOC ---------------------------------------------------------------------------------------------


def voc(m: Miniature, stems: tuple[str, ...] = ("2007_000032", "2008_001100"), **lists: str) -> Path:
    for stem in stems:
        m.image(f"JPEGImages/{stem}.jpg")
        m.label(f"SegmentationClass/{stem}.png", ids(0, 7, 20, 255), VOC_COLOURS)
        m.label(f"SegmentationObject/{stem}.png", ids(0, 1, 2, 255), VOC_COLOURS)
        m.text(f"Annotations/{stem}.xml")
    m.text("ImageSets/Main/train.txt")
    for name, text in lists.items():
        m.text(f"ImageSets/Segmentation/{name}.txt")
        (m.root / f"ImageSets/Segmentation/{name}.txt").write_text(text, encoding="utf-8")
    return m.root


def test_the_development_kit(miniature: Miniature, tmp_path: Path):
    root = voc(miniature, train="2007_000032\n", val="2008_001100\n", trainval="2007_000032\n2008_001100\n")
    miniature.image("JPEGImages/2009_000001.jpg")  # one for detection alone
    for path in (root, miniature.zip(tmp_path / "voc.zip", "VOCdevkit/VOC2012/")):
        domain = open_domain(path, "source", labelled=True)
        assert (domain.layout, domain.split) == ("voc", "train")
        assert [image.stem for image in domain.images] == ["2007_000032"]
        scored = open_domain(path, "evaluation", labelled=True, evaluation=True)
        assert [image.stem for image in scored.images] == ["2008_001100"]
        assert len(open_domain(f"voc/trainval:{path}", "source", labelled=True).images) == 2
        space, rows = first_row(path)
        assert rows == [striped(0, 7, 20, I)]
        assert (space.name, space.classes[7], space.classes[20]) == ("voc-21", "car", "tvmonitor")
        assert dict(enumerate(space.colours)) == {i: colour for i, colour in VOC_COLOURS.items() if i < 21}


def test_other_classes_in_the_kits_form_are_not_taken_for_its_own(miniature: Miniature):
    """The palette is in many tools, so it is no evidence."""
    space, rows = first_row(voc(miniature, ("scan 1", "scan 2")))
    assert space.nameless
    assert rows == [striped(0, 7, 20, I)] * 2


def cvat(m: Miniature, text: str = LABELMAP, images: str = "JPEGImages") -> Path:
    for stem in ("frame_1", "frame 2"):
        m.image(f"{images}/{stem}.png")
        painted(m, f"SegmentationClass/{stem}.png", (0, 0, 0), (0, 108, 128), (10, 128, 0), (224, 224, 192))
    m.text("ImageSets/Segmentation/default.txt", "labelmap.txt")
    (m.root / "ImageSets/Segmentation/default.txt").write_text("frame_1\nframe 2\n", encoding="utf-8")
    (m.root / "labelmap.txt").write_text(text, encoding="utf-8")
    return m.root


@pytest.mark.parametrize("images", ["JPEGImages", "images"])
def test_an_export_of_cvat_has_the_classes_of_its_labelmap(miniature: Miniature, tmp_path: Path, images: str):
    root = cvat(miniature, images=images)
    for path in (root, miniature.zip(tmp_path / "task.zip")):
        domain = open_domain(path, "source", labelled=True)
        assert domain.layout == ("voc" if images == "JPEGImages" else "folder")
        space, rows = first_row(path)
        assert space.classes == ("background", "road surface", "car")
        assert space.colours == ((0, 0, 0), (10, 128, 0), (0, 108, 128))
        assert rows == [striped(0, 2, 1, I)] * 2


def test_one_channel_holds_positions_in_the_labelmap(miniature: Miniature):
    root = cvat(miniature)
    for stem in ("frame_1", "frame 2"):
        miniature.label(f"SegmentationClass/{stem}.png", ids(2, 1, 0, 255))
    assert first_row(root)[1] == [striped(2, 1, 0, I)] * 2


def test_a_labelmap_may_leave_colours_out_and_list_the_void(miniature: Miniature):
    root = cvat(miniature, "background:::\nplane:::\nignored:0,108,128::\nboat:10,128,0::\n")
    for stem in ("frame_1", "frame 2"):
        painted(
            miniature, f"SegmentationClass/{stem}.png", (0, 0, 0), (128, 0, 0), (0, 108, 128), (10, 128, 0)
        )
    space, rows = first_row(root)
    assert space.classes == ("background", "plane", "boat")
    assert rows == [striped(0, 1, I, 2)] * 2


def test_a_colour_outside_the_labelmap_is_named(miniature: Miniature):
    root = cvat(miniature)
    painted(miniature, "SegmentationClass/frame_1.png", (0, 0, 0), (1, 2, 3))
    with pytest.raises(
        DataError, match=r"frame_1\.png has the colour \(1, 2, 3\), which label space labelmap-3"
    ):
        first_row(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "road:1,2\ncar:0,0,1\n",
            r"labelmap\.txt, line 1: 'road:1,2' is not name:red,green,blue:parts:actions",
        ),
        ("# x\nroad:1,2,300::\n", r"labelmap\.txt, line 2: "),
        ("road\n", "line 1: 'road' is not"),
        (
            "road:1,2,3::\ncar:1,2,3::\n",
            r"line 2: car has the colour of road: give each its own colour",
        ),
        ("road:1,2,3::\nroad:1,2,4::\n", "lists 'road' twice"),
        ("road:1,2,3::\n", "lists 1 classes: give 2 to 255"),
    ],
)
def test_a_malformed_labelmap_is_named_with_its_line(miniature: Miniature, text: str, message: str):
    with pytest.raises(DataError, match=message):
        open_domain(cvat(miniature, text), "source", labelled=True)


def test_class_names_of_labelme(miniature: Miniature):
    """labelme writes arrays to SegmentationClass and pictures to SegmentationClassPNG."""
    for stem in "ab":
        miniature.image(f"JPEGImages/{stem}.jpg")
        miniature.label(f"SegmentationClassPNG/{stem}.png", ids(0, 1, 2, 255), VOC_COLOURS)
        miniature.text(f"SegmentationClass/{stem}.npy")
    miniature.text("class_names.txt")
    (miniature.root / "class_names.txt").write_text("_background_\nscrew\nnut\n", encoding="utf-8")
    space, rows = first_row(miniature.root)
    assert space.classes == ("_background_", "screw", "nut")
    assert rows == [striped(0, 1, 2, I)] * 2


def test_which_split_is_asked_for_where_it_is_not_clear(miniature: Miniature):
    root = voc(miniature, ("x", "y"), first="x\n", second="y\n")
    with pytest.raises(DataError, match=r"Segmentation lists first, second: name one, as voc/first:.*set\."):
        open_domain(root, "source", labelled=True)
    assert [i.stem for i in open_domain(f"voc/second:{root}", "source", labelled=True).images] == ["y"]
    with pytest.raises(DataError, match=r"has the lists first, second, not third\.txt"):
        open_domain(f"voc/third:{root}", "source", labelled=True)


def test_masks_of_a_second_kind_are_named(miniature: Miniature):
    root = voc(miniature, ("x", "y"), train="x\n", val="y\n")
    miniature.label("SegmentationClassAug/x.png", ids(1, 1, 2, 2))
    with pytest.raises(
        DataError,
        match=r"SegmentationClass/ .*voc/train\+SegmentationClass:.* or voc/train\+SegmentationClassAug:",
    ):
        open_domain(root, "source", labelled=True)
    assert first_row(f"voc/train+SegmentationClassAug:{root}")[1] == [striped(1, 1, 2, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\nz\n", r"train\.txt, line 2: there is no image z in .*JPEGImages"),
        ("\n", r"train\.txt lists no image"),
    ],
)
def test_a_list_that_does_not_fit_is_named(miniature: Miniature, text: str, message: str):
    with pytest.raises(DataError, match=message):
        open_domain(voc(miniature, ("x", "y"), train=text), "source", labelled=True)


def test_an_export_without_images_or_without_masks(miniature: Miniature):
    root = voc(miniature, ("x",), train="x 1\n")
    assert len(open_domain(root, "target", labelled=False).images) == 1
    (root / "SegmentationClass/x.png").unlink()
    with pytest.raises(DataError, match=r"no label maps in SegmentationClass/: it holds Annotations/"):
        open_domain(root, "source", labelled=True)


def test_names_of_free_splits_are_taken_apart():
    assert DomainSpec.parse("folder/masks:X") == DomainSpec(Path("X"), "folder", "masks")
    assert DomainSpec.parse("voc/default:X").split == "default"


def test_masks_are_read_as_pillow_reads_them(miniature: Miniature):
    """The conftest's palettes are complete, so that 255 is kept: a guard for the tests above."""
    voc(miniature)
    with Image.open(miniature.root / "SegmentationClass/2007_000032.png") as image:
        assert sorted(set(np.array(image).ravel().tolist())) == [0, 7, 20, 255]
