"""Class maps: classes are mapped by name, never by number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.class_map import builtin_class_map, map_classes, propose, read_class_map
from stylebridge.data.label_space import LabelSpace, builtin_label_spaces
from stylebridge.errors import DataError

CITYSCAPES, SYNTHIA, CAMVID = (LabelSpace.load(n) for n in ("cityscapes-19", "synthia-16", "camvid-11"))
MAPS = Path(__file__).parents[2] / "src" / "stylebridge" / "data" / "class_maps"


def written(folder: Path, text: str) -> Path:
    path = folder / "map.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_cityscapes_as_synthia_follows_the_sixteen_class_protocol() -> None:
    """The table of the FADA sheet: raw Cityscapes id → train id among the 16; terrain, truck, train are ignored."""
    raw = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33, 0, 6, 255]
    wanted = [0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 9, 10, 11, 12, 255, 13, 255, 14, 15, 255, 255, 255]
    found = map_classes(CITYSCAPES, SYNTHIA)
    assert found is not None
    space = found.apply(CITYSCAPES, SYNTHIA)
    assert space.to_train_ids(np.array([raw]), Path("x.png"))[0].tolist() == wanted
    assert space.classes == SYNTHIA.classes
    assert found.missing(SYNTHIA) == []
    assert [name for name, other in found.pairs.items() if other is None] == ["terrain", "truck", "train"]


def test_the_same_classes_need_no_map() -> None:
    assert map_classes(CAMVID, CAMVID) is None


def test_names_match_without_regard_to_capitals_and_order(tmp_path: Path) -> None:
    ours = LabelSpace("a", ("Sky", "Road"), ((0, 0, 0),) * 2, {3: 0, 4: 1, 9: 255})
    model = LabelSpace("b", ("road", "sky"), ((0, 0, 0),) * 2, {0: 0, 1: 1})
    found = map_classes(ours, model)
    assert found is not None
    read = found.apply(ours, model).to_train_ids(np.array([[3, 4, 9]]), Path("x.png"))
    assert read[0].tolist() == [1, 0, 255]


def test_colours_are_mapped_too(tmp_path: Path) -> None:
    ours = LabelSpace("a", ("x", "sky"), ((0, 0, 0),) * 2, {}, {(1, 2, 3): 0, (4, 5, 6): 1, (0, 0, 0): 255})
    model = LabelSpace("b", ("sky", "y"), ((0, 0, 0),) * 2, {0: 0, 1: 1})
    space = propose(ours, model).apply(ours, model)
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6], [0, 0, 0]]], np.uint8)).save(tmp_path / "x.png")
    assert space.read(tmp_path / "x.png").tolist() == [[255, 0, 255]]


@pytest.mark.parametrize("path", sorted(MAPS.glob("*.yaml")), ids=lambda p: p.stem)
def test_built_in_maps_fit_the_spaces_they_name(path: Path) -> None:
    found = read_class_map(path)
    assert path.stem == f"{found.source}_to_{found.target}"
    source, target = LabelSpace.load(found.source), LabelSpace.load(found.target)
    assert builtin_class_map(source, target) == found
    assert map_classes(source, target) == found
    assert found.apply(source, target).classes == target.classes


def test_a_map_reads_back_as_it_was_written(tmp_path: Path) -> None:
    found = propose(CITYSCAPES, CAMVID)
    again = read_class_map(written(tmp_path, found.to_yaml()))
    assert (again.source, again.target, again.pairs) == (found.source, found.target, found.pairs)
    assert again.pairs["truck"] is None


def test_a_given_map_comes_before_the_built_in_one(tmp_path: Path) -> None:
    own = read_class_map(written(tmp_path, propose(CITYSCAPES, CAMVID).to_yaml()))
    found = map_classes(CITYSCAPES, CAMVID, [own])
    assert found is not None
    assert found.pairs["vegetation"] is None
    built_in = builtin_class_map(CITYSCAPES, CAMVID)
    assert built_in is not None
    assert built_in.pairs["vegetation"] == "tree"


def test_no_two_built_in_spaces_are_mapped_by_mere_numbers() -> None:
    """Without equal names there is an error, whatever the numbers."""
    strange = LabelSpace("strange", ("moth", "newt", "toad"), ((0, 0, 0),) * 3, {0: 0, 1: 1, 2: 2})
    for name in builtin_label_spaces():
        with pytest.raises(
            DataError, match=r"Only 0 of the 3 classes of strange .*class-map strange .*--class-map"
        ):
            map_classes(strange, LabelSpace.load(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  sky: sky\n", ""), "does not map 'sky': add it, or sky: ignore"),
        (
            ("  sky: sky\n", "  sky: heaven\n"),
            "maps sky to 'heaven', which is not a class of camvid-11: choose one of sky",
        ),
        (
            ("  sky: sky\n", "  sky: sky\n  moon: sky\n"),
            "has 'moon', which is not a class of cityscapes-19: remove it",
        ),
        (("to: camvid-11", "to: synthia-16"), "maps to synthia-16, but the model's label space is camvid-11"),
        (("map:", "maps:"), "needs the keys from, to and map"),
        (("from: ", "from: ["), "cannot be read"),
    ],
)
def test_a_wrong_map_names_what_is_wrong(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = propose(CITYSCAPES, CAMVID).to_yaml()
    assert change[0] in text
    path = written(tmp_path, text.replace(*change))
    with pytest.raises(DataError, match=message) as caught:
        map_classes(CITYSCAPES, CAMVID, [read_class_map(path)])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
