"""Layers shared by MixNMatch's networks, with the published keys."""

from __future__ import annotations

import torch
from torch import Tensor, compiler, nn
from torch.nn import functional as F

SLOPE = 0.2
#: Rows of the 4×4 kernel that doubles the sides, as sums of the rows of a 3×3 kernel after doubling.
_SPREAD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """3×3 convolution that keeps the sides, no bias."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def halve(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    """4×4 convolution of stride 2 that halves the sides."""
    return nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias)


class WholeMap(nn.Conv2d):
    """Convolution without padding. If it covers its whole input it is computed as a linear layer (two thirds of the
    time on a CPU)."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, I, H, W] to [B, O, h, w]."""
        if input.shape[-2:] != self.weight.shape[-2:]:
            return super().forward(input)
        return F.linear(input.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]


def run_passes(layers: nn.Sequential, x: Tensor, passes: int) -> Tensor:
    """Apply layers to several batches, joined along axis 0, as if they came one after the other.

    Convolutions process all of them together, which is faster if weights outnumber pixels; batch norms process each
    batch separately.
    """
    if passes == 1:
        return layers(x)
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            x = run_passes(layer, x, passes)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            x = torch.cat([layer(batch) for batch in x.chunk(passes)])
        else:
            x = layer(x)
    return x


class GLU(nn.Module):
    """The first half of the channels times the sigmoid of the second: [B, 2C, …] to [B, C, …]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2C, …] to [B, C, …]."""
        return F.glu(x, 1)


class Same(nn.Sequential):
    """3×3 convolution to twice the channels, batch norm, GLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv3(inputs, 2 * outputs), nn.BatchNorm2d(2 * outputs), GLU())


class Up(nn.Module):
    """Nearest doubling of the sides, then :class:`Same`.

    On a CPU (and on the meta device, where operations are counted) doubling and convolution are one transposed 4×4
    convolution of stride 2, whose kernel has sums of the 3×3 weights: the same function with 16 products instead of 36.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # Numbered as in the published sequence, where 0 is the doubling.
        self.add_module("1", conv3(inputs, 2 * outputs))
        self.add_module("2", nn.BatchNorm2d(2 * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] to [B, O, 2H, 2W]."""
        conv, norm = self.get_submodule("1"), self.get_submodule("2")
        if x.device.type in ("cpu", "meta") and not compiler.is_compiling():
            assert isinstance(conv, nn.Conv2d)
            y = F.conv_transpose2d(x, self._kernel(conv.weight), stride=2, padding=1)
        else:
            y = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return F.glu(norm(y), 1)

    def _kernel(self, weight: Tensor) -> Tensor:
        """[O, I, 3, 3] to [I, O, 4, 4]."""
        spread = weight.new_tensor(_SPREAD)
        both = torch.kron(spread, spread).t()  # rows and columns at once: [9, 16]
        outputs, inputs = weight.shape[:2]
        return (weight.reshape(-1, 9) @ both).view(outputs, inputs, 4, 4).transpose(0, 1)


class Residual(nn.Module):
    """Two 3×3 convolutions with batch norm, GLU in between, plus the input; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            conv3(channels, 2 * channels),
            nn.BatchNorm2d(2 * channels),
            GLU(),
            conv3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        return x + self.block(x)


class Joint(Same):
    """:class:`Same` of a code, broadcast over all pixels, and a feature map.

    Args:
        code, features: number of channels of each.
        code_first: whether the convolution's input channels begin with the code's, or with the features'.

    A broadcast code is constant, so its part of the result depends only on a pixel's distance from the border: it is
    computed once for each row and column of the kernel, not for each pixel.
    """

    def __init__(self, code: int, features: int, outputs: int, *, code_first: bool) -> None:
        super().__init__(code + features, outputs)
        first = code if code_first else features
        parts = slice(0, first), slice(first, None)
        self.of_code, self.of_features = parts if code_first else parts[::-1]

    def forward(self, code: Tensor, features: Tensor) -> Tensor:  # type: ignore[override]
        """Codes [B, K] and features [B, C, H, W] to [B, O, H, W]."""
        conv, norm, gate = self
        assert isinstance(conv, nn.Conv2d)
        height, width = features.shape[-2:]
        y = F.conv2d(features, conv.weight[:, self.of_features], padding=1)
        taps = torch.einsum("bk,okij->boij", code, conv.weight[:, self.of_code])
        spread = _inside(height, taps) @ taps @ _inside(width, taps).t()
        return gate(norm(y + spread))


def _inside(side: int, like: Tensor) -> Tensor:
    """Which of a kernel's three rows are inside the image for each output row: [side, 3] of ones and zeros."""
    mask = like.new_ones(side, 3)
    mask[0, 0] = 0
    mask[-1, 2] = 0
    return mask


class ToImage(nn.Module):
    """3×3 convolution to ``outputs`` channels; tanh for an image, sigmoid for a mask."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        activation = nn.Sigmoid() if outputs == 1 else nn.Tanh()
        self.img = nn.Sequential(conv3(inputs, outputs), activation)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, outputs, H, W]."""
        return self.img(x)


def initialise(network: nn.Module) -> None:
    """The published initialisation: orthogonal weights, batch norm weights N(1, 0.02²), zero biases of batch norms and
    linear layers.

    Biases of convolutions keep torch's default. Weights on the meta device are unchanged.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not module.weight.is_meta:
            nn.init.orthogonal_(module.weight)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        if isinstance(module, nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d) and module.bias is not None:
            nn.init.zeros_(module.bias)
