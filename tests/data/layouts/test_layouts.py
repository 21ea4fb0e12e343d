"""Every public layout, written in miniature by the test: recognised, with ids read as in its protocol."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.domain import DomainSpec, check_domain, open_domain
from stylebridge.data.layouts import LAYOUTS
from stylebridge.errors import DataError

from .conftest import CITYSCAPES_PALETTE, SIZE, Miniature, ids

I = 255  # noqa: E741 - ignored


def cityscapes(m: Miniature) -> None:
    for split, city, number in (("train", "aachen", 0), ("train", "bochum", 1), ("val", "munster", 0)):
        stem = f"{split}/{city}/{city}_{number:06}_000019"
        m.image(f"leftImg8bit/{stem}_leftImg8bit.png")
        m.label(f"gtFine/{stem}_gtFine_labelIds.png", ids(7, 26, 33, 0))
        m.label(f"gtFine/{stem}_gtFine_instanceIds.png", ids(7, 26, 33, 0))
        m.image(f"gtFine/{stem}_gtFine_color.png")
        m.text(f"gtFine/{stem}_gtFine_polygons.json")
    m.image("leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png")
    m.text("license.txt")


def cityscapes_train_ids(m: Miniature) -> None:
    m.image("leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png")
    m.label("gtFine/train/ulm/ulm_000000_000019_gtFine_labelTrainIds.png", ids(0, 13, 18, 255))


def gta5(m: Miniature) -> None:
    for number in (1, 2):
        m.image(f"images/{number:05}.png")
        m.label(f"labels/{number:05}.png", ids(7, 26, 33, 0), CITYSCAPES_PALETTE)


def synthia_released(m: Miniature, png_16: Callable[..., None]) -> None:
    m.image("RAND_CITYSCAPES/RGB/0000000.png", "RAND_CITYSCAPES/Depth/Depth/0000000.png")
    values = np.zeros((SIZE[1], SIZE[0], 3), np.uint16)
    values[..., 0], values[..., 1] = ids(3, 8, 11, 22), 7
    folder = m.root / "RAND_CITYSCAPES" / "GT"
    for kind in ("LABELS", "COLOR"):
        (folder / kind).mkdir(parents=True)
    png_16(folder / "LABELS" / "0000000.png", values)
    m.image("RAND_CITYSCAPES/GT/COLOR/0000000.png")


def synthia_parsed(m: Miniature) -> None:
    m.image("RGB/0000000.png")
    m.label("parsed_LABELS/0000000.png", ids(3, 8, 11, 22))


def synthia_mapped(m: Miniature) -> None:
    m.image("RGB/0000000.png")
    m.label("synthia_mapped_to_cityscapes/0000000.png", ids(7, 26, 33, 27))


def camvid(m: Miniature) -> None:
    for split in ("train", "val", "test"):
        m.image(f"{split}/0001TP_006690.png")
        m.label(f"{split}annot/0001TP_006690.png", ids(0, 3, 10, 11))
        m.text(f"{split}.txt")


def _colours(m: Miniature, path: str) -> None:
    """Sky, LaneMkgsDriv, MotorcycleScooter, Void."""
    listed = np.array([(128, 128, 128), (128, 0, 192), (192, 0, 192), (0, 0, 0)], np.uint8)
    m.label(path, listed[ids(0, 1, 2, 3)])


def camvid_colours(m: Miniature) -> None:
    m.image("701_StillsRaw_full/0001TP_006690.png")
    _colours(m, "LabeledApproved_full/0001TP_006690_L.png")


def camvid_colours_cut(m: Miniature) -> None:
    for split in ("train", "val"):
        m.image(f"{split}/0001TP_006690.png")
        _colours(m, f"{split}_labels/0001TP_006690_L.png")
    m.text("class_dict.csv")


def acdc(m: Miniature) -> None:
    for condition in ("fog", "night", "rain", "snow"):
        for split in ("train", "val"):
            stem = f"{condition}/{split}/GOPR0475/GOPR0475_frame_000041"
            m.image(f"rgb_anon/{stem}_rgb_anon.png")
            m.label(f"gt/{stem}_gt_labelIds.png", ids(7, 26, 33, 0))
            m.label(f"gt/{stem}_gt_labelTrainIds.png", ids(0, 13, 18, 255))
            m.image(f"gt/{stem}_gt_labelColor.png", f"gt/{stem}_gt_invIds.png")
        m.image(f"rgb_anon/{condition}/train_ref/GOPR0475/GOPR0475_frame_000041_rgb_ref_anon.png")


def dark_zurich(m: Miniature) -> None:
    m.image("rgb_anon/train/night/GOPR0351/GOPR0351_frame_000001_rgb_anon.png")
    m.image("rgb_anon/train/day/GOPR0345/GOPR0345_frame_000001_rgb_anon.png")
    m.image("rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png")
    m.label("gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png", ids(0, 13, 18, 255))
    m.image("gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelColor.png")


def bdd100k(m: Miniature) -> None:
    for split in ("train", "val"):
        m.image(f"images/10k/{split}/0004a4c0-d4dff0ad.jpg")
        m.label(f"labels/sem_seg/masks/{split}/0004a4c0-d4dff0ad.png", ids(0, 13, 18, 255))
        m.image(f"labels/sem_seg/colormaps/{split}/0004a4c0-d4dff0ad.png")
    m.image("images/10k/test/ffff.jpg", "images/100k/train/aaaa.jpg")


def bdd100k_older(m: Miniature) -> None:
    m.image("seg/images/train/0004a4c0.jpg")
    m.label("seg/labels/train/0004a4c0_train_id.png", ids(0, 13, 18, 255))


def mapillary(m: Miniature) -> None:
    for split in ("training", "validation"):
        m.image(f"{split}/images/_1Gn_xkw7sa_i9GU4mkxxQ.jpg")
        m.label(f"{split}/labels/_1Gn_xkw7sa_i9GU4mkxxQ.png", ids(13, 55, 52, 65), {13: (128, 64, 128)})
        m.image(f"{split}/instances/_1Gn_xkw7sa_i9GU4mkxxQ.png")
    m.image("testing/images/abc.jpg")
    m.text("config.json")


def mapillary_2(m: Miniature) -> None:
    m.image("training/images/a.jpg")
    m.label("training/v1.2/labels/a.png", ids(13, 55, 52, 65))
    m.label("training/v2.0/labels/a.png", ids(21, 108, 104, 123))
    m.text("config_v1.2.json", "config_v2.0.json")


def ade20k(m: Miniature) -> None:
    for split, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        m.image(f"images/{split}/{stem}.jpg")
        m.label(f"annotations/{split}/{stem}.png", ids(1, 7, 150, 0))
    m.text("objectInfo150.txt", "sceneCategories.txt")


def celebamask(m: Miniature) -> None:
    """Masks have half the image's size; skin covers all, hair the upper half, one eye is missing."""
    whole = np.full((SIZE[1], SIZE[0]), 255, np.uint8)
    upper = whole.copy()
    upper[SIZE[1] // 2 :] = 0
    for number in (0, 27_999, 28_000):
        m.image(f"CelebA-HQ-img/{number}.jpg", size=(SIZE[0] * 2, SIZE[1] * 2))
        for part, mask in (("hair", upper), ("skin", whole)):
            m.label(f"CelebAMask-HQ-mask-anno/{number // 2000}/{number:05}_{part}.png", mask)
    m.text("CelebA-HQ-to-CelebA-mapping.txt")


def celebamask_painted(m: Miniature) -> None:
    for split in ("train", "test"):
        m.image(f"{split}/images/0.jpg")
        m.label(f"{split}/labels/0.png", ids(0, 1, 13, 18))


def facades(m: Miniature) -> None:
    for folder, letter in (("base", "b"), ("extended", "x")):
        m.image(f"{folder}/cmp_{letter}0001.jpg")
        m.label(f"{folder}/cmp_{letter}0001.png", ids(1, 3, 12, 0), {1: (0, 0, 170), 3: (0, 85, 255)})
        m.text(f"{folder}/cmp_{letter}0001.xml")
    m.text("label_names.txt", "readme.txt")


def plain(m: Miniature) -> None:
    m.image("images/a.jpg", "images/b.jpg")
    for stem in "ab":
        m.label(f"labels/{stem}.png", ids(0, 1, 2, 255))


#: layout, miniature, split asked for, its image names, train ids of the stripes.
CITY = [0, 13, 18, I]
CASES = [
    ("cityscapes", cityscapes, "train", ["aachen_000000_000019", "bochum_000001_000019"], CITY),
    ("cityscapes", cityscapes, "val", ["munster_000000_000019"], CITY),
    ("cityscapes", cityscapes_train_ids, "train", ["ulm_000000_000019"], CITY),
    ("gta5", gta5, None, ["00001", "00002"], CITY),
    ("synthia", synthia_parsed, None, ["0000000"], [0, 12, 15, I]),
    ("synthia", synthia_mapped, None, ["0000000"], [0, 12, 15, I]),
    ("camvid", camvid, "train", ["0001TP_006690"], [0, 3, 10, I]),
    ("camvid-colours", camvid_colours, "all", ["0001TP_006690"], [0, 3, 10, I]),
    ("camvid-colours", camvid_colours_cut, "val", ["0001TP_006690"], [0, 3, 10, I]),
    ("acdc", acdc, "train", ["GOPR0475_frame_000041"] * 4, CITY),
    ("acdc", acdc, "night-val", ["GOPR0475_frame_000041"], CITY),
    ("dark-zurich", dark_zurich, "val-night", ["GOPR0356_frame_000321"], CITY),
    ("bdd100k", bdd100k, "train", ["0004a4c0-d4dff0ad"], CITY),
    ("bdd100k", bdd100k_older, "train", ["0004a4c0"], CITY),
    ("mapillary", mapillary, "validation", ["_1Gn_xkw7sa_i9GU4mkxxQ"], [13, 55, 52, I]),
    ("mapillary", mapillary_2, "training", ["a"], [13, 55, 52, I]),
    ("ade20k", ade20k, "training", ["ADE_train_00000001"], [0, 6, 149, I]),
    ("celebamask-hq", celebamask_painted, "train", ["0"], [0, 1, 13, 18]),
    ("cmp-facades", facades, "base", ["cmp_b0001"], [0, 2, 11, I]),
    ("folder", plain, None, ["a", "b"], [0, 1, 2, I]),
]
NAMED = [pytest.param(*case, id=f"{case[1].__name__}-{case[2]}") for case in CASES]


def spec(layout: str, split: str | None, path: Path) -> str:
    return f"{layout}{f'/{split}' if split else ''}:{path}"


def check(path: Path | str, layout: str, names: list[str], wanted: list[int]) -> None:
    domain = open_domain(path, "source", labelled=True)
    assert domain.layout == layout
    assert domain.labels is not None
    endings = ("_leftImg8bit.png", "_rgb_anon.png", ".jpg", ".png")
    stems = [next(i.name.removesuffix(e) for e in endings if i.name.endswith(e)) for i in domain.images]
    assert stems == names
    if domain.space is None:
        from stylebridge.data.label_inference import infer_label_space

        domain = open_domain(path, "source", True, infer_label_space(domain.labels)[0])
        assert domain.labels is not None
    assert domain.space is not None
    for label in domain.labels:
        assert domain.space.read(label, SIZE)[0].tolist() == np.repeat(wanted, SIZE[0] // 4).tolist()
    assert check_domain(domain).image_sizes.tolist() == [list(SIZE)] * len(names)


@pytest.mark.parametrize(("layout", "build", "split", "names", "wanted"), NAMED)
def test_a_layout_is_read_from_a_folder(miniature: Miniature, layout, build, split, names, wanted) -> None:
    build(miniature)
    check(spec(layout, split, miniature.root), layout, names, wanted)


@pytest.mark.parametrize(("layout", "build", "split", "names", "wanted"), NAMED)
@pytest.mark.parametrize("folder", ["", "top/"])
def test_a_layout_is_read_from_a_zip_file(
    miniature: Miniature, tmp_path: Path, layout, build, split, names, wanted, folder
) -> None:
    build(miniature)
    archive = miniature.zip(tmp_path / "set.zip", folder)
    check(spec(layout, split, archive), layout, names, wanted)


@pytest.mark.parametrize(
    ("layout", "build", "split", "names", "wanted"), [c for c in NAMED if "painted" not in str(c.id)]
)
def test_each_layout_is_recognised_as_itself_alone(
    miniature: Miniature, tmp_path: Path, layout, build, split, names, wanted
) -> None:
    build(miniature)
    domain = open_domain(miniature.root, "source", labelled=True, evaluation=layout == "dark-zurich")
    assert domain.layout == layout
    below = tmp_path / "above" / "only"
    below.parent.mkdir()
    miniature.root.rename(below)
    inside = open_domain(below.parent, "source", labelled=True, evaluation=layout == "dark-zurich")
    assert (inside.layout, len(inside.images)) == (layout, len(domain.images))


def test_synthia_as_released_has_sixteen_bits(miniature: Miniature, png_16) -> None:
    synthia_released(miniature, png_16)
    check(miniature.root, "synthia", ["0000000"], [0, 12, 15, I])
    space = open_domain(miniature.root, "source", labelled=True).space
    assert space is not None
    assert set(space.classes) - set(space.protocols["synthia-13"]) == {"wall", "fence", "pole"}


def test_masks_are_painted_in_order_and_brought_to_the_image(miniature: Miniature, tmp_path: Path) -> None:
    celebamask(miniature)
    for path in (miniature.root, miniature.zip(tmp_path / "faces.zip")):
        domain = open_domain(f"celebamask-hq:{path}", "source", labelled=True)
        assert [image.name for image in domain.images] == ["0.jpg", "27999.jpg"]
        assert domain.space is not None
        assert domain.labels is not None
        read = domain.space.read(domain.labels[0], (SIZE[0] * 2, SIZE[1] * 2))
        assert read.shape == (SIZE[1] * 2, SIZE[0] * 2)
        assert set(read[: SIZE[1]].ravel().tolist()) == {domain.space.classes.index("hair")}
        assert set(read[SIZE[1] :].ravel().tolist()) == {domain.space.classes.index("skin")}
        check_domain(domain)
    test = open_domain(f"celebamask-hq/test:{miniature.root}", "source", labelled=False)
    assert [image.name for image in test.images] == ["28000.jpg"]


def test_archives_that_lie_together_are_one_set(miniature: Miniature, tmp_path: Path) -> None:
    """As Cityscapes is downloaded: images in one zip file, labels in another."""
    cityscapes(miniature)
    together = tmp_path / "downloads"
    together.mkdir()
    for part in ("leftImg8bit", "gtFine"):
        with zipfile.ZipFile(together / f"{part}_trainvaltest.zip", "w") as out:
            for file in (miniature.root / part).rglob("*.*"):
                out.write(file, file.relative_to(miniature.root).as_posix())
            out.writestr("README", "x")
    check(f"cityscapes/val:{together}", "cityscapes", ["munster_000000_000019"], CITY)
    assert open_domain(together, "source", labelled=True).layout == "cityscapes"


@pytest.mark.parametrize(("layout", "build", "split", "names", "wanted"), NAMED)
def test_an_unlabelled_set_does_not_look_at_labels(
    miniature: Miniature, touched_paths, layout, build, split, names, wanted
) -> None:
    build(miniature)
    with touched_paths() as touched:
        domain = open_domain(spec(layout, split, miniature.root), "target", labelled=False)
        if layout not in ("dark-zurich", "camvid-colours") and build is not celebamask_painted:
            open_domain(miniature.root, "target", labelled=False)
    assert domain.labels is None
    assert len(domain.images) == len(names)
    assert not {str(miniature.root / path) for path in miniature.labels} & set(touched)
    if layout in ("folder", "gta5"):
        assert str(miniature.root / "labels") not in touched


def test_unpaired_images(miniature: Miniature) -> None:
    for folder, count in (("trainA", 3), ("trainB", 2), ("testA", 1), ("testB", 1)):
        miniature.image(*(f"{folder}/{i}.jpg" for i in range(count)))
    for split, count in (("trainA", 3), ("trainB", 2), ("testB", 1)):
        assert len(open_domain(f"unpaired/{split}:{miniature.root}", "a", labelled=False).images) == count
    assert open_domain(miniature.root, "a", labelled=False).split == "trainA"
    with pytest.raises(DataError, match=r"unpaired images, which have no labels"):
        open_domain(miniature.root, "source", labelled=True)


def test_test_labels_that_are_not_public(miniature: Miniature) -> None:
    cityscapes(miniature)
    assert len(open_domain(f"cityscapes/test:{miniature.root}", "target", labelled=False).images) == 1
    with pytest.raises(
        DataError, match=r"no label files in gtFine/test: its labels are not public, or choose"
    ):
        open_domain(f"cityscapes/test:{miniature.root}", "source", labelled=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cityscape:X", r"names the unknown layout 'cityscape' \(did you mean cityscapes\?\)"),
        (
            "cityscapes/dev:X",
            r"names the split 'dev', but cityscapes has the splits train, val, test, train_extra",
        ),
        ("gta5/train:X", r"names the split 'train', but gta5 has no splits: write gta5:PATH"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DomainSpec.parse(text)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "folder"])
def test_a_layout_that_is_not_there_is_reported_as_missing(miniature: Miniature, layout: str) -> None:
    miniature.image("pictures/a.png")
    with pytest.raises(DataError, match=r"set.* (has no|has neither|holds no)") as caught:
        open_domain(f"{layout}:{miniature.root}", "target", labelled=False)
    assert "\n" not in str(caught.value)


def test_images_and_labels_that_do_not_match_are_named(miniature: Miniature) -> None:
    cityscapes(miniature)
    (miniature.root / "gtFine/train/bochum/bochum_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"1 image in .*train has no label map in .*bochum_000001_000019"):
        open_domain(miniature.root, "source", labelled=True)


def test_five_digit_names_alone_are_not_gta5(miniature: Miniature) -> None:
    plain(miniature)
    for kind, ending in (("images", "jpg"), ("labels", "png")):
        for number, stem in enumerate("ab"):
            file = miniature.root / kind / f"{stem}.{ending}"
            file.rename(file.with_name(f"{number:05}.{ending}"))
    assert open_domain(miniature.root, "source", labelled=True).layout == "folder"


def test_the_colours_of_camvid_are_all_known_and_others_are_named(miniature: Miniature) -> None:
    camvid_colours(miniature)
    path = miniature.root / "LabeledApproved_full" / "0001TP_006690_L.png"
    domain = open_domain(miniature.root, "source", labelled=True)
    assert domain.space is not None
    assert len(domain.space.raw_colours) == 32
    strange = np.array(Image.open(path))
    strange[0, 0] = 1, 2, 3
    Image.fromarray(strange).save(path)
    with pytest.raises(
        DataError, match=r"0001TP_006690_L\.png has the colour \(1, 2, 3\), which label space"
    ):
        check_domain(domain)
