"""Discriminators of images and parent features. All return logits: the published sigmoids are in the loss."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from torch import Tensor, nn

from stylebridge.networks.mixnmatch.blocks import SLOPE, WholeMap, conv3, halve, initialise, run_passes
from stylebridge.networks.mixnmatch.config import PARENT_CHANNELS, MixNMatchConfig
from stylebridge.networks.mixnmatch.generator import to_view


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(SLOPE, inplace=True)


#: (kernel, stride) of three convolutions and the heads, for each receptive field.
_PATCHES = {34: ((4, 2), (4, 2), (4, 1), (4, 1)), 10: ((4, 2), (4, 1), (1, 1), (1, 1))}


def _patches(inputs: int, n: int, field: int = 34) -> nn.Sequential:
    """Three convolutions without padding or bias, each followed by LeakyReLU."""
    layers: list[nn.Module] = []
    for width, (kernel, stride) in zip((n, 2 * n, 4 * n), _PATCHES[field], strict=False):
        layers += [nn.Conv2d(inputs, width, kernel, stride, bias=False), _leaky()]
        inputs = width
    return nn.Sequential(*layers)


class BackgroundScores(NamedTuple):
    """Logits, each [B, 1, u, u]: ``background`` (or object), ``real`` (or fake)."""

    background: Tensor
    real: Tensor


class BackgroundDiscriminator(nn.Module):
    """Crops [B, 3, 126, 126] to 24×24 scores; no batch norm. 666,626 parameters as published."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        n = config.discriminator_channels
        field = config.background_field
        head, _ = _PATCHES[field][-1]
        self.trunk = _patches(3, n, field)
        self.background = nn.Conv2d(4 * n, 1, head)
        self.real = nn.Conv2d(4 * n, 1, head)
        initialise(self)

    def forward(self, view: Tensor) -> BackgroundScores:
        """Crops [B, 3, s, s] in [−1, 1] to logits."""
        x = self.trunk(view)
        return BackgroundScores(self.background(x), self.real(x))


class ObjectDiscriminator(nn.Module):
    """Images to a real/fake logit and category logits. The published parent discriminator has 32 channels
    (3,006,357 parameters; its real/fake head is never used), the child's 64 (13,320,137).

    ``code`` (the category head) is trained with the generator; ``trunk`` and ``real`` of the child are not.
    """

    def __init__(self, config: MixNMatchConfig, channels: int, categories: int) -> None:
        super().__init__()
        self.config = config
        widths = [channels * min(8, 2**i) for i in range(config.doublings)]
        layers: list[nn.Module] = [halve(3, channels), _leaky()]
        for before, after in itertools.pairwise(widths):
            layers += [halve(before, after), nn.BatchNorm2d(after), _leaky()]
        last = widths[-1]
        self.trunk = nn.Sequential(*layers, conv3(last, last), nn.BatchNorm2d(last), _leaky())
        self.code = nn.Sequential(
            conv3(last, last), nn.BatchNorm2d(last), _leaky(), WholeMap(last, categories, 4, 4)
        )
        self.real = WholeMap(last, 1, 4, 4)
        initialise(self)

    def features(self, image: Tensor, passes: int = 1) -> Tensor:
        """The input of both heads: images [B, 3, S, S] in [−1, 1] to [B, 8n, 4, 4].

        Args:
            passes: number of batches joined in ``image``; batch norms process each separately.
        """
        return run_passes(self.trunk, image, passes)

    def judge(self, image: Tensor, passes: int = 1) -> Tensor:
        """Images [B, 3, S, S] in [−1, 1] to real/fake logits [B]; ``passes`` as in :meth:`features`."""
        return self.real(self.features(image, passes)).flatten()

    def categorise(self, image: Tensor) -> Tensor:
        """Images [B, 3, S, S] in [−1, 1] to logits of the categories [B, categories]."""
        return self.code(self.trunk(image)).flatten(1)


class FeatureDiscriminator(nn.Module):
    """Parent features [B, 16, S, S] to real/fake logits [B, 1, u, u]; 174,081 parameters as published."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        n = config.discriminator_channels // 2
        self.trunk = _patches(PARENT_CHANNELS, n)
        self.real = nn.Conv2d(4 * n, 1, 4)
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, 1, u, u]."""
        return self.real(self.trunk(to_view(features, self.config.view_size)))
