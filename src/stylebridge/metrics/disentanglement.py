"""Metrics of mixing: is texture kept when the pose varies, shape when the texture varies, and the background?

Each function compares images pair by pair, with the masks that the generator returns.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: A pixel whose mask value is above this belongs to the object.
THRESHOLD = 0.5


def colour_histograms(image: Tensor, mask: Tensor, bins: int = 8) -> Tensor:
    """Joint RGB histograms of the pixels inside masks, each with sum 1: float64 [B, bins³] (all 0 if the mask is
    empty).

    Pixels are weighted by their mask values.

    Args:
        image: [B, 3, H, W] in [0, 1].
        mask: [B, 1, H, W] in [0, 1].
        bins: intervals in each channel; the value 1 is in the last.
    """
    cells = (image * bins).long().clamp_(0, bins - 1)
    red, green, blue = cells.flatten(2).unbind(1)
    weight = mask.flatten(1).to(torch.float64)
    histogram = torch.zeros(len(image), bins**3, dtype=torch.float64, device=image.device)
    histogram.scatter_add_(1, (red * bins + green) * bins + blue, weight)
    return histogram / histogram.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def histogram_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 − Σ min(p, q) of histograms [B, N] with sum 1: float64 [B] from 0 (same colours) to 1 (no common colour)."""
    return 1 - torch.minimum(one, other).sum(1)


def colour_distance(
    image: Tensor, mask: Tensor, other_image: Tensor, other_mask: Tensor, bins: int = 8
) -> Tensor:
    """:func:`histogram_distance` of two images inside their masks: [B]; NaN where a mask is empty.

    Low if the texture is kept. Arguments as in :func:`colour_histograms`.
    """
    distance = histogram_distance(
        colour_histograms(image, mask, bins), colour_histograms(other_image, other_mask, bins)
    )
    empty = (mask.flatten(1).sum(1) == 0) | (other_mask.flatten(1).sum(1) == 0)
    return distance.masked_fill(empty, float("nan"))


def mask_iou(one: Tensor, other: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Intersection over union of masks [B, 1, H, W] in [0, 1]: float64 [B]; NaN where both are empty.

    High if the shape is kept.
    """
    a, b = (mask.flatten(1) > threshold for mask in (one, other))
    union = (a | b).sum(1).to(torch.float64)
    return ((a & b).sum(1) / union).where(union > 0, float("nan"))


def background_difference(
    image: Tensor, mask: Tensor, other_image: Tensor, other_mask: Tensor, threshold: float = THRESHOLD
) -> Tensor:
    """Mean absolute difference over channels and the pixels outside both masks: float64 [B], in the images' units; NaN
    where there is no such pixel. Low if the background is kept.

    Args:
        image, other_image: [B, 3, H, W] in [0, 1].
        mask, other_mask: [B, 1, H, W] in [0, 1].
    """
    free = ((mask <= threshold) & (other_mask <= threshold)).flatten(1).to(torch.float64)
    difference = (image - other_image).abs().to(torch.float64).mean(1).flatten(1)
    count = free.sum(1)
    return ((difference * free).sum(1) / count).where(count > 0, float("nan"))
