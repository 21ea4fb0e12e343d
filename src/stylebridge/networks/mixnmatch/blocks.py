"""Layers that MixNMatch's networks share. Keys are those of the published networks."""

from __future__ import annotations

import torch
from torch import Tensor, compiler, nn
from torch.nn import functional as F

SLOPE = 0.2
#: Row k of a kernel of 4 that doubles the sides, as a sum of the rows of the kernel of 3 that follows a doubling.
_SPREAD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """3×3 convolution that keeps the sides, no bias."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def halve(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    """4×4 convolution of stride 2 that halves the sides."""
    return nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias)


class WholeMap(nn.Conv2d):
    """Convolution without padding that may cover all of its input: then it is a linear layer, and is done as one (two
    thirds of the time on a CPU)."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, I, H, W] to [B, O, h, w]."""
        if input.shape[-2:] != self.weight.shape[-2:]:
            return super().forward(input)
        return F.linear(input.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]


def run_passes(layers: nn.Sequential, x: Tensor, passes: int) -> Tensor:
    """Layers on several batches at once, joined along axis 0: as if they came one after the other.

    Convolutions see all of them together, which costs less where weights are more than pixels; batch norms take each
    batch by itself.
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
        """Gate axis 1."""
        return F.glu(x, 1)


class Same(nn.Sequential):
    """3×3 convolution to twice the channels, batch norm, GLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv3(inputs, 2 * outputs), nn.BatchNorm2d(2 * outputs), GLU())


class Up(nn.Module):
    """Nearest doubling of the sides, then :class:`Same`.

    On a CPU (and on the meta device, where its arithmetic is counted) doubling and convolution are one transposed
    convolution of 4×4 and stride 2, whose kernel holds sums of the 3×3 one's weights: the same function with 16
    products in place of 36.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # Numbers as in the published sequence, whose number 0 is the doubling.
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
    """Two 3×3 convolutions with batch norm, GLU between them, plus the input; no activation after the sum."""

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
    """:class:`Same` of a code spread over all pixels and a feature map.

    Args:
        code, features: channels of both.
        code_first: the order of the convolution's input channels: the code's first, or the features' first.

    A spread code is constant, so what its part of the convolution gives depends on the pixel's place at the border
    alone: the code goes through the kernel once for each row and column of it, never over the image.
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
    """Which of a kernel's three rows lie inside the image for each output row: [side, 3] of ones and zeros."""
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
    """The published start: orthogonal weights, batch norm weights N(1, 0.02²), biases of both and of linear layers 0.

    Biases of convolutions keep torch's. Nothing happens to weights on the meta device.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not module.weight.is_meta:
            nn.init.orthogonal_(module.weight)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        if isinstance(module, nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d) and module.bias is not None:
            nn.init.zeros_(module.bias)
