from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stylebridge.data.label_inference import infer_label_space
from stylebridge.data.label_space import IGNORE, LabelSpace, builtin_label_spaces
from stylebridge.errors import DataError

# FADA's data: train id -> raw id of Cityscapes and GTA5; and for SYNTHIA.
CITYSCAPES = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
SYNTHIA = [3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11]
NAMES_19 = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic_light",
    "traffic_sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
]


def train_ids(space: LabelSpace, raw: list[int]) -> list[int]:
    return space.to_train_ids(np.array([raw]), Path("x.png"))[0].tolist()


@pytest.mark.parametrize(
    ("name", "raw_of_train", "known"),
    [
        ("cityscapes-19", CITYSCAPES, [*range(35), 255]),
        ("cityscapes-19-trainids", list(range(19)), [*range(19), 255]),
        ("synthia-16", SYNTHIA, [*range(23), 255]),
        ("camvid-11", list(range(11)), [*range(12), 255]),
        (
            "synthia-16-cityscapes",
            [r for r in CITYSCAPES if r not in (22, 27, 31)],
            [*range(35), 255],
        ),
    ],
)
def test_builtin_maps_every_raw_id_as_the_table_says(name: str, raw_of_train: list[int], known: list[int]):
    space = LabelSpace.load(name)
    expected = [raw_of_train.index(raw) if raw in raw_of_train else IGNORE for raw in known]
    assert train_ids(space, known) == expected
    assert space.num_classes == len(raw_of_train)
    for raw in set(range(256)) - set(known):
        with pytest.raises(DataError, match=rf"x\.png has the id {raw}, which label space {name} does not"):
            train_ids(space, [raw])


def test_the_builtins_name_and_colour_the_same_classes_equally():
    city, synthia = LabelSpace.load("cityscapes-19"), LabelSpace.load("synthia-16")
    assert city.classes == tuple(name.replace("_", " ") for name in NAMES_19)
    assert city.colours[10] == (70, 130, 180)  # the sky of the table, not of the reference's palette
    assert [c for c in city.classes if c not in ("terrain", "truck", "train")] == list(synthia.classes)
    by_name = dict(zip(city.classes, city.colours, strict=True))
    assert [by_name[c] for c in synthia.classes] == list(synthia.colours)
    assert LabelSpace.load("synthia-16-cityscapes").classes == synthia.classes
    assert LabelSpace.load("camvid-11").classes == (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
        "bicyclist",
    )  # fmt: skip


def test_unknown_ids_of_any_integer_type_are_named(space: LabelSpace):
    for raw in (np.array([[0, 7, 8]], np.uint8), np.array([[0, -3, 70000]], np.int32)):
        with pytest.raises(DataError, match=r"f\.png has the ids (7, 8|-3, 70000), which label space three"):
            space.to_train_ids(raw, Path("f.png"))
    with pytest.raises(DataError, match=r"f\.png has the id -1,"):
        space.to_train_ids(np.array([[0, -1]]), Path("f.png"))
    wide = space.to_train_ids(np.array([[2, 9, 255]], np.int32), Path("f.png"))
    assert wide.dtype == np.uint8
    assert wide.tolist() == [[2, 255, 255]]


def test_raw_ids_above_255_can_be_mapped(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("classes: [{name: a, raw: [1000]}, {name: b, raw: [2, 3]}]\nignore_raw: [0]")
    assert train_ids(LabelSpace.load(file), [1000, 2, 3, 0]) == [0, 1, 1, 255]


def test_colourise_paints_classes_and_leaves_ignore_black(space: LabelSpace):
    painted = space.colourise(np.array([[0, 2, 255, 7]], np.uint8))
    assert painted.tolist() == [[[10, 0, 0], [0, 0, 30], [0, 0, 0], [0, 0, 0]]]
    assert painted.dtype == np.uint8


def test_dict_form_survives_json():
    import json

    for name in builtin_label_spaces():
        space = LabelSpace.load(name)
        assert LabelSpace.from_dict(json.loads(json.dumps(space.as_dict()))) == space


def test_yaml_defaults_are_position_and_255(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("classes: [{name: ground, colour: [1, 2, 3]}, {name: sky}]")
    space = LabelSpace.load(file)
    assert (space.name, space.classes, space.raw_ids) == ("mine", ("ground", "sky"), {0: 0, 1: 1, 255: 255})
    assert space.colours[0] == (1, 2, 3)


def test_a_class_may_claim_255(tmp_path: Path):
    file = tmp_path / "mask.yaml"
    file.write_text("classes: [{name: back, raw: [0]}, {name: front, raw: [255]}]")
    assert train_ids(LabelSpace.load(file), [0, 255]) == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("classes: [{name: a}, {name: b, colour: [0, 0, 256]}]", r"classes\[1\]\.colour\[2\] is 256: .*255"),
        ("classes: [{name: a}, {colour: [0, 0, 0]}]", r"classes\[1\]\.name is missing"),
        ("classes: [{name: a}, {name: b}]\nignore: [1]", "ignore is not a known key"),
        (
            "classes: [{name: a, raw: [3]}, {name: b, raw: [3]}]",
            r"classes\[1\]\.raw has 3, which classes\[0\]",
        ),
        (
            "classes: [{name: a}, {name: b}]\nignore_raw: [1]",
            r"ignore_raw\[0\] is 1, which classes\[1\] also has",
        ),
        ("classes: [{name: a}, {name: a}]", "two classes have the name 'a'"),
        ("classes: [{name: a}]", "classes is"),
        ("- a", "is not a mapping of keys"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_wrong_yaml_names_file_and_key(tmp_path: Path, content: str, message: str):
    file = tmp_path / "wrong.yaml"
    file.write_text(content)
    with pytest.raises(DataError, match=rf"wrong\.yaml:? .*{message}|wrong\.yaml {message}"):
        LabelSpace.load(file)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        DataError, match=r"'cityscape-19' \(did you mean cityscapes-19\?\): choose one of ade20k-150, "
    ):
        LabelSpace.load("cityscape-19")


# --- inference ----------------------------------------------------------------------------------------------


def write_labels(
    folder: Path, ids: list[list[int]], palette: dict[int, tuple[int, int, int]] | None
) -> list[Path]:
    paths = []
    folder.mkdir(parents=True)
    for i, values in enumerate(ids):
        image = Image.fromarray(np.array([values], np.uint8))
        if palette is not None:
            table = np.zeros((256, 3), np.uint8)
            for index, colour in palette.items():
                table[index] = colour
            image.putpalette(table.tobytes())
        paths.append(folder / f"{i}.png")
        image.save(paths[-1])
    return paths


def palette_of(name: str) -> dict[int, tuple[int, int, int]]:
    space = LabelSpace.load(name)
    return {raw: space.colours[train] for raw, train in space.raw_ids.items() if train != IGNORE}


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("camvid-11", [[0, 1, 3, 11], [5, 8, 8, 10]]),
        ("cityscapes-19", [[7, 8, 0, 4], [11, 26, 23, 22]]),
        ("cityscapes-19", [[7, 8, 0, 4]]),  # fits synthia-16-cityscapes as well: the larger is meant
        ("cityscapes-19-trainids", [[0, 1, 2, 255], [13, 10, 8, 9]]),
    ],
)
def test_a_builtin_is_known_by_its_palette(tmp_path: Path, name: str, ids: list[list[int]]):
    space, told = infer_label_space(write_labels(tmp_path / "labels", ids, palette_of(name)))
    assert space == LabelSpace.load(name)
    assert name in told
    assert "--label-space NAME_OR_YAML" in told


def test_a_palette_of_other_colours_is_not_taken_for_a_builtin(tmp_path: Path):
    palette = {**palette_of("camvid-11"), 1: (1, 1, 1), 2: (2, 2, 2)}
    space, told = infer_label_space(write_labels(tmp_path / "labels", [[0, 1, 2, 11]], palette))
    assert space.num_classes == 12
    assert "plain ids 0 to 11" in told


def test_one_odd_colour_does_not_hide_a_builtin(tmp_path: Path):
    palette = {**palette_of("camvid-11"), 4: (0, 0, 192)}
    space, _ = infer_label_space(write_labels(tmp_path / "labels", [[0, 1, 4, 11]], palette))
    assert space.name == "camvid-11"


def test_colours_are_known_by_a_builtin_that_has_them_all(tmp_path: Path):
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "a.png"
    known = [[[128, 64, 128], [128, 0, 192], [0, 0, 0]]]
    Image.fromarray(np.array(known, np.uint8)).save(path)
    space, told = infer_label_space([path])
    assert space.name == "camvid-11-colours"
    assert "whose colours the label files hold" in told
    assert space.read(path).tolist() == [[3, 3, 255]]
    Image.fromarray(np.array([*known[0], [1, 2, 3]], np.uint8)[None]).save(path)
    with pytest.raises(DataError, match=r"a\.png holds colours instead of class ids"):
        infer_label_space([path])


def test_plain_ids_count_to_the_largest_but_255(tmp_path: Path):
    space, told = infer_label_space(write_labels(tmp_path / "labels", [[0, 0, 255, 1], [4, 0, 0, 0]], None))
    assert space.classes == tuple(f"class {i}" for i in range(5))
    assert len(set(space.colours)) == 5
    assert "5 classes without names" in told
    assert train_ids(space, [4, 255]) == [4, 255]


def test_classes_yaml_beside_the_folders_wins(tmp_path: Path):
    paths = write_labels(tmp_path / "labels" / "deep", [[0, 1, 2, 3]], palette_of("camvid-11"))
    entries = [{"name": n, "colour": [i, i, i]} for i, n in enumerate("pqrs")]
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump({"name": "own", "classes": entries}))
    space, told = infer_label_space(paths)
    assert (space.name, space.classes) == ("own", ("p", "q", "r", "s"))
    assert "classes.yaml" in told


@pytest.mark.parametrize(
    ("ids", "message"),
    [([[0, 255]], "the single class 0 besides 255"), ([[255, 255]], "no class besides 255")],
)
def test_masks_of_0_and_255_are_not_taken_for_one_class(tmp_path: Path, ids: list[list[int]], message: str):
    with pytest.raises(DataError, match=message):
        infer_label_space(write_labels(tmp_path / "labels", ids, None))


def test_wide_plain_ids_are_refused(tmp_path: Path, png_16):
    png_16(tmp_path / "a.png", np.array([[[0], [7], [300]]], np.uint16))
    with pytest.raises(DataError, match="have the id 300, but plain ids range from 0 to 254"):
        infer_label_space([tmp_path / "a.png"])
