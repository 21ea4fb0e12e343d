"""NICE-GAN's generator: a code of either domain to an image of its domain (arXiv 2003.00273, section 3)."""

from __future__ import annotations

from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.layers.conv import FewChannelConv2d
from stylebridge.layers.lin import LIN, AdaLIN
from stylebridge.networks.nice_gan.config import NiceGanConfig
from stylebridge.networks.two_domains import STRIDE


class AdaLINBlock(nn.Module):
    """A residual block of two 3×3 convolutions, each followed by AdaLIN with the same γ and β."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(1)
        self.conv1 = nn.Conv2d(channels, channels, 3, bias=False)
        self.norm1 = AdaLIN(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)
        self.norm2 = AdaLIN(channels)

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """x [B, C, h, w], γ and β [B, C], to [B, C, h, w]; no activation after the sum."""
        y = self.norm1(self.conv1(self.pad(x)), gamma, beta).relu_()
        return x + self.norm2(self.conv2(self.pad(y)), gamma, beta)


def _double(inputs: int, outputs: int) -> list[nn.Module]:
    """Layers that halve the channels and double the sides by sub-pixel convolution."""
    return [
        nn.ReflectionPad2d(1),
        nn.Conv2d(inputs, outputs, 3, bias=False),
        LIN(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, 4 * outputs, 1),
        nn.PixelShuffle(2),
        LIN(outputs),
        nn.ReLU(inplace=True),
    ]


class Generator(nn.Module):
    """Code to image. Keys are those of the published generator.

    Light: 8,104,640 parameters with 6 blocks; full: 276,474,560 at 256 pixels, nearly all of them in ``FC.0``.
    """

    def __init__(self, config: NiceGanConfig) -> None:
        super().__init__()
        self.config = config
        first, channels = config.channels, 4 * config.channels
        side = config.image_size // STRIDE
        style_inputs = channels if config.light else channels * side * side
        self.FC = nn.Sequential(
            nn.Linear(style_inputs, channels, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels, bias=False),
            nn.ReLU(inplace=True),
        )
        self.gamma = nn.Linear(channels, channels, bias=False)
        self.beta = nn.Linear(channels, channels, bias=False)
        self.UpBlock0 = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(config.code_channels, channels, 3),
            LIN(channels),
            nn.ReLU(inplace=True),
        )
        for number in range(1, config.blocks + 1):
            setattr(self, f"UpBlock1_{number}", AdaLINBlock(channels))
        self.UpBlock2 = nn.Sequential(
            *_double(channels, channels // 2),
            *_double(channels // 2, first),
            nn.ReflectionPad2d(3),
            FewChannelConv2d(first, 3, 7),
            nn.Tanh(),
        )

    @property
    def blocks(self) -> list[AdaLINBlock]:
        """The residual blocks, in order."""
        return [getattr(self, f"UpBlock1_{number}") for number in range(1, self.config.blocks + 1)]

    def style(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """γ and β [B, 4·channels] from the first layer's output [B, 4·channels, h, w].

        Raises:
            DataError: the size does not match a full generator.
        """
        if self.config.light:
            code = self.FC(x.mean((2, 3)))
        else:
            side = self.config.image_size // STRIDE
            if x.shape[-2:] != (side, side):
                height, width = (STRIDE * n for n in x.shape[-2:])
                raise DataError(
                    f"This full NICE-GAN only accepts images of {STRIDE * side}×{STRIDE * side}, not {width}×{height}: "
                    "resize them, or use a light model."
                )
            code = self.FC(x.flatten(1))
        return self.gamma(code), self.beta(code)

    def forward(self, code: Tensor) -> Tensor:
        """Codes [B, 2·channels, h, w] to images [B, 3, 4·h, 4·w] in (−1, 1)."""
        x = self.UpBlock0(code)
        gamma, beta = self.style(x)
        for block in self.blocks:
            x = block(x, gamma, beta)
        return self.UpBlock2(x)
