"""Base class of all settings: recipes, method options, network settings."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

#: Largest absolute value of a number whose field has no limit of its own.
LARGEST = 10**6
#: Largest number of steps.
MOST_STEPS = 10**8
#: Largest seed: the seeds derived for stages, streams and processes must fit into 64 bits.
LARGEST_SEED = 2**32 - 1
#: Largest number of pixels of an image.
MOST_PIXELS = 10**9

_NUMERIC_ERRORS = (
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "finite_number",
    "out_of_reason",
)


class Settings(BaseModel):
    """Unknown keys are errors, values are immutable, and numbers are finite and limited in size."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_switch_as_number(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Reject YAML's ``yes``, ``on`` and ``true`` for a number: pydantic would read them as 1."""
        result = handler(value)
        if _switch_became_number(value, result):
            raise ValueError("a number is needed, not yes or no")
        return result

    @field_validator("*", mode="after")
    @classmethod
    def _sane_size(cls, value: Any, info: ValidationInfo) -> Any:
        """Limit numbers that the field types do not limit, including those in free-form values (``options``)."""
        limited = info.field_name is not None and _limits(cls.model_fields[info.field_name].metadata)[1]
        for where, number in _numbers(value):
            if math.isfinite(number) and (limited or abs(number) <= LARGEST):
                continue
            if where:
                raise ValueError(
                    f"{where[1:]} is {number!r}; numbers must be finite and at most {LARGEST:,} in size"
                )
            raise PydanticCustomError("out_of_reason", f"Input should be at most {LARGEST:,} in size")  # type: ignore[arg-type]
        return value


def _switch_became_number(given: Any, read: Any) -> bool:
    """Whether a bool, also in a list or mapping, was read as a number; nested settings check their own values."""
    if isinstance(given, bool):
        return isinstance(read, int | float) and not isinstance(read, bool)
    if isinstance(given, dict) and isinstance(read, dict):
        return any(_switch_became_number(given[key], read[key]) for key in given.keys() & read.keys())
    if isinstance(given, list | tuple) and isinstance(read, list | tuple):
        return any(map(_switch_became_number, given, read))
    return False


def _numbers(value: Any, where: str = "") -> Iterator[tuple[str, int | float]]:
    """The numbers in a value and their places, in nested tuples, lists and mappings; nested settings check their own
    values."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{where}.{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{where}.{index}")


def allowed_range(error: ValidationError) -> str:
    """The range of the number that a validation error reports first, such as ``above 0 and at most 100``.

    Empty if the error has another cause, or the value has no range of its own.
    """
    problem = error.errors()[0]
    model = _by_name(error.title)
    if problem["type"] not in _NUMERIC_ERRORS or model is None:
        return ""
    metadata = _walk(model, problem["loc"])[1]
    if metadata is None:
        return ""
    lower, upper = _limits(metadata)
    bounds = [lower or f"at least {-LARGEST:,}", upper or f"at most {LARGEST:,}"]
    return " and ".join(bounds)


def refusing_model(error: ValidationError) -> type[BaseModel] | None:
    """The model that refused the key a validation error complains of first; None: it is not one of ours."""
    model = _by_name(error.title)
    if model is None:
        return None
    kind = _walk(model, error.errors()[0]["loc"][:-1])[0]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _by_name(title: str) -> type[BaseModel] | None:
    waiting: list[type[BaseModel]] = [Settings]
    while waiting:
        model = waiting.pop()
        if model.__name__ == title:
            return model
        waiting += model.__subclasses__()
    return None


def _limits(metadata: list[Any] | tuple[Any, ...]) -> tuple[str, str]:
    """A field's lower and upper limit from its annotations, in words."""
    lower = upper = ""
    for rule in metadata:
        if isinstance(rule, Gt):
            lower = f"above {rule.gt:,}"
        elif isinstance(rule, Ge):
            lower = f"at least {rule.ge:,}"
        elif isinstance(rule, Lt):
            upper = f"below {rule.lt:,}"
        elif isinstance(rule, Le):
            upper = f"at most {rule.le:,}"
    return lower, upper


def _walk(model: type[BaseModel], where: tuple[int | str, ...]) -> tuple[Any, list[Any] | None]:
    """The type of the value at a place in a model and its annotations; both None: the place is in a free-form value."""
    kind: Any = model
    metadata: list[Any] = []
    for part in where:
        kind = _without_none(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            if field is None:
                return None, None
            kind, metadata = field.annotation, list(field.metadata)
        else:
            inner = typing.get_args(kind)
            if typing.get_origin(kind) is tuple and isinstance(part, int):
                kind = inner[0] if len(inner) == 2 and inner[1] is Ellipsis else inner[part]
            elif typing.get_origin(kind) in (dict, list) and inner:
                kind = inner[-1]
            else:
                return None, None
            metadata = []
        if typing.get_origin(kind) is typing.Annotated:
            kind, *more = typing.get_args(kind)
            metadata += [rule for one in more for rule in getattr(one, "metadata", [one])]
    return _without_none(kind), metadata


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        return members[0] if len(members) == 1 else kind
    return kind
