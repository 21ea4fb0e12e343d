"""Sample pictures while a stage of `stylebridge adapt` trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain
from stylebridge.data.images import read_image
from stylebridge.data.resizing import resized
from stylebridge.data.spread import evenly_spaced
from stylebridge.jobs.apply.models.inference import predict_files
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.methods.base import SegmentationMethod
from stylebridge.networks.segmenters.build import Segmenter
from stylebridge.report.pictures import overlay, sample_grid


class SamplePictures:
    """Writes ``samples/<stage>-<step>.png``: fixed target images with the model's current predictions. If
    the method translates, also source images and their translations in the style of these target images."""

    def __init__(
        self,
        run: RunFolder,
        source: Domain,
        target: Domain,
        inference: InferenceConfig,
        method: SegmentationMethod[Any],
        stage: str,
    ) -> None:
        assert source.space is not None
        self.run, self.space, self.inference = run, source.space, inference
        self.method, self.stage = method, stage
        self.images = [target.images[i] for i in evenly_spaced(len(target.images), 4)]
        self.sources = []
        if method.translates:
            for i in evenly_spaced(len(source.images), 4):
                image, label = read_pair(source, i)
                assert label is not None
                self.sources.append((resized(image, inference.size), resized(label, inference.size)))

    def __call__(self, step: int) -> None:
        """Write the picture of a step."""
        segmenter = self.method.networks[self.method.result]
        assert isinstance(segmenter, Segmenter)
        training = segmenter.training
        device = next(segmenter.parameters()).device
        generator_state = torch.get_rng_state()
        rows = []
        for _, image, labels in predict_files(segmenter, self.images, self.inference, device):
            rows.append([image, overlay(image, labels, self.space)])
        captions = ["target", f"{self.stage} · step {step}"]
        if self.sources:
            made = self._translated(segmenter, device)
            rows = [[*pair, *row] for pair, row in zip(made, rows, strict=False)]
            captions = ["source", "in target style", "target (the style)", captions[-1]]
        torch.set_rng_state(generator_state)
        segmenter.train(training)
        write_png(sample_grid(rows, captions), self.run.path / "samples" / f"{self.stage}-{step:06d}.png")

    def _translated(self, segmenter: Segmenter, device: torch.device) -> list[list[np.ndarray]]:
        """Source images, and each in the region styles of the target image beside it."""
        pairs = []
        for (image, label), file in zip(self.sources, self.images, strict=False):
            style = as_tensor(read_image(file), self.inference.size)[None].to(device)
            made = self.method.translate(
                as_tensor(image)[None].to(device),
                torch.from_numpy(label).long()[None].to(device),
                style,
                segmenter,
            )
            pairs.append([image, as_pixels(made[0])])
        return pairs
