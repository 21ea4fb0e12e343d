"""Mistakes in labels, planted one by one: each is named before training, and nothing is trained or scored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stylebridge.networks import spade
from support import folders
from support.folders import CommandLine, tiny_overrides
from support.street_maps import CAMVID, CITYSCAPES, FACADES, IDD, write_maps

pytestmark = pytest.mark.slow

own_cache, stylebridge = folders.own_cache, folders.stylebridge


@dataclass
class Bench:
    """Data sets and finished runs that mistakes are made with."""

    root: Path
    street_run: Path
    facade_run: Path

    def day(self, **settings) -> Path:
        """Street scenes with CamVid's palette, in a folder of the test's own."""
        return write_maps(self.root / "day", CAMVID, **settings)

    def set(self, name: str, palette: dict | None, **settings) -> Path:
        return write_maps(self.root / name, palette, **settings)

    def map(self, begin: str, end: str, pairs: dict[str, str]) -> Path:
        path = self.root / "map.yaml"
        path.write_text(yaml.safe_dump({"from": begin, "to": end, "map": pairs}))
        return path


_SETS = [part for change in tiny_overrides("source-only-small") for part in ("--set", change)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A street model (CamVid's 11 classes) and a synthesizer of facades, trained for a few steps."""
    from stylebridge.jobs.train import adapt, train_synthesizer

    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        tiny = {"channels": 2, "hidden": 8, "discriminator_channels": 4}
        patch.setitem(spade.PRESETS, "spade-tiny", tiny)
        day, facades = write_maps(root / "day", CAMVID), write_maps(root / "facades", FACADES)
        options = {"device": "cpu", "quiet": True}
        adapt(
            day,
            day,
            root / "street",
            "source-only-small",
            overrides=tiny_overrides("source-only-small"),
            **options,
        )
        changes = ["preset=spade-tiny", "size=[32, 32]", "load=null", "options.perceptual=none", "trainer.batch=2",
                   "trainer.steps=1", "trainer.sample_every=0"]  # fmt: skip
        train_synthesizer(facades, root / "synthesizer", "spade-small", overrides=changes, **options)
        yield root / "street", root / "synthesizer"


@pytest.fixture
def bench(tmp_path: Path, made: tuple[Path, Path]) -> Bench:
    return Bench(tmp_path, *made)


def train(bench: Bench, source: Path, *more: object) -> list[object]:
    """``adapt`` on a source, with photos of another folder as its target."""
    photos = bench.root / "photos"
    if not photos.exists():
        photos.mkdir()
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(photos / "a.jpg")
    return ["adapt", "--source", source, "--target", photos, "--recipe", "source-only-small", *_SETS, *more]


def a_foreign_space(b: Bench) -> list[object]:
    return train(b, b.day(), "--label-space", "cityscapes-19")


def a_foreign_space_of_other_names(b: Bench) -> list[object]:
    return train(b, b.day(), "--label-space", "idd-7")


def facades_as_streets(b: Bench) -> list[object]:
    return train(b, b.set("facades", FACADES), "--label-space", "cityscapes-19-trainids")


def a_map_from_the_wrong_space(b: Bench) -> list[object]:
    cityscapes = b.set("val", CITYSCAPES)
    return train(b, b.day(), "--evaluate-on", cityscapes, "--class-map", "synthia-16_to_camvid-11")


def a_map_to_another_model(b: Bench) -> list[object]:
    return train(
        b, b.set("city", CITYSCAPES), "--label-space", "camvid-11", "--class-map", "cityscapes-19_to_idd-7"
    )


def a_map_with_a_class_that_is_none(b: Bench) -> list[object]:
    path = b.map("idd-7", "camvid-11", {"drivable": "road", "lorry": "car"})
    return train(b, b.set("idd", IDD), "--class-map", path)


def sixteen_bits(b: Bench) -> list[object]:
    return train(
        b, b.set("deep", None, classes=11, change=lambda ids: ids * 257), "--label-space", "camvid-11"
    )


def a_coloured_map_among_ids(b: Bench) -> list[object]:
    day = b.day()
    table = np.array([CAMVID.get(i, (0, 0, 0)) for i in range(256)], np.uint8)
    with Image.open(day / "labels" / "2.png") as image:
        Image.fromarray(table[np.array(image)]).save(day / "labels" / "2.png")
    return train(b, day)


def off_by_one_with_a_palette(b: Bench) -> list[object]:
    return train(b, b.day(change=lambda ids: ids + 1, shift_palette=1), "--label-space", "camvid-11")


def off_by_one_without_a_palette(b: Bench) -> list[object]:
    return train(b, b.set("grey", None, classes=12, change=lambda ids: ids + 1), "--label-space", "camvid-11")


def a_stray_id(b: Bench) -> list[object]:
    day = b.day()
    with Image.open(day / "labels" / "3.png") as image:
        ids, palette = np.array(image), image.getpalette()
    ids[5, 5] = 77
    image = Image.fromarray(ids)
    image.putpalette(palette or [])
    image.save(day / "labels" / "3.png")
    return train(b, day)


def some_maps_of_another_space(b: Bench) -> list[object]:
    day, other = b.day(), b.set("city", CITYSCAPES)
    (other / "labels" / "1.png").rename(day / "labels" / "1.png")
    return train(b, day)


def swapped_folders(b: Bench) -> list[object]:
    day = b.day()
    (day / "images").rename(day / "other")
    (day / "labels").rename(day / "images")
    (day / "other").rename(day / "labels")
    return train(b, day)


def classes_of_another_set(b: Bench) -> list[object]:
    day = b.day()
    names = [
        "road",
        "pavement",
        "building",
        "fence",
        "pole",
        "sign",
        "tree",
        "sky",
        "pedestrian",
        "car",
        "bicyclist",
    ]
    (day / "classes.yaml").write_text(yaml.safe_dump({"classes": [{"name": name} for name in names]}))
    return train(b, day)


def an_evaluation_set_of_unknown_colours(b: Bench) -> list[object]:
    return train(b, b.set("city", CITYSCAPES), "--evaluate-on", b.set("facades", FACADES))


def an_evaluation_set_that_no_map_leads_from(b: Bench) -> list[object]:
    return train(b, b.set("city", CITYSCAPES), "--evaluate-on", b.set("idd", IDD))


def an_evaluation_set_without_a_class(b: Bench) -> list[object]:
    nothing = b.set("nothing", None, classes=1, change=lambda ids: ids + 255)
    return train(b, b.day(), "--evaluate-on", nothing)


def plain_ids_that_fit_two_spaces(b: Bench) -> list[object]:
    return train(b, b.set("grey", None, classes=7), "--class-map", "cityscapes-19_to_idd-7")


def most_classes_missing(b: Bench) -> list[object]:
    return train(b, b.set("grey", None, classes=3), "--label-space", "camvid-11")


def facades_scored_by_a_street_model(b: Bench) -> list[object]:
    return ["evaluate", b.street_run, "--data", b.set("facades", FACADES, classes=11)]


def a_set_scored_in_the_wrong_space(b: Bench) -> list[object]:
    return ["evaluate", b.street_run, "--data", b.day(), "--label-space", "cityscapes-19-trainids"]


def a_street_map_for_a_facade_run(b: Bench) -> list[object]:
    return ["synthesize", "apply", b.facade_run, "--labels", b.day() / "labels" / "0.png"]


def a_synthesizer_in_the_wrong_space(b: Bench) -> list[object]:
    return ["synthesize", "train", "--data", b.day(), "--label-space", "cityscapes-19-trainids"]


def shards_in_the_wrong_space(b: Bench) -> list[object]:
    return ["data", "pack", b.day(), "--label-space", "cityscapes-19-trainids"]


#: The mistake, and what its message must name.
MISTAKES: list[tuple[Callable[[Bench], list[object]], tuple[str, ...]]] = [
    (a_foreign_space, ("camvid-11", "cityscapes-19", "labels/0.png", "--read-as source=cityscapes-19")),
    (a_foreign_space_of_other_names, ("camvid-11", "idd-7", "labels/0.png", "--read-as")),
    (facades_as_streets, ("facades/labels/0.png", "cityscapes-19-trainids", "--read-as source=SPACE")),
    (a_map_from_the_wrong_space, ("synthia-16_to_camvid-11", "evaluation: cityscapes-19-trainids")),
    (a_map_to_another_model, ("cityscapes-19_to_idd-7", "camvid-11", "--label-space idd-7")),
    (a_map_with_a_class_that_is_none, ("map.yaml", "non-drivable")),
    (sixteen_bits, ("deep", "257", "16 bits")),
    (a_coloured_map_among_ids, ("3 source label maps are camvid-11", "labels/2.png")),
    (off_by_one_with_a_palette, ("off by one", "camvid-11", "subtract 1")),
    (off_by_one_without_a_palette, ("grey", "12", "camvid-11", "subtract 1")),
    (a_stray_id, ("labels/3.png", "77", "camvid-11")),
    (some_maps_of_another_space, ("3 source label maps are camvid-11", "labels/1.png", "cityscapes-19-trainids")),
    (swapped_folders, ("labels/0.jpg", "swapped")),
    (classes_of_another_set, ("classes.yaml", "camvid-11", "'road'", "'sky'")),
    (an_evaluation_set_of_unknown_colours, ("evaluation", "facades", "--read-as evaluation=SPACE")),
    (an_evaluation_set_that_no_map_leads_from, ("idd-7", "--label-space idd-7", "idd/labels/0.png")),
    (an_evaluation_set_without_a_class, ("nothing", "no class")),
    (plain_ids_that_fit_two_spaces, ("grey", "cityscapes-19", "idd-7", "--read-as source=SPACE")),
    (most_classes_missing, ("8 of the 11 classes", "fence, car", "--allow-missing-classes")),
    (facades_scored_by_a_street_model, ("facades", "camvid-11", "--read-as")),
    (a_set_scored_in_the_wrong_space, ("camvid-11", "cityscapes-19-trainids", "--read-as")),
    (a_street_map_for_a_facade_run, ("labels/0.png", "camvid-11", "--read-as run")),
    (a_synthesizer_in_the_wrong_space, ("camvid-11", "cityscapes-19-trainids", "--read-as")),
    (shards_in_the_wrong_space, ("camvid-11", "cityscapes-19-trainids", "--read-as")),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "named"), MISTAKES, ids=[mistake.__name__ for mistake, _ in MISTAKES])
def test_a_planted_mistake_is_named_and_nothing_is_made(
    stylebridge: CommandLine, bench: Bench, mistake: Callable[[Bench], list[object]], named: tuple[str, ...]
) -> None:
    out = bench.root / ("out.png" if mistake is a_street_map_for_a_facade_run else "out")
    arguments = mistake(bench)
    device = [] if arguments[:2] == ["data", "pack"] else ["--device", "cpu"]
    outcome = stylebridge(*arguments, "--out", out, *device, "--quiet")
    outcome.refused(*named)
    assert outcome.out == ""
    assert not out.exists()
    assert not [path for path in bench.root.iterdir() if "partial" in path.name]
