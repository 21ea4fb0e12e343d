"""The street pairs of ../shared/data, each by one command: simulator → Cityscapes and Cityscapes → IDD."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from support import folders
from support.folders import CommandLine, tiny_overrides

own_cache, stylebridge = folders.own_cache, folders.stylebridge

SHARED = Path(__file__).parents[3] / "shared" / "data"

#: Cityscapes' 19 train ids as the 11 of CamVid and the 7 of IDD-lite, by the tables of the data sets' notes; 255: none.
TO_CAMVID = [3, 4, 1, 1, 7, 2, 6, 6, 5, 255, 0, 9, 10, 8, 8, 8, 8, 10, 10]
TO_IDD = [0, 1, 5, 4, 4, 4, 4, 4, 5, 1, 6, 2, 2, 3, 3, 3, 3, 3, 3]


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., Path]:
    """Some files of a real set, linked into a folder of the test's own."""

    def link(name: str, count: int, labelled: bool = True) -> Path:
        if not (SHARED / name).is_dir():
            pytest.skip(f"shared/data/{name} is not beside the project")
        images = sorted((SHARED / name / "images").iterdir())
        root = tmp_path / name.replace("/", "-")
        for kind in ("images", "labels") if labelled else ("images",):
            (root / kind).mkdir(parents=True)
        for i in np.linspace(0, len(images) - 1, count).astype(int):
            (root / "images" / images[i].name).symlink_to(images[i])
            if labelled:
                label = SHARED / name / "labels" / f"{images[i].stem}.png"
                (root / "labels" / label.name).symlink_to(label)
        return root

    return link


def pixels(folder: Path, table: list[int], classes: int) -> list[int]:
    """Pixels of each class in label files of 8-bit ids, moved by a table."""
    moved = np.array([*table, *[255] * (256 - len(table))])
    ids = np.concatenate([np.array(Image.open(file)).ravel() for file in (folder / "labels").iterdir()])
    return np.bincount(moved[ids], minlength=256)[:classes].tolist()


def adapt(
    stylebridge: CommandLine, source: Path, target: Path, scored: Path, out: Path, *more: object
) -> str:
    """One ``adapt`` of two steps; what it printed, without line breaks."""
    sets = [part for change in tiny_overrides("source-only-small") for part in ("--set", change)]
    outcome = stylebridge(
        "adapt", "--source", source, "--target", target, "--evaluate-on", scored, "--out", out, "--device", "cpu",
        "--recipe", "source-only-small", *sets, *more,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return " ".join(outcome.err.split())


def scored_pixels(run: Path) -> list[int]:
    """Pixels of each class that the run was scored on."""
    return (
        np.array(yaml.safe_load((run / "scores.json").read_text())["after"]["confusion"]).sum(axis=1).tolist()
    )


def test_sim_to_cityscapes(stylebridge: CommandLine, part: Callable[..., Path], tmp_path: Path) -> None:
    scored, run = part("cityscapes/val", 3), tmp_path / "run"
    stylebridge("data", "toy", tmp_path / "sim", "--count", 6, "--width", 64, "--height", 48)
    told = adapt(stylebridge, tmp_path / "sim", part("cityscapes/train", 3, False), scored, run)
    assert "source: sim camvid-11" in told
    assert "cityscapes-19_to_camvid-11" in told
    assert scored_pixels(run) == pixels(scored, TO_CAMVID, 11)


def test_cityscapes_to_idd(stylebridge: CommandLine, part: Callable[..., Path], tmp_path: Path) -> None:
    source, scored, run = part("cityscapes/train", 6), part("idd/val", 3), tmp_path / "run"
    told = adapt(stylebridge, source, part("idd/train", 3, False), scored, run, "--label-space", "idd-7")
    assert "cityscapes-19_to_idd-7" in told
    assert scored_pixels(run) == pixels(scored, list(range(7)), 7)
    facts = yaml.safe_load((run / "run.yaml").read_text())
    kept = facts["read_as"]["source"]["raw_ids"]
    assert [kept[str(i)] for i in range(19)] == TO_IDD
    assert kept["255"] == 255


def test_without_the_models_space_the_map_is_asked_for(
    stylebridge: CommandLine, part: Callable[..., Path], tmp_path: Path
) -> None:
    source, target = part("cityscapes/train", 6), part("idd/train", 3, False)
    arguments = [
        "--source",
        source,
        "--target",
        target,
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
        "--quiet",
    ]
    stylebridge("adapt", *arguments, "--label-space", "idd-7").refused("--class-map cityscapes-19_to_idd-7")
    stylebridge("adapt", *arguments, "--evaluate-on", part("idd/val", 3)).refused("--label-space idd-7")
    assert not (tmp_path / "run").exists()
