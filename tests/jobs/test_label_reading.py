"""How label files are read, without training: evidence, assumptions, and overrides."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.domains import AdaptationDomains, open_adaptation, open_labelled
from support.street_maps import CAMVID, CITYSCAPES, FACADES, IDD, write_maps


def opened(source: Path, target: Path, **given: Any) -> tuple[AdaptationDomains, str]:
    """The domains of an adaptation, and what was printed, without line breaks."""
    usual: dict[str, Any] = {
        "evaluate_on": None,
        "label_space": None,
        "class_maps": (),
        "target_labels": None,
    }
    console = Console(record=True, width=200, file=io.StringIO())
    domains = open_adaptation(source, target, console=console, **(usual | given))
    return domains, " ".join(console.export_text().split())


def ids(space: LabelSpace | None, count: int) -> list[int]:
    """The train ids of the raw ids 0, 1, 2, …"""
    assert space is not None
    return space.to_train_ids(np.arange(count, dtype=np.uint8)[None], Path("x.png"))[0].tolist()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "photos" / "a.jpg")
    return tmp_path / "photos"


@pytest.mark.slow
def test_every_domain_is_identified_for_itself(tmp_path: Path, photos: Path) -> None:
    """A map for the source does not affect an evaluation set with the model's classes, and vice versa."""
    city, idd = write_maps(tmp_path / "city", CITYSCAPES), write_maps(tmp_path / "idd", IDD)
    domains, told = opened(city, photos, evaluate_on=idd, class_maps=["cityscapes-19_to_idd-7"])
    assert ids(domains.source.space, 14) == [0, 1, 5, 4, 4, 4, 4, 4, 5, 1, 6, 2, 2, 3]
    assert domains.evaluation is not None
    assert ids(domains.evaluation.space, 7) == list(range(7))
    assert "source: city cityscapes-19-trainids (19 classes) the palette of labels/0.png" in told
    assert "evaluation: idd idd-7 (7 classes) the palette of labels/0.png none needed" in told
    assert "photos – not read" in told

    day = write_maps(tmp_path / "day", CAMVID)
    domains, _ = opened(
        day, photos, evaluate_on=city, label_space="camvid-11", class_maps=["cityscapes-19_to_camvid-11"]
    )
    assert ids(domains.source.space, 11) == list(range(11))
    assert domains.evaluation is not None
    assert ids(domains.evaluation.space, 14) == [3, 4, 1, 1, 7, 2, 6, 6, 5, 255, 0, 9, 10, 8]


def test_plain_ids_are_read_as_stated_and_that_is_printed(tmp_path: Path, photos: Path) -> None:
    renders = write_maps(tmp_path / "renders", None, classes=11)
    domains, told = opened(renders, photos, label_space="camvid-11")
    assert ids(domains.source.space, 11) == list(range(11))
    assert "camvid-11 (11 classes) is assumed" in told
    assert "--read-as source=SPACE" in told


def test_read_as_wins_over_the_palette(tmp_path: Path, photos: Path) -> None:
    day = write_maps(tmp_path / "day", CAMVID)
    domains, told = opened(day, photos, read_as=["source=cityscapes-19-trainids"])
    assert domains.space.name == "cityscapes-19-trainids"
    assert "from --read-as" in told
    for wrong in ("target=camvid-11", "camvid-11", "source="):
        with pytest.raises(DataError, match="DOMAIN is one of source, target-labels, evaluation"):
            opened(day, photos, read_as=[wrong])


def test_a_space_of_the_users_own_may_gather_the_classes_of_a_palette(tmp_path: Path, photos: Path) -> None:
    """Other names for the same ids contradict nothing; the name of another class does."""
    day = write_maps(tmp_path / "day", CAMVID)
    own = {
        "name": "mine",
        "classes": [{"name": "road", "raw": [3]}, {"name": "rest", "raw": [0, 1, 2, *range(4, 11)]}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    domains, _ = opened(day, photos, label_space=tmp_path / "mine.yaml")
    assert ids(domains.source.space, 5) == [1, 1, 1, 0, 1]
    own["classes"][1]["name"] = "sky"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(
        DataError, match=r"camvid-11 by the palette of .*labels/0\.png, but --label-space is mine"
    ):
        opened(day, photos, label_space=tmp_path / "mine.yaml")


def test_class_maps_name_the_spaces_in_play(tmp_path: Path, photos: Path) -> None:
    """``to: streets`` is the space of that name that --label-space gives, or that lies beside a set."""
    city, other = write_maps(tmp_path / "city", CITYSCAPES), write_maps(tmp_path / "other", None, classes=2)
    space = {"name": "streets", "classes": [{"name": "ground"}, {"name": "rest"}]}
    for path in (tmp_path / "streets.yaml", other / "classes.yaml"):
        path.write_text(yaml.safe_dump(space))
    classes = LabelSpace.load("cityscapes-19").classes
    pairs = {name: "ground" if name in ("road", "sidewalk", "terrain") else "rest" for name in classes}
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({"from": "cityscapes-19", "to": "streets", "map": pairs}))
    wanted = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    for given in ({"label_space": tmp_path / "streets.yaml"}, {"evaluate_on": other}):
        domains, _ = opened(city, photos, class_maps=[path], **given)
        assert domains.space.classes == ("ground", "rest")
        assert ids(domains.source.space, 11) == wanted


def test_labels_beside_the_target_that_cannot_be_scored_stop_nothing_and_are_named(tmp_path: Path) -> None:
    domains, _ = opened(write_maps(tmp_path / "city", CITYSCAPES), write_maps(tmp_path / "idd", IDD))
    assert domains.evaluation is None
    assert "idd-7" in domains.unscored


def test_label_maps_that_some_target_images_lack_stop_nothing_and_are_named(tmp_path: Path) -> None:
    target = write_maps(tmp_path / "dusk", CAMVID)
    next((target / "labels").iterdir()).unlink()
    domains, _ = opened(write_maps(tmp_path / "day", CAMVID), target)
    assert domains.evaluation is None
    assert "has no label map" in domains.unscored


def test_a_palette_of_no_known_space_names_the_next_set(tmp_path: Path) -> None:
    """A model of classes without names is recognised by the colours of its label maps."""
    quiet = Console(quiet=True)
    model = open_labelled(write_maps(tmp_path / "a", FACADES), "data", quiet).space
    assert model is not None
    assert model.nameless
    again = open_labelled(write_maps(tmp_path / "b", FACADES), "data", quiet, model=model)
    assert again.space == model
    with pytest.raises(DataError, match="camvid-11"):
        open_labelled(write_maps(tmp_path / "c", CAMVID), "data", quiet, model=model)


def test_a_layout_whose_files_are_of_another_set_is_named(tmp_path: Path) -> None:
    """Files with CamVid's palette, laid out and named as Cityscapes' raw ids."""
    day = write_maps(tmp_path / "day", CAMVID)
    for kind, name in (("images", "leftImg8bit"), ("labels", "gtFine")):
        folder = tmp_path / "set" / name / "train" / "ulm"
        folder.mkdir(parents=True)
        ending = "_leftImg8bit.jpg" if kind == "images" else "_gtFine_labelIds.png"
        for file in (day / kind).iterdir():
            file.rename(folder / f"{file.stem}{ending}")
    with pytest.raises(
        DataError, match=r"layout cityscapes, id 7 is 'road'.*camvid-11's, where it is 'fence'"
    ):
        open_labelled(tmp_path / "set", "data", Console(quiet=True))
    read = open_labelled(tmp_path / "set", "data", Console(quiet=True), read_as=["camvid-11"])
    assert ids(read.space, 11) == list(range(11))
