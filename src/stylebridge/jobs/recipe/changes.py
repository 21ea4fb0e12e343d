"""Changes to a recipe: ``KEY.PATH=VALUE``, as ``--set`` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stylebridge.data.text_files import MAX_DEPTH, parse_yaml
from stylebridge.errors import RecipeError, one_line
from stylebridge.jobs.recipe.base import Recipe

_NUMBERED = "list entries are numbered from 0, as in stages.0.trainer.steps=100."
#: Of two keys that exclude each other, setting one removes the other.
_EXCLUDES = {"steps": "epochs", "epochs": "steps"}


def apply_change(data: dict[str, Any], change: str, model: type[Recipe]) -> None:
    """Change the keys of a recipe.

    ``stages.0.trainer.steps=100`` and ``stages.NAME.trainer.steps=100`` change one stage,
    ``stages.*.trainer.steps=100`` changes all of them. ``stages.`` may be left out where the stage is clear:
    ``NAME.trainer.steps=100``, and ``trainer.steps=100`` for a single stage.

    Raises:
        RecipeError: the change has another form, or does not fit the recipe.
    """
    path, separator, text = change.partition("=")
    if not separator:
        raise RecipeError(f"--set {change!r} has no '=': write KEY=VALUE, such as trainer.steps=100.")
    parts = path.split(".")
    if len(parts) > MAX_DEPTH:
        raise RecipeError(f"--set {change!r} names a key {len(parts)} levels deep: no key of a recipe is.")
    if not all(part and part[0] != "-" for part in parts):  # -1 would count from the end
        raise RecipeError(f"--set {change!r} names no key: {_NUMBERED}")
    for place in _places(data, parts, model, change):
        _set(data, place, text, change)


def _places(data: Mapping[str, Any], parts: list[str], model: type[Recipe], change: str) -> list[list[str]]:
    """The full paths that a change means."""
    stages = data.get("stages")
    if not isinstance(stages, list):
        return [parts]
    names = [stage.get("name") if isinstance(stage, dict) else None for stage in stages]
    head, rest = parts[0], parts[1:]
    if head == "stages" and rest:
        if rest[0] == "*":
            return [["stages", str(index), *rest[1:]] for index in range(len(stages))]
        if rest[0] in names:
            return [["stages", str(names.index(rest[0])), *rest[1:]]]
        return [parts]
    if head in model.model_fields:
        return [parts]
    if head in names and rest:
        return [["stages", str(names.index(head)), *rest]]
    if head not in _stage_fields(model):
        return [parts]
    if len(stages) != 1:
        raise RecipeError(
            f"--set {change!r}: {head} is a key of a stage, and the recipe has {len(stages)} stages: write "
            f"{names[0]}.{change}, or stages.*.{change} for all of them."
        )
    return [["stages", "0", *parts]]


def _stage_fields(model: type[Recipe]) -> Mapping[str, Any]:
    (stage, _) = model.model_fields["stages"].annotation.__args__  # type: ignore[union-attr]
    return stage.model_fields


def _set(data: dict[str, Any], parts: list[str], text: str, change: str) -> None:
    *parents, last = parts
    place: Any = data
    try:
        for part in parents:
            if isinstance(place, list):
                place = place[int(part)]
            else:
                if place.get(part) is None:
                    place[part] = {}
                place = place[part]
        place[int(last) if isinstance(place, list) else last] = parse_yaml(text)
        if isinstance(place, dict):
            place.pop(_EXCLUDES.get(last, ""), None)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"--set {change!r} does not fit the recipe ({one_line(error)}): {_NUMBERED}"
        ) from None


def short_forms(steps: int | None, batch: int | None, precision: str | None) -> list[str]:
    """The changes that ``--steps``, ``--batch`` and ``--precision`` stand for: of every stage."""
    changes = [f"stages.*.trainer.steps={steps}"] if steps is not None else []
    changes += [f"stages.*.trainer.batch={batch}"] if batch is not None else []
    return changes + ([f"precision={precision}"] if precision is not None else [])
