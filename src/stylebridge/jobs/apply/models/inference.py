"""Predict label maps of images or a whole domain, at the recipe's size, resized to the wanted size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylebridge.atomic import OTHER_OUT, written_file
from stylebridge.data.domain import Domain
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.metrics.segmentation import ConfusionMatrix
from stylebridge.networks.segmenters.base import resize_logits
from stylebridge.networks.segmenters.build import Segmenter

Key = TypeVar("Key")


@torch.inference_mode()
def predict_labels(
    segmenter: Segmenter, image: Tensor, size: tuple[int, int], config: InferenceConfig
) -> Tensor:
    """Predict uint8 label maps [B, H, W] of the given (H, W) for images [B, 3, h, w] in [0, 1].

    With several scales or ``flip`` the softmax is averaged over the copies, each resized to the final size (FADA's
    multi-scale test); else the logits are resized and the argmax is taken.
    """
    if config.scales == (1.0,) and not config.flip:
        return _sized_logits(segmenter, image, config, size).argmax(1).to(torch.uint8)
    total: Tensor | None = None
    for scale in config.scales:
        scaled = image
        if scale != 1.0:
            shape = [max(1, int(side * scale)) for side in image.shape[-2:]]  # rounded down, as published
            scaled = F.interpolate(image, size=shape, mode="bilinear", align_corners=True)
        for mirrored in (False, True) if config.flip else (False,):
            logits = _sized_logits(segmenter, scaled.flip(-1) if mirrored else scaled, config, size)
            part = (logits.flip(-1) if mirrored else logits).softmax(1)
            total = part if total is None else total.add_(part)
    assert total is not None
    return total.argmax(1).to(torch.uint8)


def _sized_logits(
    segmenter: Segmenter, image: Tensor, config: InferenceConfig, size: tuple[int, int]
) -> Tensor:
    """Logits [B, K, *size]: in one resize from the network's grid, if supported and without a sliding window."""
    if config.window is None:
        return segmenter.logits_at(image, size)
    return resize_logits(_logits(segmenter, image, config), size)


def _logits(segmenter: Callable[[Tensor], Tensor], image: Tensor, config: InferenceConfig) -> Tensor:
    """Logits [B, K, H, W], in one pass or by a sliding window."""
    height, width = image.shape[-2:]
    if config.window is None or (config.window[0] >= width and config.window[1] >= height):
        return segmenter(image)
    return slide(segmenter, image, config.window, config.overlap, config.batch)


def slide(
    segmenter: Callable[[Tensor], Tensor], image: Tensor, window: tuple[int, int], overlap: float, batch: int
) -> Tensor:
    """Logits [B, K, H, W] of images [B, 3, H, W] by a sliding window (width, height).

    Windows are evenly spaced from edge to edge and overlap by at least the share ``overlap``; where several cover a
    pixel their logits are averaged. A side smaller than the window's is used whole.
    """
    rows, columns = (
        _starts(side, min(wanted, side), overlap)
        for side, wanted in zip(image.shape[-2:], window[::-1], strict=True)
    )
    height, width = min(window[1], image.shape[-2]), min(window[0], image.shape[-1])
    places = [(index, y, x) for index in range(len(image)) for y in rows for x in columns]
    total = counts = None
    for first in range(0, len(places), batch):
        chosen = places[first : first + batch]
        logits = segmenter(torch.stack([image[i, :, y : y + height, x : x + width] for i, y, x in chosen]))
        if total is None:
            total = logits.new_zeros(len(image), logits.shape[1], *image.shape[-2:], dtype=torch.float32)
            counts = total.new_zeros(1, 1, *image.shape[-2:])
        for (index, y, x), part in zip(chosen, logits, strict=True):
            total[index, :, y : y + height, x : x + width] += part
    assert total is not None
    assert counts is not None
    for y in rows:
        for x in columns:
            counts[..., y : y + height, x : x + width] += 1
    return total / counts


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """The starts of windows: evenly spaced from 0 to the last that fits, as few as the overlap allows."""
    if window >= side:
        return [0]
    steps = math.ceil((side - window) / max(1.0, window * (1 - overlap)))
    return [round(i * (side - window) / steps) for i in range(steps + 1)]


def predict_files(
    segmenter: Segmenter,
    images: Sequence[FileRef],
    config: InferenceConfig,
    device: torch.device,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[FileRef, np.ndarray, np.ndarray]]:
    """Predict every file: yields (path, image uint8 [H, W, 3], label map uint8 [H, W] at the image's size).

    Files are read ahead by a thread. Images of the same network size share a batch.

    Raises:
        DataError: a file cannot be read as an image.
    """
    segmenter.eval()
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = iter(images)
        queue = [(p, pool.submit(read_image, p)) for p in islice(pending, 2 * config.batch)]
        while queue:
            taken, queue = queue[: config.batch], queue[config.batch :]
            queue += [(p, pool.submit(read_image, p)) for p in islice(pending, len(taken))]
            loaded = [(path, future.result()) for path, future in taken]
            yield from predict_arrays(segmenter, loaded, config, device)
            if progress is not None:
                progress(len(loaded))


def predict_arrays(
    segmenter: Segmenter, loaded: list[tuple[Key, np.ndarray]], config: InferenceConfig, device: torch.device
) -> Iterator[tuple[Key, np.ndarray, np.ndarray]]:
    """Predict (key, image uint8 [H, W, 3]) pairs in one batch, or one by one if sizes differ; yields
    (key, image, label map uint8 [H, W])."""
    inputs = [resized(image, config.size) for _, image in loaded]
    alike = len({(x.shape, image.shape) for x, (_, image) in zip(inputs, loaded, strict=True)}) == 1
    groups = [list(range(len(loaded)))] if alike else [[i] for i in range(len(loaded))]
    for group in groups:
        stacked = torch.from_numpy(np.stack([inputs[i] for i in group])).to(device)
        batch = stacked.permute(0, 3, 1, 2).float().div_(255)  # a channels-last view already
        height, width = loaded[group[0]][1].shape[:2]
        labels = predict_labels(segmenter, batch, (height, width), config).cpu().numpy()
        for i, label in zip(group, labels, strict=True):
            key, image = loaded[i]
            yield key, image, label


def confusion_of(
    segmenter: Segmenter,
    domain: Domain,
    config: InferenceConfig,
    device: torch.device,
    progress: Callable[[int], None] | None = None,
) -> ConfusionMatrix:
    """The confusion matrix over a whole labelled domain, labels at their own size."""
    assert domain.labels is not None
    assert domain.space is not None
    confusion = ConfusionMatrix(domain.space.num_classes)
    predictions = predict_files(segmenter, domain.images, config, device, progress)
    for (_, image, predicted), path in zip(predictions, domain.labels, strict=True):
        truth = domain.space.read(path, (image.shape[1], image.shape[0]))
        confusion.update(torch.from_numpy(predicted), torch.from_numpy(truth))
    return confusion


def write_label_png(labels: np.ndarray, space: LabelSpace, path: Path) -> None:
    """Write uint8 [H, W] as an 8-bit palette PNG: values are class indices, colours are the label space's. The file
    is whole or not there."""
    image = space.as_picture(labels)
    with written_file(path, mend=OTHER_OUT) as beside:
        # Label maps compress well at any level; the fast one takes a fraction of the time.
        image.save(beside, format="PNG", compress_level=1)
