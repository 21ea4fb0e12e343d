"""What the page asks for, answered with models whose answers can be written down."""

import re

import numpy as np
import pytest

from stylebridge.studio.app import calls_of
from stylebridge.studio.canvas import pack, unpack
from stylebridge.studio.desk import Desk

RUN = "runs/facades"


@pytest.fixture
def call(desk: Desk):
    """A call by its name, as the page makes it."""
    calls = calls_of(desk)

    def make(name: str, **request):
        return calls[name](request)

    return make


def test_a_run_tells_its_classes(call) -> None:
    opened = call("open_run", run=RUN)
    assert opened["classes"][2] == {"name": "window", "colour": [240, 220, 90]}
    assert (opened["styles"], opened["means"]) == (True, [True, True, True, False])
    assert (opened["width"], opened["height"]) == (48, 32)
    assert call("open_run", run="runs/spade")["styles"] is False
    assert call("list_runs")["translate"] == ["runs/dusk"]


def test_a_picture_is_opened_with_its_map(call, sent, shown, town) -> None:
    photo, labels = town
    opened = call("open_picture", run=RUN, photo=sent(photo), labels=sent(labels))
    np.testing.assert_array_equal(shown(opened["photo"]), photo)
    np.testing.assert_array_equal(unpack(opened["map"], 4, 64), labels)
    alone = call("open_picture", run=RUN, labels=sent(labels), side=24)
    assert alone["photo"] is None
    assert (alone["map"]["width"], alone["map"]["height"]) == (24, 16)


def test_a_map_is_predicted_where_there_is_none(call, sent, town) -> None:
    labels = town[1]
    colours = np.array([(80, 160, 220), (200, 60, 40), (240, 220, 90)], np.uint8)
    opened = call("open_picture", run=RUN, photo=sent(colours[labels]), segmenter="runs/town")
    np.testing.assert_array_equal(unpack(opened["map"], 4, 64), labels)


def test_a_picture_has_the_styles_of_its_wells(call, sent, shown, town) -> None:
    photo, labels = town
    style = call("add_style", run=RUN, photo=sent(photo), labels=sent(labels))
    assert style["present"] == [0, 1, 2]
    assert max(shown(style["thumbnail"]).shape) <= 144
    wells = {"0": {"first": style["id"]}, "2": {"first": "mean", "second": style["id"], "share": 0.25}}
    made = call("generate", run=RUN, map=pack(labels), wells=wells)
    picture = shown(made["picture"])
    # The sky from the photo, the wall by its mean, the window a quarter of the way from its mean to the photo.
    mixed = 0.75 * np.array([0.0, 0.2, 1.0]) + 0.25 * np.array([250, 240, 230]) / 255
    expected = [(10, 20, 30), np.rint(np.array([0.8, 0.6, 0.4]) * 255), np.rint(mixed * 255)]
    for value, colour in enumerate(expected):
        np.testing.assert_array_equal(
            picture[labels == value], np.broadcast_to(colour, ((labels == value).sum(), 3))
        )


def test_a_class_that_a_photo_lacks_gets_its_mean(call, sent, shown, town) -> None:
    photo, labels = town
    only_sky = call("add_style", run=RUN, photo=sent(photo), labels=sent(np.zeros_like(labels)))
    wells = {str(k): {"first": only_sky["id"]} for k in range(4)}
    picture = shown(call("generate", run=RUN, map=pack(labels), wells=wells)["picture"])
    np.testing.assert_array_equal(picture[-1, -1], np.rint(np.array([0.8, 0.6, 0.4]) * 255))


def test_no_class_and_no_style_are_drawn(call, shown) -> None:
    void = np.full((8, 8), 255, np.uint8)
    assert not shown(call("generate", run=RUN, map=pack(void))["picture"]).any()
    labels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    picture = shown(call("generate", run="runs/spade", map=pack(labels))["picture"])
    np.testing.assert_array_equal(picture[0, 0], (80, 160, 220))


def test_a_map_is_saved_as_it_was_painted(call, shown, town) -> None:
    np.testing.assert_array_equal(shown(call("save_map", run=RUN, map=pack(town[1]))["file"]), town[1])


def test_a_photo_is_segmented(call, sent, shown, town) -> None:
    labels = town[1]
    colours = np.array([(80, 160, 220), (200, 60, 40), (240, 220, 90)], np.uint8)
    found = call("segment", run="runs/town", photo=sent(colours[labels]))
    np.testing.assert_array_equal(shown(found["file"]), labels)
    np.testing.assert_array_equal(unpack(found["map"], 4, 64), labels)
    assert found["shares"] == [(labels == k).mean() for k in range(4)]


def test_a_photo_is_translated(call, sent, shown, town) -> None:
    photo = town[0]
    assert call("domains", run="runs/dusk")["names"] == ["day", "dusk"]
    for to, expected in (("b", 255 - photo), ("a", photo), ("dusk", 255 - photo)):
        done = call("translate", run="runs/dusk", photo=sent(photo), to=to)
        np.testing.assert_array_equal(shown(done["picture"]), expected)


GOOD_MAP = pack(np.zeros((4, 4), np.uint8))
DOOR = pack(np.full((4, 4), 3, np.uint8))


@pytest.mark.parametrize(
    ("name", "request_", "said"),
    [
        ("open_run", {}, "No run is chosen"),
        ("open_run", {"run": 7}, "No run is chosen"),
        ("open_run", {"run": "/etc"}, "Only runs below the folder"),
        ("open_run", {"run": "runs/none"}, "There is no run 'runs/none'"),
        ("open_run", {"run": "runs/broken"}, "^runs/broken/networks is damaged"),
        ("open_picture", {"run": RUN}, "No file is chosen"),
        ("generate", {"run": RUN}, "damaged"),
        ("generate", {"run": RUN, "map": DOOR}, "no mean style of 'door'"),
        ("generate", {"run": RUN, "map": GOOD_MAP, "wells": {"0": {"first": "gone"}}}, "no longer available"),
        ("generate", {"run": RUN, "map": GOOD_MAP, "wells": {"9": {}}}, "sent invalid styles"),
        ("generate", {"run": RUN, "map": GOOD_MAP, "wells": {"0": {"share": "nan"}}}, "sent invalid styles"),
        ("generate", {"run": RUN, "map": GOOD_MAP, "wells": [1]}, "sent invalid styles"),
        ("generate", {"run": RUN, "map": GOOD_MAP, "seed": 13}, "An error occurred inside the studio"),
        ("segment", {"run": "runs/town"}, "No photo is chosen"),
        ("segment", {"run": "runs/town", "photo": {"name": "x.png", "data": "AAAA"}}, "x.png cannot be read"),
        ("translate", {"run": "runs/dusk"}, "No photo is chosen"),
    ],
)
def test_what_goes_wrong_is_one_sentence_without_a_path(
    call, root, name: str, request_: dict, said: str
) -> None:
    error = call(name, **request_)["error"]
    assert re.search(said, error)
    assert error.endswith(".")
    assert "Traceback" not in error
    assert not re.search(r"(^|\s)/\w", error)
    assert str(root) not in error


def test_a_photo_without_a_way_to_its_map_is_refused(call, sent, town) -> None:
    assert "has no label map" in call("add_style", run=RUN, photo=sent(town[0]))["error"]
    assert "A style needs a photo" in call("add_style", run=RUN, labels=sent(town[1]))["error"]


def test_a_style_belongs_to_its_run(call, sent, town) -> None:
    photo, labels = town
    style = call("add_style", run=RUN, photo=sent(photo), labels=sent(labels))
    wells = {"0": {"first": style["id"]}}
    assert "picture" in call("generate", run="./runs/facades", map=GOOD_MAP, wells=wells)
    assert "no longer available" in call("generate", run="runs/castles", map=GOOD_MAP, wells=wells)["error"]
