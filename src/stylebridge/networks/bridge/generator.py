"""Bridge's generator: SEAN's decoder on a NICE-GAN code, with the image it changes at hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.sean import SEANNorm
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.bridge.config import BridgeConfig
from stylebridge.networks.bridge.recolour import apply_map, colour_map
from stylebridge.networks.bridge.styles import Styles
from stylebridge.networks.cyclegan import InstanceNorm
from stylebridge.networks.label_gan.trunk import SLOPE, ResidualBlock

#: Channels at the image's own size: what comes from below beside the image's three, and what is painted from.
WIDE, FINE = 13, 8
#: How far a residual goes at most: of the factor, of the shift, of the noise's deviation. Without such bounds critics
#: drive small generators to burnt-out skies and to confetti on the road within 100 steps.
MOST = (0.5, 0.25, 0.05)


class Generator(nn.Module):
    """A code, its image, its label map and the wanted region styles to an image of the other domain.

    Residual blocks with SEAN norms at a quarter and at half of the size; at full size two plain convolutions. Norms
    take each image's own statistics: translations, cycles and reconstructions run through one generator, and their
    batch statistics would mix.
    """

    def __init__(self, config: BridgeConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        if not config.learnt:
            return
        code, half = config.code_channels, config.channels

        def norm(channels: int) -> SEANNorm:
            layer = SEANNorm(channels, classes, config.style_channels, config.hidden)
            layer.norm = InstanceNorm(channels)  # type: ignore[assignment]
            return layer

        self.start = nn.Conv2d(code, code, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(code, code, norm) for _ in range(config.blocks))
        self.up = ResidualBlock(code, half, norm)
        self.widen = nn.Conv2d(half, WIDE, 1)
        residual = config.output == "residual"
        self.fine = nn.Conv2d(WIDE + (3 if residual else 0), FINE, 3, padding=1)
        self.paint = nn.Conv2d(FINE, 9 if residual else 3, 3, padding=1)
        if residual:  # training begins with the base as it is
            nn.init.zeros_(self.paint.weight)
        assert self.paint.bias is not None
        nn.init.zeros_(self.paint.bias)

    def forward(
        self, code: Tensor, image: Tensor, labels: Tensor | LabelMaps, own: Styles, wanted: Styles
    ) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] of the wanted styles.

        Args:
            code: of the image, [B, 2·channels, H/4, W/4].
            image: [B, 3, H, W] in [0, 1].
            labels: its label map [B, H, W], 255 = no class.
            own, wanted: the image's own styles, and those to paint in.
        """
        maps = LabelMaps.of(labels, wanted.codes.shape[1])
        if not self.config.learnt:
            base, noise = self._base(image, maps, own.looks, wanted.looks)
            return (base + torch.randn_like(image) * noise).clamp(0, 1)
        x = self.start(code)
        for block in self.blocks:
            x = block(x, maps, wanted.codes)
        x = self.up(F.interpolate(x, scale_factor=2.0), maps, wanted.codes)
        x = F.interpolate(self.widen(x), size=(image.shape[2], image.shape[3]), mode="bilinear")
        if self.config.output == "image":
            return self.paint(F.leaky_relu(self.fine(x), SLOPE)).sigmoid()
        base, noise = self._base(image, maps, own.looks, wanted.looks)
        change = self.paint(F.leaky_relu(self.fine(torch.cat((x, base), 1)), SLOPE))
        factor, shift, more = change.chunk(3, 1)
        factor, shift, more = (
            most * (part / most).tanh() for part, most in zip((factor, shift, more), MOST, strict=True)
        )
        drawn = torch.randn_like(image)
        return (base * (1 + factor) + shift + drawn * (noise + more)).clamp(0, 1)

    @torch.no_grad()
    def _base(
        self, image: Tensor, maps: LabelMaps, own: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """The image with the wanted colours, and the deviation of the noise that it lacks [B, 3, 1, 1]."""
        grain, noise = own[:, -1, 9:], 0.0
        if self.config.base != "image":
            changes = colour_map(own[..., :9], wanted[..., :9])
            grain = grain * changes[:, -1, (0, 4, 8)].abs()
            image = self._recolour(image, maps, changes)
        if self.config.grain:  # variances of independent noises add up
            missing = wanted[:, -1, 9:].square() - grain.square()
            noise = missing.clamp(min=0).sqrt()[..., None, None].to(image.dtype)
        return image, noise

    def _recolour(self, image: Tensor, maps: LabelMaps, changes: Tensor) -> Tensor:
        """The image through colour maps [B, K + 1, 12]: the whole image's, mixed with each region's."""
        changes = changes.to(image.dtype)
        change, share = changes[:, -1, :, None, None], self.config.region_share
        if self.config.base == "region-colour":
            labels = maps.labels.clamp(max=changes.shape[1] - 1)  # no class: the whole image's
            rows = changes.gather(1, labels.flatten(1)[..., None].expand(-1, -1, changes.shape[2]))
            change = change.lerp(rows.transpose(1, 2).unflatten(2, labels.shape[1:]), share)
        return apply_map(image, change.expand(-1, -1, *image.shape[2:])).clamp(0, 1)
