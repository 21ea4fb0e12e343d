"""Settings and presets of MixNMatch's networks."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stylebridge.settings import Settings

#: Channels of the features from the parent stage to the child stage, for all sizes of the networks.
PARENT_CHANNELS = 16
#: Border that the background discriminator's crop leaves out, in pixels.
VIEW_MARGIN = 2
#: Stride of its outputs in pixels, for each possible receptive field.
FIELD_STRIDES = {34: 4, 10: 2}


class MixNMatchConfig(Settings):
    """Settings of all networks; published values (for CUB) are the defaults.

    ``image_size``: side of the square images. ``shapes``: shape categories Np. ``textures``: texture categories Nc,
    also the number of background categories; every texture belongs to the shape floor(texture·Np/Nc).
    ``pose``: length of the pose code. ``*_channels``: of the first layer of generator (published: ngf), child
    discriminator (ndf; the parent's has half), encoders, pair discriminators and feature extractor.
    ``background_field``: receptive field of the background discriminator's outputs, in pixels. Outputs that see a part
    of the object's box are not used, and with the published 34 nearly none is left in 62 pixels: 10 is for small
    images.

    For images of 64 pixels every network has one stage of doubling or halving less (as the published networks would be
    reduced; the published code only has 128), for 256 one more (also ours).
    """

    image_size: Literal[64, 128, 256] = 128
    shapes: int = Field(default=20, gt=0)
    textures: int = Field(default=200, gt=0)
    pose: int = Field(default=100, gt=0)
    generator_channels: int = Field(default=64, gt=0, multiple_of=2)
    discriminator_channels: int = Field(default=64, gt=0, multiple_of=2)
    encoder_channels: int = Field(default=64, gt=0)
    pair_channels: int = Field(default=16, gt=0)
    extractor_channels: int = Field(default=32, gt=0)
    background_field: Literal[34, 10] = 34

    @model_validator(mode="after")
    def _textures_suffice(self) -> Self:
        if self.textures < self.shapes:
            raise ValueError(
                f"textures {self.textures} are fewer than shapes {self.shapes}: every shape needs its own texture"
            )
        return self

    @property
    def doublings(self) -> int:
        """Number of doublings in the generator, from 4×4 to the image's size."""
        return self.image_size.bit_length() - 3

    @property
    def view_size(self) -> int:
        """Side of the background discriminator's crops (126 of 128)."""
        return self.image_size - VIEW_MARGIN


#: ``mixnmatch`` is the published model for CUB; its variants differ in categories, or in size (``-64``).
#: ``mixnmatch-small`` is ours, for CPUs, not published.
PRESETS: dict[str, MixNMatchConfig] = {
    "mixnmatch": MixNMatchConfig(),
    "mixnmatch-dogs": MixNMatchConfig(shapes=12, textures=120),
    "mixnmatch-cars": MixNMatchConfig(shapes=20, textures=196),
    "mixnmatch-64": MixNMatchConfig(image_size=64, background_field=10),
    "mixnmatch-small": MixNMatchConfig(
        image_size=64,
        shapes=5,
        textures=25,
        generator_channels=32,
        discriminator_channels=24,
        encoder_channels=24,
        pair_channels=8,
        extractor_channels=16,
        background_field=10,
    ),
}
