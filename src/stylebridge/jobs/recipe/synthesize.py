"""Recipes of synthesizers (pictures from label maps): typed, read from YAML, kept with the run."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError, model_validator

from stylebridge.engine.config import OptimizerConfig, Strict, TrainerConfig
from stylebridge.jobs.recipe.adapt import describe_validation, load_recipe_as
from stylebridge.jobs.recipe.synthesizers import SYNTHESIZERS, SynthesizerKind
from stylebridge.methods.synthesis import Synthesis, SynthesisOptions, published_optimizers
from stylebridge.settings import LARGEST_SEED


class SynthesisRecipe(Strict):
    """A synthesis experiment.

    ``preset`` names the networks' settings, ``networks`` changes some of them. Images and label maps are resized to
    ``load`` (width, height), and ``size`` is cut out of them; None: they are resized to ``size``. ``optimizers`` are
    the published ones if left out.
    """

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    method: str
    preset: str
    networks: dict[str, Any] = Field(default_factory=dict)
    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    load: tuple[PositiveInt, PositiveInt] | None = None
    flip: float = Field(default=0.5, ge=0, le=1)
    options: SynthesisOptions = SynthesisOptions()
    trainer: TrainerConfig
    optimizers: dict[str, OptimizerConfig] | None = None

    @model_validator(mode="after")
    def _fits(self) -> SynthesisRecipe:
        if self.method not in SYNTHESIZERS:
            raise ValueError(f"method {self.method!r} is not known; choose one of {', '.join(SYNTHESIZERS)}")
        if self.preset not in self.kind.presets:
            raise ValueError(
                f"preset {self.preset!r} is not known; choose one of {', '.join(self.kind.presets)}"
            )
        if "classes" in self.networks:
            raise ValueError("networks.classes is the number of the data's classes: leave it out")
        try:
            stride = int(self.configure(1).stride)
        except ValidationError as error:
            raise ValueError(f"networks{describe_validation(error)}") from None
        if self.size[0] % stride or self.size[1] % stride:
            raise ValueError(f"size {list(self.size)} does not fit {self.preset}: take multiples of {stride}")
        if self.load is not None and (self.load[0] < self.size[0] or self.load[1] < self.size[1]):
            raise ValueError(f"load {list(self.load)} is smaller than size {list(self.size)}")
        if self.optimizers is not None and set(self.optimizers) != set(Synthesis.trains):
            raise ValueError(
                f"optimizers are given for {sorted(self.optimizers)}, but {self.method} trains "
                f"{sorted(Synthesis.trains)}"
            )
        return self

    @property
    def kind(self) -> SynthesizerKind:
        """How its networks are built."""
        return SYNTHESIZERS[self.method]

    def for_images(self, images: int) -> SynthesisRecipe:
        """With steps in place of epochs over so many images."""
        return self.model_copy(update={"trainer": self.trainer.for_images(images)})

    def configure(self, classes: int) -> Any:
        """The networks' settings for so many classes."""
        return self.kind.configure(self.preset, classes, self.networks)

    def spelt_out(self) -> SynthesisRecipe:
        """The same recipe with every setting and published optimiser."""
        settings = self.configure(1).model_dump(mode="json", exclude={"classes"})
        return self.model_copy(
            update={"networks": settings, "optimizers": self.optimizers or published_optimizers()}
        )

    def to_yaml(self) -> str:
        """The recipe as YAML; :func:`load_synthesis_recipe` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def synthesis_recipes() -> dict[str, Path]:
    """The synthesis recipes that come with the package, by name."""
    folder = Path(str(resources.files("stylebridge") / "recipes" / "synthesize"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_synthesis_recipe(name_or_path: str | Path, overrides: list[str] | None = None) -> SynthesisRecipe:
    """Read a built-in synthesis recipe by name, or a YAML file, and apply ``key=value`` changes.

    Raises:
        RecipeError: there is no such recipe, or a key or value is wrong; names it.
    """
    return load_recipe_as(SynthesisRecipe, name_or_path, synthesis_recipes(), overrides)
