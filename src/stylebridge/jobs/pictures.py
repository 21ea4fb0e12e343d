"""Convert between pixel arrays, tensors for networks, and image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylebridge.atomic import OTHER_OUT, written_file
from stylebridge.data.resizing import Resample, resized


def as_tensor(
    image: np.ndarray, size: tuple[int, int] | None = None, resample: Resample = "bicubic"
) -> Tensor:
    """RGB uint8 [..., H, W, 3] as float [..., 3, H, W] in [0, 1].

    Args:
        size: resize an image [H, W, 3] to this (width, height) first.
    """
    return torch.from_numpy(resized(image, size, resample)).movedim(-1, -3).float() / 255


def as_pixels(image: Tensor) -> np.ndarray:
    """Float [..., 3, H, W] in [0, 1], on any device, as RGB uint8 [..., H, W, 3]."""
    return (image.float().clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().numpy()


def write_png(picture: np.ndarray, path: Path) -> None:
    """Write RGB uint8 [H, W, 3] as a PNG file, atomically; its folder is created if needed."""
    with written_file(path, mend=OTHER_OUT) as beside:
        Image.fromarray(picture).save(beside, format="PNG")
