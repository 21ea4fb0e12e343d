"""Bridge's generator: SEAN's decoder on a NICE-GAN code, with access to the input image."""

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

#: Channels at full size: those joined to the image's three, and those before the output.
WIDE, FINE = 13, 8
#: Largest residuals: of the factor, of the shift, of the noise's standard deviation. Without these bounds critics drive
#: small generators to burnt-out skies and coloured noise on the road within 100 steps.
MOST = (0.5, 0.25, 0.05)


class Generator(nn.Module):
    """From a code, its image, its label map and the wanted region styles to an image of the other domain.

    Residual blocks with SEAN norms at a quarter and at half of the size; two plain convolutions at full size. Norms use
    the statistics of each image: translations, cycles and reconstructions share one generator, and batch statistics
    would mix them.
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
        if residual:  # training starts from the unchanged base
            nn.init.zeros_(self.paint.weight)
        assert self.paint.bias is not None
        nn.init.zeros_(self.paint.bias)

    def forward(
        self, code: Tensor, image: Tensor, labels: Tensor | LabelMaps, own: Styles, wanted: Styles
    ) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] in the wanted styles.

        Args:
            code: the image's code [B, 2·channels, H/4, W/4].
            image: [B, 3, H, W] in [0, 1].
            labels: its label map [B, H, W], 255 = no class.
            own, wanted: the styles of the image, and those of the result.
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
        """The image with the wanted colours, and the standard deviation of the missing noise [B, 3, 1, 1]."""
        grain, noise = own[:, -1, 9:], 0.0
        if self.config.base != "image":
            changes = colour_map(own[..., :9], wanted[..., :9])
            grain = grain * changes[:, -1, (0, 4, 8)].abs()
            image = self._recolour(image, maps, changes)
        if self.config.grain:  # variances of independent noise add up
            missing = wanted[:, -1, 9:].square() - grain.square()
            noise = missing.clamp(min=0).sqrt()[..., None, None].to(image.dtype)
        return image, noise

    def _recolour(self, image: Tensor, maps: LabelMaps, changes: Tensor) -> Tensor:
        """Apply colour maps [B, K + 1, 12] to the image: that of the whole image, mixed with that of each region."""
        changes = changes.to(image.dtype)
        change, share = changes[:, -1, :, None, None], self.config.region_share
        if self.config.base == "region-colour":
            labels = maps.labels.clamp(max=changes.shape[1] - 1)  # no class: use the whole image's map
            rows = changes.gather(1, labels.flatten(1)[..., None].expand(-1, -1, changes.shape[2]))
            change = change.lerp(rows.transpose(1, 2).unflatten(2, labels.shape[1:]), share)
        return apply_map(image, change.expand(-1, -1, *image.shape[2:])).clamp(0, 1)
