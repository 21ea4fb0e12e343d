"""Settings shared by SPADE and SEAN."""

from typing import Literal

from pydantic import Field

from stylebridge.settings import Settings

#: Number of doublings of the start grid.
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


class LabelGanConfig(Settings):
    """Settings of a generator of images from label maps, and of its discriminator; published values are the defaults.

    ``classes``: K of the label maps; 255 means no class. ``void_class``: the last class is for pixels of 255
    (published: don't care); else these are zero in all channels. ``edges``: one additional channel, instance edges.
    ``channels``: of the last block but one (published: ngf); the first blocks have 16 times as many.
    ``hidden``: channels between the two convolutions of the label map in each norm.
    ``upsampling``: number of doublings of the start grid: ``normal`` 5, ``more`` 6, ``most`` 7 (with one more block).
    Sides of images are multiples of 2 to that power.
    ``discriminator_channels``: of a discriminator's first layer; ``discriminator_layers``: before its output layer;
    ``scales``: number of discriminators, each at half the size of the previous one.
    """

    classes: int = Field(ge=1, le=255)
    void_class: bool = False
    edges: bool = False
    channels: int = Field(default=64, gt=0)
    hidden: int = Field(default=128, gt=0)
    upsampling: Literal["normal", "more", "most"] = "normal"
    discriminator_channels: int = Field(default=64, gt=0)
    discriminator_layers: int = Field(default=4, ge=1)
    scales: int = Field(default=2, ge=1)

    @property
    def label_channels(self) -> int:
        """Channels of a label map: K, plus one with edges."""
        return self.classes + self.edges

    @property
    def stride(self) -> int:
        """Sides of images must be multiples of this: 32, 64 or 128."""
        return 2 ** DOUBLINGS[self.upsampling]

    @property
    def widths(self) -> list[tuple[str, int, int]]:
        """Each block's published name, and its channels in and out, in order."""
        c = self.channels
        blocks = [("head_0", 16 * c, 16 * c), ("G_middle_0", 16 * c, 16 * c), ("G_middle_1", 16 * c, 16 * c)]
        blocks += [(f"up_{n}", 16 * c >> n, 8 * c >> n) for n in range(4)]
        return [*blocks, ("up_4", c, c // 2)] if self.upsampling == "most" else blocks
