"""Settings and presets of SPADE's networks."""

from typing import Any, Self

from pydantic import Field, model_validator

from stylebridge.networks.label_gan.config import LabelGanConfig


class SPADEConfig(LabelGanConfig):
    """Settings of SPADE; published values are the defaults.

    ``vae``: the generator starts from a code of an image instead of the label map.
    ``latent``: length of that code. ``image_size``: (width, height); the only size of a VAE's generator.
    """

    vae: bool = False
    latent: int = Field(default=256, gt=0)
    image_size: tuple[int, int] = (256, 256)

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        if any(side <= 0 or side % self.stride for side in self.image_size):
            raise ValueError(f"image_size {self.image_size} does not fit: take multiples of {self.stride}")
        return self


#: Settings of each preset, without the classes. ``spade-small`` is ours, for CPUs, not published.
PRESETS: dict[str, dict[str, Any]] = {
    "spade": {},
    "spade-more": {"upsampling": "more"},
    "spade-most": {"upsampling": "most"},
    "spade-vae": {"vae": True},
    "spade-small": {"channels": 16, "hidden": 64, "discriminator_channels": 32},
}
