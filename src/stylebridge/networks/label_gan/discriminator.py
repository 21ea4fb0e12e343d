"""The multi-scale PatchGAN discriminator of SPADE and SEAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.cyclegan import InstanceNorm
from stylebridge.networks.label_gan.config import LabelGanConfig
from stylebridge.networks.label_gan.trunk import SLOPE, PaddedSpectralConv2d, initialise

KERNEL, PADDING = 4, 2
#: Channels double from layer to layer, up to eight times the first.
MOST = 8

#: The outputs of all layers [B, C, h, w] for each scale; the last are the scores [B, 1, h, w].
Judgement = list[list[Tensor]]


class PatchDiscriminator(nn.Module):
    """One scale. 4×4 convolutions of stride 2 with LeakyReLU 0.2; all but the first and last layer with spectral norm,
    without bias, and with instance norm afterwards. With four layers the last of them has stride 1, as published for
    SPADE; with SEAN's three none has. The output layer has stride 1."""

    def __init__(self, inputs: int, channels: int, layers: int) -> None:
        super().__init__()
        widths = [channels * min(2**n, MOST) for n in range(layers)]
        first = nn.Conv2d(inputs, channels, KERNEL, 2, PADDING)
        self.model0 = nn.Sequential(first, nn.LeakyReLU(SLOPE, inplace=True))
        for n in range(1, layers):
            stride = 1 if n == 3 and n == layers - 1 else 2
            conv = PaddedSpectralConv2d(widths[n - 1], widths[n], KERNEL, stride, PADDING, bias=False)
            block = nn.Sequential(conv, InstanceNorm(widths[n]))
            setattr(self, f"model{n}", nn.Sequential(block, nn.LeakyReLU(SLOPE, inplace=True)))
        last = nn.Conv2d(widths[-1], 1, KERNEL, 1, PADDING)
        setattr(self, f"model{layers}", nn.Sequential(last))
        self.layers = layers

    def forward(self, x: Tensor) -> list[Tensor]:
        """Inputs [B, K + 3, H, W] to the outputs of all layers, the scores [B, 1, h, w] last."""
        outputs = []
        for n in range(self.layers + 1):
            x = getattr(self, f"model{n}")(x)
            outputs.append(x)
        return outputs


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators of label map and image, each at half the size of the previous one.

    Keys are the published ones. With 19 classes 5,566,594 parameters with SPADE's settings, 1,364,098 with SEAN's.
    """

    def __init__(self, config: LabelGanConfig) -> None:
        super().__init__()
        self.classes, self.scales = config.classes, config.scales
        self._coding = {"void_class": config.void_class, "edges": config.edges}
        for scale in range(config.scales):
            one = PatchDiscriminator(
                config.label_channels + 3, config.discriminator_channels, config.discriminator_layers
            )
            setattr(self, f"discriminator_{scale}", one)
        initialise(self)

    def forward(self, labels: Tensor | LabelMaps, image: Tensor) -> Judgement:
        """Judge images together with their label maps.

        Args:
            labels: [B, H, W], 255 = no class.
            image: [B, 3, H, W] in [0, 1].

        Raises:
            DataError: labels and images differ in size, or a label is not a class.
        """
        maps = LabelMaps.of(labels, self.classes, **self._coding)
        if maps.size != tuple(image.shape[-2:]) or len(maps.labels) != len(image):
            raise DataError(
                f"Label maps {list(maps.labels.shape)} and images {list(image.shape)} differ in size: give each image "
                f"a label map of its size."
            )
        return self._judge(one_hot(maps, image.dtype), image)

    def compare(self, labels: Tensor | LabelMaps, fake: Tensor, real: Tensor) -> tuple[Judgement, Judgement]:
        """:meth:`forward` of fake and real images with the same label maps, in one batch as published."""
        maps = LabelMaps.of(labels, self.classes, **self._coding)
        code = one_hot(maps, fake.dtype)
        both = self._judge(torch.cat((code, code)), torch.cat((fake, real)))
        images = len(fake)
        first = [[output[:images] for output in scale] for scale in both]
        return first, [[output[images:] for output in scale] for scale in both]

    def _judge(self, code: Tensor, image: Tensor) -> Judgement:
        x = torch.cat((code, image * 2 - 1), 1)
        found = []
        for scale in range(self.scales):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            found.append(getattr(self, f"discriminator_{scale}")(x))
        return found


def one_hot(maps: LabelMaps, dtype: torch.dtype = torch.float32) -> Tensor:
    """[B, K, H, W]: 1 at each pixel's class, all 0 without a class; with edges as an additional channel."""
    classes = torch.arange(maps.classes, device=maps.labels.device)
    code = maps.labels[:, None] == classes[:, None, None]
    return (code if maps.edges is None else torch.cat((code, maps.edges[:, None]), 1)).to(dtype)
