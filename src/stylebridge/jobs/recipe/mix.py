"""Recipes of mixers (MixNMatch): code mode, then feature mode."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from stylebridge.jobs.recipe.base import NetworksRecipe, Stage

#: The methods of the stages, in this order.
METHODS = ("mixnmatch", "mixnmatch-features")


class MixStage(Stage):
    """A stage of a mixer: code mode trains generator, encoders and discriminators, feature mode the extractor of the
    finished generator's parent features."""

    task = "mix"

    @model_validator(mode="after")
    def _statistics_suffice(self) -> Self:
        trainer = self.trainer
        if trainer.batch % trainer.accumulate or trainer.batch // trainer.accumulate < 2:
            raise ValueError(
                f"trainer.batch {trainer.batch} over accumulate {trainer.accumulate} leaves batch norms without "
                "statistics: take 2 images or more for each micro-batch, and as many for all"
            )
        return self


class MixRecipe(NetworksRecipe):
    """A mixer's training.

    Of the networks' settings (:class:`~stylebridge.networks.mixnmatch.MixNMatchConfig`), ``shapes`` and ``textures``
    are the numbers of categories (there are as many backgrounds as textures), ``image_size`` is 64, 128 or 256.
    """

    stages: tuple[MixStage, ...] = Field(min_length=1, max_length=2)

    @model_validator(mode="after")
    def _stages_in_order(self) -> Self:
        methods = tuple(stage.method for stage in self.stages)
        if methods != METHODS[: len(methods)]:
            raise ValueError(f"stages train {' and '.join(methods)}: give {' and then '.join(METHODS)}")
        return self


#: What :mod:`~stylebridge.jobs.recipe.reading` reads recipes of this task as.
RECIPE = MixRecipe
