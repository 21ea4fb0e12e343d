"""Whether mixing keeps what it should: texture while the pose varies, shape while the texture varies, background.

Each function compares images pair by pair, with the masks that the generator gives with them.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: A mask's pixel counts as object above this.
THRESHOLD = 0.5


def colour_histograms(image: Tensor, mask: Tensor, bins: int = 8) -> Tensor:
    """Joint RGB histograms of the pixels inside masks, each of sum 1: float64 [B, bins³] (0 where a mask is empty).

    A pixel counts by its mask's value, so soft borders count in part.

    Args:
        image: [B, 3, H, W] in [0, 1].
        mask: [B, 1, H, W] in [0, 1].
        bins: intervals a channel; 1 belongs to the last.
    """
    cells = (image * bins).long().clamp_(0, bins - 1)
    red, green, blue = cells.flatten(2).unbind(1)
    weight = mask.flatten(1).to(torch.float64)
    histogram = torch.zeros(len(image), bins**3, dtype=torch.float64, device=image.device)
    histogram.scatter_add_(1, (red * bins + green) * bins + blue, weight)
    return histogram / histogram.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def histogram_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 − Σ min(p, q) of histograms [B, N] of sum 1: float64 [B] from 0 (the same colours) to 1 (none in common)."""
    return 1 - torch.minimum(one, other).sum(1)


def colour_distance(
    image: Tensor, mask: Tensor, other_image: Tensor, other_mask: Tensor, bins: int = 8
) -> Tensor:
    """:func:`histogram_distance` of what two images show inside their masks: [B]; NaN where a mask is empty.

    Low where the texture is kept. Arguments as in :func:`colour_histograms`.
    """
    distance = histogram_distance(
        colour_histograms(image, mask, bins), colour_histograms(other_image, other_mask, bins)
    )
    empty = (mask.flatten(1).sum(1) == 0) | (other_mask.flatten(1).sum(1) == 0)
    return distance.masked_fill(empty, float("nan"))


def mask_iou(one: Tensor, other: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Intersection over union of masks [B, 1, H, W] in [0, 1]: float64 [B]; NaN where both are empty.

    High where the shape is kept.
    """
    a, b = (mask.flatten(1) > threshold for mask in (one, other))
    union = (a | b).sum(1).to(torch.float64)
    return ((a & b).sum(1) / union).where(union > 0, float("nan"))


def background_difference(
    image: Tensor, mask: Tensor, other_image: Tensor, other_mask: Tensor, threshold: float = THRESHOLD
) -> Tensor:
    """Mean absolute difference of the pixels that neither mask covers, over the channels too: float64 [B], in the
    images' units; NaN where there is no such pixel. Low where the background is kept.

    Args:
        image, other_image: [B, 3, H, W] in [0, 1].
        mask, other_mask: [B, 1, H, W] in [0, 1].
    """
    free = ((mask <= threshold) & (other_mask <= threshold)).flatten(1).to(torch.float64)
    difference = (image - other_image).abs().to(torch.float64).mean(1).flatten(1)
    count = free.sum(1)
    return ((difference * free).sum(1) / count).where(count > 0, float("nan"))
