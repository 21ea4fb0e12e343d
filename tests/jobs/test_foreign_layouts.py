"""Sets with layouts of other tools, for adapt and for commands that only read images."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from stylebridge.errors import DataError
from stylebridge.jobs.datasets.domains import AdaptationDomains, open_adaptation
from stylebridge.jobs.evaluate.images import images_of
from support.folders import World, own_cache, world  # noqa: F401 (fixtures)


def cvat(source: Path, out: Path) -> Path:
    """The world's source as CVAT exports it: masks in colours, classes in labelmap.txt."""
    colours = np.zeros((256, 3), np.uint8)
    colours[[0, 1, 2, 255]] = (10, 128, 0), (0, 0, 0), (0, 108, 128), (224, 224, 192)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (out / folder).mkdir(parents=True)
    names = []
    for image in sorted((source / "images").iterdir()):
        shutil.copy(image, out / "JPEGImages" / image.name)
        ids = np.array(Image.open(source / "labels" / f"{image.stem}.png"))
        Image.fromarray(colours[ids]).save(out / "SegmentationClass" / f"{image.stem}.png")
        names.append(image.stem)
    (out / "ImageSets/Segmentation/default.txt").write_text("\n".join(names), encoding="utf-8")
    listed = "wall:0,0,0::\nground:10,128,0::\nsky:0,108,128::\n"
    (out / "labelmap.txt").write_text(listed, encoding="utf-8")
    return out


def opened(source, target, space, console: Console) -> AdaptationDomains:
    return open_adaptation(
        source,
        target,
        evaluate_on=None,
        label_space=space,
        class_maps=(),
        target_labels=None,
        console=console,
    )


def test_an_export_of_cvat_is_a_source(world: World, tmp_path: Path) -> None:  # noqa: F811
    told = io.StringIO()
    console = Console(file=told, width=200)
    plain = opened(world.source, world.target, world.space, console)
    source = cvat(world.source, tmp_path / "task")
    domains = opened(source, world.target, None, console)
    assert domains.space.classes == ("wall", "ground", "sky")
    assert "source: Pascal VOC (CVAT, labelme), split default" in told.getvalue()
    order = np.full(256, 255, np.uint8)  # the same classes, in the labelmap's order
    order[[0, 1, 2]] = [domains.space.classes.index(name) for name in plain.space.classes]
    read, other = domains.source, plain.source
    assert read.labels is not None
    assert other.labels is not None
    assert read.space is not None
    assert other.space is not None
    for mine, theirs in zip(read.labels, other.labels, strict=True):
        np.testing.assert_array_equal(read.space.read(mine), order[other.space.read(theirs)])


def test_masks_beside_the_target_are_scored_and_named(world: World, tmp_path: Path) -> None:  # noqa: F811
    told = io.StringIO()
    console = Console(file=told, width=200)
    target = tmp_path / "target"
    shutil.copytree(world.source / "images", target / "img")
    shutil.copytree(world.source / "labels", target / "masks")
    domains = opened(world.source, target, world.space, console)
    assert domains.evaluation is not None
    assert "target has masks/" in told.getvalue()
    shutil.copytree(target / "masks", target / "gt")
    with pytest.raises(DataError, match=r"several folders of label maps, gt/ .* and masks/ .*folder/gt:"):
        opened(world.source, target, world.space, console)
    named = f"folder/gt:{target}"
    domains = opened(world.source, named, world.space, console)
    assert domains.evaluation is not None
    assert domains.evaluation.labels is not None
    assert {Path(str(label)).parent.name for label in domains.evaluation.labels} == {"gt"}


def test_masks_are_not_taken_for_photos(world: World, tmp_path: Path) -> None:  # noqa: F811
    shutil.copytree(world.source / "images", tmp_path / "set" / "img")
    shutil.copytree(world.source / "labels", tmp_path / "set" / "mask")
    assert {Path(str(file)).parent.name for file in images_of(tmp_path / "set", "real")} == {"img"}
