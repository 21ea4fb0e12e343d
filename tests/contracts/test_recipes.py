"""What every built-in recipe of every task keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from stylebridge.jobs.recipe.adapt import builtin_recipes, load_recipe
from stylebridge.jobs.recipe.mix import load_mix_recipe, mix_recipes
from stylebridge.jobs.recipe.synthesize import load_synthesis_recipe, synthesis_recipes
from stylebridge.jobs.recipe.translate import load_translation_recipe
from stylebridge.jobs.recipe.translators import translation_recipes
from stylebridge.methods.registry import all_methods, find_method


class Builtin(NamedTuple):
    task: str
    load: Callable[..., Any]
    name: str


_KINDS: tuple[tuple[str, Callable[..., Any], Callable[[], Any]], ...] = (
    ("adapt", load_recipe, builtin_recipes),
    ("translate", load_translation_recipe, translation_recipes),
    ("synthesize", load_synthesis_recipe, synthesis_recipes),
    ("mix", load_mix_recipe, mix_recipes),
)
RECIPES = [Builtin(task, load, name) for task, load, names in _KINDS for name in names()]


class Stage(NamedTuple):
    """What the written recipe says of a stage."""

    method: str
    options: dict[str, Any]
    optimizers: dict[str, Any]


def stages_of(text: dict[str, Any]) -> list[Stage]:
    """The stages of a recipe as it is written."""
    if "code" in text:
        two = (("mixnmatch", text["code"]), ("mixnmatch-features", text["feature"]))
        return [Stage(method, stage["options"], stage["optimizers"]) for method, stage in two]
    rows = text.get("stages", [text])
    return [Stage(stage["method"], stage["options"], stage["optimizers"]) for stage in rows]


def written(recipe: Any) -> dict[str, Any]:
    return yaml.safe_load(recipe.spelt_out().to_yaml())


@pytest.mark.parametrize("builtin", RECIPES, ids=lambda builtin: builtin.name)
def test_it_is_spelt_out_and_read_back(builtin: Builtin, tmp_path: Path) -> None:
    """Every option, every setting of networks and every published optimiser, with its schedule, is in it."""
    recipe = builtin.load(builtin.name)
    assert recipe.name == builtin.name
    assert recipe.description
    spelt = recipe.spelt_out()
    (tmp_path / "recipe.yaml").write_text(spelt.to_yaml(), encoding="utf-8")
    assert builtin.load(tmp_path / "recipe.yaml") == spelt
    assert spelt.spelt_out() == spelt
    (tmp_path / "short.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert builtin.load(tmp_path / "short.yaml") == recipe
    text = written(recipe)
    for stage in stages_of(text):
        assert stage.options.keys() == find_method(stage.method).options().model_dump().keys()
        assert all("lr" in settings and "schedule" in settings for settings in stage.optimizers.values())
    if "preset" in text:
        assert len(text["networks"]) > 3


@pytest.mark.parametrize("builtin", RECIPES, ids=lambda builtin: builtin.name)
def test_its_methods_are_of_its_task_and_its_optimizers_are_theirs(builtin: Builtin) -> None:
    for stage in stages_of(written(builtin.load(builtin.name))):
        spec = find_method(stage.method)
        assert spec.task == builtin.task
        kind: Any = spec.method
        trained = kind.trained(spec.options(**stage.options)) if builtin.task == "adapt" else kind.trains
        assert stage.optimizers.keys() == set(trained)


@pytest.mark.parametrize("builtin", RECIPES, ids=lambda builtin: builtin.name)
def test_a_recipe_with_the_published_optimizers_leaves_them_out(builtin: Builtin) -> None:
    """They stand in the method's file."""
    recipe = builtin.load(builtin.name)
    text = yaml.safe_load(recipe.to_yaml())
    for stage, spelt in zip(stages_of(text), stages_of(written(recipe)), strict=True):
        declared = find_method(stage.method).optimizers
        if declared is None:
            assert stage.optimizers
        elif stage.optimizers is None:
            published = {name: each.model_dump(mode="json") for name, each in declared().items()}
            assert spelt.optimizers == published


def test_every_method_has_a_recipe() -> None:
    used = {stage.method for builtin in RECIPES for stage in stages_of(written(builtin.load(builtin.name)))}
    own = {name for name, spec in all_methods().items() if not spec.recipes}
    assert own - used == set()


@pytest.mark.parametrize("builtin", RECIPES, ids=lambda builtin: builtin.name)
def test_a_mistake_in_it_is_named(builtin: Builtin) -> None:
    with pytest.raises(Exception, match=r"no_such_key is not a known key"):
        builtin.load(builtin.name, ["no_such_key=1"])
    with pytest.raises(Exception, match=rf"did you mean {builtin.name}"):
        builtin.load(builtin.name[:-1])
    assert builtin.load(builtin.name, ["seed=3"]).seed == 3
