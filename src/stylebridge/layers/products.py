"""Matrix products with a device-dependent fast path."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def rows_product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows @ weightᵀ + bias``: [N, S] and weight [M, S], bias [M], to [N, M].

    On a CPU it is computed as a 1×1 convolution over N pixels in channels-last memory: without a copy, by oneDNN, in
    half the time of the matrix library on AMD processors.
    """
    ours = rows.device.type == "cpu" and rows.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    if not ours or not len(rows):
        return F.linear(rows, weight, bias)
    image = rows[None, None].permute(0, 3, 1, 2)
    return F.conv2d(image, weight[..., None, None], bias).permute(0, 2, 3, 1).reshape(len(rows), len(weight))
