"""Class mixing and strong augmentation of image batches, on the device and without loops over images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylebridge.data.label_space import IGNORE


def class_mask(label: Tensor, priorities: Tensor) -> Tensor:
    """Choose half of the classes present in each label map (ClassMix; Olsson et al. 2021, section 3.2).

    Args:
        label: int64 [B, H, W], 255 = ignore.
        priorities: [B, K] random numbers; the classes with the lowest numbers are chosen.

    Returns:
        bool [B, H, W]: pixels of the chosen classes; of n present classes, ⌈n/2⌉ are chosen. Ignored pixels are never
        chosen.
    """
    batch, classes = priorities.shape
    valid = label != IGNORE
    flat = torch.where(valid, label, classes).flatten(1)
    present = torch.zeros(batch, classes + 1, dtype=torch.bool, device=label.device)
    present.scatter_(1, flat, True)
    present = present[:, :classes]
    rank = torch.where(present, priorities, 2.0).argsort(1).argsort(1)
    chosen = present & (rank < (present.sum(1, keepdim=True) + 1) // 2)
    chosen = torch.cat([chosen, torch.zeros_like(chosen[:, :1])], 1)
    return chosen.gather(1, flat).view_as(label)


def jitter_colour(image: Tensor, numbers: Tensor, strength: float, probability: float) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image by separate random amounts.

    Args:
        image: [B, 3, H, W] in [0, 1].
        numbers: [B, 5] uniform in [0, 1): four amounts, and whether to change the image.
        strength: largest relative change; the hue turns by up to ``strength/4`` of the circle (in YIQ).
        probability: probability of changing an image.
    """
    factors = 1 + strength * (2 * numbers[:, :4, None, None, None] - 1)
    grey_weights = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    changed = image * factors[:, 0]
    mean = (changed * grey_weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    changed = mean + (changed - mean) * factors[:, 1]
    grey = (changed * grey_weights).sum(1, keepdim=True)
    changed = grey + (changed - grey) * factors[:, 2]
    changed = _turn_hue(changed, (numbers[:, 3] * 2 - 1) * (math.pi / 2) * strength)
    keep = (numbers[:, 4] >= probability).view(-1, 1, 1, 1)
    return torch.where(keep, image, changed.clamp(0, 1))


def _turn_hue(image: Tensor, angle: Tensor) -> Tensor:
    to_yiq = image.new_tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    turn = torch.eye(3, dtype=image.dtype, device=image.device).repeat(len(angle), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return torch.einsum("bij,bjhw->bihw", matrix, image)


def blur(image: Tensor, numbers: Tensor, probability: float, largest_sigma: float = 1.15) -> Tensor:
    """Gaussian blur of each image with a separate sigma in [0.15, ``largest_sigma``] pixels.

    Args:
        image: [B, 3, H, W].
        numbers: [B, 2] uniform in [0, 1): sigma, and whether to blur the image.
    """
    batch, channels, height, width = image.shape
    radius = max(1, round(3 * largest_sigma))
    sigma = 0.15 + (largest_sigma - 0.15) * numbers[:, :1]
    sigma = torch.where(numbers[:, 1:] < probability, sigma, torch.full_like(sigma, 1e-2))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = image.reshape(1, batch * channels, height, width)
    flat = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    return flat.view(batch, channels, height, width)
