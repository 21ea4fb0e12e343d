"""``stylebridge mix train``, from the command to a picture of its run."""

from pathlib import Path

import pytest

from support import folders
from support.folders import CommandLine
from support.mixers import tiny_mix, write_boxed

own_cache, stylebridge = folders.own_cache, folders.stylebridge


@pytest.mark.slow
def test_train_then_apply(stylebridge: CommandLine, tmp_path: Path) -> None:
    data, run = write_boxed(tmp_path / "birds"), tmp_path / "run"
    changes = [part for change in tiny_mix(steps=1) for part in ("--set", change)]
    arguments = ["--data", data, "--boxes", "boxes.csv", "--recipe", "mixnmatch-small", "--out", run]
    done = stylebridge(
        "mix", "train", *arguments, *changes, "--seed", 3, "--device", "cpu", "--workers", 1, "--quiet"
    )
    assert done.code == 0, done.err
    assert f"report   {run}/report.html" in done.out
    assert "stylebridge mix apply" in done.out
    assert "seed: 3" in (run / "recipe.yaml").read_text(encoding="utf-8")
    stylebridge("mix", "train", *arguments).refused("exists already", "--resume")
    photo, out = data / "images" / "a" / "0.png", tmp_path / "bird.png"
    photos = [part for name in ("background", "shape", "texture") for part in (f"--{name}", photo)]
    done = stylebridge("mix", "apply", run, "--mode", "feature", *photos, "--out", out)
    assert done.code == 0, done.err
    assert out.is_file()


def test_what_users_get_wrong(stylebridge: CommandLine, tmp_path: Path) -> None:
    data, out = write_boxed(tmp_path / "birds"), tmp_path / "run"
    stylebridge("mix", "train", "--out", out).refused("--data")
    stylebridge("mix", "train", "--data", data, "--out", out).refused("25 texture categories", "6 photos")
    stylebridge("mix", "train", "--data", data, "--recipe", "nomix", "--out", out).refused(
        "nomix", "mixnmatch"
    )
    stylebridge("mix", "train", "--data", data, "--boxes", "no.csv", "--out", out).refused(
        "no box file no.csv"
    )
    stylebridge("mix", "train", "--resume", "--out", out).refused("does not exist")
    assert not out.exists()


def test_recipes_are_listed(stylebridge: CommandLine) -> None:
    done = stylebridge("mix", "recipes")
    assert done.code == 0
    for name in ("mixnmatch", "mixnmatch-64", "mixnmatch-small"):
        assert name in done.out
