"""What the recipes of all tasks have in common: a row of stages, each of which trains one method."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from stylebridge.engine.config import OptimizerConfig, Strict, TrainerConfig
from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.hints import describe_validation
from stylebridge.methods.registry import MethodSpec, find_method, method_names
from stylebridge.settings import LARGEST_SEED


class Stage(Strict):
    """One stage of a recipe: a method, its options, its length and its optimisers.

    ``optimizers``: one for each network that the method trains; None: the published ones.
    """

    #: The task whose methods the stage takes.
    task: ClassVar[str]

    name: str = Field(pattern=r"^[a-z0-9-]+$", max_length=64)
    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    trainer: TrainerConfig
    optimizers: dict[str, OptimizerConfig] | None = None

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            fits = find_method(name).task == cls.task  # imports this method only
        except RecipeError:
            fits = False
        if not fits:
            raise ValueError(
                f"{name!r} is not a method of {cls.task}; choose one of {list(method_names(cls.task))}"
            )
        return name

    @model_validator(mode="after")
    def _fits_method(self) -> Self:
        try:
            options = self.method_options()
        except ValidationError as error:
            raise ValueError(f"options{describe_validation(error)}") from None
        trained = self.spec.method.trained(options)
        if self.optimizers is not None and set(self.optimizers) != set(trained):
            raise ValueError(
                f"optimizers has settings for {sorted(self.optimizers)}, but {self.method} trains {sorted(trained)}"
            )
        return self

    @property
    def spec(self) -> MethodSpec:
        """What the method declares of itself."""
        return find_method(self.method)

    def method_options(self) -> Any:
        """The method's options. Raises pydantic's ValidationError."""
        return self.spec.options(**self.options)

    def spelt_out(self) -> Self:
        """The same stage with every option and published optimiser."""
        optimizers = self.optimizers
        if optimizers is None and self.spec.optimizers is not None:
            optimizers = self.spec.optimizers()
        options = self.method_options().model_dump(mode="json")
        return self.model_copy(update={"options": options, "optimizers": optimizers})


class Recipe(Strict):
    """What a recipe of any task says. Field by field what the YAML says."""

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    stages: tuple[Stage, ...] = Field(min_length=1)

    def stage_name(self, index: int) -> str:
        """The name a stage has on the disk: numbered, so that names sort in order."""
        return f"{index + 1}-{self.stages[index].name}"

    def spelt_out(self) -> Self:
        """The same recipe with every setting, option and published optimiser."""
        return self.model_copy(update={"stages": tuple(stage.spelt_out() for stage in self.stages)})

    def to_yaml(self) -> str:
        """The recipe as YAML; :func:`~stylebridge.jobs.recipe.reading.load_recipe` reads it back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class NetworksRecipe(Recipe):
    """A recipe of a task whose methods bring their networks. ``preset`` names the networks' settings, ``networks``
    changes some of them; all stages share them."""

    preset: str
    networks: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _networks_fit(self) -> Self:
        networks = self.spec.networks
        assert networks is not None
        if self.preset not in networks.presets:
            raise ValueError(
                f"preset {self.preset!r} is not known; choose one of {', '.join(networks.presets)}"
            )
        for key in networks.from_data:
            if key in self.networks:
                raise ValueError(f"networks.{key} comes from the data: leave it out")
        try:
            self.configure(**dict.fromkeys(networks.from_data, 1))
        except ValidationError as error:
            raise ValueError(f"networks{describe_validation(error)}") from None
        return self

    @property
    def spec(self) -> MethodSpec:
        """What the method of the first stage declares of itself: its networks are the recipe's."""
        return self.stages[0].spec

    @property
    def method(self) -> str:
        """The method of the first stage."""
        return self.stages[0].method

    def configure(self, **from_data: Any) -> Any:
        """The networks' settings; ``from_data``: those that the data decides."""
        assert self.spec.networks is not None
        return self.spec.networks.configure(self.preset, self.networks, **from_data)

    def spelt_out(self) -> Self:
        assert self.spec.networks is not None
        unknown = self.spec.networks.from_data
        settings = self.configure(**dict.fromkeys(unknown, 1)).model_dump(mode="json", exclude=set(unknown))
        return super().spelt_out().model_copy(update={"networks": settings})

    def for_images(self, images: int, *, short_batch: bool = False) -> Self:
        """With steps in place of epochs over so many images (:meth:`TrainerConfig.for_images`)."""
        stages = (
            stage.model_copy(update={"trainer": stage.trainer.for_images(images, short_batch=short_batch)})
            for stage in self.stages
        )
        return self.model_copy(update={"stages": tuple(stages)})
