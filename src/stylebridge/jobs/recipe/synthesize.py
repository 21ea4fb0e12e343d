"""Recipes of synthesizers: images from label maps."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from stylebridge.jobs.recipe.base import NetworksRecipe, Stage


class SynthesizeStage(Stage):
    """The stage of a synthesizer."""

    task = "synthesize"


class SynthesizeRecipe(NetworksRecipe):
    """A synthesizer's training. Images and label maps are resized to ``load`` (width, height), and ``size`` is cut out
    of them; ``load`` None: they are resized to ``size``. ``flip``: the share of images that are mirrored."""

    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    load: tuple[PositiveInt, PositiveInt] | None = None
    flip: float = Field(default=0.5, ge=0, le=1)
    stages: tuple[SynthesizeStage, ...] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        stride = int(self.configure(classes=1).stride)
        if self.size[0] % stride or self.size[1] % stride:
            raise ValueError(f"size {list(self.size)} does not fit {self.preset}: take multiples of {stride}")
        if self.load is not None and (self.load[0] < self.size[0] or self.load[1] < self.size[1]):
            raise ValueError(f"load {list(self.load)} is smaller than size {list(self.size)}")
        return self


#: What :mod:`~stylebridge.jobs.recipe.reading` reads recipes of this task as.
RECIPE = SynthesizeRecipe
