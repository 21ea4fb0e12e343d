"""Recipes of translators."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from stylebridge.jobs.recipe.base import NetworksRecipe, Stage
from stylebridge.settings import MOST_PIXELS


class TranslateStage(Stage):
    """The stage of a translator."""

    task = "translate"


class TranslateRecipe(NetworksRecipe):
    """A translator's training.

    ``load``: the side that images are resized to before a square of the networks' size is cut out (None: no crop).
    ``pixels`` instead resizes to about that many pixels at the images' own aspect ratio, for scenes that must not be
    squeezed.
    """

    load: int | None = Field(default=None, gt=0)
    pixels: int | None = Field(default=None, gt=0, le=MOST_PIXELS)
    stages: tuple[TranslateStage, ...] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.load is not None and self.pixels is not None:
            raise ValueError("load and pixels are two ways to say the same: leave one out")
        if self.load is not None and self.load < self.size:
            raise ValueError(f"load is {self.load}, smaller than the networks' images ({self.size})")
        return self

    @property
    def size(self) -> int:
        """The side of the images that the networks are trained on."""
        return int(self.configure().image_size)


#: What :mod:`~stylebridge.jobs.recipe.reading` reads recipes of this task as.
RECIPE = TranslateRecipe
