"""Recipes of mixers (MixNMatch): both stages, typed, read from YAML, kept with the run."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from stylebridge.engine.config import OptimizerConfig, Strict, TrainerConfig
from stylebridge.jobs.recipe.adapt import describe_validation, load_recipe_as
from stylebridge.methods import mixnmatch, mixnmatch_features
from stylebridge.methods.mixnmatch import MixNMatch, MixNMatchOptions
from stylebridge.methods.mixnmatch_features import MixNMatchFeatures, MixNMatchFeaturesOptions
from stylebridge.networks.mixnmatch import PRESETS, MixNMatchConfig
from stylebridge.settings import LARGEST_SEED


class CodeStage(Strict):
    """The first stage, code mode: generator, encoders and discriminators. ``optimizers`` are the published ones if left
    out."""

    options: MixNMatchOptions = MixNMatchOptions()
    trainer: TrainerConfig
    optimizers: dict[str, OptimizerConfig] | None = None


class FeatureStage(Strict):
    """The second stage, feature mode: the extractor of the finished generator's parent features."""

    options: MixNMatchFeaturesOptions = MixNMatchFeaturesOptions()
    trainer: TrainerConfig
    optimizers: dict[str, OptimizerConfig] | None = None


class MixRecipe(Strict):
    """A mixer's training.

    ``preset`` names the networks' settings; ``networks`` changes some of them
    (:class:`~stylebridge.networks.mixnmatch.MixNMatchConfig`): ``shapes`` and ``textures`` are the numbers of
    categories (there are as many backgrounds as textures), ``image_size`` is 64, 128 or 256.
    """

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    preset: str
    networks: dict[str, Any] = Field(default_factory=dict)
    code: CodeStage
    feature: FeatureStage

    @model_validator(mode="after")
    def _fits(self) -> MixRecipe:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is not known; choose one of {', '.join(PRESETS)}")
        known = MixNMatchConfig.model_fields
        for key in self.networks:
            if key not in known:
                raise ValueError(f"networks.{key} is not a known key; choose among {', '.join(known)}")
        try:
            self.configure()
        except ValidationError as error:
            raise ValueError(f"networks{describe_validation(error)}") from None
        for stage, method in (("code", MixNMatch), ("feature", MixNMatchFeatures)):
            _check_stage(stage, getattr(self, stage), method.trains)
        return self

    def configure(self) -> MixNMatchConfig:
        """The networks' settings."""
        return MixNMatchConfig.model_validate({**PRESETS[self.preset].model_dump(), **self.networks})

    def spelt_out(self) -> MixRecipe:
        """The same recipe with every setting and published optimiser."""
        code = self.code.optimizers or mixnmatch.published_optimizers()
        feature = self.feature.optimizers or mixnmatch_features.published_optimizers()
        return self.model_copy(
            update={
                "networks": self.configure().model_dump(mode="json"),
                "code": self.code.model_copy(update={"optimizers": code}),
                "feature": self.feature.model_copy(update={"optimizers": feature}),
            }
        )

    @property
    def trainer(self) -> TrainerConfig:
        """That of the first stage."""
        return self.code.trainer

    def for_images(self, images: int) -> MixRecipe:
        """With steps in place of epochs over so many images."""
        code, feature = (
            stage.model_copy(update={"trainer": stage.trainer.for_images(images)})
            for stage in (self.code, self.feature)
        )
        return self.model_copy(update={"code": code, "feature": feature})

    def to_yaml(self) -> str:
        """The recipe as YAML; :func:`load_mix_recipe` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _check_stage(name: str, stage: CodeStage | FeatureStage, trained: tuple[str, ...]) -> None:
    """Raises ValueError where the stage could not be trained."""
    trainer = stage.trainer
    if trainer.batch % trainer.accumulate or trainer.batch // trainer.accumulate < 2:
        raise ValueError(
            f"{name}.trainer.batch {trainer.batch} over accumulate {trainer.accumulate} leaves batch norms without "
            "statistics: take 2 images or more for each micro-batch, and as many for all"
        )
    if stage.optimizers is not None and set(stage.optimizers) != set(trained):
        raise ValueError(
            f"{name}.optimizers are given for {sorted(stage.optimizers)}, but the stage trains {sorted(trained)}"
        )


def mix_recipes() -> dict[str, Path]:
    """The recipes of mixers that come with the package, by name."""
    folder = Path(str(resources.files("stylebridge") / "recipes" / "mix"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_mix_recipe(name_or_path: str | Path, overrides: list[str] | None = None) -> MixRecipe:
    """Read a built-in recipe of a mixer by name, or a YAML file, and apply ``key=value`` changes.

    Raises:
        RecipeError: there is no such recipe, or a key or value is wrong; names it.
    """
    return load_recipe_as(MixRecipe, name_or_path, mix_recipes(), overrides)
