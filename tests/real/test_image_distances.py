"""Distances on Lite0 features order real photos plausibly: cats are nearer to other cats than to dogs."""

from pathlib import Path

import pytest
import torch

from stylebridge.jobs.evaluate.images import evaluate_images
from stylebridge.jobs.evaluate.pairs import evaluate_pairs

torch.set_num_threads(1)

ANIMALS = Path(__file__).parents[3] / "shared" / "data" / "cat2dog"


def linked(files: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for file in files:
        (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    if not ANIMALS.is_dir():
        pytest.skip("shared/data/cat2dog is not beside the project")
    cats, dogs = (sorted((ANIMALS / name).iterdir()) for name in ("cat", "dog"))
    return {
        "cats": linked(cats[0:60:2], tmp_path / "cats"),
        "other cats": linked(cats[1:60:2], tmp_path / "other"),
        "dogs": linked(dogs[0:60:2], tmp_path / "dogs"),
    }


def test_cats_are_nearer_to_cats_than_to_dogs(sets: dict[str, Path]) -> None:
    near, far = (
        evaluate_images(sets["cats"], sets[other], features="lite0", device="cpu", quiet=True)
        for other in ("other cats", "dogs")
    )
    assert near["FD-lite0"].value < 0.6 * far["FD-lite0"].value
    assert abs(near["KD-lite0"].value) < 0.1 * far["KD-lite0"].value
    deviation = near["KD-lite0"].deviation
    assert deviation is not None
    assert abs(near["KD-lite0"].value) < 3 * deviation


def test_one_photo_repeated_is_not_diverse(sets: dict[str, Path], tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    photo = next(iter(sets["cats"].iterdir()))
    for name in "abc":
        (copies / f"{name}.jpg").write_bytes(photo.read_bytes())
    options = {"distance": "lite0", "size": 128, "pairs": 12, "device": "cpu", "quiet": True}
    assert evaluate_pairs(copies, **options).mean < 1e-5
    assert evaluate_pairs(sets["cats"], **options).mean > 0.1
