"""Settings and presets of SEAN's networks."""

from typing import Any, Literal

from pydantic import Field

from stylebridge.networks.label_gan.config import LabelGanConfig


class SEANConfig(LabelGanConfig):
    """Settings of SEAN; published values are the defaults.

    ``style_channels``: length of a style code; the style encoder's first layer has a sixteenth of it.
    ``upsampling``: ``normal`` or ``more`` (the published ``most`` creates a block that never runs). ``edges`` are not
    supported: a pixel has one style.
    """

    upsampling: Literal["normal", "more"] = "normal"  # type: ignore[assignment]
    edges: Literal[False] = False  # type: ignore[assignment]
    style_channels: int = Field(default=512, gt=0, multiple_of=16)
    discriminator_layers: int = Field(default=3, ge=1)


#: Settings of each preset, without the classes. ``sean-small`` is ours, for CPUs, not published.
PRESETS: dict[str, dict[str, Any]] = {
    "sean": {},
    "sean-more": {"upsampling": "more"},
    "sean-small": {"channels": 16, "hidden": 64, "style_channels": 128, "discriminator_channels": 32},
}
