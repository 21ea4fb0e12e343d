"""CycleGAN's networks (Zhu et al., ICCV 2017, arXiv 1703.10593): residual generators and patch discriminators.

Keys are those of the authors' PyTorch code (``model.N.weight``, ``model.N.conv_block.N.weight``).
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.networks.two_domains import (
    OTHER,
    SMALLEST_TRANSLATED,
    STRIDE,
    ensure_domain,
    ensure_size_fits,
    translate_padded,
)
from stylebridge.settings import Settings

#: Standard deviation of the convolutions' initial weights (section 7.1); initial biases are 0.
INITIAL_DEVIATION = 0.02


class CycleGANConfig(Settings):
    """Settings of a pair of generators and a pair of discriminators; published values are the defaults.

    ``image_size``: the side of the square training images (also of the buffers of earlier fakes).
    ``channels``: of the first layer of generators and discriminators.
    ``blocks``: residual blocks of a generator; published: 9 from 256 pixels, 6 at 128.
    ``layers``: stride-2 layers of a discriminator; 3 give patches of 70×70 pixels, 2 of 34×34.
    """

    image_size: int = Field(default=256, gt=0)
    channels: int = Field(default=64, gt=0)
    blocks: int = Field(default=9, gt=0)
    layers: int = Field(default=3, gt=0)

    @property
    def smallest_image(self) -> int:
        """The shortest side (pixels) for which a discriminator has an output."""
        return 3 * 2**self.layers

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        ensure_size_fits(self.image_size, self.layers, self.smallest_image)
        return self


#: ``cyclegan`` and ``cyclegan-128`` are published. ``cyclegan-small`` is ours, for CPUs, not published.
PRESETS: dict[str, CycleGANConfig] = {
    "cyclegan": CycleGANConfig(),
    "cyclegan-128": CycleGANConfig(image_size=128, blocks=6),
    "cyclegan-small": CycleGANConfig(image_size=64, channels=32, blocks=4, layers=2),
}


class InstanceNorm(nn.GroupNorm):
    """Instance norm [B, C, H, W] without affine parameters, as group norm with one channel in each group.

    Faster on a CPU, and correct: there the gradient of torch 2.15's ``instance_norm`` is wrong for a single image if
    the incoming gradient is channels-last, as after a convolution of a channels-last network, and less exact in half
    precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        if input.device.type == "cpu" and not input.is_contiguous():
            # For channels-last maps torch's kernel computes the variance as mean of squares minus square of the mean. A
            # shift changes neither result nor gradient.
            input = input - input.detach().mean((2, 3), keepdim=True)
        return super().forward(input)


def _norm_relu(channels: int) -> list[nn.Module]:
    return [InstanceNorm(channels), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """x plus two 3×3 convolutions of it, each with reflection padding and instance norm; no activation after."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            *_norm_relu(channels),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return x + self.conv_block(x)


class Generator(nn.Module):
    """Image-to-image generator. 11,378,179 parameters with 9 blocks, 7,837,699 with 6."""

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        c = config.channels
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), *_norm_relu(c)]
        for inputs in (c, 2 * c):
            layers += [nn.Conv2d(inputs, 2 * inputs, 3, stride=2, padding=1), *_norm_relu(2 * inputs)]
        layers += [ResidualBlock(4 * c) for _ in range(config.blocks)]
        for inputs in (4 * c, 2 * c):
            up = nn.ConvTranspose2d(inputs, inputs // 2, 3, stride=2, padding=1, output_padding=1)
            layers += [up, *_norm_relu(inputs // 2)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [−1, 1] to the same shape and range.

        Raises:
            DataError: a side is not a multiple of 4, or below 8.
        """
        height, width = image.shape[-2:]
        if height % STRIDE or width % STRIDE or min(height, width) < SMALLEST_TRANSLATED:
            raise DataError(
                f"An image of {width}×{height} does not fit CycleGAN: give sides that are multiples of {STRIDE}, "
                f"at least {SMALLEST_TRANSLATED}."
            )
        return self.model(image)


class Discriminator(nn.Module):
    """PatchGAN: a score for each of overlapping patches (70×70 pixels with 3 layers).

    4×4 convolutions, LeakyReLU 0.2, instance norm except in the first and last layer; 2,764,737 parameters with 3
    layers.
    """

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.config = config
        # Channels double with every layer, up to eight times the first; the last two layers keep the size.
        widths = [config.channels * min(2**n, 8) for n in range(config.layers + 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for n in range(1, config.layers + 1):
            stride = 2 if n < config.layers else 1
            layers += [
                nn.Conv2d(widths[n - 1], widths[n], 4, stride=stride, padding=1),
                InstanceNorm(widths[n]),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.model = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [−1, 1] to raw scores [B, 1, H/2ⁿ − 2, W/2ⁿ − 2], n the number of layers.

        Raises:
            DataError: a side is too short for an output.
        """
        height, width = image.shape[-2:]
        smallest = self.config.smallest_image
        if min(height, width) < smallest:
            raise DataError(
                f"An image of {width}×{height} is too small for this discriminator: give sides of at least {smallest} "
                f"pixels."
            )
        return self.model(image)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, INITIAL_DEVIATION)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class CycleGANTranslator(nn.Module):
    """One direction of translation: a generator for images of any size in [0, 1]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] to images of the other domain, of the same shape and range.

        Sides that are not multiples of 4, or below 8, are padded with their last rows and columns, and cropped back.

        Raises:
            DataError: the images do not have three channels.
        """
        return translate_padded(self.generator, image, "CycleGAN")


class CycleGANNetworks(nn.Module):
    """The four networks: ``generators`` and ``discriminators``, one for domain ``a`` and one for domain ``b``.

    A generator produces its domain (the authors' ``G_A`` is ``generators.b`` here), a discriminator judges its domain
    (the authors' ``D_A`` is ``discriminators.b``).
    """

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generators = nn.ModuleDict({domain: Generator(config) for domain in OTHER})
        self.discriminators = nn.ModuleDict({domain: Discriminator(config) for domain in OTHER})

    def translator(self, to: str) -> CycleGANTranslator:
        """The translator to domain ``a`` or ``b``, in evaluation mode, with copied weights.

        Raises:
            DataError: the domain is unknown.
        """
        ensure_domain(to)
        with torch.device("meta"):
            generator = Generator(self.config)
        state = {key: value.detach().clone() for key, value in self.generators[to].state_dict().items()}
        generator.load_state_dict(state, assign=True)
        return CycleGANTranslator(generator).requires_grad_(False).eval()
