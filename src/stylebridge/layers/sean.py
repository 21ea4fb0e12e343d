"""Semantic region-adaptive normalisation (SEAN; Zhu et al., CVPR 2020, arXiv 1911.12861): a style code for each region.

The published layer paints a map M of style codes, constant in each region, and convolves it. A 3×3 convolution of such
a map sums nine vectors at each pixel, each the product of a tap's weights and a region's code: only 9·R distinct
vectors for R regions. They are computed by one matrix product and summed by index.

Example::

    norm = SEANNorm(channels=64, classes=19, style_channels=512)
    codes, present = region_means(features, labels, 19)  # features [B, 512, h, w]: a code for each class
    y = norm(x, labels, codes)  # x [B, 64, h', w']
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.kept_memory import KeptMemory
from stylebridge.layers.precision import at_least_float32, without_autocast
from stylebridge.layers.products import rows_product
from stylebridge.layers.spade import (
    TAPS,
    LabelGrid,
    LabelMaps,
    MaskModulation,
    RowSums,
    first_of_each,
    modulate,
)

#: If at most one class in this many is present, only their weights are read; else reading all is faster.
FEW = 4


class RegionMeans(NamedTuple):
    """``codes``: [B, K, S], 0 where the class is absent. ``present``: bool [B, K]."""

    codes: Tensor
    present: Tensor


def region_means(features: Tensor, labels: Tensor | LabelMaps, classes: int) -> RegionMeans:
    """The mean of the features over each class's pixels (region-wise average pooling).

    Args:
        features: [B, S, h, w].
        labels: label maps [B, H, W] of any size, resized by nearest neighbour; pixels of 255 are ignored.
        classes: K.

    Returns:
        Means in the features' type, summed in float32 at least.

    Raises:
        DataError: a label is not a class.
    """
    grid = LabelMaps.of(labels, classes).at(*features.shape[-2:])
    images = len(features)
    kinds = classes + 1  # the last means no class
    offsets = torch.arange(images, device=grid.labels.device)[:, None, None] * kinds
    kind = (grid.labels + offsets).flatten()
    order = torch.sort(kind, stable=True).indices
    sums = RowSums(order, first_of_each(kind, images * kinds), len(kind))
    counts = torch.bincount(kind, minlength=images * kinds).view(images, kinds)[:, :classes]
    totals = sums(at_least_float32(grid.as_rows(features))).view(images, kinds, -1)[:, :classes]
    means = totals / counts.clamp(min=1).to(totals.dtype)[..., None]
    return RegionMeans(means.to(features.dtype), counts > 0)


class _ClassLinear(torch.autograd.Function):
    """[N, B, S] times weights [K, T, S] of N of the K classes (None: of all, in order): [N, B, T].

    With many classes the weights take gigabytes, and memory access dominates. No copy of the weights is kept for
    backward; the gradient is written once, including the zeros of absent classes, into the memory of the last step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, chosen: Tensor | None, memory: KeptMemory) -> Tensor:
        ctx.memory = memory
        ctx.save_for_backward(x, weight, chosen)
        # Weights first: several times faster than x @ weightᵀ for a few images.
        return (_of(weight, chosen) @ x.transpose(1, 2)).transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, chosen = ctx.saved_tensors
        g = grad_outputs[0].contiguous()
        grad_x = g @ _of(weight, chosen) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            if chosen is not None:
                g, x = (t.new_zeros(len(weight), *t.shape[1:]).index_copy_(0, chosen, t) for t in (g, x))
            outer = torch.mul if x.shape[1] == 1 else torch.bmm  # a single image needs no sum
            grad_weight = outer(g.transpose(1, 2), x, out=ctx.memory.take(weight.shape, g))
        return grad_x, grad_weight, None, None


def _of(weight: Tensor, chosen: Tensor | None) -> Tensor:
    return weight if chosen is None else weight.index_select(0, chosen)


def class_linear(
    codes: Tensor,
    weight: Tensor,
    bias: Tensor,
    chosen: Tensor | None = None,
    memory: KeptMemory | None = None,
) -> Tensor:
    """A linear layer for each class: codes [B, K, S], weight [K, T, S] and bias [K, T] to [B, N, T].

    Args:
        chosen: ascending class numbers [N]; None: all K.
        memory: memory for the weight's gradient; None: new memory.
    """
    device = codes.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        codes, weight = (t.to(torch.get_autocast_dtype(device)) for t in (codes, weight))
    if chosen is not None:
        codes, bias = codes.index_select(1, chosen), bias.index_select(0, chosen)
    with without_autocast(codes.device):
        products = _ClassLinear.apply(
            codes.transpose(0, 1).contiguous(), weight, chosen, memory or KeptMemory()
        )
        return products.transpose(0, 1) + bias.to(codes.dtype)


class SEANNorm(nn.Module):
    """Region-adaptive normalisation with noise and a learned blend of style and mask (``ACE`` in the paper's code).

    ``x̂`` is the batch norm (without affine part) of x plus noise, and ``y = x̂·(1 + γ) + β`` with

    * ``γ = α_γ·γ_s + (1 − α_γ)·γ_o``, likewise β; ``α = sigmoid(blending)``;
    * ``γ_o, β_o`` from the label map, as in SPADE;
    * ``γ_s, β_s`` by 3×3 convolutions of the map with ``ReLU(A_k·code_k + b_k)`` in the region of class k.

    Noise is one normal value per pixel, times a learned factor per channel, in training and in evaluation.

    Parameters, with the published names: ``code_weight`` [K, S, S] and ``code_bias`` [K, S] (``fc_mu0``, …);
    ``style_weight`` [9, 2C, S], by tap, and ``style_bias`` [2C] (``conv_gamma``, then ``conv_beta``); ``blending`` [2];
    ``noise_scale`` [C] (``noise_var``); ``mask`` as in :class:`~stylebridge.layers.spade.SPADE`.

    Args:
        channels: C of the normalised maps.
        classes: K of the label maps.
        style_channels: S, the length of a style code; 0: a layer without style (only γ_o and β_o).
        hidden: channels between the two convolutions of the label map.
    """

    def __init__(self, channels: int, classes: int, style_channels: int = 512, hidden: int = 128) -> None:
        super().__init__()
        self.classes, self.style_channels = classes, style_channels
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.mask = MaskModulation(channels, classes, hidden)
        self.noise_scale = nn.Parameter(torch.zeros(channels))
        # Also in a layer without style, where it is unused, as published.
        self.blending = nn.Parameter(torch.zeros(2))
        if style_channels:
            s = style_channels
            self.code_weight = nn.Parameter(torch.empty(classes, s, s))
            self.code_bias = nn.Parameter(torch.empty(classes, s))
            self.style_weight = nn.Parameter(torch.empty(TAPS, 2 * channels, s))
            self.style_bias = nn.Parameter(torch.empty(2 * channels))
            self._gradient_memory = KeptMemory()
        self.initialise(1.0)

    @torch.no_grad()
    def initialise(self, gain: float) -> None:
        """Xavier normal weights and zero biases; stacked weights are initialised as separate layers."""
        self.mask.initialise(gain)
        if self.style_channels:
            _, both, s = self.style_weight.shape
            nn.init.normal_(self.style_weight, std=gain * (2 / (TAPS * (s + both // 2))) ** 0.5)
            nn.init.normal_(self.code_weight, std=gain * s**-0.5)
            nn.init.zeros_(self.style_bias)
            nn.init.zeros_(self.code_bias)

    def train(self, mode: bool = True) -> SEANNorm:
        """As for any module; evaluation mode also frees the memory of the last gradient."""
        if not mode and self.style_channels:
            self._gradient_memory.release()
        return super().train(mode)

    def forward(
        self,
        x: Tensor,
        labels: Tensor | LabelMaps,
        codes: Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        slope: float = 1.0,
    ) -> Tensor:
        """[B, C, h, w] to [B, C, h, w].

        Args:
            labels: label maps [B, H, W] of any size, 255 = no class; or prepared maps that several norms share.
            codes: style codes [B, K, S]; not used by a layer without style.
            generator: for the noise, on any device; None: torch's global generator.
            slope: of a fused LeakyReLU afterwards; 1 = none.

        Raises:
            DataError: a label is not a class.
        """
        grid = LabelMaps.of(labels, self.classes).at(*x.shape[-2:])
        noise = noise_like(x, generator)
        normal = self.norm(torch.addcmul(x, noise, self.noise_scale.to(x.dtype)[:, None, None]))
        if not self.style_channels:
            return modulate(normal, self.mask(grid), slope)
        assert codes is not None, "a layer with style needs style codes"
        share = self.blending.sigmoid().repeat_interleave(x.shape[1])
        both = self.mask(grid, 1 - share, share * self.style_bias)
        return modulate(normal, both + self._style(grid, codes, share), slope)

    def _style(self, grid: LabelGrid, codes: Tensor, share: Tensor) -> Tensor:
        """γ_s and β_s times their weights, without bias: [B, 2C, h, w]."""
        regions, taps = grid.regions
        images, classes = regions // self.classes, regions % self.classes
        chosen, which = torch.unique(classes, return_inverse=True)
        if len(chosen) * FEW > self.classes:
            chosen, which = None, classes
        adapted = F.relu(class_linear(codes, self.code_weight, self.code_bias, chosen, self._gradient_memory))
        rows = adapted.flatten(0, 1).index_select(0, images * adapted.shape[1] + which)
        # An additional zero row for pixels without a class and outside the image.
        products = rows_product(F.pad(rows, (0, 0, 0, 1)), self.style_weight.flatten(0, 1))
        table = products.view(-1, len(share)) * share.to(products.dtype)
        return grid.as_map(taps(table))


def noise_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One normal value for each pixel: [B, 1, h, w], drawn column by column, in x's type and on its device."""
    batch, _, height, width = x.shape
    device = x.device if generator is None else generator.device
    drawn = torch.randn(batch, width, height, generator=generator, device=device)
    return drawn.transpose(1, 2)[:, None].to(x)
