"""The contract of every built-in recipe of every task."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.reading import load_recipe, recipe_names
from stylebridge.methods.registry import all_methods, find_method

RECIPES = recipe_names()


def written(recipe: Any) -> dict[str, Any]:
    return yaml.safe_load(recipe.spelt_out().to_yaml())


@pytest.mark.parametrize(("name", "task"), RECIPES.items())
def test_it_is_spelt_out_and_read_back(name: str, task: str, tmp_path: Path) -> None:
    """Every option, every setting of networks and every published optimiser, with its schedule, is in it."""
    recipe = load_recipe(name, task=task)
    assert recipe.name == name
    assert recipe.description
    spelt = recipe.spelt_out()
    (tmp_path / "recipe.yaml").write_text(spelt.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.yaml", task=task) == spelt
    assert spelt.spelt_out() == spelt
    (tmp_path / "short.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "short.yaml", task=task) == recipe
    text = written(recipe)
    for stage in text["stages"]:
        assert stage["options"].keys() == find_method(stage["method"]).options().model_dump().keys()
        assert all("lr" in settings and "schedule" in settings for settings in stage["optimizers"].values())
    if "preset" in text:
        assert len(text["networks"]) > 3


@pytest.mark.parametrize(("name", "task"), RECIPES.items())
def test_its_methods_are_of_its_task_and_its_optimizers_are_theirs(name: str, task: str) -> None:
    for stage in written(load_recipe(name, task=task))["stages"]:
        spec = find_method(stage["method"])
        assert spec.task == task
        assert stage["optimizers"].keys() == set(spec.method.trained(spec.options(**stage["options"])))


@pytest.mark.parametrize(("name", "task"), RECIPES.items())
def test_a_recipe_with_the_published_optimizers_leaves_them_out(name: str, task: str) -> None:
    """They are in the method's file."""
    recipe = load_recipe(name, task=task)
    text = yaml.safe_load(recipe.to_yaml())
    for stage, spelt in zip(text["stages"], written(recipe)["stages"], strict=True):
        declared = find_method(stage["method"]).optimizers
        if declared is None:
            assert stage["optimizers"]
        elif stage["optimizers"] is None:
            published = {name: each.model_dump(mode="json") for name, each in declared().items()}
            assert spelt["optimizers"] == published


def test_every_method_has_a_recipe() -> None:
    used = {
        stage["method"]
        for name, task in RECIPES.items()
        for stage in written(load_recipe(name, task=task))["stages"]
    }
    own = {name for name, spec in all_methods().items() if not spec.recipes}
    assert own - used == set()


@pytest.mark.parametrize(("name", "task"), RECIPES.items())
def test_a_mistake_in_it_is_named(name: str, task: str) -> None:
    with pytest.raises(Exception, match=r"no_such_key is not a known key"):
        load_recipe(name, ["no_such_key=1"], task)
    with pytest.raises(Exception, match=rf"did you mean {name}"):
        load_recipe(name[:-1], task=task)
    assert load_recipe(name, ["seed=3"], task).seed == 3


@pytest.mark.parametrize(("name", "task"), RECIPES.items())
def test_optimizers_that_do_not_fit_its_last_stage_are_found_at_once(name: str, task: str) -> None:
    """Not after hours of training the stages before."""
    stages = written(load_recipe(name, task=task))["stages"]
    last, (first, *_) = len(stages) - 1, stages[-1]["optimizers"]
    for wrong in ({first: {"lr": 0.1}, "critic": {"lr": 0.1}}, {"critic": {"lr": 0.1}}):
        with pytest.raises(RecipeError, match=r"critic"):
            load_recipe(name, [f"stages.{last}.optimizers={wrong}"], task=task)
