"""Recipes of mixers: built-in ones are valid, and errors in others are named."""

import pytest

from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.methods.mixnmatch import PUBLISHED_BATCH, PUBLISHED_EPOCHS, MixNMatchOptions
from stylebridge.methods.mixnmatch_features import PUBLISHED_EPOCHS as FEATURE_EPOCHS

CUB_IMAGES = 11_788


def test_the_published_recipe() -> None:
    recipe = load_recipe("mixnmatch", task="mix").for_images(CUB_IMAGES)
    config = recipe.configure()
    assert (config.shapes, config.textures, config.pose) == (20, 200, 100)
    assert recipe.stages[0].method_options() == MixNMatchOptions()
    for stage, epochs in zip(recipe.stages, (PUBLISHED_EPOCHS, FEATURE_EPOCHS), strict=True):
        assert stage.trainer.batch == PUBLISHED_BATCH
        assert stage.trainer.steps == epochs * (CUB_IMAGES // PUBLISHED_BATCH)
    unresolved = load_recipe("mixnmatch", task="mix")
    assert [stage.trainer.epochs for stage in unresolved.stages] == [600, 400]


def test_the_small_recipe_is_for_cpus() -> None:
    recipe = load_recipe("mixnmatch-small", task="mix")
    assert not any(stage.trainer.channels_last for stage in recipe.stages)


@pytest.mark.parametrize(("shapes", "textures"), [(1, 1), (3, 3), (7, 50), (20, 196)])
def test_any_number_of_categories(shapes: int, textures: int) -> None:
    recipe = load_recipe(
        "mixnmatch-small", [f"networks.shapes={shapes}", f"networks.textures={textures}"], task="mix"
    )
    assert (recipe.configure().shapes, recipe.configure().textures) == (shapes, textures)
    assert (
        recipe.configure().generator_channels
        == load_recipe("mixnmatch-small", task="mix").configure().generator_channels
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("networks.textures=4", "textures 4 are fewer than shapes 5"),
        ("networks.shapes=0", r"networks\.shapes is 0"),
        ("networks.image_size=96", r"networks\.image_size is 96"),
        ("preset=big", "preset 'big' is not known; choose one of mixnmatch"),
        ("code.trainer.batch=1", r"stages\[0\]: trainer\.batch 1 .* 2 images or more"),
        ("feature.trainer.batch=1", r"stages\[1\]: trainer\.batch 1 "),
        ("code.trainer.accumulate=3", r"stages\[0\]: trainer\.batch 8 over accumulate 3"),
        ("code.options.average_decay=1", r"stages\[0\]: options\.average_decay"),
        ("code.optimizers={generator: {lr: 0.1}}", r"stages\[0\]: optimizers has settings for \['generator'\]"),
        ("feature.optimizers={generator: {lr: 0.1}}", r"stages\[1\]: optimizers has settings"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_named(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("mixnmatch-small", [change], task="mix")
    told = str(caught.value)
    assert told.startswith("Recipe mixnmatch-small: ")
    assert told.endswith(".")
    assert "\n" not in told
