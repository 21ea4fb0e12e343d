"""No recipe takes a number that is not finite or absurd, in any field."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.adapt import AdaptRecipe
from stylebridge.jobs.recipe.mix import MixRecipe
from stylebridge.jobs.recipe.reading import TASKS, load_recipe, recipe_names
from stylebridge.jobs.recipe.synthesize import SynthesizeRecipe
from stylebridge.jobs.recipe.translate import TranslateRecipe
from stylebridge.networks.segmenters.vit import ViTOptions
from stylebridge.settings import Settings

BAD = [math.nan, math.inf, -math.inf, 1e30, -1e30, 10**30, -(10**30)]


def models() -> list[type[BaseModel]]:
    found, waiting = [], [Settings]
    while waiting:
        model = waiting.pop()
        found.append(model)
        waiting += [m for m in model.__subclasses__() if m.__module__.startswith("stylebridge.")]
    return sorted(set(found) - {Settings}, key=lambda model: model.__name__)


def test_the_walk_sees_every_settings_class() -> None:
    """Also those of methods and networks: their options are free-form values of a recipe."""
    names = {model.__name__ for model in models()}
    roots = {m.__name__ for m in (AdaptRecipe, TranslateRecipe, SynthesizeRecipe, MixRecipe, ViTOptions)}
    assert names > roots | {
        "TrainerConfig",
        "OptimizerConfig",
        "ScheduleConfig",
        "SegmenterConfig",
        "Augmentation",
    }
    assert names > {"BridgeOptions", "FADAOptions", "NiceGANOptions", "MixNMatchConfig", "SPADEConfig"}
    source = Path(__import__("stylebridge").__file__).parent
    own = [p for p in source.rglob("*.py") if "(BaseModel)" in p.read_text() and p.name != "settings.py"]
    assert {p.relative_to(source).as_posix() for p in own} <= {"data/shards/index.py", "data/label_space.py"}


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_no_field_takes_such_a_number_in_any_place(model: type[BaseModel]) -> None:
    """Alone, in a tuple, and in a mapping: a field refuses the number, or the shape. Text and switches do, too."""
    for field in model.model_fields:
        for bad in BAD:
            for value in (bad, [bad, bad], [bad], [1, bad], {"segmenter": bad}, {"segmenter": [bad]}):
                with pytest.raises(ValidationError) as caught:
                    model.model_validate({field: value})
                assert any(e["loc"][:1] == (field,) for e in caught.value.errors()), (field, value)


def leaves(value: Any, where: tuple = ()):
    """The places of all numbers in a recipe."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*where, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*where, index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield where


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_number_of_the_built_in_recipes_is_checked_and_named(task: str) -> None:
    """Every place that some recipe has a number in; a place that several recipes have is tried in one of them."""
    places: dict[tuple[str, ...], tuple[str, tuple]] = {}
    for name in recipe_names(task):
        for where in leaves(yaml.safe_load(load_recipe(name, task=task).to_yaml())):
            places.setdefault(tuple(part for part in where if isinstance(part, str)), (name, where))
    assert len(places) >= 9
    for words, (name, where) in places.items():
        for text in (".nan", "-1.0e+30"):
            with pytest.raises(RecipeError) as caught:
                load_recipe(name, [f"{'.'.join(map(str, where))}={text}"], task)
            message = str(caught.value)
            assert words[-1] in message, (words, text, message)
            assert "\n" not in message
            assert len(message) < 600


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("stages.0.optimizers.segmenter.lr=.inf", ["lr is inf", "above 0 and at most 100"]),
        ("stages.0.optimizers.segmenter.lr=.nan", ["lr is nan", "above 0 and at most 100"]),
        ("stages.0.optimizers.segmenter.lr=1.0e+9", ["lr is 1000000000.0", "above 0 and at most 100"]),
        ("stages.0.optimizers.segmenter.lr=0", ["lr is 0", "above 0 and at most 100"]),
        ("stages.0.trainer.batch=1000000000", ["batch is 1000000000", "above 0 and at most 65,536"]),
        (f"stages.0.trainer.steps={10**30}", ["trainer.steps is 1", "above 0 and at most 100,000,000"]),
        ("seed=123456789012345678901234567890", ["seed is 123456", "at least 0 and at most 4,294,967,295"]),
        ("seed=-1", ["seed is -1", "at least 0 and at most 4,294,967,295"]),
        ("stages.0.trainer.keep_checkpoints=9999999", ["keep_checkpoints", "above 0 and at most 1,000,000"]),
        ("stages.0.optimizers.segmenter.betas=[.nan, 0.9]", ["betas[0] is nan", "at least 0 and below 1"]),
        ("stages.0.optimizers.segmenter.group_lr={decoder: -1}", ["decoder is -1", "at least 0"]),
        (
            "stages.1.options.temperature=.inf",
            ["stages[1].options: temperature is inf", "finite"],
        ),
        ("segmenter.options.decoder_dropout=.nan", ["segmenter.options: decoder_dropout is nan", "finite"]),
    ],
)
def test_the_sentence_names_the_key_and_the_range(override: str, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("fada-small", [override])
    for part in parts:
        assert part in str(caught.value), str(caught.value)
