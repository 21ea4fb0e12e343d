"""NICE-GAN's discriminator, whose first layers are the encoder of its domain (arXiv 2003.00273, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.layers.spectral import SpectralConv2d, SpectralLinear
from stylebridge.networks.nice_gan.config import NiceGanConfig
from stylebridge.networks.two_domains import STRIDE

SLOPE = 0.2
KERNEL = 4


class SpectralBlock(nn.Sequential):
    """Layers of reflection padding 1, spectrally normalised 4×4 convolution and LeakyReLU 0.2."""

    def __init__(self, *layers: tuple[int, int, int]) -> None:
        """Args: (in channels, out channels, stride) of each layer."""
        modules: list[nn.Module] = []
        for inputs, outputs, stride in layers:
            conv = SpectralConv2d(inputs, outputs, KERNEL, stride)
            modules += [nn.ReflectionPad2d(1), conv, nn.LeakyReLU(SLOPE)]
        super().__init__(*modules)

    def forward(self, x: Tensor, passes: int = 1) -> Tensor:
        """[B, I, H, W] to [B, O, h, w]; ``passes`` as in :class:`SpectralConv2d`."""
        for module in self:
            x = module(x, passes) if isinstance(module, SpectralConv2d) else module(x)
        return x


class Encoding(NamedTuple):
    """``code``: z [B, 2·channels, H/4, W/4]. ``features``: the input of the attention, of the same shape."""

    code: Tensor
    features: Tensor


class Encoder(nn.Module):
    """The first layers of a discriminator: image to code.

    Keys are those of the published discriminator; this is its part up to the code.
    """

    def __init__(self, config: NiceGanConfig) -> None:
        super().__init__()
        self.config = config
        first, code = config.channels, config.code_channels
        self.model = SpectralBlock((3, first, 2), (first, code, 2))
        self.fc = SpectralLinear(2 * code, 1, bias=False)
        self.conv1x1 = nn.Conv2d(2 * code, code, 1)
        self.lamda = nn.Parameter(torch.zeros(1))

    def encode(self, image: Tensor) -> Encoding:
        """Images [B, 3, H, W] in [−1, 1] to codes.

        Raises:
            DataError: the image's sides are not multiples of 4.
        """
        height, width = image.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise DataError(
                f"An image of {width}×{height} does not fit NICE-GAN: give sides that are multiples of {STRIDE}."
            )
        features = self.model(image)
        return Encoding(self._attend(features), features)

    def forward(self, image: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [−1, 1] to codes [B, 2·channels, H/4, W/4]."""
        return self.encode(image).code

    def _attend(self, h: Tensor) -> Tensor:
        """LeakyReLU(λ · conv1x1([h, h] · fc) + h), with fc as stored, without spectral normalisation.

        The factors, both halves of the 1×1 convolution, λ and the sum are merged into one 1×1 convolution of h; all
        else are operations on weights.
        """
        channels = h.shape[1]
        factors = self.conv1x1.weight.flatten(1) * self.fc.weight_orig
        weight = self.lamda * (factors[:, :channels] + factors[:, channels:])
        weight = weight + torch.eye(channels, dtype=weight.dtype, device=weight.device)
        bias = self.conv1x1.bias
        assert bias is not None
        return F.leaky_relu(F.conv2d(h, weight[..., None, None], self.lamda * bias), SLOPE)

    def attention_logit(self, features: Tensor) -> Tensor:
        """The global head: features [B, 2·channels, h, w] to scores [B, 1]."""
        mean = F.adaptive_avg_pool2d(features, 1).flatten(1)
        largest = F.adaptive_max_pool2d(features, 1).flatten(1)
        return self.fc(torch.cat((mean, largest), 1))


class Scores(NamedTuple):
    """Raw scores of both patch heads: ``local`` [B, 1, h, w] and ``wide`` [B, 1, h', w']."""

    local: Tensor
    wide: Tensor


class Discriminator(Encoder):
    """Encoder and classifiers at three scales: the global attention head, local patches, wide patches.

    46,874,433 parameters as published, 167,489 of them in the encoder.
    """

    def __init__(self, config: NiceGanConfig) -> None:
        super().__init__(config)
        n, widths = config.layers, [config.channels * 2**i for i in range(config.layers - 1)]
        self.Dis0_0 = SpectralBlock(*((widths[i - 1], widths[i], 2) for i in range(2, n - 4)))
        self.Dis0_1 = SpectralBlock((widths[n - 5], widths[n - 4], 1))
        self.conv0 = SpectralConv2d(widths[n - 4], 1, KERNEL, bias=False)
        self.Dis1_0 = SpectralBlock(*((widths[i - 1], widths[i], 2) for i in range(n - 4, n - 2)))
        self.Dis1_1 = SpectralBlock((widths[n - 3], widths[n - 2], 1))
        self.conv1 = SpectralConv2d(widths[n - 2], 1, KERNEL, bias=False)

    def judge(self, code: Tensor, passes: int = 1) -> Scores:
        """The two patch heads' scores of codes [B, 2·channels, h, w].

        Args:
            passes: number of passes in the batch, as in :class:`~stylebridge.layers.spectral.SpectralConv2d`.

        Raises:
            DataError: the image is too small for the wide head.
        """
        smallest = self.config.smallest_image
        if min(code.shape[-2:]) * STRIDE < smallest:
            height, width = (STRIDE * side for side in code.shape[-2:])
            raise DataError(
                f"An image of {width}×{height} is too small for NICE-GAN's wide head: give sides of at least "
                f"{smallest} pixels."
            )
        trunk = self.Dis0_0(code, passes)
        local = self.Dis0_1(trunk, passes)
        wide = self.Dis1_1(self.Dis1_0(trunk, passes), passes)
        edge = (1, 1, 1, 1)
        return Scores(
            self.conv0(F.pad(local, edge, mode="reflect"), passes),
            self.conv1(F.pad(wide, edge, mode="reflect"), passes),
        )

    def advance_heads(self) -> None:
        """Advance the spectral norms of all heads like a forward pass, without computing one."""
        parts = (self.fc, self.Dis0_0, self.Dis0_1, self.conv0, self.Dis1_0, self.Dis1_1, self.conv1)
        for module in (m for part in parts for m in part.modules()):
            if isinstance(module, SpectralLinear | SpectralConv2d):
                module.advance()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Images [B, 3, H, W] in [−1, 1] to (local, wide, attention logit, heat map [B, 1, H/4, W/4], code)."""
        code, features = self.encode(image)
        local, wide = self.judge(code)
        return local, wide, self.attention_logit(features), code.sum(1, keepdim=True), code
