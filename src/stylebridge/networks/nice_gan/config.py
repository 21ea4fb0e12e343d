"""Settings and presets of NICE-GAN's networks."""

from typing import Self

from pydantic import Field, model_validator

from stylebridge.networks.two_domains import ensure_size_fits
from stylebridge.settings import Settings


class NiceGanConfig(Settings):
    """Settings of a pair of discriminators and a pair of generators; published values are the defaults.

    ``image_size``: the side of the square training images; binding only for the full generator.
    ``channels``: of the first layer of the discriminator and of the last of the generator (published: ndf, ngf).
    ``blocks``: residual blocks of a generator (the paper's NICE-GAN* has 4).
    ``light``: the style code is computed from averages over the image, as in all published results; else (full) from
    every pixel, by a layer of (image_size/4)²·4·channels × 4·channels weights.
    ``layers``: of a discriminator. Published: 7, which needs images of at least 96 pixels; 6 has one stride-2 layer
    less in each head and needs 48.
    """

    image_size: int = Field(default=256, gt=0)
    channels: int = Field(default=64, gt=0)
    blocks: int = Field(default=6, gt=0)
    light: bool = True
    layers: int = Field(default=7, ge=6)

    @property
    def smallest_image(self) -> int:
        """The shortest side (pixels) for which the wide head has an output."""
        return 3 * 2 ** (self.layers - 2)

    @property
    def code_channels(self) -> int:
        """Channels of the code, at a quarter of the image's size."""
        return 2 * self.channels

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        ensure_size_fits(self.image_size, self.layers, self.smallest_image)
        return self


#: ``nice-gan`` is the published light model, with all published results; ``nice-gan-full`` the default of the published
#: command line. ``nice-gan-small`` is ours, for CPUs, not published.
PRESETS: dict[str, NiceGanConfig] = {
    "nice-gan": NiceGanConfig(),
    "nice-gan-4-blocks": NiceGanConfig(blocks=4),
    "nice-gan-full": NiceGanConfig(light=False),
    "nice-gan-128": NiceGanConfig(image_size=128),
    "nice-gan-full-128": NiceGanConfig(image_size=128, light=False),
    "nice-gan-small": NiceGanConfig(image_size=64, channels=32, blocks=4, layers=6),
}
