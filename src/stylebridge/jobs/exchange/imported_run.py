"""The run folder of an import: its recipe, its facts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import yaml

from stylebridge.jobs.recipe.adapt import Recipe
from stylebridge.jobs.recipe.synthesize import SynthesisRecipe
from stylebridge.jobs.recipe.translate import TranslationRecipe
from stylebridge.version import __version__


def write_run(
    folder: Path, recipe: Recipe | TranslationRecipe | SynthesisRecipe | None, facts: dict[str, Any]
) -> None:
    """``recipe.yaml``, where there is one, and ``run.yaml``."""
    if recipe is not None:
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    (folder / "run.yaml").write_text(text, encoding="utf-8")


def origin(path: Path) -> dict[str, Any]:
    """A released file's name and hash, for ``run.yaml``."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def versions() -> dict[str, str]:
    """For ``run.yaml``."""
    return {"stylebridge": __version__, "torch": str(torch.__version__)}
