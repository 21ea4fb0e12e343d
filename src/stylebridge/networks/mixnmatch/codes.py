"""The four codes of an image (arXiv 1911.11758, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stylebridge.networks.mixnmatch.config import MixNMatchConfig

#: The factors, in the order of the codes.
FACTORS = ("pose", "background", "shape", "texture")


class Codes(NamedTuple):
    """``pose`` [B, 100], and probabilities of categories: ``background`` [B, Nc], ``shape`` [B, Np], ``texture``
    [B, Nc]."""

    pose: Tensor
    background: Tensor
    shape: Tensor
    texture: Tensor

    def detached(self) -> Codes:
        """Without graph."""
        return Codes(*(code.detach() for code in self))


class Categories(NamedTuple):
    """Category numbers, int64 [B] each."""

    background: Tensor
    shape: Tensor
    texture: Tensor


def parent_of(texture: Tensor, config: MixNMatchConfig) -> Tensor:
    """The shape category of each texture: floor(texture·Np/Nc), int64 of the same shape."""
    return texture * config.shapes // config.textures


def one_hot(pose: Tensor, categories: Categories, config: MixNMatchConfig) -> Codes:
    """Codes of a pose [B, 100] and categories, with the pose's type and device."""
    sizes = (config.textures, config.shapes, config.textures)
    made = (
        torch.zeros(len(pose), size, dtype=pose.dtype, device=pose.device).scatter_(1, numbers[:, None], 1.0)
        for numbers, size in zip(categories, sizes, strict=True)
    )
    return Codes(pose, *made)
