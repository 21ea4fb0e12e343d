"""Lengths in epochs: converted to steps when the data set is known."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stylebridge.engine.config import TrainerConfig
from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.train import train_translator
from stylebridge.networks import cyclegan
from stylebridge.networks.cyclegan import CycleGANConfig
from support import folders

own_cache = folders.own_cache


@pytest.mark.parametrize(
    ("images", "batch", "short", "steps"),
    [
        (1334, 1, True, 1334),
        (7, 2, True, 4),
        (7, 2, False, 3),
        (8, 2, True, 4),
        (1, 4, False, 1),
        (20_210, 32, False, 631),
    ],
)
def test_an_epoch_in_steps(images: int, batch: int, short: bool, steps: int) -> None:
    config = TrainerConfig(epochs=200, batch=batch)
    made = config.for_images(images, short_batch=short)
    assert (made.steps, made.epochs) == (200 * steps, None)
    assert TrainerConfig.model_validate(made.model_dump()) == made
    assert made.for_images(5) is made


def test_one_length_is_given() -> None:
    for wrong, said in (
        ({}, "neither"),
        ({"steps": 5, "epochs": 2}, "both"),
        ({"steps": 0, "epochs": None}, "greater than 0"),
    ):
        with pytest.raises(ValueError, match=said):
            TrainerConfig(batch=1, **wrong)


def test_published_lengths() -> None:
    """CycleGAN: 200 epochs of the larger set. NICE-GAN counts iterations: 100,000 of the light model."""
    for name in ("cyclegan", "cyclegan-128"):
        recipe = load_recipe(name, task="translate")
        assert recipe.stages[0].trainer.epochs == 200
        assert recipe.for_images(1334).stages[0].trainer.steps == 266_800  # horse2zebra
    for name in ("nice-gan", "nice-gan-128", "nice-gan-full"):
        trainer = load_recipe(name, task="translate").stages[0].trainer
        assert (trainer.steps, trainer.epochs) == (100_000, None)
    assert [load_recipe(name, task="synthesize").stages[0].trainer.epochs for name in ("spade", "sean")] == [
        200,
        100,
    ]
    mixing = load_recipe("mixnmatch", task="mix")
    assert [stage.trainer.epochs for stage in mixing.stages] == [600, 400]


def test_what_is_set_takes_the_place_of_the_other_length() -> None:
    trainer = load_recipe("cyclegan", ["trainer.steps=3"], task="translate").stages[0].trainer
    assert (trainer.steps, trainer.epochs) == (3, None)
    trainer = load_recipe("cyclegan-small", ["trainer.epochs=3"], task="translate").stages[0].trainer
    assert (trainer.steps, trainer.epochs) == (0, 3)


def test_stages_of_two_sets_count_steps() -> None:
    with pytest.raises(RecipeError, match=r"trainer\.epochs: two sets are read here"):
        load_recipe("source-only-small", ["stages.0.trainer.epochs=3"])


def test_a_run_writes_down_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = CycleGANConfig(image_size=32, channels=4, blocks=1, layers=1)
    monkeypatch.setitem(cyclegan.PRESETS, "cyclegan-128", tiny)
    rng = np.random.default_rng(0)
    for name, count in (("a", 3), ("b", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    changes = ["trainer.epochs=2", "trainer.sample_every=0", "load=null"]
    settings = {"recipe": "cyclegan-128", "overrides": changes, "device": "cpu", "quiet": True}
    run = train_translator(tmp_path / "a", tmp_path / "b", tmp_path / "run", **settings)
    kept = yaml.safe_load((run / "recipe.yaml").read_text())["stages"][0]["trainer"]
    assert (kept["steps"], kept["epochs"]) == (6, None)  # twice the larger set
    assert (run / "trainer_state" / "1-translate-00000006").is_dir()
    assert load_recipe(run / "recipe.yaml", task="translate").for_images(99).stages[0].trainer.steps == 6
