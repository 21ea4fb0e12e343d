"""SEAN's style encoder: an image and its label map to a style code for each class (arXiv 1911.12861, section 4)."""

from __future__ import annotations

from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.layers.sean import RegionMeans, region_means
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.cyclegan import InstanceNorm
from stylebridge.networks.label_gan.trunk import SLOPE, initialise
from stylebridge.networks.sean.config import SEANConfig

#: Shortest side of an image for which the deepest layer, at a quarter of the size, has more than one pixel, as instance
#: norm needs.
SHORTEST = 5


class SEANStyleEncoder(nn.Module):
    """A bottleneck of convolutions, and the mean of its output over each region. 1,568,576 parameters.

    Keys are those of the published ``Zencoder``. A region's code also depends on its surroundings, within the receptive
    field of the convolutions.
    """

    def __init__(self, config: SEANConfig) -> None:
        super().__init__()
        self.classes, self.void_class = config.classes, config.void_class
        c = config.style_channels // 16

        def norm(channels: int) -> list[nn.Module]:
            return [InstanceNorm(channels), nn.LeakyReLU(SLOPE, inplace=True)]

        self.model = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(3, c, 3),
            *norm(c),
            nn.Conv2d(c, 2 * c, 3, stride=2, padding=1),
            *norm(2 * c),
            nn.Conv2d(2 * c, 4 * c, 3, stride=2, padding=1),
            *norm(4 * c),
            nn.ConvTranspose2d(4 * c, 8 * c, 3, stride=2, padding=1, output_padding=1),
            *norm(8 * c),
            nn.ReflectionPad2d(1),
            nn.Conv2d(8 * c, config.style_channels, 3),
            nn.Tanh(),
        )
        initialise(self)

    def forward(self, image: Tensor, labels: Tensor | LabelMaps) -> RegionMeans:
        """Style codes [B, K, S] and the present classes, bool [B, K]; codes of absent classes are 0.

        Args:
            image: [B, 3, H, W] in [0, 1].
            labels: [B, H, W], 255 = no class.

        Raises:
            DataError: a label is not a class, or a side of the images is shorter than 5 pixels.
        """
        if min(image.shape[-2:]) < SHORTEST:
            height, width = image.shape[-2:]
            raise DataError(
                f"A style image of {width}×{height} is too small: give one of at least {SHORTEST}×{SHORTEST}."
            )
        maps = LabelMaps.of(labels, self.classes, void_class=self.void_class)
        return region_means(self.model(image * 2 - 1), maps, self.classes)
