"""Settings of Bridge's networks. Each switch is a row of the ablation (docs/bridge.md)."""

from typing import Literal

from pydantic import Field

from stylebridge.networks.nice_gan import NiceGanConfig
from stylebridge.settings import Settings


class BridgeConfig(Settings):
    """Settings of a pair of critics, a pair of generators and a pair of style heads.

    ``channels``: of an encoder's first layer; codes have twice as many.
    ``trunk``: ``own``: the encoder's layers are trained by its critic, as in NICE-GAN; ``segmenter``: the encoder is
    a fixed copy of the segmenter's first layers and one layer of its own.
    ``blocks``: residual blocks at a quarter of the image's size.
    ``style_channels``: S, the length of a region's style code.
    ``hidden``: channels between the two convolutions of a label map in a norm.
    ``class_critics``: patch heads with 2K outputs (domain and class jointly); else one output, as in NICE-GAN.
    ``region_styles``: a style for each class; else one for the whole image.
    ``output``: ``look``: only the base, in closed form, without networks; ``residual``: the generator changes the base
    pixel by pixel, ``x·(1 + a) + b + n·noise``; ``image``: it generates the image from the code, as NICE-GAN and SEAN
    do.
    ``base``: the starting image: the input itself, or the input with the colour statistics of the wanted style (of the
    whole image, or mixed with those of each region with weight ``region_share``). ``grain``: the base also gets the
    noise level of the wanted style.
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
        """Whether there are networks to train."""
        return self.output != "look"

    @property
    def code_channels(self) -> int:
        """Channels of a code, at a quarter of the image's size; 0 without networks to train."""
        return 2 * self.channels if self.learnt else 0

    @property
    def encoder(self) -> NiceGanConfig:
        """The settings of the encoder, which is NICE-GAN's."""
        return NiceGanConfig(channels=self.channels, layers=6)
