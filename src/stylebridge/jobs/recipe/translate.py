"""Recipes of translators: typed, read from YAML, kept with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from stylebridge.engine.config import OptimizerConfig, Strict, TrainerConfig
from stylebridge.jobs.recipe.adapt import describe_validation, load_recipe_as
from stylebridge.jobs.recipe.translators import TRANSLATORS, TranslatorKind, translation_recipes
from stylebridge.settings import LARGEST_SEED, MOST_PIXELS


class TranslationRecipe(Strict):
    """A translation experiment. ``preset`` names the networks' settings, ``networks`` changes some of them,
    ``load`` the side that images are resized to
    before a square of the networks' size is cut out (None: no crop); ``pixels`` instead resizes to about that many
    pixels at the images' own aspect ratio, for scenes that must not be squeezed. ``optimizers`` are the published ones
    if left out."""

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    method: str
    preset: str
    load: int | None = Field(default=None, gt=0)
    pixels: int | None = Field(default=None, gt=0, le=MOST_PIXELS)
    networks: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    trainer: TrainerConfig
    optimizers: dict[str, OptimizerConfig] | None = None

    @model_validator(mode="after")
    def _fits(self) -> TranslationRecipe:
        if self.method not in TRANSLATORS:
            raise ValueError(f"method {self.method!r} is not known; choose one of {', '.join(TRANSLATORS)}")
        kind = TRANSLATORS[self.method]
        if self.preset not in kind.presets:
            raise ValueError(f"preset {self.preset!r} is not known; choose one of {', '.join(kind.presets)}")
        try:
            self.configure()
        except ValidationError as error:
            raise ValueError(f"networks{describe_validation(error)}") from None
        try:
            kind.method.Options(**self.options)
        except ValidationError as error:
            raise ValueError(f"options{describe_validation(error)}") from None
        if self.load is not None and self.pixels is not None:
            raise ValueError("load and pixels are two ways to say the same: leave one out")
        if self.load is not None and self.load < self.size:
            raise ValueError(f"load is {self.load}, smaller than the networks' images ({self.size})")
        return self

    @property
    def kind(self) -> TranslatorKind:
        """Networks and method."""
        return TRANSLATORS[self.method]

    @property
    def size(self) -> int:
        """The side of the images that the networks are trained on."""
        return int(self.configure().image_size)

    def configure(self) -> Any:
        """The networks' settings."""
        kind = TRANSLATORS[self.method]
        return kind.config.model_validate({**kind.presets[self.preset].model_dump(), **self.networks})

    def spelt_out(self) -> TranslationRecipe:
        """The same recipe with every setting, option and published optimiser."""
        return self.model_copy(
            update={
                "networks": self.configure().model_dump(mode="json"),
                "options": self.kind.method.Options(**self.options).model_dump(mode="json"),
                "optimizers": self.optimizers or self.kind.optimizers(),
            }
        )

    def for_images(self, images: int) -> TranslationRecipe:
        """With steps in place of epochs, which count the images of the larger domain."""
        trainer = self.trainer.for_images(images, short_batch=True)
        return self.model_copy(update={"trainer": trainer})

    def to_yaml(self) -> str:
        """The recipe as YAML; :func:`load_translation_recipe` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_translation_recipe(
    name_or_path: str | Path, overrides: list[str] | None = None
) -> TranslationRecipe:
    """Read a built-in translation recipe by name, or a YAML file, and apply ``key=value`` changes.

    Raises:
        RecipeError: there is no such recipe, or a key or value is wrong; names it.
    """
    return load_recipe_as(TranslationRecipe, name_or_path, translation_recipes(), overrides)
