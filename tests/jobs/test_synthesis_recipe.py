"""Recipes of synthesizers: the published settings, and what is wrong in a recipe is named."""

import pytest

from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.reading import load_recipe


def test_published_schedules() -> None:
    """SEAN: 100 epochs of 28,000 faces, resized and not cropped. SPADE: 200 of ADE20K's 20,210, cropped out of 286."""
    images = {"sean": 28_000, "spade": 20_210}
    found = {name: load_recipe(name, task="synthesize").for_images(count) for name, count in images.items()}
    assert {name: (recipe.stages[0].trainer.steps, recipe.load) for name, recipe in found.items()} == {
        "sean": (100 * (28_000 // 32), None),
        "spade": (200 * (20_210 // 32), (286, 286)),
    }


def test_a_wrong_recipe_is_named() -> None:
    for change, named in (
        ("size=[100, 64]", "multiples of 32"),
        ("preset=small", "preset 'small' is not known"),
        ("load=[64, 64]", "smaller than size"),
        ("options.hinge=1", "options.hinge"),
        ("method=pix2pix", "method: 'pix2pix'"),
    ):
        with pytest.raises(RecipeError, match=named.replace("[", r"\[")):
            load_recipe("sean", [change], task="synthesize")
