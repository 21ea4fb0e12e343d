"""What is wrong with a recipe, in words: the place, the problem, what is allowed or was probably meant."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from stylebridge.errors import did_you_mean
from stylebridge.settings import allowed_range, refusing_model


def describe_validation(error: ValidationError) -> str:
    """The first problem of a validation error in words: where it is, what is wrong, what is allowed."""
    problem = error.errors()[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where} is not a known key{_close_key(error, problem)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "value_error":
        return f"{where}: {message}"
    allowed = allowed_range(error)
    allowed = f" (allowed: {allowed})" if allowed else ""
    return f"{where} is {problem['input']!r}: {message[0].lower()}{message[1:]}{allowed}"


def _close_key(error: ValidationError, problem: Any) -> str:
    """The known key of the model that refused one which is nearest to it."""
    model = refusing_model(error)
    known = set(model.model_fields) if model is not None else set()
    return did_you_mean(str(problem["loc"][-1]), known, cutoff=0.6) or "; remove it"
