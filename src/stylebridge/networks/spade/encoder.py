"""SPADE's image encoder: together with the generator a variational autoencoder."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.networks.cyclegan import InstanceNorm
from stylebridge.networks.label_gan.trunk import SLOPE, PaddedSpectralConv2d, initialise
from stylebridge.networks.spade.config import SPADEConfig

#: The side of resized images, and the side after six convolutions of stride 2.
SIDE, LEFT = 256, 4


class Posterior(NamedTuple):
    """A normal distribution of codes: ``mean`` and ``logvar`` [B, latent]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """``mean + ε·exp(½ logvar)``, [B, latent]."""
        device = self.mean.device if generator is None else generator.device
        noise = torch.randn(self.mean.shape, generator=generator, device=device).to(self.mean)
        return self.mean + noise * (self.logvar / 2).exp()


class SPADEEncoder(nn.Module):
    """Image to a distribution of codes. 10,463,424 parameters."""

    def __init__(self, config: SPADEConfig) -> None:
        super().__init__()
        c = config.channels
        widths = [3, c, 2 * c, 4 * c, 8 * c, 8 * c, 8 * c]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            conv = PaddedSpectralConv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            layers += [conv, InstanceNorm(outputs), nn.LeakyReLU(SLOPE, inplace=True)]
        self.model = nn.Sequential(*layers)
        self.fc_mu = nn.Linear(widths[-1] * LEFT**2, config.latent)
        self.fc_var = nn.Linear(widths[-1] * LEFT**2, config.latent)
        initialise(self)

    def forward(self, image: Tensor) -> Posterior:
        """Images [B, 3, H, W] in [0, 1] of any size."""
        if tuple(image.shape[-2:]) != (SIDE, SIDE):
            image = F.interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.model(image * 2 - 1).flatten(1)
        return Posterior(self.fc_mu(x), self.fc_var(x))
