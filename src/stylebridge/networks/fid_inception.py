"""The Inception-v3 of FID, KID and IS: TensorFlow's release of 2015-12-05.

It is torchvision's Inception-v3 with three differences: 1,008 outputs, average pooling without the padding, and maximum
pooling in the last block. Keys are those of the converted file shared by torch-fidelity and pytorch-fid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import inception as blocks

#: Side of its input images, in pixels.
SIDE = 299
CLASSES, DIMS = 1008, 2048
#: Modules up to the last block, in order; the names are keys of the released file.
LAYERS = (
    *(
        "Conv2d_1a_3x3",
        "Conv2d_2a_3x3",
        "Conv2d_2b_3x3",
        "maxpool1",
        "Conv2d_3b_1x1",
        "Conv2d_4a_3x3",
        "maxpool2",
    ),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


class InceptionOutput(NamedTuple):
    """``pooled``: [B, 2048], the average over the last block's map. ``logits``: [B, 1008], without the bias, as in the
    original IS."""

    pooled: Tensor
    logits: Tensor


class FidInception(blocks.Inception3):
    """Images [B, 3, 299, 299] in [−1, 1) to features and logits."""

    def __init__(self) -> None:
        parts = [
            blocks.BasicConv2d, _InceptionA, blocks.InceptionB, _InceptionC, blocks.InceptionD, _InceptionE,
            blocks.InceptionAux,
        ]  # fmt: skip
        super().__init__(CLASSES, aux_logits=False, inception_blocks=parts, init_weights=False)  # type: ignore[arg-type]
        self.Mixed_7c = _InceptionEMax(2048)

    def forward(self, x: Tensor) -> InceptionOutput:  # type: ignore[override]
        for name in LAYERS:
            x = getattr(self, name)(x)
        pooled = x.mean((2, 3))
        return InceptionOutput(pooled, pooled @ self.fc.weight.T)


def resize_like_tensorflow(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing of float images [B, C, H, W] to (H, W) as in TensorFlow 1: pixel i of the result is sampled at
    i·(old/new), which is not a pixel centre, without antialiasing."""
    for axis, new in ((-2, size[0]), (-1, size[1])):
        old = image.shape[axis]
        # In float32 like the original, so that products just below an integer round the same way.
        place = torch.arange(new, dtype=torch.float32, device=image.device) * (old / new)
        low = place.floor().long().clamp(max=old - 1)
        high = (low + 1).clamp(max=old - 1)
        share = (place - low).to(image.dtype)
        if axis == -2:
            share = share[:, None]
        lower = image.index_select(axis, low)
        image = lower + (image.index_select(axis, high) - lower) * share
    return image


def _pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _InceptionA(blocks.InceptionA):
    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, three, self.branch_pool(_pool(x))), 1)


class _InceptionC(blocks.InceptionC):
    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = x
        for number in range(1, 6):
            double = getattr(self, f"branch7x7dbl_{number}")(double)
        return torch.cat((self.branch1x1(x), seven, double, self.branch_pool(_pool(x))), 1)


class _InceptionE(blocks.InceptionE):
    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = (
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        )
        return torch.cat(parts, 1)

    def pool(self, x: Tensor) -> Tensor:
        return _pool(x)


class _InceptionEMax(_InceptionE):
    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)
