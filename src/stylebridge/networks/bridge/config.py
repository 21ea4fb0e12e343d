"""Settings of Bridge's networks. Each switch is a row of the ablation (docs/bridge.md)."""

from typing import Literal

from pydantic import Field

from stylebridge.networks.nice_gan import NiceGanConfig
from stylebridge.settings import Settings


class BridgeConfig(Settings):
    """Settings of a pair of critics, a pair of generators and a pair of style heads.

    ``channels``: of an encoder's first layer; codes have twice as many.
    ``trunk``: an encoder's layers are its ``own``, which its critic trains, as in NICE-GAN; or, before one layer of its
    own, the ``segmenter``'s first ones as they are when the translators begin.
    ``blocks``: residual blocks at a quarter of the image's size.
    ``style_channels``: S, the length of a region's style code.
    ``hidden``: channels between the two convolutions of a label map in a norm.
    ``class_critics``: patch heads with 2K outputs (domain and class at once); else one output, as in NICE-GAN.
    ``region_styles``: a style for each class; else one for the whole image.
    ``output``: ``look``: the base alone, in closed form, and no network is built; ``residual``: the generator changes
    the base pixel by pixel, ``x·(1 + a) + b + n·noise``; ``image``: it paints the image anew from the code, as NICE-GAN
    and SEAN do.
    ``base``: what is changed: the image itself, or the image with the colour statistics of the wanted
    style (of the whole image, or mixed with those of each region, which count ``region_share``). ``grain``: it also
    gets the wanted image's noise.
    """

    channels: int = Field(default=32, gt=0)
    trunk: Literal["own", "segmenter"] = "own"
    blocks: int = Field(default=2, ge=0)
    style_channels: int = Field(default=32, gt=0)
    hidden: int = Field(default=32, gt=0)
    class_critics: bool = True
    region_styles: bool = True
    output: Literal["look", "residual", "image"] = "residual"
    base: Literal["image", "colour", "region-colour"] = "region-colour"
    region_share: float = Field(default=0.75, ge=0, le=1)
    grain: bool = True

    @property
    def learnt(self) -> bool:
        """Whether there is anything to train."""
        return self.output != "look"

    @property
    def code_channels(self) -> int:
        """Channels of a code, at a quarter of the image's size; none where nothing is learnt."""
        return 2 * self.channels if self.learnt else 0

    @property
    def encoder(self) -> NiceGanConfig:
        """The encoder is NICE-GAN's."""
        return NiceGanConfig(channels=self.channels, layers=6)
