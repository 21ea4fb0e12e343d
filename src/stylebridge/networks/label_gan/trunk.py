"""Residual blocks with norms conditioned on the label map, and the generator trunk of SPADE and SEAN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.layers.spade import LabelMaps, label_convolution
from stylebridge.layers.spectral import SpectralConv2d, SpectralLinear
from stylebridge.networks.label_gan.config import LabelGanConfig

SLOPE = 0.2
#: Gain of the initial Xavier normal weights.
INITIAL_GAIN = 0.02


class PaddedSpectralConv2d(SpectralConv2d):
    """A spectrally normalised convolution with zero padding."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias)
        self.padding = padding

    def forward(self, x: Tensor, passes: int = 1) -> Tensor:
        """[B, I, H, W] to [B, O, h, w]."""
        return super().forward(F.pad(x, (self.padding,) * 4) if self.padding else x, passes)


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Initialise every layer with Xavier normal weights of the published gain 0.02, and zero biases."""
    own = getattr(network, "initialise", None)
    if own is not None:  # initialises its parts itself
        own(INITIAL_GAIN)
        return
    if isinstance(network, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | SpectralConv2d | SpectralLinear):
        spectral = isinstance(network, SpectralConv2d | SpectralLinear)
        nn.init.xavier_normal_(network.weight_orig if spectral else network.weight, INITIAL_GAIN)
        if network.bias is not None:
            nn.init.zeros_(network.bias)
    for child in network.children():
        initialise(child)


class ResidualBlock(nn.Module):
    """``shortcut + conv_1(LReLU(norm_1(conv_0(LReLU(norm_0(x))))))``; the shortcut is x, or conv_s(norm_s(x)) if the
    number of channels changes.

    Args:
        inputs, outputs: channels.
        norm: creates a norm for a number of channels; it is called with x, further arguments, and ``slope=``.
    """

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = PaddedSpectralConv2d(inputs, middle, 3, padding=1)
        self.conv_1 = PaddedSpectralConv2d(middle, outputs, 3, padding=1)
        self.norm_0, self.norm_1 = norm(inputs), norm(middle)
        self.learnt = inputs != outputs
        if self.learnt:
            self.conv_s = PaddedSpectralConv2d(inputs, outputs, 1, bias=False)
            self.norm_s = norm(inputs)

    def forward(self, x: Tensor, *condition: object) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h, w]."""
        shortcut = self.conv_s(self.norm_s(x, *condition)) if self.learnt else x
        x = self.conv_0(self.norm_0(x, *condition, slope=SLOPE))
        return shortcut + self.conv_1(self.norm_1(x, *condition, slope=SLOPE))


class LabelGenerator(nn.Module):
    """Start layer ``fc``, residual blocks with doublings in between, and ``conv_img``, with the published names.

    Args:
        norm: creates a norm from the block's name and the number of channels.
    """

    def __init__(
        self, config: LabelGanConfig, norm: Callable[[str, int], nn.Module], start: nn.Module
    ) -> None:
        super().__init__()
        self.fc = start
        for name, inputs, outputs in config.widths:
            setattr(
                self, name, ResidualBlock(inputs, outputs, lambda channels, name=name: norm(name, channels))
            )
        self.conv_img = nn.Conv2d(config.widths[-1][2], 3, 3, padding=1)
        self.upsampling, self.classes, self.stride = config.upsampling, config.classes, config.stride
        self.void_class, self.edges = config.void_class, config.edges
        self._blocks = [name for name, _, _ in config.widths]

    def maps(self, labels: Tensor | LabelMaps, edges: Tensor | None = None) -> LabelMaps:
        """Prepare and check label maps.

        Args:
            labels: [B, H, W].
            edges: bool [B, H, W], for a network that takes instance edges.

        Raises:
            DataError: a side is not a multiple of the stride, a label is not a class, or edges are missing or surplus.
        """
        if edges is not None and isinstance(labels, Tensor):
            labels = LabelMaps(labels, self.classes, void_class=self.void_class, edges=edges)
        maps = LabelMaps.of(labels, self.classes, void_class=self.void_class, edges=self.edges)
        height, width = maps.size
        if height % self.stride or width % self.stride:
            raise DataError(
                f"A label map of {width}×{height} does not fit: give sides that are multiples of {self.stride}."
            )
        return maps

    def start(self, maps: LabelMaps) -> Tensor:
        """The start grid [B, 16·channels, h, w] as a convolution of the label map resized to it."""
        height, width = (side // self.stride for side in maps.size)
        assert isinstance(self.fc, nn.Conv2d)
        assert self.fc.bias is not None
        return label_convolution(maps.at(height, width), self.fc.weight, self.fc.bias)

    def paint(self, x: Tensor, maps: LabelMaps, *condition: object) -> Tensor:
        """From the start grid to images [B, 3, H, W] in [0, 1]."""
        for name in self._blocks:
            twice = name != "head_0" and (name != "G_middle_1" or self.upsampling != "normal")
            if twice:
                x = F.interpolate(x, scale_factor=2.0)
            x = getattr(self, name)(x, maps, *condition)
        return self.conv_img(F.leaky_relu(x, SLOPE)).tanh() * 0.5 + 0.5
