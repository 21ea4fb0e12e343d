"""Region styles, pooled from the critic's encoder (SEAN's style codes without a separate encoder)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.global_batch import sum_over_processes
from stylebridge.layers.precision import at_least_float32
from stylebridge.layers.sean import region_means
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.bridge.config import BridgeConfig

#: Update rate of the running means of a domain's regions.
MEAN_DECAY = 0.99
#: Number of statistics: means, covariances and grain of three colours.
LOOKS = 12
_FIRST, _SECOND = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
#: The median of |x| of a standard normal x.
MEDIAN_NORMAL = 0.6745


class Styles(NamedTuple):
    """``codes``: [B, K, S]. ``looks``: colour statistics [B, K + 1, 12]: means of red, green and blue in each region,
    their covariances (rr, gg, bb, rg, rb, gb), and their grain; the last row is that of the whole image (grain is that
    of the whole image in all rows). ``present``: bool [B, K], whether the image has the class; other rows hold the
    class's running mean."""

    codes: Tensor
    looks: Tensor
    present: Tensor


class StyleHead(nn.Module):
    """The projections P_k of a domain, from the encoder's mean over a region to a style code.

    ``means`` [K + 1, 2·channels + 12] are buffers: running means over the domain's images of the pooled values of each
    region and the whole image; ``known`` [K + 1]: which of them have been seen.
    """

    means: Tensor
    known: Tensor

    def __init__(self, config: BridgeConfig, classes: int) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        inputs = config.code_channels
        self.weight = nn.Parameter(
            torch.randn(classes, inputs, config.style_channels) * max(inputs, 1) ** -0.5
        )
        self.bias = nn.Parameter(torch.zeros(classes, config.style_channels))
        self.register_buffer("means", torch.zeros(classes + 1, inputs + LOOKS))
        self.register_buffer("known", torch.zeros(classes + 1, dtype=torch.bool))

    def forward(
        self, code: Tensor, image: Tensor, labels: Tensor | LabelMaps, *, follow: bool = False
    ) -> Styles:
        """Styles of images.

        Args:
            code: [B, 2·channels, h, w] from the domain's encoder.
            image: [B, 3, H, W] in [0, 1].
            labels: [B, H, W], 255 = no class.
            follow: update the running means; for real images of the domain in training.

        Raises:
            DataError: a label is not a class.
        """
        height, width = code.shape[-2:]
        # Covariances are differences of moments, which would cancel in half precision.
        code, image = at_least_float32(code), at_least_float32(image)
        small = F.adaptive_avg_pool2d(image, (height, width)).to(code.dtype)
        pooled = torch.cat((code, small, small[:, _FIRST] * small[:, _SECOND]), 1)
        regions, present = region_means(pooled, labels, self.classes)
        rows = torch.cat((regions, pooled.mean((2, 3))[:, None]), 1)
        rows = torch.cat((rows, grain(image).to(rows.dtype)[:, None].expand(-1, rows.shape[1], -1)), 2)
        seen = F.pad(present, (0, 1), value=True)
        if follow:
            self._follow(rows.detach(), seen)
        stand_in = torch.where(self.known[:, None], self.means.to(rows.dtype), rows[:, -1:])
        return Styles(*self._project(torch.where(seen[..., None], rows, stand_in)), present)

    def mean_styles(self, images: int) -> Styles:
        """The domain's mean styles for ``images`` images; for classes never seen, that of the whole image."""
        rows = torch.where(self.known[:, None], self.means, self.means[-1:])[None].expand(images, -1, -1)
        return Styles(*self._project(rows), self.known[:-1].expand(images, -1))

    def _project(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and looks from the pooled values of K regions and the whole image [B, K + 1, 2·channels + 12]."""
        channels = self.config.code_channels
        if not self.config.region_styles:
            rows = rows[:, -1:].expand_as(rows)
        codes = torch.einsum("bkc,kcs->bks", rows[:, :-1, :channels], self.weight.to(rows.dtype))
        mean, product, grains = at_least_float32(rows[..., channels:]).split((3, 6, 3), -1)
        covariance = product - mean[..., _FIRST] * mean[..., _SECOND]
        return (codes + self.bias.to(codes.dtype)).tanh(), torch.cat((mean, covariance, grains), -1)

    @torch.no_grad()
    def _follow(self, rows: Tensor, seen: Tensor) -> None:
        """Update the running means of the regions present in the global batch."""
        counts = seen.sum(0).to(rows.dtype)[:, None]
        sums = sum_over_processes(torch.cat(((rows * seen[..., None]).sum(0), counts), 1))
        count = sums[:, -1]
        mean = (sums[:, :-1] / count.clamp(min=1)[:, None]).to(self.means.dtype)
        decay = torch.where(self.known, MEAN_DECAY, 0.0)[:, None]
        moved = decay * self.means + (1 - decay) * mean
        self.means.copy_(torch.where(count[:, None] > 0, moved, self.means))
        self.known |= count > 0


def grain(image: Tensor) -> Tensor:
    """The standard deviation of white noise in images [B, 3, H, W]: [B, 3], without gradient.

    From the median of absolute diagonal differences, robust to edges (Donoho and Johnstone, Biometrika 1994).
    """
    x = at_least_float32(image.detach())
    height, width = (side // 2 * 2 for side in x.shape[-2:])
    upper, lower = x[..., 0:height:2, :], x[..., 1:height:2, :]
    diagonal = upper - lower
    diagonal = (diagonal[..., 0:width:2] - diagonal[..., 1:width:2]).abs() / 2
    return diagonal.flatten(2).median(2).values / MEDIAN_NORMAL
