"""Recipes of mixers: what comes with the package is sound, and what cannot be trained is refused by name."""

import pytest

from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.mix import load_mix_recipe
from stylebridge.methods.mixnmatch import PUBLISHED_BATCH, PUBLISHED_EPOCHS, MixNMatchOptions
from stylebridge.methods.mixnmatch_features import PUBLISHED_EPOCHS as FEATURE_EPOCHS

CUB_IMAGES = 11_788


def test_the_published_recipe() -> None:
    recipe = load_mix_recipe("mixnmatch").for_images(CUB_IMAGES)
    config = recipe.configure()
    assert (config.shapes, config.textures, config.pose) == (20, 200, 100)
    assert recipe.code.options == MixNMatchOptions()
    for stage, epochs in ((recipe.code, PUBLISHED_EPOCHS), (recipe.feature, FEATURE_EPOCHS)):
        assert stage.trainer.batch == PUBLISHED_BATCH
        assert stage.trainer.steps == epochs * (CUB_IMAGES // PUBLISHED_BATCH)
    unresolved = load_mix_recipe("mixnmatch")
    assert (unresolved.code.trainer.epochs, unresolved.feature.trainer.epochs) == (600, 400)


def test_the_small_recipe_is_for_cpus() -> None:
    recipe = load_mix_recipe("mixnmatch-small")
    assert not recipe.code.trainer.channels_last
    assert not recipe.feature.trainer.channels_last


@pytest.mark.parametrize(("shapes", "textures"), [(1, 1), (3, 3), (7, 50), (20, 196)])
def test_any_number_of_categories(shapes: int, textures: int) -> None:
    recipe = load_mix_recipe(
        "mixnmatch-small", [f"networks.shapes={shapes}", f"networks.textures={textures}"]
    )
    assert (recipe.configure().shapes, recipe.configure().textures) == (shapes, textures)
    assert (
        recipe.configure().generator_channels
        == load_mix_recipe("mixnmatch-small").configure().generator_channels
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("networks.textures=4", "textures 4 are fewer than shapes 5"),
        ("networks.shapes=0", r"networks\.shapes is 0"),
        ("networks.colours=3", r"networks\.colours is not a known key"),
        ("networks.image_size=96", r"networks\.image_size is 96"),
        ("preset=big", "preset 'big' is not known; choose one of mixnmatch"),
        ("code.trainer.batch=1", r"code\.trainer\.batch 1 .* 2 images or more"),
        ("feature.trainer.batch=1", r"feature\.trainer\.batch 1 "),
        ("code.trainer.accumulate=3", r"code\.trainer\.batch 8 over accumulate 3"),
        ("code.options.average_decay=1", r"code\.options\.average_decay"),
        ("code.optimizers={generator: {lr: 0.1}}", r"code\.optimizers has settings for \['generator'\]"),
        ("feature.optimizers={generator: {lr: 0.1}}", r"feature\.optimizers are given"),
        ("code.steps=3", "code.steps is not a known key"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_named(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_mix_recipe("mixnmatch-small", [change])
    told = str(caught.value)
    assert told.startswith("Recipe mixnmatch-small: ")
    assert told.endswith(".")
    assert "\n" not in told


def test_an_unknown_recipe() -> None:
    with pytest.raises(RecipeError, match="did you mean mixnmatch-small"):
        load_mix_recipe("mixnmatch-smal")
