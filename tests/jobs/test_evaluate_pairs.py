"""Diversity of a set and distances of images of one name, computed in another way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from stylebridge.errors import DataError, RecipeError, RunError
from stylebridge.jobs.evaluate.pairs import evaluate_pairs, print_pair_scores
from stylebridge.metrics.perceptual import random_pairs
from stylebridge.networks import image_features
from stylebridge.networks.perceptual import Lite0Distance

torch.set_num_threads(1)

SIDE = 64


def write(folder: Path, count: int, seed: int = 0, suffix: str = "png") -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for n in range(count):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(folder / f"{n:02}.{suffix}")
    return folder


def lite0(*sets: Path, **options):
    return evaluate_pairs(*sets, distance="lite0", size=SIDE, device="cpu", quiet=True, **options)


def tensors(folder: Path) -> torch.Tensor:
    images = [np.array(Image.open(path)) for path in sorted(folder.iterdir())]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def test_diversity_is_the_mean_over_random_pairs(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 5)
    images, network = tensors(folder), Lite0Distance()
    i, j = random_pairs(5, 7, seed=3).T
    with torch.no_grad():
        values = network(images[i], images[j])
    found = lite0(folder, pairs=7, seed=3, batch=2)
    assert (found.name, found.pairs, found.of) == ("PD-lite0", 7, "random pairs of a set")
    assert found.mean == pytest.approx(values.mean().item(), rel=1e-4)
    assert found.deviation == pytest.approx(values.std(correction=0).item(), rel=1e-3)
    assert lite0(folder, pairs=1000).pairs == 10


def test_images_of_one_name_are_compared(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a" / "images", 3).parent, write(tmp_path / "b", 3, seed=1, suffix="bmp")
    with torch.no_grad():
        values = Lite0Distance()(tensors(first / "images"), tensors(second))
    found = lite0(first, second, out=tmp_path / "pairs.json")
    assert found.mean == pytest.approx(values.mean().item(), rel=1e-4)
    assert found.pairs == 3
    assert json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(found.as_dict())
    )
    assert lite0(first, first).mean == pytest.approx(0, abs=1e-5)


def test_sizes_are_brought_together_and_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 2)
    with Image.open(folder / "01.png") as image:
        image.resize((150, 90)).convert("L").save(folder / "01.png")
    found = lite0(folder)
    assert found.mean > 0
    assert "64×64" in found.resize
    console = Console(record=True, width=200, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    print_pair_scores(found, console)
    shown = console.export_text()
    assert "PD-lite0" in shown
    assert "1 random pairs of a set" in shown
    assert found.resize in shown


def test_without_lpips_the_name_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "reachable", lambda *_: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = evaluate_pairs(write(tmp_path / "set", 2), size=SIDE, device="cpu", quiet=True)
    assert found.name == "PD-lite0"
    assert "not comparable with LPIPS" in found.notes[0]


def test_mistakes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", 3), write(tmp_path / "b", 2)
    with pytest.raises(
        DataError, match=r"1 of 3 images of .*a have no image of the same name in .*\(the first is 02\)"
    ):
        lite0(first, second)
    with pytest.raises(DataError, match="the first is 02"):
        lite0(second, first)
    (second / "00.png").rename(second / "01.bmp")
    with pytest.raises(DataError, match="only in their suffix"):
        lite0(first, second)
    with pytest.raises(DataError, match="one image"):
        lite0(write(tmp_path / "one", 1))
    with pytest.raises(RecipeError, match="size is 16: give 32"):
        evaluate_pairs(first, size=16, quiet=True)
    with pytest.raises(RecipeError, match="pairs is 0"):
        lite0(first, pairs=0)
    with pytest.raises(RunError, match="is a folder"):
        lite0(first, out=tmp_path)
