"""Recipes of every task: found by name or file, read, extended, changed by ``KEY=VALUE``, and validated."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from stylebridge.data.text_files import TextFileError, read_yaml
from stylebridge.errors import RecipeError, did_you_mean, one_line
from stylebridge.jobs.recipe.base import Recipe
from stylebridge.jobs.recipe.changes import apply_change
from stylebridge.jobs.recipe.hints import describe_validation
from stylebridge.jobs.recipe.older import in_stages
from stylebridge.methods.registry import find_method, foreign_methods

#: The tasks that have recipes; ``jobs/recipe/TASK.py`` holds the model of each.
TASKS = ("adapt", "translate", "synthesize", "mix")
_MOST_EXTENSIONS = 16


class Found(NamedTuple):
    """A recipe as it stands in its file or package: its keys, its task (None: given by its methods), its folder."""

    data: dict[str, Any]
    task: str | None
    folder: Path


def recipe_model(task: str) -> type[Recipe]:
    """The class of a task's recipes."""
    return import_module(f"stylebridge.jobs.recipe.{task}").RECIPE


def recipe_names(task: str | None = None) -> dict[str, str]:
    """The recipes that come with stylebridge and with installed methods: each name and its task."""
    own = {name: of for name, (of, _) in _own_files().items()}
    foreign = {name: spec.task for spec in foreign_methods() for name in spec.recipes}
    return {name: of for name, of in {**own, **foreign}.items() if task in (None, of)}


class Described(NamedTuple):
    """A line of a list of recipes."""

    name: str
    task: str
    description: str


def describe_recipes(task: str | None = None) -> list[Described]:
    """The recipes of :func:`recipe_names` with what they say of themselves; nothing is validated."""
    return [
        Described(name, of, one_line(_find(name, of).data.get("description", "")))
        for name, of in recipe_names(task).items()
    ]


def load_recipe(
    name_or_path: str | Path, changes: Sequence[str] | None = None, task: str | None = "adapt"
) -> Any:
    """Read a recipe by name, or a YAML file, and apply changes.

    Args:
        changes: ``KEY.PATH=VALUE`` (:func:`~stylebridge.jobs.recipe.changes.apply_change`).
        task: the task that it must be for; None: any.

    Returns:
        The task's recipe (:func:`recipe_model`).

    Raises:
        RecipeError: there is no such recipe, it is of another task, or a key or value is wrong; names it.
    """
    label = str(name_or_path)
    found = _extended(_find(name_or_path, task), label, ())
    return _validated(found.data, label, task, found.task, changes or ())


def change_recipe(recipe: Recipe, changes: Sequence[str], task: str) -> Any:
    """A recipe with ``KEY.PATH=VALUE`` changes applied.

    Raises:
        RecipeError: a key or value does not belong.
    """
    return _validated(recipe.model_dump(mode="json"), recipe.name, task, task, changes)


def parse_recipe(data: Mapping[str, Any], label: str, task: str = "adapt") -> Any:
    """Validate the keys of a recipe; ``label`` is what messages call it.

    Raises:
        RecipeError: a key or value does not belong; names the first.
    """
    return _validated(dict(data), label, task, task, ())


def _validated(
    data: dict[str, Any], label: str, wanted: str | None, found: str | None, changes: Iterable[str]
) -> Any:
    task = found or _task_of(in_stages(data, wanted)) or wanted or "adapt"
    if wanted is not None and task != wanted:
        others = ", ".join(recipe_names(wanted))
        raise RecipeError(f"{label} is a recipe of {task}, not of {wanted}", f"choose one of {others}")
    model = recipe_model(task)
    data = in_stages(data, task)
    for change in changes:
        apply_change(data, change, model)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"Recipe {label}: {describe_validation(error).lstrip('.: ')}.") from None


def _task_of(data: Mapping[str, Any]) -> str | None:
    """The task of a user's recipe, by the method of its first stage; None: it does not say."""
    try:
        return find_method(str(data["stages"][0]["method"])).task
    except (RecipeError, LookupError, TypeError):
        return None


@cache
def _own_files() -> dict[str, tuple[str, Path]]:
    """The files in ``stylebridge/recipes``: names, tasks and paths."""
    root = Path(str(resources.files("stylebridge") / "recipes"))
    return {path.stem: (task, path) for task in TASKS for path in sorted((root / task).glob("*.yaml"))}


def _find(name_or_path: str | Path, task: str | None, beside: Path | None = None) -> Found:
    label, own = str(name_or_path), _own_files()
    if beside is not None and (beside / label).is_file():
        return Found(_read(beside / label, label), None, (beside / label).parent)
    if label in own:
        of, path = own[label]
        return Found(_read(path, label), of, path.parent)
    path = Path(name_or_path)
    if path.is_file():
        return Found(_read(path, label), None, path.parent)
    for spec in foreign_methods():
        if label in spec.recipes:
            data = copy.deepcopy(dict(spec.recipes[label]))
            return Found({"name": label, **data}, spec.task, Path())
    known = recipe_names(task)
    raise RecipeError(
        f"There is no recipe or file {label!r}{did_you_mean(label, known)}: choose one of {', '.join(known)}."
    )


def _read(path: Path, label: str) -> dict[str, Any]:
    try:
        data = read_yaml(path)
    except (OSError, TextFileError) as error:
        raise RecipeError(f"Recipe {label} is not valid YAML: {one_line(error)}.") from error
    if not isinstance(data, dict):
        raise RecipeError(f"Recipe {label} is not a mapping of keys: start from `stylebridge recipes show`.")
    return data


def _extended(found: Found, label: str, chain: tuple[str, ...]) -> Found:
    """With what the recipe of ``extends`` says and it does not say itself."""
    if "extends" not in found.data:
        return found
    name = found.data["extends"]
    if not isinstance(name, str) or not name:
        raise RecipeError(f"Recipe {label}: extends is {name!r}: give the name or the file of a recipe.")
    if name in chain or len(chain) >= _MOST_EXTENSIONS:
        raise RecipeError(f"Recipe {label} extends itself ({' → '.join((*chain, name))}): remove `extends`.")
    base = _extended(_find(name, None, found.folder), name, (*chain, name))
    own = {key: value for key, value in found.data.items() if key != "extends"}
    task = found.task or base.task or _task_of(in_stages(base.data, None))
    theirs = in_stages(base.data, task)
    return Found(_merged(theirs, in_stages(own, task, _only_stage(theirs))), task, found.folder)


def _only_stage(data: Mapping[str, Any]) -> str | None:
    """The name of a recipe's stage, if it has one stage."""
    stages = data.get("stages")
    if isinstance(stages, list) and len(stages) == 1 and isinstance(stages[0], dict):
        return stages[0].get("name")
    return None


def _merged(base: Any, own: Any) -> Any:
    """Mappings key by key, stages by their names; of anything else what ``own`` says."""
    if isinstance(base, dict) and isinstance(own, dict):
        merged = {**base, **own}
        for key in base.keys() & own.keys():
            both = _merged_stages if key == "stages" else _merged
            merged[key] = both(base[key], own[key])
        for length, other in (("steps", "epochs"), ("epochs", "steps")):
            if length in own and other not in own:
                merged.pop(other, None)
        return merged
    return own


def _merged_stages(base: Any, own: Any) -> Any:
    named = [isinstance(stages, list) and all(isinstance(s, dict) for s in stages) for stages in (base, own)]
    if not all(named):
        return own
    changed = {stage.get("name"): stage for stage in own}
    known = {stage.get("name") for stage in base}
    kept = [_merged(stage, changed.get(stage.get("name"), {})) for stage in base]
    return [*kept, *(stage for stage in own if stage.get("name") not in known)]
