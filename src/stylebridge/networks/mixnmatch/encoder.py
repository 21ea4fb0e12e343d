"""Encoders of an image to codes (four equal ones), and to the parent features of feature mode (arXiv 1911.11758)."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stylebridge.networks.mixnmatch.blocks import (
    GLU,
    SLOPE,
    Residual,
    Same,
    WholeMap,
    conv3,
    halve,
    initialise,
    run_passes,
)
from stylebridge.networks.mixnmatch.codes import Codes
from stylebridge.networks.mixnmatch.config import PARENT_CHANNELS, MixNMatchConfig

#: Pose codes are in (−4, 4).
POSE_RANGE = 4.0


def _activated(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.LeakyReLU(SLOPE, inplace=True)]


class Encoder(nn.Sequential):
    """Image [B, 3, S, S] in [−1, 1] to raw codes [B, outputs]."""

    def __init__(self, config: MixNMatchConfig, outputs: int) -> None:
        n = config.encoder_channels
        widths = [n * 2**i for i in range(config.doublings - 1)]
        layers: list[nn.Module] = [halve(3, n), nn.LeakyReLU(SLOPE, inplace=True)]
        for before, after in itertools.pairwise(widths):
            layers += _activated(halve(before, after))
        last = widths[-1]
        super().__init__(
            nn.Sequential(*layers),
            nn.Sequential(*_activated(halve(last, 2 * last))),
            nn.Sequential(*_activated(conv3(2 * last, last))),
            nn.Sequential(*_activated(conv3(last, last))),
            WholeMap(last, outputs, 4, 4),
        )

    def forward(self, image: Tensor, passes: int = 1) -> Tensor:  # type: ignore[override]
        """Raw codes [B, outputs]; ``passes``: number of batches joined in ``image``."""
        x = super().forward(image) if passes == 1 else run_passes(self, image, passes)
        return x.flatten(1)


class Encoded(NamedTuple):
    """``pose`` [B, pose] in (−4, 4); logits of the categories, as in :class:`Codes`."""

    pose: Tensor
    background: Tensor
    shape: Tensor
    texture: Tensor

    def split(self, images: int) -> tuple[Encoded, Encoded]:
        """Split after the first ``images`` images."""
        return Encoded(*(code[:images] for code in self)), Encoded(*(code[images:] for code in self))

    def codes(self) -> Codes:
        """The codes, with categories as probabilities."""
        return Codes(self.pose, self.background.softmax(1), self.shape.softmax(1), self.texture.softmax(1))


class Encoders(nn.Module):
    """One encoder for each factor; 77,172,232 parameters as published."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        self.model_z = Encoder(config, config.pose)
        self.model_b = Encoder(config, config.textures)
        self.model_p = Encoder(config, config.shapes)
        self.model_c = Encoder(config, config.textures)
        initialise(self)

    def pose(self, image: Tensor, passes: int = 1) -> Tensor:
        """Only the pose code, 4·tanh, [B, pose]."""
        return POSE_RANGE * torch.tanh(self.model_z(image, passes))

    def forward(self, image: Tensor, passes: int = 1) -> Encoded:
        """Images [B, 3, S, S] in [−1, 1] to codes; categories as logits.

        Args:
            passes: number of batches joined in ``image``; batch norms process each separately.
        """
        rest = (encoder(image, passes) for encoder in (self.model_b, self.model_p, self.model_c))
        return Encoded(self.pose(image, passes), *rest)


def _gated(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), GLU())


class FeatureExtractor(nn.Module):
    """Image [B, 3, S, S] in [−1, 1] to parent features [B, 16, S, S]; 39,126,688 parameters as published."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        n = config.extractor_channels
        self.first = nn.Sequential(Same(3, n), Same(n, n))
        down = [n, n, 2 * n, 4 * n, 8 * n] + [16 * n] * (config.doublings - 3)
        self.steps = len(down) - 1
        for number, (before, after) in enumerate(itertools.pairwise(down), start=1):
            self.add_module(f"down{number}", _gated(halve(before, 2 * after, bias=True)))
        # Each upsampling step also takes the downsampling map of the same size.
        up = [8 * n, *down[-2:3:-1][: self.steps - 5], 8 * n, 4 * n, 2 * n, PARENT_CHANNELS]
        inputs = [down[-1], *(width + skip for width, skip in zip(up, down[-2:0:-1], strict=False))]
        for number, (before, after) in enumerate(zip(inputs, up, strict=True), start=1):
            self.add_module(f"up{number}", _gated(nn.ConvTranspose2d(before, 2 * after, 4, 2, 1)))
        self.last = nn.Sequential(Residual(PARENT_CHANNELS), Residual(PARENT_CHANNELS))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Features [B, 16, S, S]."""
        x = self.first(image)
        skips = []
        for number in range(1, self.steps + 1):
            x = self.get_submodule(f"down{number}")(x)
            skips.append(x)
        skips.pop()
        for number in range(1, self.steps + 1):
            x = self.get_submodule(f"up{number}")(x)
            if skips:
                x = torch.cat((x, skips.pop()), 1)
        return self.last(x)
