"""SPADE's generator: a label map to an image (arXiv 1903.07291, section 3)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.layers.spade import SPADE, LabelMaps
from stylebridge.networks.label_gan.trunk import LabelGenerator, initialise
from stylebridge.networks.spade.config import SPADEConfig
from stylebridge.networks.spade.encoder import SPADEEncoder


class SPADEGenerator(LabelGenerator):
    """Label map to image. At 19 classes 92,538,819 parameters; ``most`` 93,002,723; as a VAE's decoder 109,205,443."""

    def __init__(self, config: SPADEConfig) -> None:
        first = 16 * config.channels
        width, height = (side // config.stride for side in config.image_size)
        start: nn.Module = nn.Conv2d(config.label_channels, first, 3, padding=1)
        if config.vae:
            start = nn.Linear(config.latent, first * height * width)

        def norm(_: str, channels: int) -> nn.Module:
            return SPADE(channels, config.classes, config.hidden, config.edges)

        super().__init__(config, norm, start)
        self.config = config
        initialise(self)

    def forward(
        self, labels: Tensor | LabelMaps, code: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Label maps [B, H, W], 255 = no class, to images [B, 3, H, W] in [0, 1].

        Args:
            code: [B, latent], for a VAE; None: drawn from a standard normal distribution.
            generator: for that draw.

        Raises:
            DataError: a side is not a multiple of the config's ``stride``, a label is not a class, or the size does not
                match a VAE.
        """
        maps = self.maps(labels)
        if not self.config.vae:
            return self.paint(self.start(maps), maps)
        width, height = self.config.image_size
        if maps.size != (height, width):
            raise DataError(
                f"This SPADE with a VAE only generates images of {width}×{height}, not {maps.size[1]}×{maps.size[0]}: "
                f"resize the label maps."
            )
        if code is None:
            drawn = torch.randn(
                len(maps.labels),
                self.config.latent,
                generator=generator,
                device=None if generator is None else generator.device,
            )
            code = drawn.to(self.conv_img.weight)
        stride = self.config.stride
        x = self.fc(code).view(len(code), -1, height // stride, width // stride)
        return self.paint(x.contiguous(memory_format=torch.channels_last), maps)


class SPADENetworks(nn.Module):
    """``generator`` and, for a VAE, ``encoder``."""

    #: What has a style: an image as a whole, if there is an encoder.
    styles: ClassVar[str] = "image"

    def __init__(self, config: SPADEConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = SPADEGenerator(config)
        self.encoder = SPADEEncoder(config) if config.vae else None

    def forward(
        self,
        labels: Tensor | LabelMaps,
        image: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Label maps [B, H, W] to images [B, 3, H, W] in [0, 1].

        Args:
            image: [B, 3, h, w] in [0, 1] whose style a VAE uses; None: a random style.
            generator: for the VAE's draws.
        """
        if self.encoder is None or image is None:
            return self.generator(labels, generator=generator)
        return self.generator(labels, self.encoder(image).sample(generator))
