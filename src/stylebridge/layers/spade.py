"""Spatially-adaptive normalisation (SPADE; Park et al., CVPR 2019, arXiv 1903.07291).

Convolutions of label maps are sums of table rows (:mod:`stylebridge.layers.label_maps`).

Example::

    norm = SPADE(channels=64, classes=19)
    y = norm(x, labels)  # x [B, 64, h, w], labels [B, H, W] with 255 = no class

    maps = LabelMaps(labels, 19)  # several norms: prepare the label maps once
    y = second(torch.relu(first(x, maps)), maps)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.label_maps import (
    PATTERNS_PAY,
    TAPS,
    LabelGrid,
    LabelMaps,
    RowSums,
    first_of_each,
    label_convolution,
    neighbourhoods,
)
from stylebridge.layers.products import rows_product

__all__ = [
    "PATTERNS_PAY",
    "SPADE",
    "TAPS",
    "LabelGrid",
    "LabelMaps",
    "MaskModulation",
    "RowSums",
    "first_of_each",
    "label_convolution",
    "modulate",
    "neighbourhoods",
]


class _Modulate(torch.autograd.Function):
    """x·scale + shift, then LeakyReLU; plain autograd would keep and read twice as many maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, both: Tensor, slope: float) -> Tensor:
        scale, shift = both.chunk(2, 1)
        y = torch.addcmul(shift, x, scale)
        if slope != 1.0:
            F.leaky_relu_(y, slope)
        ctx.slope = slope
        ctx.save_for_backward(x, both, y if slope != 1.0 else None)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grad_outputs
        x, both, y = ctx.saved_tensors
        channels = x.shape[1]
        grad_both = torch.empty_like(both)
        grad_scale, grad_shift = grad_both.chunk(2, 1)
        if y is None:
            grad_shift.copy_(g)
        else:  # y has the sign of the LeakyReLU's input
            torch.ops.aten.leaky_relu_backward.grad_input(g, y, ctx.slope, True, grad_input=grad_shift)
        torch.mul(grad_shift, x, out=grad_scale)
        grad_x = grad_shift * both[:, :channels]
        return grad_x, grad_both, None


def modulate(x: Tensor, scale_and_shift: Tensor, slope: float = 1.0) -> Tensor:
    """``x·scale + shift``, followed by a LeakyReLU unless its slope is 1.

    Args:
        x: [B, C, h, w].
        scale_and_shift: [B, 2C, h, w], scales first.
    """
    return _Modulate.apply(x, scale_and_shift.to(x.dtype), slope)  # type: ignore[no-any-return]


class MaskModulation(nn.Module):
    """SPADE's three convolutions from label maps to a scale and shift for each pixel.

    ``a = ReLU(shared(m))``, ``[γ, β] = scale_shift(a)``. ``shared``: 3×3, K → hidden. ``scale_shift``: 3×3,
    hidden → 2C, the published ``mlp_gamma`` and ``mlp_beta``, concatenated.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.shared = nn.Conv2d(classes, hidden, 3, padding=1)
        self.scale_shift = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, grid: LabelGrid, share: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """1 + γ and β of every pixel, [B, 2C, h, w], for :func:`modulate`.

        Args:
            share: [2C], factor on γ and β (SEAN's blending); None: 1.
            bias: [2C], added afterwards; None: 0.
        """
        assert self.shared.bias is not None
        assert self.scale_shift.bias is not None
        weight, total = self.scale_shift.weight, self.scale_shift.bias
        if share is not None:
            weight, total = weight * share[:, None, None, None], total * share
        if bias is not None:
            total = total + bias
        gamma, beta = total.chunk(2)
        total, table = torch.cat((gamma + 1, beta)), grid.table(self.shared.weight, self.shared.bias)
        patterns = grid.patterns
        if patterns is None:
            a = F.relu(grid.as_map(grid.taps(table)), inplace=True)
            return F.conv2d(a, weight, total, padding=1)
        a = F.pad(F.relu(patterns.hidden(table)), (0, 0, 0, 1))
        windows = patterns.windows(a).view(-1, TAPS * a.shape[1])
        rows = rows_product(windows, weight.permute(0, 2, 3, 1).flatten(1), total)
        return grid.as_map(patterns.pixels(rows))

    @torch.no_grad()
    def initialise(self, gain: float) -> None:
        """Xavier normal weights and zero biases, with ``mlp_gamma`` and ``mlp_beta`` as separate convolutions."""
        for weight in (self.shared.weight, *self.scale_shift.weight.chunk(2)):
            nn.init.xavier_normal_(weight, gain)
        for conv in (self.shared, self.scale_shift):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: ``y = x̂·(1 + γ(m)) + β(m)``, x̂ the batch norm of x without affine part.

    Args:
        channels: C of the normalised maps.
        classes: K of the label maps.
        hidden: channels between the two convolutions of the label map (published: 128).
        edges: whether label maps have instance edges, as one additional channel.

    ``nn.SyncBatchNorm.convert_sync_batchnorm`` also converts its batch norm.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 128, edges: bool = False) -> None:
        super().__init__()
        self.classes, self.edges = classes, edges
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.mask = MaskModulation(channels, classes + edges, hidden)

    def forward(self, x: Tensor, labels: Tensor | LabelMaps, *, slope: float = 1.0) -> Tensor:
        """[B, C, h, w] to [B, C, h, w].

        Args:
            labels: label maps [B, H, W] of any size, 255 = no class; or prepared maps that several norms share.
            slope: of a fused LeakyReLU afterwards; 1 = none.

        Raises:
            DataError: a label is not a class.
        """
        grid = LabelMaps.of(labels, self.classes, edges=self.edges).at(*x.shape[-2:])
        return modulate(self.norm(x), self.mask(grid), slope)

    def initialise(self, gain: float) -> None:
        """Xavier normal weights and zero biases."""
        self.mask.initialise(gain)
