"""SEAN's generator: a label map and a style code for each class to an image (arXiv 1911.12861, section 4)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.layers.sean import SEANNorm
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.label_gan.trunk import LabelGenerator, initialise
from stylebridge.networks.sean.config import SEANConfig
from stylebridge.networks.sean.encoder import SEANStyleEncoder

#: The block whose norms use no style.
WITHOUT_STYLE = "up_3"


class SEANGenerator(LabelGenerator):
    """Label map and style matrix to image. 265,338,791 parameters at 19 classes, 266,907,367 with the style encoder.

    ``mean_styles`` [K, S] are buffers: the mean code of each class over the ``style_counts`` [K] images given to
    :meth:`add_styles`. They replace codes that an image does not have.
    """

    mean_styles: Tensor
    style_counts: Tensor

    def __init__(self, config: SEANConfig) -> None:
        def norm(block: str, channels: int) -> nn.Module:
            style = 0 if block == WITHOUT_STYLE else config.style_channels
            return SEANNorm(channels, config.classes, style, config.hidden)

        super().__init__(config, norm, nn.Conv2d(config.classes, 16 * config.channels, 3, padding=1))
        self.config = config
        self.register_buffer("mean_styles", torch.zeros(config.classes, config.style_channels))
        self.register_buffer("style_counts", torch.zeros(config.classes, dtype=torch.int64))
        initialise(self)

    def forward(
        self,
        labels: Tensor | LabelMaps,
        styles: Tensor,
        present: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Label maps [B, H, W], 255 = no class, to images [B, 3, H, W] in [0, 1].

        Args:
            styles: codes [B, K, S], row k for the regions of class k.
            present: bool [B, K], whether a code is given; other classes use their mean style if known, else their row
                of ``styles`` (published: zeros). None: all given.
            generator: for the noise; None: torch's global generator.

        Raises:
            DataError: a side is not a multiple of the config's ``stride``, a label is not a class, or the styles have
                another shape.
        """
        maps = self.maps(labels)
        wanted = [len(maps.labels), self.classes, self.config.style_channels]
        if list(styles.shape) != wanted:
            raise DataError(
                f"Style codes {list(styles.shape)} do not fit: give {wanted} for these label maps."
            )
        if present is not None:
            styles = self.complete(styles, present)
        return self.paint(self.start(maps), maps, styles, generator)

    def complete(self, styles: Tensor, present: Tensor) -> Tensor:
        """Codes [B, K, S], with mean styles where ``present`` [B, K] is false and a mean is known."""
        absent = ~present & (self.style_counts > 0)
        return torch.where(absent[..., None], self.mean_styles.to(styles.dtype), styles)

    @torch.no_grad()
    def add_styles(self, styles: Tensor, present: Tensor) -> None:
        """Add the codes [B, K, S] of ``present`` [B, K] classes to the mean styles."""
        shown = present.to(self.mean_styles.dtype)
        counts = self.style_counts + present.sum(0)
        excess = torch.einsum("bk,bks->ks", shown, styles.to(shown.dtype) - self.mean_styles)
        self.mean_styles += excess / counts.clamp(min=1)[:, None]
        self.style_counts.copy_(counts)

    @torch.no_grad()
    def set_styles(self, sums: Tensor, counts: Tensor) -> None:
        """Set the mean styles from the sums [K, S] of codes and the number of images [K] with the class."""
        self.mean_styles.copy_(sums / counts.clamp(min=1)[:, None])
        self.style_counts.copy_(counts)

    def forget_styles(self) -> None:
        """Reset the mean styles."""
        self.mean_styles.zero_()
        self.style_counts.zero_()


class SEANNetworks(nn.Module):
    """``encoder`` and ``generator``, trained together."""

    #: What has a style: each region of an image.
    styles: ClassVar[str] = "region"

    def __init__(self, config: SEANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SEANStyleEncoder(config)
        self.generator = SEANGenerator(config)

    def forward(
        self,
        labels: Tensor | LabelMaps,
        image: Tensor,
        image_labels: Tensor | LabelMaps | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] for label maps [B, H, W], in the style of images [B, 3, h, w] in [0, 1].

        Args:
            image_labels: label maps of the images; None: ``labels`` (reconstruction).
            generator: for the noise; None: torch's global generator.
        """
        maps = self.generator.maps(labels)
        codes, present = self.encoder(image, maps if image_labels is None else image_labels)
        return self.generator(maps, codes, present, generator)
