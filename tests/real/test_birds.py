"""The birds beside the project are all read, and a few steps of training on them give a run that mixes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.jobs.apply.models.mixer import load_mixer
from stylebridge.jobs.datasets.boxed_set import check_photos, open_boxed_set
from stylebridge.jobs.train import train_mixer
from support.mixers import TINY, tiny_mix

torch.set_num_threads(1)
BIRDS = Path(__file__).parents[3] / "shared" / "data" / "birds"


@pytest.fixture
def birds() -> Path:
    if not BIRDS.is_dir():
        pytest.skip("shared/data/birds is not beside the project")
    return BIRDS


def test_every_photo_has_a_box_inside_it(birds: Path) -> None:
    opened = open_boxed_set(birds, None)
    assert len(opened.images) == len(opened.boxes) == 2612
    check_photos(opened)


def test_a_moment_of_training(birds: Path, tmp_path: Path) -> None:
    changes = [*tiny_mix(steps=2), "feature.trainer.sample_every=2"]
    run = train_mixer(birds, tmp_path / "run", overrides=changes, device="cpu", quiet=True)
    mixer = load_mixer(run)
    assert mixer.config.textures == TINY.textures
    (picture,) = (run / "samples").iterdir()
    assert np.array(Image.open(picture)).std() > 10
